//! Masking text as it streams by: logs, the output of commands.

use std::sync::Arc;

use crate::detect::Scanner;
use crate::placeholder::Placeholder;
use crate::{Detectors, MaskKey};

/// Masks the secrets in a stream of text. Any cut of the stream gives the same output. Bytes that are no text pass as they
/// are. Constant memory.
pub struct TextMasker {
    scanner: Scanner,
    /// Its end may be inside of a secret.
    cut_off: bool,
}

impl TextMasker {
    /// A masker for one stream.
    pub fn new(detectors: Arc<Detectors>, key: &MaskKey) -> Self {
        Self { scanner: Scanner::new(detectors, Placeholder::new(key)), cut_off: false }
    }

    /// A masker for a part of a log, which may begin inside of a private key. What is `cut_off` after some number of bytes may
    /// end inside of any secret, which cannot be known by its whole looks then.
    pub fn of_log(detectors: Arc<Detectors>, key: &MaskKey, cut_off: bool) -> Self {
        let masker = Self::new(detectors, key);
        Self { scanner: masker.scanner.of_excerpt(), cut_off }
    }

    /// Takes the next bytes and appends what can be given of them to `out`: all but what may turn out to be a secret.
    pub fn push(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.scanner.push(text, out);
    }

    /// Whether something is held back. [`flush`](Self::flush) it when nothing more has come for a while (50 ms, say), so
    /// that nobody waits for it.
    pub fn holds(&self) -> bool {
        self.scanner.holds()
    }

    /// Gives what is held back. What is known to be a secret stays hidden, and so does what comes after if it turns out to
    /// belong to one.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        self.scanner.flush(out);
    }

    /// Ends the stream and gives what is left.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.cut_off {
            self.scanner.finish_cut_off(out);
        } else {
            self.scanner.finish(out);
        }
    }
}
