//! Restoring masks: whatever a body is, it is refused or has no mask in it any more; a value goes only where it is masked
//! again, and an object that was shown comes back as it was. The first byte is the kind of write, a line end divides the live
//! object from the body.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_mask::{JsonMasker, MaskKey, PlaceholderGuard, Profile, Write, restore};

static PROFILE: LazyLock<Profile> = LazyLock::new(Profile::default);

fuzz_target!(|data: &[u8]| {
    let Some((write, rest)) = data.split_first() else { return };
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return };
    let (live, body) = (&rest[..end], &rest[end + 1..]);
    let write = match write % 5 {
        0 => Write::Update,
        1 => Write::MergePatch,
        2 => Write::StrategicPatch,
        3 => Write::JsonPatch,
        _ => Write::Apply,
    };
    let (rules, key) = (PROFILE.for_unknown(), MaskKey::from_bytes([7; 32]));
    if let Ok(Some(restored)) = restore(write, body, live, &rules, &key) {
        // A live value may be a mask by itself.
        if PlaceholderGuard::find(live).is_none() {
            assert!(PlaceholderGuard::find(&restored.body).is_none());
        }
        assert!(!restored.paths.is_empty());
    }
    let mut masker = JsonMasker::new(rules.clone(), &key);
    let mut shown = Vec::new();
    if masker.push(live, &mut shown).is_ok()
        && masker.finish(&mut shown).is_ok()
        && let Ok(Some(restored)) = restore(Write::MergePatch, &shown, live, &rules, &key)
    {
        assert_eq!(restored.body, live);
    }
});
