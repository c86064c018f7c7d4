//! One frame: the unit that is written, checked and replayed.
//!
//! ```text
//!  0  length   u32   bytes of payload
//!  4  kind     u8    1 event (JSON), 2 data; 3 bytes of zero follow
//!  8  seq      u64   counts the session's frames from 0, over all segments
//! 16  offset   u64   µs since the session began, never less than the frame's before
//! 24  payload  u32   CRC-32C of the payload
//! 28  header   u32   CRC-32C of the 28 bytes before
//! 32  payload
//! ```
//!
//! Numbers are little-endian. The header has a checksum of its own so that a damaged payload can be told from a
//! damaged length: the former costs one frame, the latter the rest of its segment. A reader never searches for the
//! next frame in bytes that it cannot frame: they may be an engineer's input, and forged.

/// Bytes before the payload.
pub(crate) const HEADER: usize = 32;
/// No payload is longer.
pub(crate) const MAX_PAYLOAD: usize = 16 << 20;

/// The payload is one event as JSON.
pub(crate) const KIND_EVENT: u8 = 1;
/// The payload is [`DataHead`] and raw bytes.
pub(crate) const KIND_DATA: u8 = 2;

/// What stands before the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) seq: u64,
    pub(crate) offset_us: u64,
    pub(crate) payload_crc: u32,
}

impl FrameHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind;
        bytes[8..16].copy_from_slice(&self.seq.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset_us.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if these bytes are no header that we wrote.
    pub(crate) fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        let header = Self {
            length: u32_at(bytes, 0),
            kind: bytes[4],
            seq: u64_at(bytes, 8),
            offset_us: u64_at(bytes, 16),
            payload_crc: u32_at(bytes, 24),
        };
        (header.encode() == *bytes && header.length as usize <= MAX_PAYLOAD).then_some(header)
    }
}

/// What stands before the raw bytes in the payload of a data frame: the request's number (u32) and the channel (u8).
pub(crate) struct DataHead {
    pub(crate) request: u32,
    pub(crate) channel: u8,
}

impl DataHead {
    pub(crate) const LEN: usize = 5;

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let [a, b, c, d] = self.request.to_le_bytes();
        [a, b, c, d, self.channel]
    }

    /// The head and the bytes behind it; `None` if the payload is too short to have one.
    pub(crate) fn split(payload: &[u8]) -> Option<(Self, &[u8])> {
        let ([a, b, c, d, channel], bytes) = payload.split_first_chunk()?;
        Some((Self { request: u32::from_le_bytes([*a, *b, *c, *d]), channel: *channel }, bytes))
    }
}

/// The little-endian number at `at`. Panics if the slice is too short: offsets are constants.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// As [`u32_at`].
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_round_trip_and_every_flip_is_seen(
            length in 0..=MAX_PAYLOAD as u32, kind: u8, seq: u64, offset_us: u64, payload_crc: u32,
            at in 0..HEADER, flip in 1..=255u8,
        ) {
            let header = FrameHeader { length, kind, seq, offset_us, payload_crc };
            let mut bytes = header.encode();
            prop_assert_eq!(FrameHeader::decode(&bytes), Some(header));
            bytes[at] ^= flip;
            prop_assert_eq!(FrameHeader::decode(&bytes), None);
        }
    }

    #[test]
    fn what_a_lost_write_leaves_is_no_header() {
        assert_eq!(FrameHeader::decode(&[0; HEADER]), None);
        assert_eq!(FrameHeader::decode(&[0xff; HEADER]), None);
    }
}
