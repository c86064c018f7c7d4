//! What holds of any Secret and any body.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_mask::{MaskKey, PlaceholderGuard, Profile, RestoreError, Write, restore};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::placeholder_base64;
use crate::{ALL, LAST_APPLIED, live, masked, try_restore};

/// Texts as they are found in Secrets: with quotes, lines, characters that Go escapes, and bytes that are no text.
fn secret() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z0-9]{1,12}".prop_map(String::into_bytes),
        any::<String>().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn data() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    prop::collection::btree_map("[a-zA-Z0-9._-]{1,12}", secret(), 1..6)
        .prop_map(|data| data.into_iter().collect())
}

proptest! {
    #[test]
    fn what_was_shown_comes_back_as_it_was(data in data(), change in "[a-z]{1,8}", applied in any::<bool>()) {
        let encoded: Value = data.iter().map(|(key, value)| (key.clone(), json!(STANDARD.encode(value)))).collect();
        let mut object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "resourceVersion": "7", "labels": {"l": "LABEL"}},
            "data": encoded,
        });
        if applied {
            object["metadata"]["annotations"] = json!({LAST_APPLIED: json!({"data": encoded}).to_string()});
        }
        let live = object.to_string();
        let changed = |text: &str| text.replacen("\"LABEL\"", &format!("\"{change}\""), 1);
        let shown = changed(&masked(&live));
        match try_restore(Write::Update, &shown, &live).unwrap() {
            Some(restored) => prop_assert_eq!(String::from_utf8(restored.body).unwrap(), changed(&live)),
            None => prop_assert!(data.iter().all(|(_, value)| value.is_empty())),
        }
    }

    #[test]
    fn a_mask_under_another_key_is_never_restored(data in data(), from in any::<prop::sample::Index>(), to in "[a-z]{1,12}") {
        let encoded: Value = data.iter().map(|(key, value)| (key.clone(), json!(STANDARD.encode(value)))).collect();
        let live = json!({"metadata": {"resourceVersion": "7"}, "data": encoded}).to_string();
        let (_, value) = from.get(&data);
        prop_assume!(!value.is_empty());
        prop_assume!(data.iter().all(|(key, other)| *key != to || other != value));
        let body = json!({"data": {to: placeholder_base64(value)}}).to_string();
        for write in [Write::MergePatch, Write::StrategicPatch, Write::Apply] {
            prop_assert!(try_restore(write, &body, &live).is_err());
        }
    }

    #[test]
    fn any_body_is_refused_or_keeps_no_mask(body in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ":", ",", "\"data\"", "\"password\"", "\"metadata\"", "MASK", "\"x\"", "1",
        "\"op\":\"add\"", "\"path\":\"/data/password\"", "\"value\":",
    ]), 0..16), wrap in any::<bool>()) {
        let mask = format!("\"{}\"", placeholder_base64(b"hunter2"));
        let body = body.concat().replace("MASK", &mask);
        let body = if wrap { format!("{{\"data\":{{\"password\":{mask}}},\"x\":{body}}}") } else { body };
        for write in ALL {
            if let Ok(Some(restored)) = try_restore(write, &body, &live()) {
                prop_assert!(PlaceholderGuard::find(&restored.body).is_none());
            }
        }
    }
}

/// The seeds of the fuzz target `restore`: kind of write, live object, line end, body.
#[test]
fn the_seeds_of_the_fuzz_target_are_restored_or_refused() {
    let rules = Profile::default().for_unknown();
    let key = MaskKey::from_bytes([7; 32]);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/restore");
    let mut seeds = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let seed = fs::read(&path).unwrap();
        let end = seed.iter().position(|byte| *byte == b'\n').unwrap();
        let (live, body) = (&seed[1..end], &seed[end + 1..]);
        let restored = restore(ALL[usize::from(seed[0]) % 5], body, live, &rules, &key);
        if path.ends_with("swapped") {
            assert!(matches!(restored, Err(RestoreError::Field { .. })));
        } else {
            let restored = restored.unwrap().unwrap();
            assert!(PlaceholderGuard::find(&restored.body).is_none(), "{}", path.display());
        }
        seeds += 1;
    }
    assert_eq!(seeds, 5);
}
