//! Detectors over text: whatever arrives, they neither panic nor depend on how it was sliced, and pauses lose nothing. The
//! first byte is the size of the slices.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use portcullis_mask::{DetectorConfig, Detectors, MaskKey, Personal, TextMasker};

static DETECTORS: LazyLock<Arc<Detectors>> = LazyLock::new(|| {
    let personal = vec![Personal::Card, Personal::Iban, Personal::Ssn, Personal::Email];
    let config = DetectorConfig { personal, ..Default::default() };
    Arc::new(Detectors::new(&config).expect("nothing is wrong with all there is"))
});

fuzz_target!(|data: &[u8]| {
    let Some((size, text)) = data.split_first() else { return };
    let size = usize::from(*size).max(1);
    let whole = mask(text, text.len().max(1), false);
    assert_eq!(whole, mask(text, size, false));
    let paused = mask(text, size, true);
    if whole == text && !contains(&paused, b"portcullis-masked:") {
        assert_eq!(paused, text, "nothing to mask, nothing to change");
    }
});

fn mask(text: &[u8], size: usize, pause: bool) -> Vec<u8> {
    let mut masker = TextMasker::new(Arc::clone(&DETECTORS), &MaskKey::from_bytes([7; 32]));
    let mut out = Vec::new();
    for slice in text.chunks(size) {
        masker.push(slice, &mut out);
        if pause {
            masker.flush(&mut out);
            assert!(!masker.holds());
        }
    }
    masker.finish(&mut out);
    out
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
