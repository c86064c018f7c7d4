//! What a rewriter asks of a masker: bytes in, the same bytes out with what is secret replaced.

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

    /// Whether bytes are held back that [`flush`](Self::flush) would give.
    fn holds(&self) -> bool;

    /// Gives what is held back, since somebody has waited for it long enough.
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
