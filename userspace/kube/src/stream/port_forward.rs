//! port-forward.

use portcullis_codec::spdy::{Headers, StreamId};
use portcullis_codec::websocket::{Decoder, Frame, Kind};

use super::channels::{Channels, Piece};
use super::spdy::{Lanes, Streams};
use super::{PortForwardProtocol, Side, StreamError};

/// Decodes one port-forward in passing.
#[derive(Debug)]
pub struct PortForwardTap {
    pub(super) wire: Wire,
    /// Which sides can be decoded no further.
    failed: [bool; 2],
}

/// What happened in a port-forward. `request` numbers the forwarded connections; on WebSocket channels, the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortEvent<'a> {
    /// A connection is forwarded.
    Opened {
        /// The pod's port.
        port: u16,
        /// The connection.
        request: u32,
    },
    /// Bytes of a connection.
    Data {
        /// The pod's port.
        port: u16,
        /// The connection.
        request: u32,
        /// Who sent them.
        from: Side,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Bytes of a connection that is taken out of the session: they go to neither side.
    Taken {
        /// The pod's port.
        port: u16,
        /// The connection.
        request: u32,
        /// Who sent them.
        from: Side,
        /// The bytes.
        bytes: &'a [u8],
        /// Whether their sender will send no more.
        last: bool,
    },
    /// The server could not forward the connection, and says why; the text may come in several slices.
    Error {
        /// The pod's port.
        port: u16,
        /// The connection.
        request: u32,
        /// A slice of the text.
        text: &'a [u8],
    },
    /// An answer of forwarded HTTP that passes without being masked, because of its content coding.
    Coded {
        /// The pod's port.
        port: u16,
        /// The connection.
        request: u32,
        /// The coding, such as `gzip`.
        coding: &'a str,
    },
    /// One side of a connection will send no more; after a reset, both.
    Closed {
        /// The pod's port.
        port: u16,
        /// The connection.
        request: u32,
        /// Which side.
        side: Side,
    },
}

#[derive(Debug)]
pub(super) enum Wire {
    Spdy(Streams<Lane>),
    SpdyInWebSocket { tunnel: [Decoder; 2], streams: Streams<Lane> },
    Channels { channels: Channels, base64: bool, ports: Vec<Port> },
}

/// What a SPDY stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) kind: LaneKind,
    pub(super) port: u16,
    pub(super) request: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneKind {
    Data,
    Error,
}

/// A port's two channels, data and error.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) number: u16,
    announced: [Vec<u8>; 2],
}

/// Where events go.
pub(super) type Emit<'e> = dyn FnMut(PortEvent<'_>) + 'e;

impl PortForwardTap {
    /// A tap for a session that starts now.
    #[must_use]
    pub fn new(protocol: PortForwardProtocol) -> Self {
        let wire = match protocol {
            PortForwardProtocol::Spdy => Wire::Spdy(Streams::new()),
            PortForwardProtocol::SpdyInWebSocket => Wire::SpdyInWebSocket {
                tunnel: [Decoder::client(), Decoder::server()],
                streams: Streams::new(),
            },
            PortForwardProtocol::Channels { base64, ports } => {
                let port = |number| Port { number, announced: [Vec::new(), Vec::new()] };
                let ports = ports.into_iter().map(port).collect();
                Wire::Channels { channels: Channels::new(base64), base64, ports }
            }
        };
        Self { wire, failed: [false; 2] }
    }

    /// Feeds what `side` sent, in whatever slices, and emits what it meant.
    ///
    /// # Errors
    /// When it cannot be decoded; from then on always, of this side. Events before the fault have been emitted.
    pub fn feed(&mut self, side: Side, bytes: &[u8], emit: &mut Emit<'_>) -> Result<(), StreamError> {
        if self.failed[side as usize] {
            return Err(portcullis_codec::Error::Poisoned.into());
        }
        let outcome = match &mut self.wire {
            Wire::Spdy(streams) => streams.feed(side, bytes, &mut SpdyPorts(emit)),
            Wire::SpdyInWebSocket { tunnel, streams } => feed_tunnel(tunnel, streams, side, bytes, emit),
            Wire::Channels { channels, ports, .. } => {
                channels.feed(side, bytes, &mut |piece| Port::message(ports, side, piece, emit))
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
                Wire::SpdyInWebSocket { tunnel, streams } => {
                    let outer = &tunnel[side as usize];
                    outer.at_boundary() && !outer.in_message() && streams.at_boundary(side)
                }
                Wire::Channels { channels, .. } => channels.at_boundary(side),
            }
    }

    /// How many bytes a side's frame under way still needs, as far as is known; 0 between frames. In a tunnel these are
    /// SPDY's bytes, without the WebSocket heads that they will be wrapped in.
    #[must_use]
    pub fn remaining(&self, side: Side) -> u64 {
        match &self.wire {
            Wire::Spdy(streams) => streams.remaining(side),
            Wire::SpdyInWebSocket { tunnel, streams } => {
                streams.remaining(side).max(tunnel[side as usize].remaining())
            }
            Wire::Channels { channels, .. } => channels.remaining(side),
        }
    }
}

/// Message and fragment boundaries mean nothing here: both ends join the payloads to one stream of bytes.
fn feed_tunnel(
    tunnel: &mut [Decoder; 2],
    streams: &mut Streams<Lane>,
    side: Side,
    mut bytes: &[u8],
    emit: &mut Emit<'_>,
) -> Result<(), StreamError> {
    while let Some(frame) = tunnel[side as usize].next(&mut bytes)? {
        match frame {
            Frame::Data(slice) if slice.kind == Kind::Text => return Err(StreamError::TextInTunnel),
            Frame::Data(slice) => streams.feed(side, slice.payload, &mut SpdyPorts(emit))?,
            Frame::Ping(_) | Frame::Pong(_) | Frame::Close { .. } => {}
        }
    }
    Ok(())
}

/// Connections that are pairs of SPDY streams.
pub(super) struct SpdyPorts<'e, 'f>(pub(super) &'e mut Emit<'f>);

impl Lanes for SpdyPorts<'_, '_> {
    type Lane = Lane;

    fn opened(&mut self, stream: StreamId, headers: &Headers) -> Result<Lane, StreamError> {
        let wrong = |fault| StreamError::StreamHeaders { stream, fault };
        let kind = match headers.get("streamtype") {
            Some("data") => LaneKind::Data,
            Some("error") => LaneKind::Error,
            _ => return Err(wrong("streamType is neither data nor error")),
        };
        let port = headers.get("port").and_then(|p| p.parse().ok()).filter(|port| *port != 0);
        let port = port.ok_or(wrong("no valid port"))?;
        let request = match headers.get("requestid") {
            Some(id) => id.parse().map_err(|_| wrong("requestID is not a number"))?,
            // As the kubelet numbers them for clients that do not: a data stream follows its error stream.
            None if kind == LaneKind::Error => stream.0,
            None => stream.0.saturating_sub(2),
        };
        if kind == LaneKind::Data {
            (self.0)(PortEvent::Opened { port, request });
        }
        Ok(Lane { kind, port, request })
    }

    fn data(&mut self, lane: Lane, from: Side, bytes: &[u8]) -> Result<(), StreamError> {
        lane.data(from, bytes, self.0)
    }

    fn ended(&mut self, lane: Lane, side: Side, _by: Side) -> Result<(), StreamError> {
        if lane.kind == LaneKind::Data {
            (self.0)(PortEvent::Closed { port: lane.port, request: lane.request, side });
        }
        Ok(())
    }
}

impl Lane {
    /// What its connection is known by.
    pub(super) fn key(self) -> (u16, u32) {
        (self.port, self.request)
    }

    fn data(self, from: Side, bytes: &[u8], emit: &mut Emit<'_>) -> Result<(), StreamError> {
        let Self { kind, port, request } = self;
        match (kind, from) {
            (LaneKind::Data, _) => emit(PortEvent::Data { port, request, from, bytes }),
            (LaneKind::Error, Side::Server) => emit(PortEvent::Error { port, request, text: bytes }),
            (LaneKind::Error, Side::Client) => {
                return Err(StreamError::WrongWay {
                    from,
                    channel: format!("the error stream of port {port}"),
                });
            }
        }
        Ok(())
    }
}

impl Port {
    /// Whether the error channel may carry an error: its first message is the port.
    pub(super) fn is_announced(&self) -> bool {
        self.has_announced(LaneKind::Error)
    }

    /// Whether the server has sent the first message of one of its channels.
    pub(super) fn has_announced(&self, kind: LaneKind) -> bool {
        self.announced[kind as usize].len() == 2
    }

    /// What a channel is for.
    pub(super) fn lane(ports: &[Self], channel: u8) -> Result<Lane, StreamError> {
        let index = usize::from(channel / 2);
        let port = ports.get(index).ok_or(StreamError::UnknownChannel(channel))?;
        let kind = if channel.is_multiple_of(2) { LaneKind::Data } else { LaneKind::Error };
        Ok(Lane { kind, port: port.number, request: index as u32 })
    }

    /// A slice of a WebSocket message. The server's first on each channel is the port, two bytes, low first.
    fn message(
        ports: &mut [Self],
        side: Side,
        piece: Piece<'_>,
        emit: &mut Emit<'_>,
    ) -> Result<(), StreamError> {
        let lane = Self::lane(ports, piece.channel)?;
        let announced = &mut ports[usize::from(piece.channel / 2)].announced[lane.kind as usize];
        if side == Side::Client || announced.len() == 2 {
            return if piece.bytes.is_empty() { Ok(()) } else { lane.data(side, piece.bytes, emit) };
        }
        announced.extend_from_slice(piece.bytes);
        if !piece.last && announced.len() < 2 {
            return Ok(());
        }
        if !piece.last || *announced != lane.port.to_le_bytes() {
            return Err(StreamError::PortAnnouncement(piece.channel));
        }
        if lane.kind == LaneKind::Data {
            emit(PortEvent::Opened { port: lane.port, request: lane.request });
        }
        Ok(())
    }
}
