//! The server's side of a forwarded HTTP/1 connection: heads pass, text in bodies is masked.

use std::collections::VecDeque;
use std::time::Instant;

use super::chunks::{self, Chunks, Part};
use super::head::{self, Framing, Length, Lines, NotHttp};
use super::{Asked, MakeMasker};
use crate::stream::{Masker, StreamError};

/// Where the server's side stands.
pub(super) struct Responses {
    state: State,
    lines: Lines,
    masked: Vec<u8>,
    /// The answers that follow cannot be told apart.
    lost: bool,
    /// The connection has become something else.
    switched: bool,
}

enum State {
    /// Before a status line.
    Line,
    Fields {
        status: u16,
        framing: Framing,
        text: bool,
        coding: Option<String>,
    },
    Body {
        left: Option<u64>,
        masker: Option<Box<dyn Masker>>,
    },
    Chunked {
        chunks: Chunks,
        masker: Option<Box<dyn Masker>>,
    },
    /// All that follows is masked as one text.
    Text(Box<dyn Masker>),
}

impl Responses {
    pub(super) fn new() -> Self {
        Self { state: State::Line, lines: Lines::default(), masked: Vec::new(), lost: false, switched: false }
    }

    /// The client cannot be followed any more: behind the body that is under way all is masked as one text.
    pub(super) fn give_up(&mut self) {
        self.lost = true;
    }

    /// Whether the connection has become something else.
    pub(super) fn has_switched(&self) -> bool {
        self.switched
    }

    /// Takes what the server sent, and appends what the client gets to `out`.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        make: &MakeMasker,
        asked: &mut VecDeque<Asked>,
        out: &mut Vec<u8>,
        coded: &mut dyn FnMut(&str),
    ) -> Result<(), StreamError> {
        let mut input = bytes;
        while !input.is_empty() {
            match self.step(&mut input, make, asked, out, coded) {
                Ok(()) => {}
                Err(Fault::NotHttp) => {
                    // What is compressed in it cannot be looked into either.
                    coded("unknown");
                    self.lose(make, out)?;
                }
                Err(Fault::Stream(error)) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Body { masker: Some(masker), .. }
            | State::Chunked { masker: Some(masker), .. }
            | State::Text(masker) => masker.due(),
            _ => None,
        }
    }

    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.release(out, |masker, masked| masker.flush(masked))
    }

    /// Appends all that has come: the server has ended its side.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.release(out, |masker, masked| masker.finish(masked))?;
        self.lines.release(out);
        Ok(())
    }

    /// Goes on with all as one text, from the line on that cannot be read.
    fn lose(&mut self, make: &MakeMasker, out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.release(out, |masker, masked| masker.finish(masked))?;
        let mut unread = Vec::new();
        if let State::Chunked { chunks, masker: Some(_) } = &mut self.state {
            chunks.release(&mut unread);
        }
        self.lines.release(&mut unread);
        let mut masker = make();
        masker.push(&unread, out)?;
        self.state = State::Text(masker);
        Ok(())
    }

    fn release(
        &mut self,
        out: &mut Vec<u8>,
        how: impl FnOnce(&mut dyn Masker, &mut Vec<u8>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        self.masked.clear();
        match &mut self.state {
            State::Chunked { masker: Some(masker), .. } => {
                how(&mut **masker, &mut self.masked)?;
                chunks::write(&self.masked, out);
                Ok(())
            }
            State::Body { masker: Some(masker), .. } | State::Text(masker) => how(&mut **masker, out),
            _ => Ok(()),
        }
    }

    fn step(
        &mut self,
        input: &mut &[u8],
        make: &MakeMasker,
        asked: &mut VecDeque<Asked>,
        out: &mut Vec<u8>,
        coded: &mut dyn FnMut(&str),
    ) -> Result<(), Fault> {
        match &mut self.state {
            State::Line if self.lost => return Err(Fault::NotHttp),
            State::Line => {
                let Some(line) = self.lines.next(input)? else {
                    // What is none need not come to its line's end to be seen as such.
                    let partial = self.lines.partial();
                    let begins = partial.iter().zip(b"HTTP/1.").all(|(is, should)| is == should);
                    return if begins { Ok(()) } else { Err(Fault::NotHttp) };
                };
                let status = match head::status(&line) {
                    Ok(status) => status,
                    Err(NotHttp) => {
                        self.lines.put_back(line);
                        return Err(Fault::NotHttp);
                    }
                };
                out.extend_from_slice(&line);
                self.state = State::Fields { status, framing: Framing::default(), text: true, coding: None };
            }
            State::Fields { status, framing, text, coding } => {
                let Some(line) = self.lines.next(input)? else { return Ok(()) };
                out.extend_from_slice(&line);
                if !head::is_blank(&line) {
                    let (name, value) = head::field(&line)?;
                    framing.note(&name, &value)?;
                    if name == "content-type" {
                        *text = is_text(&value);
                    } else if name == "content-encoding" && !value.eq_ignore_ascii_case("identity") {
                        *coding = Some(value);
                    }
                    return Ok(());
                }
                self.lines.end();
                let length = framing.length(Length::Open)?;
                let (status, text, coding) = (*status, *text, coding.take());
                self.body(status, length, asked, make, || match coding {
                    Some(coding) if text => {
                        coded(&coding);
                        None
                    }
                    None if text => Some(Box::new(SameLength::new(make()))),
                    _ => None,
                });
            }
            State::Body { left, masker } => {
                let now = left
                    .map_or(input.len(), |left| usize::try_from(left).unwrap_or(usize::MAX).min(input.len()));
                let (data, rest) = input.split_at(now);
                *input = rest;
                match masker {
                    Some(masker) => masker.push(data, out)?,
                    None => out.extend_from_slice(data),
                }
                let Some(left) = left else { return Ok(()) };
                *left -= now as u64;
                if *left == 0 {
                    if let Some(masker) = masker {
                        masker.finish(out)?;
                    }
                    self.state = State::Line;
                }
            }
            State::Chunked { chunks, masker: None } => {
                let before = *input;
                let part = chunks.next(input);
                out.extend_from_slice(&before[..before.len() - input.len()]);
                if let Some(Part::End(_)) = part? {
                    self.state = State::Line;
                }
            }
            State::Chunked { chunks, masker: Some(masker) } => {
                self.masked.clear();
                match chunks.next(input)? {
                    None => {}
                    Some(Part::Data(data)) => masker.push(data, &mut self.masked)?,
                    Some(Part::Last) => {
                        masker.finish(&mut self.masked)?;
                        chunks::write(&self.masked, out);
                        out.extend_from_slice(b"0\r\n");
                        return Ok(());
                    }
                    Some(Part::Trailer(line)) => out.extend_from_slice(&line),
                    Some(Part::End(line)) => {
                        out.extend_from_slice(&line);
                        self.state = State::Line;
                        return Ok(());
                    }
                }
                chunks::write(&self.masked, out);
            }
            State::Text(masker) => {
                masker.push(input, out)?;
                *input = &[];
            }
        }
        Ok(())
    }

    /// Begins the body of an answer (RFC 9112, section 6.3).
    fn body(
        &mut self,
        status: u16,
        length: Length,
        asked: &mut VecDeque<Asked>,
        make: &MakeMasker,
        masker: impl FnOnce() -> Option<Box<dyn Masker>>,
    ) {
        if (100..200).contains(&status) && status != 101 {
            self.state = State::Line;
            return;
        }
        let asked = asked.pop_front().unwrap_or_default();
        // The client chooses what it asks for, and the pod need not mean it: no word of theirs lifts the mask.
        self.switched = status == 101 || asked.connect && (200..300).contains(&status);
        self.state = match length {
            _ if self.switched => State::Text(make()),
            _ if asked.head || matches!(status, 204 | 304) => State::Line,
            Length::Bytes(0) => State::Line,
            Length::Bytes(length) => State::Body { left: Some(length), masker: masker() },
            Length::Open => State::Body { left: None, masker: masker() },
            Length::Chunked => State::Chunked { chunks: Chunks::default(), masker: masker() },
        };
    }
}

/// Sees to it that a body is as long as its head has said.
struct SameLength {
    masker: Box<dyn Masker>,
    taken: usize,
    given: usize,
}

impl SameLength {
    fn new(masker: Box<dyn Masker>) -> Self {
        Self { masker, taken: 0, given: 0 }
    }

    fn count(
        &mut self,
        out: &mut Vec<u8>,
        how: impl FnOnce(&mut dyn Masker, &mut Vec<u8>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let before = out.len();
        how(&mut *self.masker, out)?;
        self.given += out.len() - before;
        Ok(())
    }
}

impl Masker for SameLength {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.taken += bytes.len();
        self.count(out, |masker, out| masker.push(bytes, out))
    }

    fn due(&self) -> Option<Instant> {
        self.masker.due()
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.count(out, |masker, out| masker.flush(out))
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.count(out, |masker, out| masker.finish(out))?;
        if self.given == self.taken {
            return Ok(());
        }
        Err(StreamError::Unmaskable("the masked body of a forwarded answer has another length".to_owned()))
    }
}

/// Why a step was not done.
enum Fault {
    NotHttp,
    Stream(StreamError),
}

impl From<NotHttp> for Fault {
    fn from(_: NotHttp) -> Self {
        Self::NotHttp
    }
}

impl From<StreamError> for Fault {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

/// Whether content of this type is text in a superset of ASCII.
fn is_text(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let wide =
        parts.any(|parameter| parameter.to_ascii_lowercase().replace('"', "").starts_with("charset=utf-16"));
    let subtype = essence.strip_prefix("application/").unwrap_or_default();
    let known = [
        "json",
        "xml",
        "yaml",
        "x-yaml",
        "javascript",
        "x-ndjson",
        "x-www-form-urlencoded",
        "toml",
        "graphql",
    ];
    !wide
        && (essence.starts_with("text/")
            || essence.ends_with("+json")
            || essence.ends_with("+xml")
            || essence.ends_with("+yaml")
            || known.contains(&subtype))
}
