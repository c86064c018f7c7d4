//! Watches and logs over WebSocket: an event a message, or text in messages that mean nothing.

use std::fmt;
use std::time::Instant;

use portcullis_codec::websocket::{self, Kind};

use super::end::NORMAL_CLOSURE;
use super::frames::{Message, WebSocketFrames};
use super::{Masker, Said, Session, Side, StreamError, Tell, base64};
use crate::{Status, watch_error_event};

/// Longest event that is masked, in bytes. The API server's own objects are at most a few MiB.
const MAX_EVENT: usize = 8 << 20;

/// How a watch or a log is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageProtocol {
    /// An event a message: text for JSON, whatever the sub-protocol.
    Watch,
    /// Bytes.
    Log {
        /// Text messages of base64.
        base64: bool,
    },
}

/// Decodes a watch or a log, and masks it if there is a masker. What the client sends means nothing to the server.
pub struct MessageStream {
    protocol: MessageProtocol,
    sides: [WebSocketFrames; 2],
    text: base64::Decoder,
    masker: Option<Box<dyn Masker>>,
    /// The event under way.
    event: Vec<u8>,
    decoded: Vec<u8>,
    masked: Vec<u8>,
    at_line_start: bool,
    failed: bool,
}

impl MessageProtocol {
    /// From the answer's `Upgrade` and `Sec-WebSocket-Protocol`, for a watch or else a log.
    ///
    /// # Errors
    /// When there is no decoder for it.
    pub fn negotiated(upgrade: &str, subprotocol: Option<&str>, watch: bool) -> Result<Self, StreamError> {
        let name = subprotocol.unwrap_or_default();
        match name {
            _ if !upgrade.eq_ignore_ascii_case("websocket") => {}
            _ if watch => return Ok(Self::Watch),
            "" | "binary.k8s.io" => return Ok(Self::Log { base64: false }),
            "base64.binary.k8s.io" => return Ok(Self::Log { base64: true }),
            _ => {}
        }
        Err(StreamError::Protocol { upgrade: upgrade.to_owned(), subprotocol: name.to_owned() })
    }
}

impl MessageStream {
    /// A stream that starts now. Without a masker it passes as it is.
    #[must_use]
    pub fn new(protocol: MessageProtocol, masker: Option<Box<dyn Masker>>) -> Self {
        Self {
            protocol,
            sides: [Side::Client, Side::Server].map(WebSocketFrames::of),
            text: base64::Decoder::default(),
            masker,
            event: Vec::new(),
            decoded: Vec::new(),
            masked: Vec::new(),
            at_line_start: true,
            failed: false,
        }
    }

    /// Takes the next frame, or slice of one; whether there may be more in `input`.
    fn step(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        tell: &mut Tell<'_>,
    ) -> Result<bool, StreamError> {
        let Some(message) = self.sides[Side::Server as usize].next(input)? else { return Ok(false) };
        let slice = match message {
            Message::Control { raw, close } => {
                let raw = if self.masker.is_some() { raw.to_vec() } else { Vec::new() };
                if close {
                    self.finish(out, tell)?;
                }
                out.extend_from_slice(&raw);
                return Ok(true);
            }
            Message::Data(slice) => slice,
        };
        let (kind, payload, last) = (slice.kind, slice.payload, slice.ends_message());
        let base64 = self.protocol == MessageProtocol::Log { base64: true };
        self.decoded.clear();
        if base64 {
            self.text.push(payload, &mut self.decoded)?;
            if last {
                self.text.finish()?;
            }
        } else {
            self.decoded.extend_from_slice(payload);
        }
        let Some(masker) = &mut self.masker else {
            self.at_line_start = self.decoded.last().map_or(self.at_line_start, |last| *last == b'\n');
            tell(Said::Body(&self.decoded));
            return Ok(true);
        };
        self.masked.clear();
        if self.protocol == MessageProtocol::Watch {
            if kind == Kind::Binary {
                return Err(StreamError::Unmaskable("events come in a form that is not JSON".to_owned()));
            }
            self.event.extend_from_slice(&self.decoded);
            if self.event.len() > MAX_EVENT {
                return Err(StreamError::MessageTooLong(MAX_EVENT));
            }
            if !last {
                return Ok(true);
            }
            masker.push(&self.event, &mut self.masked)?;
            self.event.clear();
        } else {
            masker.push(&self.decoded, &mut self.masked)?;
            // The server opens a log with an empty message.
            let empty = last && slice.first && payload.is_empty();
            if self.masked.is_empty() && !empty {
                return Ok(true);
            }
        }
        self.give(out, tell);
        Ok(true)
    }

    fn release(
        &mut self,
        out: &mut Vec<u8>,
        tell: &mut Tell<'_>,
        how: impl FnOnce(&mut dyn Masker, &mut Vec<u8>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let Some(masker) = &mut self.masker else { return Ok(()) };
        self.masked.clear();
        how(&mut **masker, &mut self.masked)?;
        if !self.masked.is_empty() {
            self.give(out, tell);
        }
        Ok(())
    }

    /// Appends what is masked as a message.
    fn give(&mut self, out: &mut Vec<u8>, tell: &mut Tell<'_>) {
        self.at_line_start = self.masked.last().map_or(self.at_line_start, |last| *last == b'\n');
        tell(Said::Body(&self.masked));
        self.send(&self.masked, out);
    }

    fn send(&self, payload: &[u8], out: &mut Vec<u8>) {
        match self.protocol {
            MessageProtocol::Watch => websocket::message(out, Kind::Text, None, &[payload]),
            MessageProtocol::Log { base64: false } => websocket::message(out, Kind::Binary, None, &[payload]),
            MessageProtocol::Log { base64: true } => {
                let text = ::base64::Engine::encode(&::base64::prelude::BASE64_STANDARD, payload);
                websocket::message(out, Kind::Text, None, &[text.as_bytes()]);
            }
        }
    }
}

impl Session for MessageStream {
    fn feed(
        &mut self,
        side: Side,
        bytes: &[u8],
        out: &mut Vec<u8>,
        tell: &mut Tell<'_>,
    ) -> Result<(), StreamError> {
        let mut input = bytes;
        if side == Side::Client {
            while let Some(message) = self.sides[side as usize].next(&mut input)? {
                if matches!(message, Message::Data(slice) if !slice.payload.is_empty()) {
                    return Err(StreamError::WrongWay { from: side, channel: "a watch or log".to_owned() });
                }
            }
            out.extend_from_slice(bytes);
            return Ok(());
        }
        if self.failed {
            return Err(portcullis_codec::Error::Poisoned.into());
        }
        let outcome = loop {
            match self.step(&mut input, out, tell) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.failed = outcome.is_err();
        if self.masker.is_none() && outcome.is_ok() {
            out.extend_from_slice(bytes);
        }
        outcome
    }

    fn due(&self) -> Option<Instant> {
        self.masker.as_ref().and_then(|masker| masker.due())
    }

    fn flush(&mut self, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError> {
        self.release(out, tell, |masker, masked| masker.flush(masked))
    }

    fn finish(&mut self, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError> {
        self.release(out, tell, |masker, masked| masker.finish(masked))
    }

    fn at_boundary(&self) -> bool {
        self.masker.is_some() || !self.failed && self.sides[Side::Server as usize].at_boundary()
    }

    fn remaining(&self) -> u64 {
        if self.at_boundary() { 0 } else { self.sides[Side::Server as usize].remaining() }
    }

    /// An `ERROR` event of a watch, a line of a log.
    fn ending(&mut self, status: &Status, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError> {
        if !self.at_boundary() {
            return Err(StreamError::InsideFrame);
        }
        let words = match self.protocol {
            MessageProtocol::Watch => watch_error_event(status),
            MessageProtocol::Log { .. } => {
                self.finish(out, tell)?;
                let begin = if self.at_line_start { "" } else { "\n" };
                format!("{begin}{}\n", status.message).into_bytes()
            }
        };
        self.send(&words, out);
        tell(Said::Body(&words));
        websocket::close(out, None, NORMAL_CLOSURE, &status.message);
        Ok(())
    }
}

impl fmt::Debug for MessageStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageStream").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}
