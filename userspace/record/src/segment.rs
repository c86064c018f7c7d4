//! One file of a session. It is made, appended to and closed; never opened for writing again, so nothing is ever
//! appended after a torn end.
//!
//! ```text
//!  0  magic      8 bytes  "PCREC\r\n\x1a"
//!  8  version    u16      1
//! 10  header     u16      64, where the first frame begins
//! 12  number     u32      1 for the session's first segment
//! 16  first seq  u64      that of its first frame
//! 24  started    i64      when the session began, µs since the epoch
//! 32  session    28 bytes the id, then zeros
//! 60  crc        u32      CRC-32C of the 60 bytes before
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::frame::{u32_at, u64_at};
use crate::{RecordError, SessionId};

const MAGIC: &[u8; 8] = b"PCREC\r\n\x1a";
const VERSION: u16 = 1;
/// Bytes before the first frame.
pub(crate) const HEADER: usize = 64;

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    pub(crate) first_seq: u64,
    pub(crate) started_us: i64,
    pub(crate) session: SessionId,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(HEADER as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.started_us.to_le_bytes());
        bytes[32..32 + SessionId::LEN].copy_from_slice(self.session.as_str().as_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER]) -> Result<Self, BadSegment> {
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) || !bytes.starts_with(MAGIC) {
            return Err(BadSegment::NotOurs);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(BadSegment::Version(version));
        }
        let session = str::from_utf8(&bytes[32..32 + SessionId::LEN]).ok().and_then(|id| id.parse().ok());
        Ok(Self {
            number: u32_at(bytes, 12),
            first_seq: u64_at(bytes, 16),
            started_us: u64_at(bytes, 24).cast_signed(),
            session: session.ok_or(BadSegment::NotOurs)?,
        })
    }
}

/// Why the beginning of a file is no segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadSegment {
    /// Damaged, or another kind of file.
    NotOurs,
    /// Of a format that this version cannot read.
    Version(u16),
}

/// A segment that is being written. Its lock tells readers that the session lives; the kernel drops it with us.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    file: Arc<File>,
    path: PathBuf,
    length: u64,
}

impl SegmentWriter {
    pub(crate) fn create(dir: &Path, header: &SegmentHeader) -> Result<Self, RecordError> {
        let path = path_of(dir, header.number);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(RecordError::io("create", &path))?;
        file.lock().map_err(RecordError::io("lock", &path))?;
        let mut segment = Self { file: Arc::new(file), path, length: 0 };
        segment.append(&mut [IoSlice::new(&header.encode())])?;
        Ok(segment)
    }

    /// Appends what stands in `pieces` in one system call, unless the kernel takes only a part at a time.
    pub(crate) fn append(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<(), RecordError> {
        let mut left = pieces;
        while !left.is_empty() {
            match (&*self.file).write_vectored(left) {
                Ok(0) => return Err(RecordError::io("write", &self.path)(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.length += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(RecordError::io("write", &self.path)(error)),
            }
        }
        Ok(())
    }

    /// Bytes written so far, the header included.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for whoever forces it to the disk.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

/// Where the segment `number` of the session in `dir` is.
pub(crate) fn path_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}.seg"))
}

/// The number in a segment's file name; `None` for other files.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Whether some process is still writing this segment.
pub(crate) fn is_being_written(path: &Path) -> Result<bool, RecordError> {
    let file = File::open(path).map_err(RecordError::io("open", path))?;
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(RecordError::io("lock", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            number: 7,
            first_seq: 99,
            started_us: 1_795_453_262_000_000,
            session: "s-20261123T170102Z-7f3a9c".parse().unwrap(),
        }
    }

    #[test]
    fn headers_round_trip_and_every_flip_is_seen() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
        for at in 0..HEADER {
            let mut damaged = bytes;
            damaged[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode(&damaged), Err(BadSegment::NotOurs), "byte {at}");
        }
    }

    #[test]
    fn a_later_format_is_named() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadSegment::Version(2)));
    }

    #[test]
    fn is_private_exclusive_and_known_to_live() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mut segment = SegmentWriter::create(dir.path(), &header()).unwrap();
        segment.append(&mut [IoSlice::new(b"head")]).unwrap();
        segment.append(&mut [IoSlice::new(b"head"), IoSlice::new(b"tail")]).unwrap();
        let path = path_of(dir.path(), 7);
        assert_eq!(&std::fs::read(&path).unwrap()[HEADER..], b"headheadtail");
        assert_eq!(segment.length(), HEADER as u64 + 12);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(SegmentWriter::create(dir.path(), &header()).is_err(), "a segment was opened twice");
        assert!(is_being_written(&path).unwrap());
        drop(segment);
        assert!(!is_being_written(&path).unwrap());
    }

    #[test]
    fn only_segments_have_a_number() {
        assert_eq!(number_of("00000012.seg"), Some(12));
        for other in ["12.seg", "00000012.seg~", "+0000012.seg", "summary.json"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
