//! What can be wrong with a recording, said so that a person knows what is lost.

use std::fmt;

use serde::Serialize;

use crate::SessionId;

/// Something that is wrong with a recording, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Damage {
    /// The segment's number.
    pub segment: u32,
    /// Where in it, in bytes.
    pub at: u64,
    /// What is wrong.
    #[serde(flatten)]
    pub kind: DamageKind,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "damage", rename_all = "camelCase")]
pub enum DamageKind {
    /// The last write was cut short, by the writer's death or a full disk. Nothing acknowledged is missing.
    TornTail {
        /// What is left of it.
        bytes: u64,
    },
    /// These bytes are no frame; what follows in this segment cannot be read.
    Frame {
        /// To the segment's end.
        bytes: u64,
    },
    /// The payload of this frame is not what was written.
    Payload {
        /// The frame's number.
        seq: u64,
    },
    /// The checksum is right but the contents make no sense.
    Contents {
        /// The frame's number.
        seq: u64,
    },
    /// Frames are missing, or come twice.
    Sequence {
        /// The number that should come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// This frame claims to be older than the one before.
    Time {
        /// The frame's number.
        seq: u64,
    },
    /// The whole file is missing.
    Missing,
    /// The file is not a segment.
    NotASegment,
    /// The file is of a format that this version cannot read.
    Version {
        /// The format.
        version: u16,
    },
    /// The file is a segment of something else.
    Foreign {
        /// The session that it names.
        session: SessionId,
        /// The number that it names.
        number: u32,
    },
}

impl Damage {
    /// Whether it is no more than a write that was cut short, which loses nothing that was acknowledged.
    pub fn is_torn_tail(&self) -> bool {
        matches!(self.kind, DamageKind::TornTail { .. })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}, byte {}: ", self.segment, self.at)?;
        match &self.kind {
            DamageKind::TornTail { bytes } => {
                write!(f, "the last write was cut short ({bytes} bytes of it are left)")
            }
            DamageKind::Frame { bytes } => {
                write!(f, "damaged; {bytes} bytes to the segment's end cannot be read")
            }
            DamageKind::Payload { seq } => write!(f, "the contents of frame {seq} are damaged"),
            DamageKind::Contents { seq } => write!(f, "the contents of frame {seq} make no sense"),
            DamageKind::Sequence { expected, found } if found > expected => {
                write!(f, "frames {expected} to {} are missing", found - 1)
            }
            DamageKind::Sequence { expected, found } => {
                write!(f, "frame {found} where frame {expected} should be")
            }
            DamageKind::Time { seq } => write!(f, "frame {seq} claims to be older than the one before"),
            DamageKind::Missing => write!(f, "the file is missing"),
            DamageKind::NotASegment => {
                write!(f, "the file is damaged or no segment; nothing in it can be read")
            }
            DamageKind::Version { version } => write!(f, "format {version} is not known to this version"),
            DamageKind::Foreign { session, number } => {
                write!(f, "the file is segment {number} of {session}")
            }
        }
    }
}
