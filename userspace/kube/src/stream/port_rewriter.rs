//! port-forward, rewritten: text that forwarded HTTP servers answer goes through maskers, and connections to some ports are
//! taken out.

mod forwards;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

use portcullis_codec::websocket::{self, Kind};

use self::forwards::{Forwards, Release};
use super::forwarded::{Forwarded, MakeMasker};
use super::frames::{ChannelFrames, Message, SpdyFrames, WebSocketFrames, data, on_channel};
use super::port_forward::{Emit, Lane, LaneKind, SpdyPorts, Wire};
use super::spdy::Streams;
use super::{
    PortEvent, PortForwardProtocol, PortForwardTap, PortPiece, Said, Session, Side, StreamError, Tell,
};
use crate::Status;

/// Decodes one port-forward and, if it is to be, rewrites it. With maskers, connections that speak HTTP/1 have the text in
/// their answers masked, and ask for it uncompressed; what other connections carry passes as it is. Connections to some
/// ports are taken out: what either side says there is told as [`PortEvent::Taken`], and what the other side gets is put in
/// by [`put`](Session::put).
pub struct PortForwardRewriter {
    tap: PortForwardTap,
    /// None: everything passes as it is.
    rewriting: Option<Rewriting>,
    failed: [bool; 2],
}

/// What a rewriter needs from outside.
pub struct PortRewriting {
    /// Makes the masker of each body, which must give as many bytes as it takes. Without it bodies pass as they are.
    pub make: Option<Box<MakeMasker>>,
    /// Makes the keys of WebSocket messages from the client (RFC 6455, section 5.3).
    pub key: fn() -> [u8; 4],
    /// The ports whose connections are taken out.
    pub taken: BTreeSet<u16>,
}

struct Rewriting {
    frames: [Frames; 2],
    forwards: Forwards,
    key: fn() -> [u8; 4],
    /// The server's close frame, while something is still to be put in before it.
    closing: Vec<u8>,
}

/// One direction.
enum Frames {
    Spdy(SpdyFrames),
    Tunnel {
        outer: WebSocketFrames,
        inner: SpdyFrames,
        /// What goes into the next message.
        message: Vec<u8>,
    },
    Channels {
        frames: ChannelFrames,
        /// The announcement of a port, until it is complete.
        whole: Vec<u8>,
    },
}

impl PortForwardRewriter {
    /// A rewriter for a session that starts now. Without `rewriting` everything passes byte for byte.
    #[must_use]
    pub fn new(protocol: PortForwardProtocol, rewriting: Option<PortRewriting>) -> Self {
        let rewriting = rewriting.map(|PortRewriting { make, key, taken }| Rewriting {
            frames: [Side::Client, Side::Server].map(|side| Frames::new(&protocol, side)),
            forwards: Forwards::new(make, taken),
            key,
            closing: Vec::new(),
        });
        Self { tap: PortForwardTap::new(protocol), rewriting, failed: [false; 2] }
    }

    /// Appends what each connection gives when asked by `how`.
    fn release(&mut self, out: &mut Vec<u8>, tell: &mut Tell<'_>, how: Release) -> Result<(), StreamError> {
        let Self { tap, rewriting: Some(rewriting), .. } = self else { return Ok(()) };
        rewriting.release(tap, out, &mut |event| tell(Said::Port(event)), how)
    }
}

impl Session for PortForwardRewriter {
    fn feed(
        &mut self,
        side: Side,
        bytes: &[u8],
        out: &mut Vec<u8>,
        tell: &mut Tell<'_>,
    ) -> Result<(), StreamError> {
        if self.failed[side as usize] {
            return Err(portcullis_codec::Error::Poisoned.into());
        }
        let emit = &mut |event: PortEvent<'_>| tell(Said::Port(event));
        let outcome = match &mut self.rewriting {
            Some(rewriting) => rewriting.rewrite(&mut self.tap, side, bytes, out, emit),
            None => self.tap.feed(side, bytes, emit).map(|()| out.extend_from_slice(bytes)),
        };
        self.failed[side as usize] = outcome.is_err();
        outcome
    }

    fn due(&self) -> Option<Instant> {
        self.rewriting.as_ref()?.forwards.due()
    }

    fn flush(&mut self, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError> {
        self.release(out, tell, Forwarded::flush)
    }

    fn finish(&mut self, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError> {
        self.release(out, tell, Forwarded::finish)?;
        if let Some(rewriting) = &mut self.rewriting {
            out.append(&mut rewriting.closing);
        }
        Ok(())
    }

    fn put(
        &mut self,
        from: Side,
        connection: (u16, u32),
        piece: PortPiece<'_>,
        out: &mut Vec<u8>,
        tell: &mut Tell<'_>,
    ) -> Result<(), StreamError> {
        let Self { tap, rewriting: Some(rewriting), .. } = self else {
            return Err(StreamError::NothingTaken);
        };
        rewriting.put(tap, from, connection, piece, out, &mut |event| tell(Said::Port(event)))
    }

    fn is_closing(&self) -> bool {
        self.rewriting.as_ref().is_some_and(|rewriting| !rewriting.closing.is_empty())
    }

    fn at_boundary(&self) -> bool {
        self.tap.at_boundary(Side::Server)
    }

    fn remaining(&self) -> u64 {
        self.tap.remaining(Side::Server)
    }

    fn ending(&mut self, status: &Status, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError> {
        self.release(out, tell, Forwarded::finish)?;
        out.extend_from_slice(&self.tap.ending(status)?);
        Ok(())
    }
}

impl Frames {
    fn new(protocol: &PortForwardProtocol, side: Side) -> Self {
        match protocol {
            PortForwardProtocol::Spdy => Self::Spdy(SpdyFrames::default()),
            PortForwardProtocol::SpdyInWebSocket => Self::Tunnel {
                outer: WebSocketFrames::of(side),
                inner: SpdyFrames::default(),
                message: Vec::new(),
            },
            PortForwardProtocol::Channels { base64, .. } => {
                Self::Channels { frames: ChannelFrames::new(side, *base64), whole: Vec::new() }
            }
        }
    }
}

impl Rewriting {
    fn rewrite(
        &mut self,
        tap: &mut PortForwardTap,
        side: Side,
        bytes: &[u8],
        out: &mut Vec<u8>,
        emit: &mut Emit<'_>,
    ) -> Result<(), StreamError> {
        let Self { frames, forwards, key, closing } = self;
        let key = *key;
        let mask = || (side == Side::Client).then(key);
        match (&mut frames[side as usize], &mut tap.wire) {
            (Frames::Spdy(frames), Wire::Spdy(streams)) => {
                forwards.spdy(frames, streams, side, bytes, out, emit)
            }
            (Frames::Tunnel { outer, inner, message }, Wire::SpdyInWebSocket { streams, .. }) => {
                let mut input = bytes;
                let outcome = loop {
                    let next = match outer.next(&mut input) {
                        Ok(None) => break Ok(()),
                        Ok(Some(Message::Data(slice))) if slice.kind == Kind::Text => {
                            Err(StreamError::TextInTunnel)
                        }
                        Ok(Some(Message::Data(slice))) => {
                            forwards.spdy(inner, streams, side, slice.payload, message, emit)
                        }
                        Ok(Some(Message::Control { raw, close })) => {
                            let held = match close && side == Side::Server {
                                true => forwards.release_told(streams, message, emit, Forwarded::finish),
                                false => Ok(()),
                            };
                            wrap(message, mask(), out);
                            forwards
                                .keep_close(close && side == Side::Server, closing, out)
                                .extend_from_slice(raw);
                            held
                        }
                        Err(error) => Err(error),
                    };
                    if next.is_err() {
                        break next;
                    }
                };
                wrap(message, mask(), out);
                outcome
            }
            (Frames::Channels { frames, whole }, Wire::Channels { base64, .. }) => {
                let (base64, mut input) = (*base64, bytes);
                while let Some(message) = frames.next(&mut input)? {
                    let told = out.len();
                    let rewritten =
                        forwards.message(&message, whole, tap, side, base64, &mask, closing, out, emit);
                    if let Err(error) = rewritten.and_then(|()| tap.feed(side, &out[told..], emit)) {
                        out.truncate(told);
                        return Err(error);
                    }
                }
                Ok(())
            }
            _ => Err(StreamError::InsideFrame),
        }
    }

    /// Appends what `from` says on a connection that is taken out.
    fn put(
        &mut self,
        tap: &mut PortForwardTap,
        from: Side,
        (port, request): (u16, u32),
        piece: PortPiece<'_>,
        out: &mut Vec<u8>,
        emit: &mut Emit<'_>,
    ) -> Result<(), StreamError> {
        let mask = (from == Side::Client).then(self.key);
        let of = |kind| Lane { kind, port, request };
        match &mut tap.wire {
            Wire::Spdy(streams) => put_spdy(streams, from, of, piece, out, emit),
            Wire::SpdyInWebSocket { streams, .. } => {
                let mut message = Vec::new();
                put_spdy(streams, from, of, piece, &mut message, emit)?;
                wrap(&mut message, mask, out);
                Ok(())
            }
            Wire::Channels { base64, .. } => {
                let told = out.len();
                // There are no ends here: a channel is open for as long as its session.
                match piece {
                    PortPiece::Data(bytes) => on_channel(out, *base64, (2 * request) as u8, bytes, mask),
                    PortPiece::Refused(why) => {
                        on_channel(out, *base64, (2 * request + 1) as u8, why.as_bytes(), mask);
                    }
                    PortPiece::End => {}
                }
                tap.feed(from, &out[told..], emit)
            }
        }
    }

    /// Appends what each connection gives when asked by `how`.
    fn release(
        &mut self,
        tap: &mut PortForwardTap,
        out: &mut Vec<u8>,
        emit: &mut Emit<'_>,
        how: Release,
    ) -> Result<(), StreamError> {
        let forwards = &mut self.forwards;
        match &mut tap.wire {
            Wire::Spdy(streams) => forwards.release_told(streams, out, emit, how),
            Wire::SpdyInWebSocket { streams, .. } => {
                let mut message = Vec::new();
                forwards.release_told(streams, &mut message, emit, how)?;
                wrap(&mut message, None, out);
                Ok(())
            }
            Wire::Channels { base64, ports, .. } => {
                let told = out.len();
                forwards.release_channels(ports, *base64, out, how)?;
                tap.feed(Side::Server, &out[told..], emit)
            }
        }
    }
}

/// Appends what `from` says on a connection, whose two streams are `of` these lanes, and feeds `streams` with it.
fn put_spdy(
    streams: &mut Streams<Lane>,
    from: Side,
    of: impl Fn(LaneKind) -> Lane,
    piece: PortPiece<'_>,
    out: &mut Vec<u8>,
    emit: &mut Emit<'_>,
) -> Result<(), StreamError> {
    let told = out.len();
    let mut say = |kind, payload: &[u8], fin| match streams.open(from).find(|(_, lane)| *lane == of(kind)) {
        Some((stream, _)) => data(out, stream, payload, fin),
        None => Ok(()),
    };
    match piece {
        PortPiece::Data(bytes) => say(LaneKind::Data, bytes, false)?,
        PortPiece::End => say(LaneKind::Data, b"", true)?,
        PortPiece::Refused(why) => {
            say(LaneKind::Error, why.as_bytes(), true)?;
            say(LaneKind::Data, b"", true)?;
        }
    }
    streams.feed(from, &out[told..], &mut SpdyPorts(emit))
}

/// Wraps SPDY bytes into a message of the tunnel.
fn wrap(bytes: &mut Vec<u8>, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        websocket::message(out, Kind::Binary, mask, &[bytes]);
        bytes.clear();
    }
}

impl fmt::Debug for PortForwardRewriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortForwardRewriter").field("tap", &self.tap).finish_non_exhaustive()
    }
}
