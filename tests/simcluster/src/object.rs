//! Reading and stamping the metadata of an object held as JSON.

use jiff::Timestamp;
use rand::Rng;
use serde_json::{Map, Value, json};

use crate::kinds::Resource;

/// A string of the object's metadata, empty where absent.
pub(crate) fn meta<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"][key].as_str().unwrap_or_default()
}

/// The object's name.
pub(crate) fn name(object: &Value) -> &str {
    meta(object, "name")
}

/// The object's namespace, empty at the cluster scope.
pub(crate) fn namespace(object: &Value) -> &str {
    meta(object, "namespace")
}

/// Whether somebody deleted the object and it only waits for finalizers or a process to end.
pub(crate) fn is_terminating(object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some()
}

/// Whether finalizers keep a deleted object.
pub(crate) fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

/// The object's metadata, made if need be.
///
/// # Panics
/// When the object is no JSON object; bodies are checked when they are decoded.
pub(crate) fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    child_mut(object, "metadata")
}

/// The object below `key`, made if need be.
///
/// # Panics
/// When `object` is no JSON object.
pub(crate) fn child_mut<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    let fields = object.as_object_mut().expect("an API object is a JSON object");
    let child = fields.entry(key).or_insert_with(|| json!({}));
    if !child.is_object() {
        *child = json!({});
    }
    child.as_object_mut().expect("just made an object")
}

/// Sets `key` below `parent` unless it is there.
pub(crate) fn set_default(parent: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if !parent.contains_key(key) {
        parent.insert(key.to_owned(), value.into());
    }
}

/// The object with its kind and version in front, as single objects are answered.
pub(crate) fn typed(resource: &Resource, object: &Value) -> Value {
    typed_as(resource.kind, &resource.api_version(), object)
}

/// The object under another kind, such as `Scale`.
pub(crate) fn typed_as(kind: &str, api_version: &str, object: &Value) -> Value {
    let mut typed = Map::new();
    typed.insert("kind".to_owned(), json!(kind));
    typed.insert("apiVersion".to_owned(), json!(api_version));
    let fields = object.as_object().into_iter().flatten();
    typed.extend(
        fields
            .filter(|(key, _)| !matches!(key.as_str(), "kind" | "apiVersion"))
            .map(|(k, v)| (k.clone(), v.clone())),
    );
    Value::Object(typed)
}

/// Now, to the second, as object timestamps are.
pub(crate) fn now() -> String {
    timestamp(Timestamp::now())
}

/// A timestamp to the second.
pub(crate) fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A random UUID (version 4).
pub(crate) fn uid() -> String {
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The random end of a generated name: no vowels and no look-alikes, as the API server makes them.
pub(crate) fn name_suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bytes = [0_u8; 5];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}
