//! A masker for tests: one word is replaced, wherever it was cut.

use std::time::Instant;

use portcullis_kube::stream::{Masker, StreamError};

/// What is to be hidden.
pub const NEEDLE: &[u8] = b"FAKE-hidden-word";

/// Replaces [`NEEDLE`]; holds back what may be the beginning of one, which is due at once.
pub struct Needle {
    held: Vec<u8>,
    mask: &'static [u8],
}

impl Needle {
    /// A mask that keeps the length.
    pub fn same() -> Box<dyn Masker> {
        Box::new(Self { held: Vec::new(), mask: b"****************" })
    }

    /// A mask that is longer.
    pub fn longer() -> Box<dyn Masker> {
        Box::new(Self { held: Vec::new(), mask: b"<<what was hidden here>>" })
    }
}

impl Masker for Needle {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.held.extend_from_slice(bytes);
        while let Some(at) = self.held.windows(NEEDLE.len()).position(|window| window == NEEDLE) {
            out.extend_from_slice(&self.held[..at]);
            out.extend_from_slice(self.mask);
            self.held.drain(..at + NEEDLE.len());
        }
        let longest = self.held.len().min(NEEDLE.len() - 1);
        let keep = (0..=longest).rev().find(|keep| self.held.ends_with(&NEEDLE[..*keep])).unwrap_or(0);
        out.extend(self.held.drain(..self.held.len() - keep));
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        (!self.held.is_empty()).then(Instant::now)
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
        out.append(&mut self.held);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.flush(out)
    }
}
