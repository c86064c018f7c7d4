//! The JSON masker: whatever arrives, it neither panics nor depends on how it was sliced; what it gives is JSON, and what
//! it masked is found again by the write-back guard. The first byte is the size of the slices.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_mask::{JsonMasker, MaskKey, PlaceholderGuard, Profile};

fuzz_target!(|data: &[u8]| {
    let Some((size, body)) = data.split_first() else { return };
    let whole = mask(body, body.len().max(1));
    assert_eq!(whole, mask(body, usize::from(*size).max(1)));
    if let Some(masked) = whole
        && PlaceholderGuard::find(&masked).is_none()
    {
        assert_eq!(mask(&masked, masked.len().max(1)).as_ref(), Some(&masked), "nothing to mask, nothing to change");
    }
});

/// The masked body; none if it is not JSON.
fn mask(body: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut masker = JsonMasker::new(Profile::default().for_unknown(), &MaskKey::from_bytes([7; 32]));
    let mut out = Vec::new();
    for slice in body.chunks(size) {
        masker.push(slice, &mut out).ok()?;
    }
    masker.finish(&mut out).ok()?;
    Some(out)
}
