//! The decoder: lines that end in LF, CR or both, whatever slices they arrive in.

use super::{Event, Frame};
use crate::Error;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Decodes one event stream.
#[derive(Debug)]
pub struct Decoder {
    /// Most bytes that an event may take.
    limit: usize,
    /// The line so far.
    line: Vec<u8>,
    /// The fields so far.
    event: Event,
    /// Bytes of the lines since the last blank one.
    held: usize,
    /// The byte before was a CR, so that an LF would end the same line.
    after_cr: bool,
    /// The first line may begin with a byte order mark.
    first: bool,
    failed: bool,
}

impl Decoder {
    /// A decoder at the start of a stream whose events, with all of their lines, take up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            event: Event::default(),
            held: 0,
            after_cr: false,
            first: true,
            failed: false,
        }
    }

    /// The next frame, or `None` when all of `input` has been taken. An event is told with the end of the blank line
    /// behind it.
    ///
    /// # Errors
    /// When an event is longer than the limit; from then on always.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Error> {
        if self.failed {
            return Err(Error::Poisoned);
        }
        loop {
            if self.after_cr && !input.is_empty() {
                self.after_cr = false;
                *input = input.strip_prefix(b"\n").unwrap_or(input);
            }
            let end = input.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (text, rest) = input.split_at(end.unwrap_or(input.len()));
            if self.held + self.line.len() + text.len() > self.limit {
                self.failed = true;
                return Err(Error::SseTooLong(self.limit));
            }
            self.line.extend_from_slice(text);
            let Some((ending, rest)) = rest.split_first() else {
                *input = rest;
                return Ok(None);
            };
            self.after_cr = *ending == b'\r';
            *input = rest;
            if let Some(frame) = self.line_ended() {
                return Ok(Some(frame));
            }
        }
    }

    /// Whether nothing is held of an event that has not ended; at the end of a stream, such an event counts for nothing.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.held == 0 && self.line.is_empty() && !self.failed
    }

    fn line_ended(&mut self) -> Option<Frame> {
        let line = std::mem::take(&mut self.line);
        let line = match std::mem::take(&mut self.first) {
            true => line.strip_prefix(BOM).unwrap_or(&line),
            false => &line[..],
        };
        if line.is_empty() {
            self.held = 0;
            let event = std::mem::take(&mut self.event);
            return (event != Event::default()).then_some(Frame::Event(event));
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(0) => return Some(Frame::Comment),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        self.held += line.len() + 1;
        match field {
            b"event" => self.event.kind = Some(value.to_vec()),
            b"id" if !value.contains(&0) => self.event.id = Some(value.to_vec()),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.event.retry = Some(value.to_vec());
            }
            b"data" => match &mut self.event.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                none => *none = Some(value.to_vec()),
            },
            _ => {}
        }
        None
    }
}
