//! The name at hand, as its text comes.

/// The names of annotations have up to 317 characters (an RFC 1123 subdomain, `/`, 63 more), those of other fields fewer.
pub(crate) const KEY_LIMIT: usize = 512;

/// Most names are this short.
const SHORT: usize = 32;

/// A name, if it is not too long to be one that rules know.
pub(super) struct Key {
    bytes: [u8; KEY_LIMIT],
    length: usize,
}

impl Key {
    #[inline]
    pub(super) fn begin(&mut self) {
        self.length = 0;
    }

    #[inline]
    pub(super) fn push(&mut self, piece: &[u8]) {
        let end = self.length + piece.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(piece);
        }
        self.length = end;
    }

    /// Takes a whole name, with which `text` begins.
    #[inline]
    pub(super) fn take(&mut self, text: &[u8], length: usize) {
        match (text.first_chunk::<SHORT>(), self.bytes.first_chunk_mut()) {
            // All of them at once, whatever is behind the name.
            (Some(text), Some(bytes)) if length <= SHORT => *bytes = *text,
            _ => self.push(&text[..length]),
        }
        self.length = length;
    }

    /// The name, or nothing for one too long to be known.
    #[inline]
    pub(super) fn known(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

impl Default for Key {
    fn default() -> Self {
        Self { bytes: [0; KEY_LIMIT], length: 0 }
    }
}
