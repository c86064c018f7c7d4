//! Texts that hold documents which a search does not see into: Helm's releases, gzip in base64, once or twice.

use std::io::{self, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::PlaceholderGuard;
use crate::helm::{PACKED, PACKED_TWICE};

/// What one body may expand to. Real releases are a tenth of it.
const EXPANDED: u64 = 16 * 1024 * 1024;

/// An opened text.
pub(crate) struct Packed {
    pub(crate) document: Vec<u8>,
    /// Whether the base64 is in base64 again.
    twice: bool,
}

/// It expands to more than anybody needs.
#[derive(Debug)]
pub(crate) struct TooLarge;

impl Packed {
    /// Opens a text, if it is packed.
    pub(crate) fn open(text: &[u8]) -> Result<Option<Self>, TooLarge> {
        Self::open_within(text, &mut { EXPANDED })
    }

    fn open_within(text: &[u8], left: &mut u64) -> Result<Option<Self>, TooLarge> {
        let twice = text.starts_with(PACKED_TWICE);
        if !twice && !text.starts_with(PACKED) {
            return Ok(None);
        }
        let packed =
            STANDARD.decode(text).and_then(|once| if twice { STANDARD.decode(once) } else { Ok(once) });
        let Ok(packed) = packed else { return Ok(None) };
        let mut document = Vec::new();
        let read = MultiGzDecoder::new(&packed[..]).take(*left + 1).read_to_end(&mut document);
        *left = left.checked_sub(document.len() as u64).ok_or(TooLarge)?;
        // What comes before damage could be read by somebody less strict.
        Ok((read.is_ok() || !document.is_empty()).then_some(Self { document, twice }))
    }

    /// Packs another document in the same way.
    pub(crate) fn close(&self, document: &[u8]) -> io::Result<String> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(document)?;
        let once = STANDARD.encode(packer.finish()?);
        Ok(if self.twice { STANDARD.encode(once) } else { once })
    }
}

/// Whether some packed text in a body of any format has a placeholder in it, or is too large to tell.
pub fn packs_placeholder(body: &[u8]) -> bool {
    let mut left = EXPANDED;
    let mut rest = body;
    while let Some(at) =
        rest.windows(PACKED.len()).position(|window| PACKED_TWICE.starts_with(window) || window == PACKED)
    {
        rest = &rest[at..];
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let length = rest.iter().position(|byte| !is_base64(byte)).unwrap_or(rest.len());
        let (text, after) = rest.split_at(length);
        match Packed::open_within(text, &mut left) {
            Err(TooLarge) => return true,
            Ok(Some(packed)) if PlaceholderGuard::find(&packed.document).is_some() => return true,
            Ok(_) => {}
        }
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(document: &[u8], twice: bool) -> String {
        Packed { document: Vec::new(), twice }.close(document).unwrap()
    }

    #[test]
    fn what_was_closed_is_opened() {
        for twice in [false, true] {
            let opened = Packed::open(packed(b"{\"a\":1}", twice).as_bytes()).unwrap().unwrap();
            assert_eq!((opened.document.as_slice(), opened.twice), (&b"{\"a\":1}"[..], twice));
        }
        for text in ["", "H4sI", "H4sI????", "SDRzSAAA", "plain"] {
            assert!(Packed::open(text.as_bytes()).unwrap().is_none(), "{text}");
        }
    }

    #[test]
    fn a_placeholder_is_found_inside_in_any_format() {
        let mask = b"{\"config\":\"portcullis-masked:hidden\"}";
        for twice in [false, true] {
            let (with, without) = (packed(mask, twice), packed(b"{}", twice));
            for format in ["{\"data\":{\"release\":\"RELEASE\"}}", "release: RELEASE\n", "\n\x0cRELEASE\x12"]
            {
                assert!(packs_placeholder(format.replace("RELEASE", &with).as_bytes()), "{format}");
                assert!(!packs_placeholder(format.replace("RELEASE", &without).as_bytes()), "{format}");
            }
            let second = format!("\"{without}\",\"H4sI\",\"{with}\"");
            assert!(packs_placeholder(second.as_bytes()));
        }
    }

    #[test]
    fn every_member_counts() {
        let member = |document: &[u8]| STANDARD.decode(packed(document, false)).unwrap();
        let mask = b"{\"config\":\"portcullis-masked:hidden\"}";
        let both = STANDARD.encode([member(b" "), member(mask)].concat());
        assert!(packs_placeholder(both.as_bytes()));
        let opened = Packed::open(both.as_bytes()).unwrap().unwrap();
        assert_eq!(opened.document, [b" ", &mask[..]].concat());
    }

    #[test]
    fn what_expands_without_end_is_taken_for_one() {
        let bomb = packed(&vec![0; EXPANDED as usize + 1], false);
        assert!(Packed::open(bomb.as_bytes()).is_err());
        assert!(packs_placeholder(bomb.as_bytes()));
        let half = packed(&vec![0; EXPANDED as usize / 2 + 1], false);
        assert!(packs_placeholder(format!("{half} {half}").as_bytes()), "together they are too large");
    }
}
