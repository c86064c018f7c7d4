//! What is masked: lists as the API server writes them, and logs.

use std::fmt::Write as _;

use portcullis_mask::PROTOBUF_LIMIT;

const ITEMS: usize = 20_000;

/// As controllers, servers and applications in a cluster write it.
pub(crate) fn log(secrets: bool) -> Vec<u8> {
    let mut log = String::new();
    for line in 0..100_000 {
        let time =
            format!("2026-11-22T22:{:02}:{:02}.{:06}Z", line / 60 % 60, line % 60, line * 7919 % 1_000_000);
        let id = line as u64 * 2_654_435_761 % 0xffff_ffff;
        let _ = match line % 7 {
            0 => writeln!(
                log,
                "I1122 22:25:08.{:06}       1 controller.go:114] \"Reconciling\" controller=\"deployment\" key=\"shop/web-{line}\" queue=3",
                line % 1_000_000
            ),
            1 => writeln!(
                log,
                r#"{{"level":"info","ts":"{time}","logger":"shop","msg":"order accepted","order":"{id:08x}","customer":{line},"items":3,"total":"49.90","currency":"EUR"}}"#
            ),
            2 => writeln!(
                log,
                r#"203.0.113.{} - - [22/Nov/2026:22:25:08 +0000] "GET /api/v1/orders/{id}?page=2&size=50 HTTP/1.1" 200 {} "https://shop.example.test/orders" "Mozilla/5.0 (X11; Linux x86_64)""#,
                line % 250,
                line * 31 % 9000
            ),
            3 => writeln!(
                log,
                "{time} WARN  [http-nio-8080-exec-{}] com.example.shop.OrderService - Retrying after timeout of {} ms while calling inventory",
                line % 20,
                line % 3000
            ),
            4 => writeln!(
                log,
                "time=\"{time}\" level=debug msg=\"token refreshed for service account default\" namespace=shop pod=web-649fbd68db-x7k2p"
            ),
            5 => writeln!(
                log,
                "{time} INFO  Failed to get secret \"shop/db\", will retry: connection to https://10.96.0.1:443/api/v1/namespaces/shop/secrets/db timed out"
            ),
            _ => writeln!(
                log,
                "    at com.example.shop.inventory.Client.request(Client.java:{}) ~[shop-1.27.3.jar:1.27.3]",
                line % 900
            ),
        };
        if secrets && line % 50 == 0 {
            let _ = writeln!(
                log,
                "{time} DEBUG connecting to postgres://shop_rw:pw-{id:08x}@db.example.test:5432/shop"
            );
        }
    }
    log.into_bytes()
}

/// As the API server lists Secrets of two values each.
pub(crate) fn secrets(value: usize, applied: bool) -> Vec<u8> {
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
pub(crate) fn pods() -> Vec<u8> {
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

/// As many items as are masked in protobuf at once, in their envelope.
pub(crate) fn list(kind: &str, item: &[u8]) -> Vec<u8> {
    let items = field(2, item).repeat((PROTOBUF_LIMIT - 100) / (item.len() + 8));
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &[field(1, b""), items].concat())].concat()
}

/// A Secret of two values in protobuf.
pub(crate) fn secret(value: usize) -> Vec<u8> {
    let entry = |key: &[u8]| field(2, &[field(1, key), field(2, &vec![b'x'; value])].concat());
    [
        field(1, &metadata("s-1", b"{\"f:data\":{\"f:first\":{},\"f:second\":{}},\"f:type\":{}}")),
        entry(b"first"),
        entry(b"second"),
        field(3, b"Opaque"),
    ]
    .concat()
}

/// A Pod in protobuf.
pub(crate) fn pod() -> Vec<u8> {
    let variable = |name: &[u8], value: &[u8]| field(7, &[field(1, name), field(2, value)].concat());
    let port = field(
        6,
        &[field(1, b""), b"\x10\x00\x18\x90\x3f".to_vec(), field(4, b"TCP"), field(5, b"")].concat(),
    );
    let container = [
        field(1, b"web"),
        field(2, b"registry.example.test/shop/web:1.27.3"),
        port,
        variable(b"MODE", b"production"),
        variable(b"DB_PASSWORD", b"hunter2"),
        field(13, b"/dev/termination-log"),
        field(14, b"IfNotPresent"),
        b"\x80\x01\x00\x88\x01\x00\x90\x01\x00".to_vec(),
    ];
    let spec =
        [field(2, &container.concat()), field(3, b"Always"), field(6, b"ClusterFirst"), field(10, b"node-1")];
    let condition = field(
        2,
        &[field(1, b"Ready"), field(2, b"True"), field(3, b""), field(5, b""), field(6, b"")].concat(),
    );
    let status =
        [field(1, b"Running"), condition.repeat(4), field(5, b"192.0.2.1"), field(6, b"198.51.100.7")];
    let managed = br#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{},"f:name":{}}},"f:dnsPolicy":{}}}"#;
    [field(1, &metadata("web-649fbd68db-1", managed)), field(2, &spec.concat()), field(3, &status.concat())]
        .concat()
}

fn metadata(name: &str, managed: &[u8]) -> Vec<u8> {
    let fields = field(7, &field(1, managed));
    let managed = [
        field(1, b"kubectl"),
        field(2, b"Apply"),
        field(3, b"v1"),
        field(6, b"FieldsV1"),
        fields,
        field(8, b""),
    ];
    let label = [field(1, b"app"), field(2, b"web")];
    [
        field(1, name.as_bytes()),
        field(2, b""),
        field(3, b"demo"),
        field(4, b""),
        field(5, b"4b367ac8-4d1a-4358-b3ad-02d746bcfb27"),
        field(6, b"233"),
        b"\x38\x00".to_vec(),
        field(11, &label.concat()),
        field(17, &managed.concat()),
    ]
    .concat()
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for mut varint in [usize::from(number) << 3 | 2, bytes.len()] {
        while varint > 0x7f {
            out.push(varint as u8 | 0x80);
            varint >>= 7;
        }
        out.push(varint as u8);
    }
    out.extend_from_slice(bytes);
    out
}

/// The same JSON over many lines.
pub(crate) fn indented(json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec_pretty(&serde_json::from_slice::<serde_json::Value>(json)?)
}
