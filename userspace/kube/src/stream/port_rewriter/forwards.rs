//! The connections of a port-forward on their way: rewritten, or taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use portcullis_codec::spdy::{Frame, StreamId};
use portcullis_codec::websocket;

use crate::stream::forwarded::{Forwarded, MakeMasker};
use crate::stream::frames::{ChannelMessage, SpdyFrames, data, on_channel};
use crate::stream::port_forward::{Emit, Lane, LaneKind, Port, SpdyPorts, Wire};
use crate::stream::spdy::Streams;
use crate::stream::{PortEvent, PortForwardTap, Side, StreamError};

/// The connections that are open, by port and request.
pub(super) struct Forwards {
    open: BTreeMap<(u16, u32), Forwarded>,
    make: Option<Box<MakeMasker>>,
    taken: BTreeSet<u16>,
    rewritten: Vec<u8>,
}

/// How a connection is asked for what is held of it.
pub(super) type Release = fn(&mut Forwarded, &mut Vec<u8>) -> Result<(), StreamError>;

impl Forwards {
    pub(super) fn new(make: Option<Box<MakeMasker>>, taken: BTreeSet<u16>) -> Self {
        Self { open: BTreeMap::new(), make, taken, rewritten: Vec::new() }
    }

    /// When the first of what they hold back is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.open.values().filter_map(Forwarded::due).min()
    }

    /// Where the server's close frame goes: behind what is still to be put in, if there may be any.
    pub(super) fn keep_close<'a>(
        &self,
        closes: bool,
        closing: &'a mut Vec<u8>,
        out: &'a mut Vec<u8>,
    ) -> &'a mut Vec<u8> {
        if closes && !self.taken.is_empty() { closing } else { out }
    }

    /// Rewrites SPDY frames of one side, and feeds `streams` with what they have become.
    pub(super) fn spdy(
        &mut self,
        frames: &mut SpdyFrames,
        streams: &mut Streams<Lane>,
        side: Side,
        bytes: &[u8],
        out: &mut Vec<u8>,
        emit: &mut Emit<'_>,
    ) -> Result<(), StreamError> {
        let mut input = bytes;
        while let Some((frame, raw)) = frames.next(&mut input)? {
            let told = out.len();
            let rewritten = self.frame(streams, side, &frame, raw, out, emit);
            let told_of = rewritten.and_then(|of| {
                streams.feed(side, &out[told..], &mut SpdyPorts(emit))?;
                Ok(of)
            });
            let ended = match told_of {
                Ok(ended) => ended,
                Err(error) => {
                    out.truncate(told);
                    return Err(error);
                }
            };
            if let Some((stream, lane)) = ended
                && lane.kind == LaneKind::Data
                && streams.lane(stream)?.is_none()
            {
                self.open.remove(&lane.key());
            }
        }
        Ok(())
    }

    /// Rewrites one frame; returns the stream that it may have ended.
    fn frame(
        &mut self,
        streams: &Streams<Lane>,
        side: Side,
        frame: &Frame<'_>,
        raw: &[u8],
        out: &mut Vec<u8>,
        emit: &mut Emit<'_>,
    ) -> Result<Option<(StreamId, Lane)>, StreamError> {
        let ended = match *frame {
            Frame::Data { stream, payload, fin } => {
                // On a stream that is over the receiver drops what still comes, and nobody would mask it.
                let Some(lane) = streams.lane(stream)? else { return Ok(None) };
                if self.taken.contains(&lane.port) {
                    let Lane { kind, port, request } = lane;
                    if kind == LaneKind::Data {
                        emit(PortEvent::Taken { port, request, from: side, bytes: payload, last: fin });
                    } else if streams.open(side).any(|(open, _)| open == stream) {
                        // Else its last words were put in here.
                        data(out, stream, payload, fin)?;
                    }
                    return Ok(None);
                }
                if lane.kind == LaneKind::Error {
                    // What is held is the server's, and goes where the server's words go.
                    if side == Side::Server {
                        self.release_to(streams, lane, out, Forwarded::flush)?;
                    }
                    data(out, stream, payload, fin)?;
                    return Ok(None);
                }
                self.rewrite(lane, side, payload, fin, emit)?;
                if !self.rewritten.is_empty() || payload.is_empty() || fin {
                    data(out, stream, &self.rewritten, fin)?;
                }
                return Ok(fin.then_some((stream, lane)));
            }
            Frame::RstStream { stream, .. }
            | Frame::SynReply { stream, fin: true, .. }
            | Frame::Headers { stream, fin: true, .. } => streams.lane(stream)?.map(|lane| (stream, lane)),
            _ => None,
        };
        if let Some((_, lane)) = ended {
            self.end(streams, lane, side, out)?;
        }
        if side == Side::Server && matches!(frame, Frame::GoAway { .. }) {
            self.release_all(streams, out, Forwarded::finish)?;
        }
        out.extend_from_slice(raw);
        Ok(ended)
    }

    /// A control frame ends `side` of a connection: what is held of it goes first.
    fn end(
        &mut self,
        streams: &Streams<Lane>,
        lane: Lane,
        side: Side,
        out: &mut Vec<u8>,
    ) -> Result<(), StreamError> {
        if side == Side::Server {
            return self.release_to(streams, lane, out, Forwarded::finish);
        }
        self.rewritten.clear();
        if let Some(forwarded) = self.open.get_mut(&lane.key()) {
            forwarded.client(b"", true, &mut self.rewritten);
        }
        self.send(streams, lane, side, out)
    }

    #[expect(clippy::too_many_arguments, reason = "they are the parts of a rewriter, borrowed apart")]
    pub(super) fn message(
        &mut self,
        message: &ChannelMessage<'_>,
        whole: &mut Vec<u8>,
        tap: &PortForwardTap,
        side: Side,
        base64: bool,
        mask: &dyn Fn() -> Option<[u8; 4]>,
        closing: &mut Vec<u8>,
        out: &mut Vec<u8>,
        emit: &mut Emit<'_>,
    ) -> Result<(), StreamError> {
        let Wire::Channels { ports, .. } = &tap.wire else { return Err(StreamError::InsideFrame) };
        match *message {
            ChannelMessage::Control { raw, close } => {
                if close && side == Side::Server {
                    self.release_channels(ports, base64, out, Forwarded::finish)?;
                }
                self.keep_close(close && side == Side::Server, closing, out).extend_from_slice(raw);
            }
            ChannelMessage::Nothing(kind) => websocket::message(out, kind, mask(), &[]),
            ChannelMessage::Piece { channel, bytes, empty, last } => {
                let lane = Port::lane(ports, channel)?;
                if side == Side::Server && !ports[usize::from(channel / 2)].has_announced(lane.kind) {
                    whole.extend_from_slice(bytes);
                    if last || whole.len() > size_of::<u16>() {
                        on_channel(out, base64, channel, whole, mask());
                        whole.clear();
                    }
                    return Ok(());
                }
                if lane.kind == LaneKind::Data && self.taken.contains(&lane.port) {
                    let Lane { port, request, .. } = lane;
                    emit(PortEvent::Taken { port, request, from: side, bytes, last: false });
                    return Ok(());
                }
                if lane.kind == LaneKind::Data {
                    self.rewrite(lane, side, bytes, false, emit)?;
                } else {
                    self.rewritten.clear();
                    self.rewritten.extend_from_slice(bytes);
                }
                if !self.rewritten.is_empty() || empty {
                    on_channel(out, base64, channel, &self.rewritten, mask());
                }
            }
        }
        Ok(())
    }

    /// Rewrites bytes of a connection into `rewritten`.
    fn rewrite(
        &mut self,
        lane: Lane,
        side: Side,
        bytes: &[u8],
        fin: bool,
        emit: &mut Emit<'_>,
    ) -> Result<(), StreamError> {
        let Self { open, make, rewritten, .. } = self;
        rewritten.clear();
        let Some(make) = make else {
            rewritten.extend_from_slice(bytes);
            return Ok(());
        };
        let forwarded = open.entry(lane.key()).or_insert_with(Forwarded::new);
        let Lane { port, request, .. } = lane;
        match side {
            Side::Client => {
                forwarded.client(bytes, fin, rewritten);
                Ok(())
            }
            Side::Server => {
                let mut coded = |coding: &str| emit(PortEvent::Coded { port, request, coding });
                forwarded.server(bytes, fin, &**make, rewritten, &mut coded)
            }
        }
    }

    /// As [`release_all`](Self::release_all), and feeds `streams` with it.
    pub(super) fn release_told(
        &mut self,
        streams: &mut Streams<Lane>,
        out: &mut Vec<u8>,
        emit: &mut Emit<'_>,
        how: Release,
    ) -> Result<(), StreamError> {
        let told = out.len();
        self.release_all(streams, out, how)?;
        streams.feed(Side::Server, &out[told..], &mut SpdyPorts(emit))
    }

    fn release_all(
        &mut self,
        streams: &Streams<Lane>,
        out: &mut Vec<u8>,
        how: Release,
    ) -> Result<(), StreamError> {
        let open: Vec<(u16, u32)> = self.open.keys().copied().collect();
        open.into_iter().try_for_each(|(port, request)| {
            self.release_to(streams, Lane { kind: LaneKind::Data, port, request }, out, how)
        })
    }

    pub(super) fn release_channels(
        &mut self,
        ports: &[Port],
        base64: bool,
        out: &mut Vec<u8>,
        how: Release,
    ) -> Result<(), StreamError> {
        for (n, port) in ports.iter().enumerate() {
            self.release((port.number, n as u32), how)?;
            if !self.rewritten.is_empty() {
                on_channel(out, base64, (2 * n) as u8, &self.rewritten, None);
            }
        }
        Ok(())
    }

    /// Appends what the connection of `lane` gives when asked by `how`.
    fn release_to(
        &mut self,
        streams: &Streams<Lane>,
        lane: Lane,
        out: &mut Vec<u8>,
        how: Release,
    ) -> Result<(), StreamError> {
        self.release(lane.key(), how)?;
        self.send(streams, lane, Side::Server, out)
    }

    fn release(&mut self, key: (u16, u32), how: Release) -> Result<(), StreamError> {
        self.rewritten.clear();
        self.open.get_mut(&key).map_or(Ok(()), |forwarded| how(forwarded, &mut self.rewritten))
    }

    /// Appends what was rewritten as data of `lane`'s connection; on a stream that is over it would be dropped.
    fn send(
        &mut self,
        streams: &Streams<Lane>,
        lane: Lane,
        side: Side,
        out: &mut Vec<u8>,
    ) -> Result<(), StreamError> {
        let lane = Lane { kind: LaneKind::Data, ..lane };
        match streams.open(side).find(|(_, of)| *of == lane) {
            Some((stream, _)) if !self.rewritten.is_empty() => data(out, stream, &self.rewritten, false),
            _ => Ok(()),
        }
    }
}
