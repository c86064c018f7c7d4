//! The protobuf masker: whatever arrives, it neither panics nor depends on how it was sliced, and what it gives it takes
//! again. The first byte is the size of the slices, the lowest bit of the second says whether the rest is a watch.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use portcullis_mask::{MaskKey, Profile, ProtobufMasker, Rules};

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| Profile::default().for_unknown());

fuzz_target!(|data: &[u8]| {
    let [size, watch, body @ ..] = data else { return };
    let watch = watch & 1 == 1;
    let whole = mask(watch, body, body.len().max(1));
    assert_eq!(whole, mask(watch, body, usize::from(*size).max(1)));
    if let Some(masked) = whole {
        let again = mask(watch, &masked, masked.len().max(1));
        assert!(again.is_some(), "what was masked can be masked");
    }
});

/// The masked body; none if it is not protobuf that can be masked.
fn mask(watch: bool, body: &[u8], size: usize) -> Option<Vec<u8>> {
    let (rules, key) = (Arc::clone(&RULES), MaskKey::from_bytes([7; 32]));
    let mut masker =
        if watch { ProtobufMasker::watch(rules, &key) } else { ProtobufMasker::object(rules, &key) };
    let mut out = Vec::new();
    for slice in body.chunks(size) {
        masker.push(slice, &mut out).ok()?;
    }
    masker.finish(&mut out).ok()?;
    Some(out)
}
