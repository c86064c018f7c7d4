//! Helm's releases, as Helm 3 keeps them: gzip of JSON in base64, and in a Secret, seen as JSON, in base64 once more. They
//! are opened, masked and closed again as they stream by, and no larger than they may be to be kept in a cluster at all.

use std::io::{self, Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use crate::placeholder::{Placeholder, encode};
use crate::{JsonMasker, Rules};

/// A Secret holds a MiB (`MaxSecretSize`), which is this much in base64.
pub(crate) const LIMIT: usize = (1024 * 1024_usize).div_ceil(3) * 4;
/// Nobody's charts expand to more than this.
const EXPANDED: u64 = 64 * 1024 * 1024;
const PIECE: usize = 16 * 1024;

/// What base64 of gzip begins with (RFC 1952, 2.3.1: ID1, ID2, CM), and base64 of that.
pub(crate) const PACKED: &[u8] = b"H4sI";
pub(crate) const PACKED_TWICE: &[u8] = b"SDRzS";

/// Appends the release to `out` as `rules` mask what is inside of it.
///
/// # Errors
/// When it is no release, or a larger one than there may be. What was appended is of no use then.
pub(crate) fn mask_release(
    release: &[u8],
    rules: &Arc<Rules>,
    placeholder: &Placeholder,
    depth: u8,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let masker = JsonMasker::inside(Arc::clone(rules), placeholder.clone(), depth);
    let packed = DecoderReader::new(release, &STANDARD);
    if release.starts_with(PACKED) {
        repack(packed, masker, Wrapper::new(1, out))
    } else if release.starts_with(PACKED_TWICE) {
        repack(DecoderReader::new(packed, &STANDARD), masker, Wrapper::new(2, out))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Opens, masks and closes.
fn repack(packed: impl Read, mut masker: JsonMasker, closed: Wrapper<'_>) -> io::Result<()> {
    let mut unpacked = GzDecoder::new(io::BufReader::new(packed));
    let mut packer = GzEncoder::new(closed, Compression::best());
    let (mut piece, mut masked, mut left) = (vec![0; PIECE], Vec::new(), EXPANDED);
    loop {
        let length = unpacked.read(&mut piece)?;
        if length == 0 {
            break;
        }
        left = left.checked_sub(length as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        masker.push(&piece[..length], &mut masked).map_err(io::Error::other)?;
        packer.write_all(&masked)?;
        masked.clear();
    }
    // Nothing that would not be given may follow.
    if unpacked.into_inner().read(&mut [0])? > 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    masker.finish(&mut masked).map_err(io::Error::other)?;
    packer.write_all(&masked)?;
    packer.finish()?.finish()
}

/// Wraps in base64, once or twice, no more than a release may have.
struct Wrapper<'a> {
    times: u8,
    piece: Vec<u8>,
    out: &'a mut Vec<u8>,
    left: usize,
}

impl<'a> Wrapper<'a> {
    /// Whole quanta, and whole quanta of these.
    const PIECE: usize = 9 * 1024;

    fn new(times: u8, out: &'a mut Vec<u8>) -> Self {
        Self { times, piece: Vec::with_capacity(Self::PIECE), out, left: LIMIT }
    }

    fn finish(mut self) -> io::Result<()> {
        self.wrap()
    }

    fn wrap(&mut self) -> io::Result<()> {
        let before = self.out.len();
        match self.times {
            1 => encode(&self.piece, self.out),
            _ => encode(STANDARD.encode(&self.piece).as_bytes(), self.out),
        }
        self.piece.clear();
        self.left = self.left.checked_sub(self.out.len() - before).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(())
    }
}

impl Write for Wrapper<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(Self::PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == Self::PIECE {
            self.wrap()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::MaskKey;
    use crate::rules::{Mark, What};

    fn masked(release: &[u8]) -> io::Result<Vec<u8>> {
        let marks =
            vec![Mark { path: "config".parse().unwrap(), what: What::MaskInside(Default::default()) }];
        let rules = Arc::new(Rules::new(marks, None).unwrap());
        let mut out = Vec::new();
        mask_release(release, &rules, &Placeholder::new(&MaskKey::from_bytes([1; 32])), 1, &mut out)?;
        Ok(out)
    }

    fn packed(json: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(json).unwrap();
        packer.finish().unwrap()
    }

    fn unpacked(gzip: &[u8]) -> Vec<u8> {
        let mut json = Vec::new();
        GzDecoder::new(gzip).read_to_end(&mut json).unwrap();
        json
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_passes_is_the_same_in_either_wrapping(text in "[a-z]{0,5000}") {
            let json = format!(r#"{{"name":"{text}","chart":{{}}}}"#);
            let once = STANDARD.encode(packed(json.as_bytes()));
            let out = masked(once.as_bytes()).unwrap();
            prop_assert_eq!(unpacked(&STANDARD.decode(out).unwrap()), json.as_bytes());
            let out = masked(STANDARD.encode(&once).as_bytes()).unwrap();
            prop_assert_eq!(unpacked(&STANDARD.decode(STANDARD.decode(out).unwrap()).unwrap()), json.as_bytes());
        }
    }

    #[test]
    fn what_is_no_release_is_refused() {
        let whole = packed(br#"{"config":{"a":"b"}}"#);
        let once = |gzip: &[u8]| STANDARD.encode(gzip).into_bytes();
        assert!(masked(&once(&whole)).is_ok());
        for odd in [
            b"".to_vec(),
            b"aHVudGVyMg==".to_vec(),
            once(&whole[..whole.len() - 1]),
            once(&[&whole[..], b"more"].concat()),
            once(&[&whole[..], &whole[..]].concat()),
            once(&packed(b"not JSON")),
            once(&packed(b"{")),
            once(&packed(&b" ".repeat(EXPANDED as usize + 1))),
        ] {
            assert!(masked(&odd).is_err(), "{}", String::from_utf8_lossy(&odd[..odd.len().min(100)]));
        }
        // Short values become longer than a release may be.
        let values: String = (0..400_000).map(|at| format!(",\"{at}\":\"{at}\"")).collect();
        assert!(masked(&once(&packed(format!(r#"{{"config":{{"a":1{values}}}}}"#).as_bytes()))).is_err());
    }
}
