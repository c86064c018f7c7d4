//! The client's side of a forwarded HTTP/1 connection: passed on, except that answers are asked for uncompressed.

use std::collections::VecDeque;

use portcullis_codec::http1::Chunks;

use super::head::{self, Framing, Length, Lines, NotHttp};
use super::{Asked, MAX_PIPELINED};

/// Where the client's side stands.
#[derive(Debug)]
pub(super) struct Requests {
    state: State,
    lines: Lines,
    asked: Asked,
}

#[derive(Debug)]
enum State {
    /// Before a request line.
    Line,
    Fields {
        framing: Framing,
        /// Whether it has been said already that no coding is wanted.
        identity: bool,
    },
    Body(u64),
    Chunked(Chunks),
    /// Not to be looked into.
    Opaque,
}

impl Requests {
    /// Begins behind the request line that has already gone to the server; what it asks for.
    pub(super) fn begun_by(line: &[u8]) -> Result<(Self, Asked), NotHttp> {
        let asked = asked(line)?;
        let state = State::Fields { framing: Framing::default(), identity: false };
        Ok((Self { state, lines: Lines::default(), asked }, asked))
    }

    /// Looks into nothing.
    pub(super) fn passing() -> Self {
        Self { state: State::Opaque, lines: Lines::default(), asked: Asked::default() }
    }

    /// Takes what the client sent, appends what goes to the server to `out`, and what it asks for to `asked`.
    ///
    /// # Errors
    /// When it cannot be followed; it goes to the server nevertheless, and so does everything behind it.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        asked: &mut VecDeque<Asked>,
        out: &mut Vec<u8>,
    ) -> Result<(), NotHttp> {
        let mut input = bytes;
        while !input.is_empty() {
            if let Err(fault) = self.step(&mut input, asked, out) {
                self.pass();
                self.release(out);
                out.extend_from_slice(input);
                return Err(fault);
            }
        }
        Ok(())
    }

    /// From here on nothing is looked into.
    pub(super) fn pass(&mut self) {
        self.state = State::Opaque;
    }

    /// Gives away what there is of a line that has not ended.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        self.lines.release(out);
    }

    fn step(
        &mut self,
        input: &mut &[u8],
        asked: &mut VecDeque<Asked>,
        out: &mut Vec<u8>,
    ) -> Result<(), NotHttp> {
        match &mut self.state {
            State::Line => {
                let Some(line) = self.lines.next(input)? else { return Ok(()) };
                out.extend_from_slice(&line);
                // Empty lines before a request are skipped by servers (RFC 9112, section 2.2).
                if head::is_blank(&line) {
                    self.lines.end();
                    return Ok(());
                }
                self.asked = self::asked(&line)?;
                if asked.len() == MAX_PIPELINED {
                    return Err(NotHttp);
                }
                asked.push_back(self.asked);
                self.state = State::Fields { framing: Framing::default(), identity: false };
            }
            State::Fields { framing, identity } => {
                let Some(line) = self.lines.next(input)? else { return Ok(()) };
                if head::is_blank(&line) {
                    out.extend_from_slice(&line);
                    self.lines.end();
                    self.state = match framing.length(Length::Bytes(0))? {
                        Length::Chunked => State::Chunked(Chunks::default()),
                        Length::Bytes(0) | Length::Open => State::Line,
                        Length::Bytes(length) => State::Body(length),
                    };
                    return Ok(());
                }
                let read = head::field(&line).and_then(|(name, value)| {
                    framing.note(&name, &value)?;
                    Ok(name == "accept-encoding")
                });
                match read {
                    Ok(true) if *identity => {}
                    Ok(true) => {
                        *identity = true;
                        out.extend_from_slice(b"Accept-Encoding: identity\r\n");
                    }
                    Ok(false) => out.extend_from_slice(&line),
                    Err(fault) => {
                        out.extend_from_slice(&line);
                        return Err(fault);
                    }
                }
            }
            State::Body(left) => {
                let now = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                out.extend_from_slice(&input[..now]);
                *input = &input[now..];
                *left -= now as u64;
                if *left == 0 {
                    self.state = State::Line;
                }
            }
            State::Chunked(chunks) => {
                let (good, fault) = match chunks.follow(input) {
                    Ok(good) => (good, false),
                    Err((good, _)) => (good, true),
                };
                out.extend_from_slice(&input[..good]);
                *input = &input[good..];
                if fault {
                    return Err(NotHttp);
                }
                if chunks.has_ended() {
                    self.state = State::Line;
                }
            }
            State::Opaque => {
                self.lines.release(out);
                out.extend_from_slice(input);
                *input = &[];
            }
        }
        Ok(())
    }
}

fn asked(line: &[u8]) -> Result<Asked, NotHttp> {
    let method = head::method(line)?;
    Ok(Asked { head: method == "HEAD", connect: method == "CONNECT" })
}
