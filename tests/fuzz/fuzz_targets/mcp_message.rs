//! Messages of MCP clients: what is taken reads the same to serde_json, and written anew, in any order of keys, it is the
//! same message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_mcp::{About, Kind, Message};
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(message) = Message::read(body) else { return };
    let value: Value = serde_json::from_slice(body).expect("it was taken");
    assert_eq!(value["jsonrpc"], "2.0");
    match message.kind() {
        Kind::Request(_) => assert!(!message.method().starts_with("notifications/")),
        Kind::Notification => assert!(value.get("id").is_none()),
        Kind::Response(_) => assert!(value.get("method").is_none()),
    }
    if let Some(method) = value.get("method") {
        assert_eq!(method, message.method());
    }
    if message.method() == "tools/call" {
        assert_eq!(message.about(), About::Tool(value["params"]["name"].as_str().expect("a name")));
    }
    let again = Message::read(reversed(&value).to_string().as_bytes()).expect("the same message");
    assert_eq!(again.kind(), message.kind());
    assert_eq!(again.about(), message.about());
    assert_eq!(again.fingerprint(), message.fingerprint());
});

/// The same with the keys of all objects in the other order.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            members.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect()
        }
        Value::Array(elements) => elements.iter().map(reversed).collect(),
        other => other.clone(),
    }
}
