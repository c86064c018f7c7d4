//! Masking text as it streams by: logs, the output of commands.

use std::sync::Arc;

use crate::detect::Scanner;
use crate::placeholder::Placeholder;
use crate::{Detectors, MaskKey};

/// Masks the secrets in a stream of text. Any cut of the stream gives the same output. Bytes that are no text pass as they
/// are. Constant memory.
pub struct TextMasker(Scanner);

impl TextMasker {
    /// A masker for one stream.
    pub fn new(detectors: Arc<Detectors>, key: &MaskKey) -> Self {
        Self(Scanner::new(detectors, Placeholder::new(key)))
    }

    /// Takes the next bytes and appends what can be given of them to `out`: all but what may turn out to be a secret.
    pub fn push(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.0.push(text, out);
    }

    /// Whether something is held back. [`flush`](Self::flush) it when nothing more has come for a while (50 ms, say), so
    /// that nobody waits for it.
    pub fn holds(&self) -> bool {
        self.0.holds()
    }

    /// Gives what is held back. What is known to be a secret stays hidden, and so does what comes after if it turns out to
    /// belong to one.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        self.0.flush(out);
    }

    /// Ends the stream and gives what is left.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.0.finish(out);
    }
}
