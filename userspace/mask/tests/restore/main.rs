//! Masks that come back are restored where they stood, byte for byte, and nowhere else.

mod lists;
mod masks;
mod objects;
mod properties;
#[path = "../support/mod.rs"]
mod support;

use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use portcullis_mask::{JsonMasker, Profile, RestoreError, Restored, Rules, Why, Write, restore};
use serde_json::{Value, json};
use support::key;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const ALL: [Write; 5] =
    [Write::Update, Write::MergePatch, Write::StrategicPatch, Write::JsonPatch, Write::Apply];

static RULES: LazyLock<Arc<Rules>> =
    LazyLock::new(|| Profile::default().for_request("", "secrets", "").expect("Secrets are masked"));

/// What the client is shown.
fn masked(body: &str) -> String {
    masked_by(&RULES, body)
}

fn masked_by(rules: &Arc<Rules>, body: &str) -> String {
    let (mut masker, mut out) = (JsonMasker::new(Arc::clone(rules), &key()), Vec::new());
    masker.push(body.as_bytes(), &mut out).and_then(|()| masker.finish(&mut out)).expect("it is JSON");
    String::from_utf8_lossy(&out).into_owned()
}

fn try_restore(write: Write, body: &str, live: &str) -> Result<Option<Restored>, RestoreError> {
    restore(write, body.as_bytes(), live.as_bytes(), &RULES, &key())
}

/// The same by other rules; the body, or what is said.
fn restored_by(rules: &Arc<Rules>, write: Write, body: &str, live: &str) -> Result<String, String> {
    match restore(write, body.as_bytes(), live.as_bytes(), rules, &key()) {
        Ok(Some(restored)) => Ok(String::from_utf8_lossy(&restored.body).into_owned()),
        Ok(None) => Err("nothing to restore".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The restored body and the fields restored in it.
fn restored(write: Write, body: &str, live: &str) -> (String, Vec<String>) {
    let restored = try_restore(write, body, live).unwrap_or_else(|error| panic!("{write:?} {body}: {error}"));
    let restored = restored.unwrap_or_else(|| panic!("{write:?} {body}: nothing restored"));
    (String::from_utf8_lossy(&restored.body).into_owned(), restored.paths)
}

/// The field that cannot be restored, and why.
fn refused(write: Write, body: &str, live: &str) -> (String, Why) {
    match try_restore(write, body, live) {
        Err(RestoreError::Field { path, why }) => (path, why),
        Err(other) => panic!("{write:?} {body}: {other}"),
        Ok(_) => panic!("{write:?} {body}: not refused"),
    }
}

fn live() -> String {
    live_with(&json!({"note": "plain"}))
}

fn live_with(annotations: &Value) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "db", "namespace": "demo", "resourceVersion": "41", "labels": {"app": "db"},
            "annotations": annotations,
        },
        "data": {"a/b": "c2xhc2g=", "password": "aHVudGVyMg==", "username": "YWRtaW4="},
        "type": "Opaque",
    })
    .to_string()
}

fn policy(defaults: &Value) -> Profile {
    let policy = json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "MaskPolicy", "defaults": defaults});
    Profile::new(&serde_json::from_value(policy).expect("a policy")).expect("a profile")
}

/// Packs a document as Helm does in a Secret.
fn packed(document: &Value) -> String {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(document.to_string().as_bytes()).expect("memory takes it");
    STANDARD.encode(STANDARD.encode(packer.finish().expect("memory takes it")))
}

fn unpacked(text: &str) -> Value {
    let packed = STANDARD.decode(text).and_then(|once| STANDARD.decode(once)).expect("base64, twice");
    serde_json::from_reader(GzDecoder::new(&packed[..])).expect("gzip of JSON")
}
