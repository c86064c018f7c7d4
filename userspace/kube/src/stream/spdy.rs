//! The streams of a SPDY/3.1 connection between a Kubernetes client and the API server: all opened by the client, each
//! for something that its headers name.

use std::collections::BTreeMap;

use portcullis_codec::spdy::{Decoder, Frame, Headers, StreamId};

use super::{Side, StreamError};

/// Most streams that may be open at a time. Exec has five; a forwarded connection has two.
const MAX_STREAMS: usize = 4096;

/// Takes both directions apart into streams, each with what it is for.
#[derive(Debug)]
pub(super) struct Streams<L> {
    decoders: [Decoder; 2],
    open: BTreeMap<StreamId, Stream<L>>,
    newest: StreamId,
    /// The server takes no more streams.
    going_away: bool,
}

#[derive(Debug)]
struct Stream<L> {
    lane: L,
    ended: [bool; 2],
}

/// Who is told what happens on the streams. `Lane` is what a stream is for.
pub(super) trait Lanes {
    type Lane: Copy;
    /// A stream is opened; tells what for.
    fn opened(&mut self, stream: StreamId, headers: &Headers) -> Result<Self::Lane, StreamError>;
    /// Data arrived.
    fn data(&mut self, lane: Self::Lane, from: Side, bytes: &[u8]) -> Result<(), StreamError>;
    /// No more data will come from `side`, by the doing of `by`: its own, or the other's who has reset the stream.
    fn ended(&mut self, lane: Self::Lane, side: Side, by: Side) -> Result<(), StreamError>;
}

impl<L: Copy + PartialEq> Streams<L> {
    pub(super) fn new() -> Self {
        Self {
            decoders: [Decoder::default(), Decoder::default()],
            open: BTreeMap::new(),
            newest: StreamId(0),
            going_away: false,
        }
    }

    /// Feeds what `side` sent.
    pub(super) fn feed(
        &mut self,
        side: Side,
        mut input: &[u8],
        lanes: &mut dyn Lanes<Lane = L>,
    ) -> Result<(), StreamError> {
        while let Some(frame) = self.decoders[side as usize].next(&mut input)? {
            match frame {
                Frame::SynStream { stream, fin, headers, .. } => {
                    let doubtful = stream.0.is_multiple_of(2) || stream <= self.newest || self.going_away;
                    if side == Side::Server || doubtful {
                        return Err(StreamError::Opening(stream));
                    }
                    if self.open.len() == MAX_STREAMS {
                        return Err(StreamError::TooManyStreams(MAX_STREAMS));
                    }
                    self.newest = stream;
                    let lane = lanes.opened(stream, &headers)?;
                    // The kubelet would go by one of them and leave the other.
                    if self.open.values().any(|other| other.lane == lane) {
                        return Err(StreamError::StreamHeaders {
                            stream,
                            fault: "another stream is open for the same",
                        });
                    }
                    self.open.insert(stream, Stream { lane, ended: [false; 2] });
                    self.end_if(fin, stream, side, lanes)?;
                }
                Frame::SynReply { stream, fin, .. } | Frame::Headers { stream, fin, .. } => {
                    if self.find(stream)?.is_some() {
                        self.end_if(fin, stream, side, lanes)?;
                    }
                }
                Frame::Data { stream, payload, fin } => {
                    // A stream that is no longer known has been ended by both, or reset while this was under way; the
                    // receiver drops what still comes.
                    let Some(Stream { lane, ended }) = self.find(stream)? else { continue };
                    if ended[side as usize] {
                        return Err(StreamError::AfterEnd(stream));
                    }
                    if !payload.is_empty() {
                        lanes.data(*lane, side, payload)?;
                    }
                    self.end_if(fin, stream, side, lanes)?;
                }
                Frame::RstStream { stream, .. } => {
                    self.find(stream)?;
                    if let Some(Stream { lane, ended }) = self.open.remove(&stream) {
                        for half in Side::BOTH.into_iter().filter(|half| !ended[*half as usize]) {
                            lanes.ended(lane, half, side)?;
                        }
                    }
                }
                Frame::GoAway { .. } => self.going_away |= side == Side::Server,
                Frame::Settings { .. } | Frame::Ping { .. } | Frame::WindowUpdate { .. } => {}
            }
        }
        Ok(())
    }

    /// The streams that `side` has not ended, and what they are for.
    pub(super) fn open(&self, side: Side) -> impl Iterator<Item = (StreamId, L)> {
        let open = self.open.iter().filter(move |(_, stream)| !stream.ended[side as usize]);
        open.map(|(id, stream)| (*id, stream.lane))
    }

    /// What `stream` is for; `None` once it is over.
    pub(super) fn lane(&self, stream: StreamId) -> Result<Option<L>, StreamError> {
        Ok(self.find(stream)?.map(|stream| stream.lane))
    }

    /// The last stream that the client opened; zero for none.
    pub(super) fn newest(&self) -> StreamId {
        self.newest
    }

    pub(super) fn at_boundary(&self, side: Side) -> bool {
        self.decoders[side as usize].at_boundary()
    }

    pub(super) fn remaining(&self, side: Side) -> u64 {
        self.decoders[side as usize].remaining() as u64
    }

    /// The stream, unless it is over.
    fn find(&self, stream: StreamId) -> Result<Option<&Stream<L>>, StreamError> {
        if stream > self.newest || stream.0.is_multiple_of(2) {
            return Err(StreamError::NeverOpened(stream));
        }
        Ok(self.open.get(&stream))
    }

    /// Notes a side's FIN; a stream that both have ended is forgotten.
    fn end_if(
        &mut self,
        fin: bool,
        id: StreamId,
        side: Side,
        lanes: &mut dyn Lanes<Lane = L>,
    ) -> Result<(), StreamError> {
        let Some(stream) = self.open.get_mut(&id).filter(|stream| fin && !stream.ended[side as usize]) else {
            return Ok(());
        };
        stream.ended[side as usize] = true;
        let lane = stream.lane;
        if Side::BOTH.iter().all(|s| stream.ended[*s as usize]) {
            self.open.remove(&id);
        }
        lanes.ended(lane, side, side)
    }
}
