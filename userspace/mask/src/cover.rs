//! Masking what must keep its length: archives that come through a pipe, bodies whose length has been told.

use std::sync::Arc;

use crate::detect::{Scanner, Sink};
use crate::placeholder::Placeholder;
use crate::{Detectors, MaskKey};

/// What a byte of a secret becomes.
const COVER: u8 = b'*';

/// Covers every byte of a secret, so that the output is as long as the input and everything else stays in its place. Equal
/// secrets do not look equal here. Otherwise as [`TextMasker`](crate::TextMasker).
pub struct CoverMasker(Scanner);

impl CoverMasker {
    /// A masker for one stream.
    pub fn new(detectors: Arc<Detectors>, key: &MaskKey) -> Self {
        Self(Scanner::new(detectors, Placeholder::new(key)))
    }

    /// Takes the next bytes and appends what can be given of them to `out`: all but what may turn out to be a secret.
    pub fn push(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.0.push(text, &mut Covered(out));
    }

    /// Whether something is held back; see [`TextMasker::holds`](crate::TextMasker::holds).
    pub fn holds(&self) -> bool {
        self.0.holds()
    }

    /// Gives what is held back; see [`TextMasker::flush`](crate::TextMasker::flush).
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        self.0.flush(&mut Covered(out));
    }

    /// Ends the stream and gives what is left.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.0.finish(&mut Covered(out));
    }
}

struct Covered<'a>(&'a mut Vec<u8>);

impl Sink for Covered<'_> {
    fn give(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn hide(&mut self, bytes: &[u8]) {
        self.0.resize(self.0.len() + bytes.len(), COVER);
    }

    fn stand_in(&mut self, _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_place_stay() {
        let text = b"\0\0a: AKIAIOSFODNN7EXAMPLE\n\xff\xfe password=hunter2hunter2 end\0";
        for size in [1, 2, 7, 100] {
            let key = MaskKey::from_bytes([1; 32]);
            let mut masker = CoverMasker::new(Arc::default(), &key);
            let mut out = Vec::new();
            for slice in text.chunks(size) {
                masker.push(slice, &mut out);
                if size == 7 {
                    masker.flush(&mut out);
                    assert!(!masker.holds());
                }
            }
            masker.finish(&mut out);
            assert_eq!(out.len(), text.len());
            for (was, is) in text.iter().zip(&out) {
                assert!(was == is || *is == COVER);
            }
            let shown = String::from_utf8_lossy(&out);
            assert!(shown.ends_with(" end\0") && !shown.contains("hunter2hunter2"), "{shown}");
            if size != 7 {
                assert!(!shown.contains("AKIAIOSFODNN7EXAMPLE"), "{shown}");
            }
        }
    }
}
