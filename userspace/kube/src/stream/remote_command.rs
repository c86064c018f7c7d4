//! exec and attach.

use std::fmt;

use portcullis_codec::spdy::{Headers, StreamId};
use serde::Deserialize;

use super::channels::{Channels, Piece};
use super::spdy::{Lanes, Streams};
use super::{Channel, Protocol, Side, StreamError, Version};
use crate::Status;

/// Longest exit status, in bytes. The API server's own are a few hundred.
pub(super) const MAX_STATUS: usize = 32 << 10;
/// Longest terminal size, in bytes. kubectl sends 26.
const MAX_RESIZE: usize = 1 << 10;
/// A message that closes the channel that it names (v5).
const CLOSE: u8 = 255;

/// Decodes one exec or attach in passing.
#[derive(Debug)]
pub struct RemoteCommandTap {
    pub(super) wire: Wire,
    session: Session,
    pub(super) protocol: Protocol,
    pub(super) tty: bool,
    /// Which sides can be decoded no further.
    failed: [bool; 2],
}

/// What happened in an exec or attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// Typed or piped in by the client.
    Stdin(&'a [u8]),
    /// Written by the command.
    Stdout(&'a [u8]),
    /// Written by the command; never with a terminal.
    Stderr(&'a [u8]),
    /// The client's terminal has this size now, in characters.
    Resize {
        /// Columns.
        width: u16,
        /// Lines.
        height: u16,
    },
    /// It is over, as the server tells it.
    Exit {
        /// The command's exit code; `None` when something but the command failed, and then kubectl exits with 1.
        code: Option<i32>,
        /// What the server said of it; empty for success.
        message: &'a str,
    },
    /// The side that speaks on this channel will say no more, or either side has reset it.
    Closed(Channel),
}

#[derive(Debug)]
pub(super) enum Wire {
    Spdy(Streams<Channel>),
    WebSocket(Channels),
}

/// What the channels carry, however they are carried.
#[derive(Debug)]
struct Session {
    version: Version,
    /// Terminal sizes, a stream of JSON objects.
    resize: Vec<u8>,
    status: Vec<u8>,
    exited: bool,
    /// What a message that closes a channel has said so far.
    closing: Vec<u8>,
}

/// Where events go.
pub(super) type Emit<'e> = dyn FnMut(StreamEvent<'_>) + 'e;

impl RemoteCommandTap {
    /// A tap for a session that starts now. `tty` is whether the request asked for a terminal.
    #[must_use]
    pub fn new(protocol: Protocol, tty: bool) -> Self {
        let wire = match protocol {
            Protocol::Spdy(_) => Wire::Spdy(Streams::new()),
            Protocol::WebSocket { base64, .. } => Wire::WebSocket(Channels::new(base64)),
        };
        let session = Session {
            version: protocol.version(),
            resize: Vec::new(),
            status: Vec::new(),
            exited: false,
            closing: Vec::new(),
        };
        Self { wire, session, protocol, tty, failed: [false; 2] }
    }

    /// Feeds what `side` sent, in whatever slices, and emits what it meant.
    ///
    /// # Errors
    /// When it cannot be decoded; from then on always, of this side. Events before the fault have been emitted.
    pub fn feed(&mut self, side: Side, bytes: &[u8], emit: &mut Emit<'_>) -> Result<(), StreamError> {
        if self.failed[side as usize] {
            return Err(portcullis_codec::Error::Poisoned.into());
        }
        let session = &mut self.session;
        let outcome = match &mut self.wire {
            Wire::Spdy(streams) => streams.feed(side, bytes, &mut SpdySession { session, emit }),
            Wire::WebSocket(channels) => {
                channels.feed(side, bytes, &mut |piece| session.message(side, piece, emit))
            }
        };
        self.failed[side as usize] = outcome.is_err();
        outcome
    }

    /// Whether a side's bytes stand between two messages, where one's own could be put in.
    #[must_use]
    pub fn at_boundary(&self, side: Side) -> bool {
        !self.failed[side as usize]
            && match &self.wire {
                Wire::Spdy(streams) => streams.at_boundary(side),
                Wire::WebSocket(channels) => channels.at_boundary(side),
            }
    }

    /// Whether the server has begun to say how the session ended.
    pub(super) fn exiting(&self) -> bool {
        self.session.exited || !self.session.status.is_empty()
    }

    /// How many bytes a side's frame under way still needs, as far as is known; 0 between frames.
    #[must_use]
    pub fn remaining(&self, side: Side) -> u64 {
        match &self.wire {
            Wire::Spdy(streams) => streams.remaining(side),
            Wire::WebSocket(channels) => channels.remaining(side),
        }
    }
}

impl Session {
    /// A slice of a WebSocket message.
    fn message(&mut self, side: Side, piece: Piece<'_>, emit: &mut Emit<'_>) -> Result<(), StreamError> {
        if piece.channel == CLOSE && side == Side::Client && self.version == Version::V5 {
            return self.close(piece, emit);
        }
        let channel = Channel::of_number(piece.channel)?;
        self.data(channel, side, piece.bytes, emit)?;
        if piece.last && channel == Channel::Error && !self.status.is_empty() {
            return self.end_of_status(emit);
        }
        Ok(())
    }

    /// A message of one byte, the channel that the client closes.
    fn close(&mut self, piece: Piece<'_>, emit: &mut Emit<'_>) -> Result<(), StreamError> {
        self.closing.extend_from_slice(&piece.bytes[..piece.bytes.len().min(2)]);
        match self.closing[..] {
            [] | [_] if !piece.last => Ok(()),
            [channel] => {
                self.closing.clear();
                emit(StreamEvent::Closed(Channel::of_number(channel)?));
                Ok(())
            }
            _ => Err(StreamError::UnknownChannel(CLOSE)),
        }
    }

    fn data(
        &mut self,
        channel: Channel,
        from: Side,
        bytes: &[u8],
        emit: &mut Emit<'_>,
    ) -> Result<(), StreamError> {
        // The API server opens each of its channels with an empty message; none means anything.
        if bytes.is_empty() {
            return Ok(());
        }
        if from != channel.sender() {
            return Err(StreamError::WrongWay { from, channel: channel.to_string() });
        }
        match channel {
            Channel::Stdin => emit(StreamEvent::Stdin(bytes)),
            Channel::Stdout => emit(StreamEvent::Stdout(bytes)),
            Channel::Stderr => emit(StreamEvent::Stderr(bytes)),
            Channel::Error => return self.status(bytes, emit),
            Channel::Resize => return self.resize(bytes, emit),
        }
        Ok(())
    }

    fn resize(&mut self, bytes: &[u8], emit: &mut Emit<'_>) -> Result<(), StreamError> {
        self.resize.extend_from_slice(bytes);
        let mut sizes = serde_json::Deserializer::from_slice(&self.resize).into_iter::<TerminalSize>();
        let mut read = 0;
        while let Some(size) = sizes.next() {
            match size {
                Ok(TerminalSize { width, height }) => emit(StreamEvent::Resize { width, height }),
                Err(e) if e.is_eof() => break,
                Err(_) => return Err(StreamError::Resize),
            }
            read = sizes.byte_offset();
        }
        self.resize.drain(..read);
        if self.resize.len() > MAX_RESIZE { Err(StreamError::Resize) } else { Ok(()) }
    }

    /// A Status is complete with its last brace; the server may never end the stream behind it.
    fn status(&mut self, bytes: &[u8], emit: &mut Emit<'_>) -> Result<(), StreamError> {
        if self.exited && self.version >= Version::V4 {
            return if bytes.trim_ascii().is_empty() { Ok(()) } else { Err(StreamError::ExitStatus) };
        }
        if self.exited || self.status.len() + bytes.len() > MAX_STATUS {
            return Err(StreamError::ExitStatus);
        }
        self.status.extend_from_slice(bytes);
        if self.version < Version::V4 || !bytes.contains(&b'}') {
            return Ok(());
        }
        let mut statuses = serde_json::Deserializer::from_slice(&self.status).into_iter::<Status>();
        match statuses.next() {
            Some(Ok(status)) if self.status[statuses.byte_offset()..].trim_ascii().is_empty() => {
                emit(StreamEvent::Exit { code: status.exit_code(), message: &status.message });
                self.exited = true;
                self.status.clear();
                Ok(())
            }
            Some(Ok(_)) => Err(StreamError::ExitStatus),
            // Unfinished, or broken, which shows at its end.
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// The error channel has said all that it will. Up to v3 it carries text, or nothing when all went well.
    fn end_of_status(&mut self, emit: &mut Emit<'_>) -> Result<(), StreamError> {
        if self.version >= Version::V4 {
            return if self.status.is_empty() { Ok(()) } else { Err(StreamError::ExitStatus) };
        }
        if !std::mem::replace(&mut self.exited, true) {
            let message = std::str::from_utf8(&self.status).map_err(|_| StreamError::ExitStatus)?;
            emit(StreamEvent::Exit { code: message.is_empty().then_some(0), message });
        }
        Ok(())
    }
}

/// A session whose channels are SPDY streams.
struct SpdySession<'s, 'e, 'f> {
    session: &'s mut Session,
    emit: &'e mut Emit<'f>,
}

impl Lanes for SpdySession<'_, '_, '_> {
    type Lane = Channel;

    fn opened(&mut self, stream: StreamId, headers: &Headers) -> Result<Channel, StreamError> {
        let wrong = |fault| StreamError::StreamHeaders { stream, fault };
        let named = headers.get("streamtype").ok_or(wrong("no streamType"))?;
        Channel::ALL.into_iter().find(|c| c.name() == named).ok_or(wrong("unknown streamType"))
    }

    fn data(&mut self, channel: Channel, from: Side, bytes: &[u8]) -> Result<(), StreamError> {
        self.session.data(channel, from, bytes, self.emit)
    }

    fn ended(&mut self, channel: Channel, side: Side, by: Side) -> Result<(), StreamError> {
        if side != channel.sender() {
            return Ok(());
        }
        if channel == Channel::Error && by == Side::Server {
            self.session.end_of_status(self.emit)?;
        }
        (self.emit)(StreamEvent::Closed(channel));
        Ok(())
    }
}

/// `TerminalSize` of `k8s.io/client-go/tools/remotecommand`.
#[derive(Deserialize)]
struct TerminalSize {
    #[serde(rename = "Width", alias = "width")]
    width: u16,
    #[serde(rename = "Height", alias = "height")]
    height: u16,
}

impl Channel {
    pub(super) fn of_number(number: u8) -> Result<Self, StreamError> {
        Self::ALL.get(usize::from(number)).copied().ok_or(StreamError::UnknownChannel(number))
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
