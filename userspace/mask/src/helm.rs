//! Helm's releases, as Helm 3 keeps them: gzip of JSON in base64, and in a Secret, seen as JSON, in base64 once more. They
//! are opened, masked and closed again as they stream by, and no larger than they may be to be kept in a cluster at all.

use std::io::{self, Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use base64::write::EncoderWriter;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use crate::placeholder::Placeholder;
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
    if release.starts_with(PACKED) {
        let packed = DecoderReader::new(release, &STANDARD);
        repack(packed, masker, EncoderWriter::new(Bounded::new(out), &STANDARD))?.finish()?;
    } else if release.starts_with(PACKED_TWICE) {
        let packed = DecoderReader::new(DecoderReader::new(release, &STANDARD), &STANDARD);
        // An `EncoderWriter` on another takes nothing of some writes, which is an error to whoever writes all.
        let mut once = Vec::new();
        repack(packed, masker, EncoderWriter::new(Bounded::new(&mut once), &STANDARD))?.finish()?;
        Bounded::new(out).write_all(STANDARD.encode(once).as_bytes())?;
    } else {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(())
}

/// Opens, masks and closes.
fn repack<W: Write>(packed: impl Read, mut masker: JsonMasker, closed: W) -> io::Result<W> {
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
    packer.finish()
}

/// Takes no more than a release may have.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl<'a> Bounded<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, left: LIMIT }
    }
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
