//! The masker for messages of MCP servers: whatever arrives, it does not panic; of one document it makes one of the same
//! types, and the same each time.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_mask::{MaskKey, Profile};
use portcullis_mcp::{BlobPolicy, MessageMasker};
use serde_json::Value;

static MASKER: LazyLock<MessageMasker> = LazyLock::new(|| {
    MessageMasker::new(&Profile::default(), &MaskKey::from_bytes([7; 32]), &BlobPolicy::default())
});

fuzz_target!(|message: &[u8]| {
    let masked = mask(message);
    if let (Some(masked), Ok(before)) = (&masked, serde_json::from_slice(message)) {
        let after = serde_json::from_slice(masked).expect("JSON");
        assert!(same_types(&before, &after));
    }
    assert_eq!(mask(message), masked);
});

/// The masked message; none if it is not JSON.
fn mask(message: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    MASKER.mask(message, &mut out).ok()?;
    Some(out)
}

/// Whether `after` has the types of `before` all through. Objects whose keys are masked are not looked into.
fn same_types(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            !before.keys().eq(after.keys())
                || before.values().zip(after.values()).all(|(before, after)| same_types(before, after))
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len()
                && before.iter().zip(after).all(|(before, after)| same_types(before, after))
        }
        _ => std::mem::discriminant(before) == std::mem::discriminant(after),
    }
}
