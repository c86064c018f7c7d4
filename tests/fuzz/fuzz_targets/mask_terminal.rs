//! Detectors over what terminals show: whatever arrives, they neither panic nor depend on how it was sliced, and what has no
//! secret passes byte for byte. The first byte is the size of the slices, the second the terminal's width.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use portcullis_mask::{Detectors, MaskKey, TerminalMasker};

static DETECTORS: LazyLock<Arc<Detectors>> = LazyLock::new(Arc::default);

fuzz_target!(|data: &[u8]| {
    let [size, width, output @ ..] = data else { return };
    let (size, width) = (usize::from(*size).max(1), u16::from(*width));
    let whole = mask(output, output.len().max(1), width, false);
    assert_eq!(whole, mask(output, size, width, false));
    let paused = mask(output, size, width, true);
    let masked = paused.windows(18).any(|part| part == b"portcullis-masked:") || paused.contains(&b'*');
    if whole == output && !masked {
        assert_eq!(paused, output, "nothing to mask, nothing to change");
    }
});

fn mask(output: &[u8], size: usize, width: u16, pause: bool) -> Vec<u8> {
    let mut masker = TerminalMasker::new(Arc::clone(&DETECTORS), &MaskKey::from_bytes([7; 32]));
    masker.resize(width);
    let mut out = Vec::new();
    for slice in output.chunks(size) {
        masker.push(slice, &mut out);
        if pause {
            masker.flush(&mut out);
            assert!(!masker.holds());
        }
    }
    masker.finish(&mut out);
    out
}
