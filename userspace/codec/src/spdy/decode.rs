//! The SPDY decoder: control frames whole, DATA payload slice by slice.

use super::headers::Inflater;
use super::{
    FLAG_CLEAR_SETTINGS, FLAG_FIN, FLAG_UNIDIRECTIONAL, Frame, HEAD, Headers, Kind, Setting, StreamId,
    VERSION,
};
use crate::{Error, take};

/// What a decoder puts up with. The defaults are a thousand times what kubectl and the kubelet send.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest control frame on the wire, in bytes.
    pub control_frame: usize,
    /// Longest header block once inflated, in bytes.
    pub header_block: usize,
    /// Most pairs in a header block.
    pub headers: usize,
}

/// Decodes one direction of a SPDY/3.1 connection, whatever slices it arrives in.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    inflater: Inflater,
    state: State,
    /// The head being collected, then the control frame's body.
    partial: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Control { kind: Kind, flags: u8, length: usize },
    Data { stream: StreamId, fin: bool, left: usize },
    Failed,
}

impl Decoder {
    /// A decoder at the start of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, inflater: Inflater::new(), state: State::Head, partial: Vec::with_capacity(64) }
    }

    /// The next frame, or `None` when all of `input` has been taken.
    ///
    /// # Errors
    /// When the bytes are not SPDY/3.1 or a limit is passed; from then on always.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'i>>, Error> {
        let outcome = self.step(input);
        if outcome.is_err() {
            self.state = State::Failed;
        }
        outcome
    }

    /// Whether the stream stands between two frames, where a frame of one's own could be put in.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.remaining() == 0 && !matches!(self.state, State::Failed)
    }

    /// How many bytes the frame under way still needs, as far as is known (a head that is itself incomplete counts
    /// only its own); 0 between frames.
    #[must_use]
    pub fn remaining(&self) -> usize {
        match self.state {
            State::Head if self.partial.is_empty() => 0,
            State::Head => HEAD - self.partial.len(),
            State::Control { length, .. } => length - self.partial.len(),
            State::Data { left, .. } => left,
            State::Failed => 0,
        }
    }

    fn step<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'i>>, Error> {
        loop {
            match self.state {
                State::Head => {
                    if !self.collect(HEAD, input) {
                        return Ok(None);
                    }
                    self.state = self.head()?;
                    self.partial.clear();
                }
                State::Data { left: 1.., .. } if input.is_empty() => return Ok(None),
                State::Data { stream, fin, left } => {
                    let payload = take(input, left);
                    let left = left - payload.len();
                    self.state = if left == 0 { State::Head } else { State::Data { stream, fin, left } };
                    return Ok(Some(Frame::Data { stream, payload, fin: fin && left == 0 }));
                }
                State::Control { kind, flags, length } => {
                    if !self.collect(length, input) {
                        return Ok(None);
                    }
                    let frame = self.control(kind, flags)?;
                    self.state = State::Head;
                    self.partial.clear();
                    return Ok(Some(frame));
                }
                State::Failed => return Err(Error::Poisoned),
            }
        }
    }

    /// Moves input to `partial` until it holds `wanted` bytes; whether it does.
    fn collect(&mut self, wanted: usize, input: &mut &[u8]) -> bool {
        self.partial.extend_from_slice(take(input, wanted - self.partial.len()));
        self.partial.len() == wanted
    }

    fn head(&self) -> Result<State, Error> {
        let mut head = Fields(&self.partial);
        let (word, flags_and_length) = (head.u32(), head.u32());
        let flags = (flags_and_length >> 24) as u8;
        let length = (flags_and_length & 0x00ff_ffff) as usize;
        if word & 0x8000_0000 == 0 {
            let stream = StreamId(word);
            if word == 0 {
                return Err(Error::SpdyStreamZero(0));
            }
            return Ok(State::Data { stream, fin: flags & FLAG_FIN != 0, left: length });
        }
        let version = (word >> 16) as u16 & 0x7fff;
        if version != VERSION {
            return Err(Error::SpdyVersion(version));
        }
        let number = word as u16;
        let kind = Kind::of(number).ok_or(Error::SpdyFrameType(number))?;
        if length > self.limits.control_frame {
            return Err(Error::SpdyControlTooLong { length, limit: self.limits.control_frame });
        }
        Ok(State::Control { kind, flags, length })
    }

    fn control(&mut self, kind: Kind, flags: u8) -> Result<Frame<'static>, Error> {
        let length = self.partial.len();
        let fits = match kind {
            Kind::SynStream => length >= 10,
            Kind::SynReply | Kind::Headers | Kind::Settings => length >= 4,
            Kind::RstStream | Kind::GoAway | Kind::WindowUpdate => length == 8,
            Kind::Ping => length == 4,
        };
        if !fits {
            return Err(Error::SpdyControlLength { kind: kind as u16, length });
        }
        let fin = flags & FLAG_FIN != 0;
        let mut body = Fields(&self.partial);
        Ok(match kind {
            Kind::SynStream => {
                let stream = body.stream(kind)?;
                let associated = StreamId(body.u31());
                let priority = body.byte() >> 5;
                body.byte(); // the credential slot, unused in 3.1
                let unidirectional = flags & FLAG_UNIDIRECTIONAL != 0;
                let headers = self.inflater.read(body.0, &self.limits)?;
                Frame::SynStream { stream, associated, priority, fin, unidirectional, headers }
            }
            Kind::SynReply => {
                let (stream, headers) = self.stream_and_headers(kind)?;
                Frame::SynReply { stream, fin, headers }
            }
            Kind::Headers => {
                let (stream, headers) = self.stream_and_headers(kind)?;
                Frame::Headers { stream, fin, headers }
            }
            Kind::RstStream => Frame::RstStream { stream: body.stream(kind)?, status: body.u32() },
            Kind::Settings => {
                let count = body.u32() as usize;
                if count.checked_mul(8) != Some(body.0.len()) {
                    return Err(Error::SpdyControlLength { kind: kind as u16, length });
                }
                let entry = |_| {
                    let word = body.u32();
                    Setting { flags: (word >> 24) as u8, id: word & 0x00ff_ffff, value: body.u32() }
                };
                Frame::Settings {
                    clear: flags & FLAG_CLEAR_SETTINGS != 0,
                    entries: (0..count).map(entry).collect(),
                }
            }
            Kind::Ping => Frame::Ping { id: body.u32() },
            Kind::GoAway => Frame::GoAway { last_good: StreamId(body.u31()), status: body.u32() },
            Kind::WindowUpdate => Frame::WindowUpdate { stream: StreamId(body.u31()), delta: body.u31() },
        })
    }

    fn stream_and_headers(&mut self, kind: Kind) -> Result<(StreamId, Headers), Error> {
        let mut body = Fields(&self.partial);
        Ok((body.stream(kind)?, self.inflater.read(body.0, &self.limits)?))
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { control_frame: 64 << 10, header_block: 64 << 10, headers: 128 }
    }
}

/// Big-endian fields of a body whose length has been checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn byte(&mut self) -> u8 {
        take(&mut self.0, 1)[0]
    }

    fn u32(&mut self) -> u32 {
        take(&mut self.0, 4).iter().fold(0, |n, b| n << 8 | u32::from(*b))
    }

    fn u31(&mut self) -> u32 {
        self.u32() & 0x7fff_ffff
    }

    fn stream(&mut self, kind: Kind) -> Result<StreamId, Error> {
        match self.u31() {
            0 => Err(Error::SpdyStreamZero(kind as u16)),
            id => Ok(StreamId(id)),
        }
    }
}
