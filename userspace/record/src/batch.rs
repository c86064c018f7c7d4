//! Frames on their way into a log: encoded by whoever has something to record, numbered and dated by the log. Only the
//! latter has to wait for its turn.

use std::cell::Cell;
use std::io::IoSlice;

use crate::RecordError;
use crate::event::Event;
use crate::frame::{self, DataHead, FrameHeader};
use crate::session::Item;

/// Data up to this length is copied beside the events around it, data beyond is written from where it is.
const COPIED: usize = 8 * 1024;
/// A buffer that grew beyond this is not kept.
const KEPT: usize = 32 * 1024;

thread_local! {
    /// The last batch's buffer; sessions have none, since thousands of them may be idle.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Some frames that are written together.
pub(crate) struct Batch<'a> {
    buffer: Vec<u8>,
    frames: Vec<Frame<'a>>,
}

/// One frame: where it begins in the buffer, and what of its payload is elsewhere.
struct Frame<'a> {
    begin: usize,
    kind: u8,
    length: u32,
    payload_crc: u32,
    tail: &'a [u8],
}

impl<'a> Batch<'a> {
    pub(crate) fn encode(items: &[Item<'a>]) -> Result<Self, RecordError> {
        let mut batch = Self { buffer: BUFFER.take(), frames: Vec::with_capacity(items.len()) };
        batch.buffer.clear();
        for item in items {
            match item {
                Item::Event(event) => batch.event(event)?,
                Item::Data { request, channel, bytes } => {
                    let head = DataHead { request: *request, channel: *channel as u8 };
                    batch.data(&head, bytes)?;
                }
            }
        }
        Ok(batch)
    }

    /// How many frames there are.
    pub(crate) fn len(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Bytes in all.
    pub(crate) fn bytes(&self) -> u64 {
        let tails: usize = self.frames.iter().map(|frame| frame.tail.len()).sum();
        (self.buffer.len() + tails) as u64
    }

    /// Numbers the frames from `first_seq` and dates them.
    pub(crate) fn stamp(&mut self, first_seq: u64, offset_us: u64) {
        for (seq, frame) in (first_seq..).zip(&self.frames) {
            let Frame { begin, kind, length, payload_crc, .. } = *frame;
            let header = FrameHeader { length, kind, seq, offset_us, payload_crc };
            self.buffer[begin..begin + frame::HEADER].copy_from_slice(&header.encode());
        }
    }

    /// What is to be written, in order.
    pub(crate) fn pieces(&self) -> Vec<IoSlice<'_>> {
        let mut pieces = Vec::with_capacity(2 * self.frames.len());
        let mut begin = 0;
        for (number, frame) in self.frames.iter().enumerate().filter(|(_, frame)| !frame.tail.is_empty()) {
            let end = self.frames.get(number + 1).map_or(self.buffer.len(), |next| next.begin);
            pieces.extend([IoSlice::new(&self.buffer[begin..end]), IoSlice::new(frame.tail)]);
            begin = end;
        }
        if begin < self.buffer.len() {
            pieces.push(IoSlice::new(&self.buffer[begin..]));
        }
        pieces
    }

    fn event(&mut self, event: &Event) -> Result<(), RecordError> {
        let begin = self.begin();
        serde_json::to_writer(&mut self.buffer, event).map_err(RecordError::Encode)?;
        self.end(begin, frame::KIND_EVENT, &[])
    }

    fn data(&mut self, head: &DataHead, bytes: &'a [u8]) -> Result<(), RecordError> {
        let mut left = bytes;
        loop {
            let (chunk, rest) = left.split_at(left.len().min(frame::MAX_PAYLOAD - DataHead::LEN));
            let begin = self.begin();
            self.buffer.extend_from_slice(&head.encode());
            let (copied, tail) = if chunk.len() <= COPIED { (chunk, &[][..]) } else { (&[][..], chunk) };
            self.buffer.extend_from_slice(copied);
            self.end(begin, frame::KIND_DATA, tail)?;
            if rest.is_empty() {
                return Ok(());
            }
            left = rest;
        }
    }

    /// Makes room for a header; what follows in the buffer is its payload.
    fn begin(&mut self) -> usize {
        let begin = self.buffer.len();
        self.buffer.resize(begin + frame::HEADER, 0);
        begin
    }

    fn end(&mut self, begin: usize, kind: u8, tail: &'a [u8]) -> Result<(), RecordError> {
        let payload = &self.buffer[begin + frame::HEADER..];
        let length = payload.len() + tail.len();
        if length > frame::MAX_PAYLOAD {
            return Err(RecordError::TooLarge(length));
        }
        let payload_crc = crc32c::crc32c_append(crc32c::crc32c(payload), tail);
        self.frames.push(Frame { begin, kind, length: length as u32, payload_crc, tail }); // below MAX_PAYLOAD
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.buffer.capacity() <= KEPT {
            BUFFER.set(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channel;

    #[test]
    fn pieces_are_the_frames_one_after_the_other() {
        let event = Event::StreamClosed { request: 1 };
        let (small, large) = (vec![1; 100], vec![2; COPIED + 1]);
        let data = |bytes| Item::Data { request: 1, channel: Channel::Body, bytes };
        let items = [Item::Event(&event), data(&large), data(&small), Item::Event(&event), data(&large)];
        let mut batch = Batch::encode(&items).unwrap();
        batch.stamp(7, 99);
        let written: Vec<u8> = batch.pieces().iter().flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(written.len() as u64, batch.bytes());
        let mut left = &written[..];
        for seq in 7..7 + batch.len() {
            let (head, rest) = left.split_first_chunk().unwrap();
            let header = FrameHeader::decode(head).unwrap();
            let (payload, rest) = rest.split_at(header.length as usize);
            assert_eq!((header.seq, header.offset_us), (seq, 99));
            assert_eq!(header.payload_crc, crc32c::crc32c(payload));
            left = rest;
        }
        assert!(left.is_empty());
    }
}
