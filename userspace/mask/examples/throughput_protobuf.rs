//! How fast the protobuf masker is on one core, with lists as large as it takes:
//! `cargo run --release -p portcullis-mask --example throughput_protobuf`.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use portcullis_mask::{MaskError, MaskKey, PROTOBUF_LIMIT, Profile, ProtobufMasker, Rules};

const CHUNK: usize = 64 * 1024;

fn main() -> Result<(), MaskError> {
    let (key, profile) = (MaskKey::generate()?, Profile::default());
    println!("{:<34} {:>8} {:>10} {:>12}", "body", "MB", "GB/s", "one item, us");
    for (name, resource, kind, item) in [
        ("SecretList, values of 2 KB", "secrets", "Secret", secret(2048)),
        ("SecretList, values of 300 B", "secrets", "Secret", secret(300)),
        ("SecretList, values of 24 B", "secrets", "Secret", secret(24)),
        ("PodList", "pods", "Pod", pod()),
    ] {
        let Some(rules) = profile.for_request("", resource, "") else { continue };
        let (body, one) = (list(kind, &item), enveloped(kind, &item));
        let size = body.len() as f64 / 1e6;
        let many = best(|| mask(&body, &rules, &key))?;
        let single = best(|| mask(&one, &rules, &key))?;
        println!("{name:<34} {size:>8.1} {:>10.2} {:>12.1}", size / many / 1e3, single * 1e6);
    }
    Ok(())
}

fn mask(body: &[u8], rules: &Arc<Rules>, key: &MaskKey) -> Result<(), MaskError> {
    let mut masker = ProtobufMasker::object(Arc::clone(rules), key);
    let mut out = Vec::new();
    body.chunks(CHUNK).try_for_each(|chunk| masker.push(chunk, &mut out))?;
    masker.finish(&mut out)?;
    black_box(&out);
    Ok(())
}

/// The best of some, in seconds.
fn best(mut run: impl FnMut() -> Result<(), MaskError>) -> Result<f64, MaskError> {
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// As many items as are masked in protobuf at once, in their envelope.
fn list(kind: &str, item: &[u8]) -> Vec<u8> {
    let items = field(2, item).repeat((PROTOBUF_LIMIT - 100) / (item.len() + 8));
    enveloped(&format!("{kind}List"), &[field(1, b""), items].concat())
}

fn enveloped(kind: &str, object: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, object)].concat()
}

fn secret(value: usize) -> Vec<u8> {
    let entry = |key: &[u8]| field(2, &[field(1, key), field(2, &vec![b'x'; value])].concat());
    [
        field(1, &metadata("s-1", b"{\"f:data\":{\"f:first\":{},\"f:second\":{}},\"f:type\":{}}")),
        entry(b"first"),
        entry(b"second"),
        field(3, b"Opaque"),
    ]
    .concat()
}

fn pod() -> Vec<u8> {
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
