//! What a rewriter asks of a masker: bytes in, the same bytes out with what is secret replaced.

use std::time::Instant;

use super::StreamError;

/// Masks one channel, in whatever slices it arrives.
pub trait Masker: Send {
    /// Takes the next bytes and appends what can be given of them to `out`.
    ///
    /// # Errors
    /// [`StreamError::Unmaskable`] when they are not what the masker reads; nothing of them may be passed on then.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError>;

    /// Says how many columns the terminal has from now on.
    fn resize(&mut self, _columns: u16) {}

    /// When what is held back has been waited for long enough; `None` while nothing is.
    fn due(&self) -> Option<Instant>;

    /// Gives what is held back, if it is [`due`](Self::due).
    ///
    /// # Errors
    /// As [`push`](Self::push).
    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError>;

    /// Gives what is held back, since nothing more belongs to it. What is pushed afterwards begins anew.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError>;
}
