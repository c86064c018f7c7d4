//! Base64 that arrives in slices.

use ::base64::Engine;
use ::base64::alphabet::STANDARD;
use ::base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::StreamError;

/// What Go's `base64.StdEncoding` takes, line breaks apart: padding is needed, bits behind the last byte do not count.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Decodes one message's text.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Up to three characters that still lack the rest of their four.
    rest: Vec<u8>,
    padded: bool,
}

impl Decoder {
    /// Decodes as much of `text` as makes whole groups of four, into `out`.
    pub(super) fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.rest.extend_from_slice(text);
        if self.padded && !self.rest.is_empty() {
            return Err(StreamError::Base64);
        }
        let whole = self.rest.len() / 4 * 4;
        LENIENT.decode_vec(&self.rest[..whole], out).map_err(|_| StreamError::Base64)?;
        self.padded |= self.rest[..whole].ends_with(b"=");
        self.rest.drain(..whole);
        if self.padded && !self.rest.is_empty() { Err(StreamError::Base64) } else { Ok(()) }
    }

    /// Makes ready for the next message; this one must be complete.
    pub(super) fn finish(&mut self) -> Result<(), StreamError> {
        self.padded = false;
        if self.rest.is_empty() { Ok(()) } else { Err(StreamError::Base64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(slices: &[&str]) -> Option<String> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        slices.iter().try_for_each(|slice| decoder.push(slice.as_bytes(), &mut out)).ok()?;
        decoder.finish().ok()?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn in_slices() {
        assert_eq!(decode(&["aGVsbG8K"]).as_deref(), Some("hello\n"));
        assert_eq!(decode(&["a", "GVsb", "", "G8", "="]).as_deref(), Some("hello"));
        assert_eq!(decode(&[]).as_deref(), Some(""));
        assert_eq!(decode(&["aGVsbG9="]).as_deref(), Some("hello"), "trailing bits do not count");
        for wrong in [
            &["aGVsbG8"][..],
            &["aGVs!G8="],
            &["aGVsbG8=", "aGVs"],
            &["aGVsbG8=a"],
            &["aGVs\nbG8="],
            &["===="],
        ] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }
}
