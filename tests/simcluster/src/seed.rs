//! The objects that every simulated cluster starts with. Values of secrets begin with `FAKE-`, so that a leak is found
//! by searching for that.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::fields::{FieldSet, Writer};
use crate::kinds::Resource;
use crate::lifecycle;
use crate::object;
use crate::schema::schema;
use crate::store::Store;

/// How long ago the cluster was made, as its objects tell.
const AGE: SignedDuration = SignedDuration::from_mins(10);

/// Fills an empty store.
pub(crate) fn fill(store: &Store, bulk_secrets: usize, bulk_pods: usize) {
    for name in ["default", "kube-system", "demo", "prod", "bulk"] {
        let bulk = name == "bulk";
        if !bulk || bulk_secrets + bulk_pods > 0 {
            put(store, "namespaces", json!({"metadata": {"name": name}}));
            if !bulk {
                put(store, "serviceaccounts", json!({"metadata": {"name": "default", "namespace": name}}));
            }
        }
    }
    put(store, "nodes", node());
    demo(store);
    put(
        store,
        "secrets",
        json!({"metadata": {"name": "payment-key", "namespace": "prod"}, "stringData": {"key": "FAKE-prod-payment-key"}}),
    );
    put(
        store,
        "services",
        json!({"metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "targetPort": 6443}]}}),
    );
    for index in 0..bulk_secrets {
        put(store, "secrets", bulk_secret(index));
    }
    for index in 0..bulk_pods {
        let containers =
            json!([{"name": "main", "image": "registry.example.test/bulk:1.0", "command": ["sleep", "1d"]}]);
        put(store, "pods", pod(&format!("pod-{index:05}"), "bulk", "bulk", &containers));
    }
    // A watch from before the cluster was there is too old, as on a real one.
    store.compact();
}

fn demo(store: &Store) {
    let put_demo = |plural: &str, mut object: Value| {
        object["metadata"]["namespace"] = json!("demo");
        put(store, plural, object);
    };
    put_demo("serviceaccounts", json!({"metadata": {"name": "robot"}}));
    put_demo(
        "configmaps",
        json!({"metadata": {"name": "app-config"}, "data": {"color": "blue", "app.properties": "retries=3\ntimeout=5s\n"}}),
    );
    put_demo(
        "secrets",
        json!({
            "metadata": {"name": "db-credentials", "labels": {"app": "shop"}, "annotations": {"example.test/owner": "payments"}},
            "stringData": {"username": "shop_rw", "password": "FAKE-s3cr3t-passw0rd-1",
                "dsn": "postgres://shop_rw:FAKE-s3cr3t-passw0rd-1@db.example.test:5432/shop"},
        }),
    );
    put_demo(
        "secrets",
        json!({
            "metadata": {"name": "api-key"},
            "stringData": {"key": "FAKE-APIKEY-0123456789abcdef", "config.json": "{\"token\":\"FAKE-json-token\",\"n\":1}\n"},
        }),
    );
    put_demo(
        "secrets",
        json!({
            "metadata": {"name": "web-tls"}, "type": "kubernetes.io/tls",
            "stringData": {
                "tls.crt": "-----BEGIN CERTIFICATE-----\nFAKE-certificate\n-----END CERTIFICATE-----\n",
                "tls.key": "-----BEGIN PRIVATE KEY-----\nFAKE-private-key\n-----END PRIVATE KEY-----\n"},
        }),
    );
    put_demo(
        "secrets",
        json!({
            "metadata": {"name": "sh.helm.release.v1.shop.v1", "labels": {"owner": "helm", "name": "shop", "version": "1", "status": "deployed"}},
            "type": "helm.sh/release.v1", "stringData": {"release": helm_release()},
        }),
    );
    let blob: Vec<u8> = (0..=255).collect();
    put_demo(
        "secrets",
        json!({"metadata": {"name": "binary-blob"}, "immutable": true, "data": {"blob": BASE64.encode(blob), "empty": ""}}),
    );
    put_demo(
        "pods",
        pod(
            "shell",
            "demo",
            "shell",
            &json!([{"name": "sh", "image": "registry.example.test/shell:1.0", "command": ["sh", "-c", "sleep 1d"]}]),
        ),
    );
    let web = json!({"name": "web", "image": "registry.example.test/web:1.0", "ports": [{"containerPort": 8080}],
        "env": [{"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db-credentials", "key": "password"}}},
            {"name": "INLINE_PASSWORD", "value": "FAKE-inline-env-password"}]});
    let sidecar = json!({"name": "sidecar", "image": "registry.example.test/sidecar:1.0"});
    put_demo("pods", pod("web", "demo", "web", &json!([web, sidecar])));
    put_demo(
        "pods",
        pod(
            "echo",
            "demo",
            "echo",
            &json!([{"name": "cat", "image": "registry.example.test/cat:1.0", "command": ["cat"], "stdin": true, "tty": true}]),
        ),
    );
    put_demo(
        "deployments",
        json!({
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [web]}}},
        }),
    );
    put_demo(
        "services",
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
    );
    put_demo(
        "endpoints",
        json!({"metadata": {"name": "web"}, "subsets": [{"addresses": [{"ip": "10.244.0.10",
            "targetRef": {"kind": "Pod", "name": "web", "namespace": "demo"}}], "ports": [{"port": 8080, "protocol": "TCP"}]}]}),
    );
    for (name, reason, message) in [
        ("shell", "Scheduled", "Successfully assigned demo/shell to node1"),
        ("shell", "Started", "Started container sh"),
        ("web", "Pulled", "Container image \"registry.example.test/web:1.0\" already present on machine"),
    ] {
        put_demo("events", event(store, name, reason, message));
    }
}

fn pod(name: &str, namespace: &str, app: &str, containers: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace, "labels": {"app": app}}, "spec": {"containers": containers}})
}

fn event(store: &Store, pod: &str, reason: &str, message: &str) -> Value {
    let at = object::timestamp(Timestamp::now() - AGE);
    let about = store.get(Resource::core("pods"), "demo", pod).expect("pods are seeded before their events");
    json!({
        "metadata": {"name": format!("{pod}.{:016x}", reason.len() + message.len())},
        "involvedObject": {"kind": "Pod", "namespace": "demo", "name": pod, "uid": object::meta(&about, "uid"),
            "apiVersion": "v1", "resourceVersion": object::meta(&about, "resourceVersion")},
        "reason": reason, "message": message, "source": {"component": "kubelet", "host": "node1"},
        "firstTimestamp": at, "lastTimestamp": at, "count": 1, "type": "Normal",
        "reportingComponent": "kubelet", "reportingInstance": "node1",
    })
}

fn node() -> Value {
    let since = object::timestamp(Timestamp::now() - AGE);
    let ready = json!({"type": "Ready", "status": "True", "lastHeartbeatTime": since, "lastTransitionTime": since,
        "reason": "KubeletReady", "message": "kubelet is posting ready status"});
    let capacity = json!({"cpu": "2", "memory": "8Gi", "pods": "110"});
    json!({
        "metadata": {"name": "node1", "labels": {"kubernetes.io/hostname": "node1", "kubernetes.io/os": "linux"}},
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"], "providerID": "sim://node1"},
        "status": {
            "capacity": capacity, "allocatable": capacity, "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "node1"}],
            "nodeInfo": {"machineID": "sim", "systemUUID": "sim", "bootID": "sim", "kernelVersion": "6.12.0",
                "osImage": "Simulated Linux", "containerRuntimeVersion": "sim://1.0", "kubeletVersion": "v1.36.2",
                "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"},
        },
    })
}

/// A secret of some 4 KiB.
fn bulk_secret(index: usize) -> Value {
    let filler = format!("FAKE-bulk-{index:05}-").repeat(250);
    json!({"metadata": {"name": format!("bulk-{index:05}"), "namespace": "bulk"}, "stringData": {"password": format!("FAKE-bulk-password-{index}"), "blob": filler}})
}

/// As Helm stores releases: base64 of gzip of JSON.
fn helm_release() -> String {
    let release =
        json!({"name": "shop", "version": 1, "config": {"database": {"password": "FAKE-helm-db-password"}}});
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(release.to_string().as_bytes()).and_then(|()| encoder.finish());
    BASE64.encode(written.expect("compressing to memory does not fail"))
}

/// Stores an object as if `kubectl apply --server-side` had made it a while ago.
fn put(store: &Store, plural: &str, mut object: Value) {
    let group = if plural == "deployments" { "apps" } else { "" };
    let resource = Resource::find(group, "v1", plural).expect("a resource of this server");
    let object_type = schema().get(resource.schema);
    let fields = FieldSet::of(&object, object_type);
    let made = object::timestamp(Timestamp::now() - AGE);
    let metadata = object::meta_mut(&mut object);
    metadata.insert("uid".to_owned(), json!(object::uid()));
    metadata.insert("creationTimestamp".to_owned(), json!(made));
    lifecycle::settle(resource, None, &mut object);
    let writer = Writer { manager: "kubectl", api_version: resource.api_version(), subresource: "" };
    let mut entry = writer.entry("Apply", fields);
    entry.time = made;
    crate::fields::Entry::write(vec![entry], &mut object);
    let ordered = object_type.conform(object, &mut Vec::new()).expect("seeds fit the schema");
    store.create(resource, ordered).expect("seeds have names of their own");
}
