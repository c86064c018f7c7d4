//! How fast the JSON masker is on one core, and how much memory it takes: `cargo run --release --example throughput`.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use portcullis_mask::{JsonMasker, MaskError, MaskKey, PlaceholderGuard, Profile, Rules};

const CHUNK: usize = 64 * 1024;
const ITEMS: usize = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = MaskKey::generate()?;
    println!(
        "{:<34} {:>8} {:>12} {:>14} {:>12}",
        "body", "MB", "masker GB/s", "serde_json GB/s", "guard GB/s"
    );
    let profile = Profile::default();
    for (name, resource, body) in [
        ("SecretList, values of 2 KB", "secrets", secrets(2048, false)),
        ("SecretList, values of 300 B", "secrets", secrets(300, false)),
        ("SecretList, values of 24 B", "secrets", secrets(24, false)),
        ("SecretList, applied, 300 B", "secrets", secrets(300, true)),
        ("PodList", "pods", pods()),
        ("PodList, indented", "pods", indented(&pods())?),
    ] {
        let rules = profile.for_request("", resource, "").ok_or("nothing is masked")?;
        let masker = rate(&body, || mask(&body, &rules, &key));
        let serde = rate(&body, || {
            let value: serde_json::Value = serde_json::from_slice(&body)?;
            black_box(serde_json::to_vec(&value)?);
            Ok::<_, serde_json::Error>(())
        });
        let guard = rate(&body, || {
            black_box(PlaceholderGuard::find(&body));
            Ok::<_, MaskError>(())
        });
        println!(
            "{name:<34} {:>8.1} {:>12.2} {:>14.2} {:>12.2}",
            body.len() as f64 / 1e6,
            masker?,
            serde?,
            guard?
        );
    }
    Ok(())
}

fn mask(body: &[u8], rules: &Arc<Rules>, key: &MaskKey) -> Result<(), MaskError> {
    let mut masker = JsonMasker::new(Arc::clone(rules), key);
    let mut out = Vec::with_capacity(2 * CHUNK);
    for chunk in body.chunks(CHUNK) {
        masker.push(chunk, &mut out)?;
        black_box(&out);
        out.clear();
    }
    masker.finish(&mut out)
}

/// The best of five, in GB/s.
fn rate<E>(body: &[u8], mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(body.len() as f64 / best / 1e9)
}

/// As the API server lists Secrets of two values each.
fn secrets(value: usize, applied: bool) -> Vec<u8> {
    let mut list =
        r#"{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"233"},"items":["#.to_owned();
    for item in 0..ITEMS {
        let value: String =
            (0..value / 3 * 4).map(|at| char::from(b'A' + ((at * 7 + item) % 26) as u8)).collect();
        let annotations = if applied {
            format!(
                r#""annotations":{{"kubectl.kubernetes.io/last-applied-configuration":"{{\"apiVersion\":\"v1\",\"data\":{{\"first\":\"{value}\"}},\"kind\":\"Secret\",\"metadata\":{{\"annotations\":{{}},\"name\":\"s-{item}\"}}}}\n"}},"#
            )
        } else {
            String::new()
        };
        let comma = if item == 0 { "" } else { "," };
        let _ = write!(
            list,
            r#"{comma}{{"metadata":{{"name":"s-{item}","namespace":"demo","uid":"4b367ac8-4d1a-4358-b3ad-02d746bcfb27","resourceVersion":"{item}","creationTimestamp":"2026-11-22T22:25:08Z",{annotations}"managedFields":[{{"manager":"kubectl","operation":"Apply","apiVersion":"v1","time":"2026-11-22T22:25:08Z","fieldsType":"FieldsV1","fieldsV1":{{"f:data":{{"f:first":{{}},"f:second":{{}}}},"f:type":{{}}}}}}]}},"data":{{"first":"{value}","second":"{value}"}},"type":"Opaque"}}"#
        );
    }
    list.push_str("]}\n");
    list.into_bytes()
}

/// As the API server lists Pods.
fn pods() -> Vec<u8> {
    let mut list =
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"233"},"items":["#.to_owned();
    for item in 0..ITEMS {
        let comma = if item == 0 { "" } else { "," };
        let _ = write!(
            list,
            r#"{comma}{{"metadata":{{"name":"web-649fbd68db-{item}","generateName":"web-649fbd68db-","namespace":"demo","uid":"f836fdac-b43b-495c-b782-ac4a26fc8ca1","resourceVersion":"{item}","creationTimestamp":"2026-11-22T22:25:08Z","labels":{{"app":"web","pod-template-hash":"649fbd68db"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-649fbd68db","uid":"9c0b6db1-ccd3-465d-9c8a-136a9a93f927","controller":true,"blockOwnerDeletion":true}}],"managedFields":[{{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-11-22T22:25:08Z","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:generateName":{{}},"f:labels":{{".":{{}},"f:app":{{}},"f:pod-template-hash":{{}}}}}},"f:spec":{{"f:containers":{{"k:{{\"name\":\"web\"}}":{{".":{{}},"f:image":{{}},"f:imagePullPolicy":{{}},"f:name":{{}}}}}},"f:dnsPolicy":{{}}}}}}}}]}},"spec":{{"volumes":[{{"name":"kube-api-access-x","projected":{{"sources":[{{"serviceAccountToken":{{"expirationSeconds":3607,"path":"token"}}}},{{"configMap":{{"name":"kube-root-ca.crt","items":[{{"key":"ca.crt","path":"ca.crt"}}]}}}}],"defaultMode":420}}}}],"containers":[{{"name":"web","image":"registry.example.test/shop/web:1.27.3","ports":[{{"containerPort":8080,"protocol":"TCP"}}],"env":[{{"name":"MODE","value":"production"}},{{"name":"DB","valueFrom":{{"secretKeyRef":{{"name":"db","key":"dsn"}}}}}}],"resources":{{"limits":{{"cpu":"500m","memory":"256Mi"}},"requests":{{"cpu":"100m","memory":"128Mi"}}}},"volumeMounts":[{{"name":"kube-api-access-x","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}}],"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","nodeName":"node-1","tolerations":[{{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}}],"priority":0}},"status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-22T22:25:08Z"}},{{"type":"PodScheduled","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-22T22:25:08Z"}}],"hostIP":"192.0.2.1","podIP":"198.51.100.7","qosClass":"Burstable"}}}}"#
        );
    }
    list.push_str("]}\n");
    list.into_bytes()
}

fn indented(json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec_pretty(&serde_json::from_slice::<serde_json::Value>(json)?)
}
