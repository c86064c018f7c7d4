//! The WebSocket decoder: control frames whole, data payload slice by slice.

use super::{CLOSE, FIN, Frame, Kind, MASKED, MAX_CONTROL, PING, PONG, Slice, mask_onto};
use crate::{Error, take};

/// Longest data frame taken, in bytes: what the API server itself takes
/// (golang.org/x/net/websocket, `DefaultMaxPayloadBytes`).
const MAX_FRAME: u64 = 32 << 20;
/// Most bytes unmasked at a time.
const SCRATCH: usize = 8 << 10;

/// Decodes one direction of a WebSocket connection, whatever slices it arrives in.
#[derive(Debug)]
pub struct Decoder {
    masked: bool,
    state: State,
    /// The head being collected, then a control frame's payload.
    partial: Vec<u8>,
    /// Room for unmasked payload.
    scratch: Vec<u8>,
    in_message: bool,
    closed: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Control { opcode: u8, length: usize, mask: Mask },
    Data { kind: Kind, fin: bool, first: bool, left: u64, mask: Mask },
    Failed,
}

/// The mask, turned so that its first byte applies to the next byte of payload.
type Mask = [u8; 4];

impl Decoder {
    /// Decodes what a client sends: every frame masked.
    #[must_use]
    pub fn client() -> Self {
        Self::new(true)
    }

    /// Decodes what a server sends: no frame masked.
    #[must_use]
    pub fn server() -> Self {
        Self::new(false)
    }

    /// The next frame, or `None` when all of `input` has been taken.
    ///
    /// # Errors
    /// When the bytes are not what RFC 6455 allows or a limit is passed; from then on always.
    pub fn next<'d, 'i: 'd>(&'d mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'d>>, Error> {
        match self.step(input) {
            Ok(None) => Ok(None),
            Ok(Some(Step::Data { kind, fin, first, last, taken, mask })) => {
                let payload = if self.masked {
                    self.scratch.clear();
                    mask_onto(&mut self.scratch, taken, mask);
                    &self.scratch
                } else {
                    taken
                };
                Ok(Some(Frame::Data(Slice { kind, fin, first, last, payload })))
            }
            Ok(Some(Step::Control { opcode })) => self.control(opcode).map(Some),
            Err(e) => {
                self.state = State::Failed;
                Err(e)
            }
        }
    }

    /// Whether the stream stands between two frames, where a control frame of one's own could be put in: not after the
    /// close frame.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.remaining() == 0 && !self.closed && !matches!(self.state, State::Failed)
    }

    /// Whether a message has begun and not ended, so that no other message may be put in.
    #[must_use]
    pub fn in_message(&self) -> bool {
        self.in_message
    }

    /// How many bytes the frame under way still needs, as far as is known (a head that is itself incomplete counts
    /// only its own); 0 between frames.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        match self.state {
            State::Head if self.partial.is_empty() => 0,
            State::Head => (self.head_length() - self.partial.len()) as u64,
            State::Control { length, .. } => (length - self.partial.len()) as u64,
            State::Data { left, .. } => left,
            State::Failed => 0,
        }
    }

    fn new(masked: bool) -> Self {
        Self {
            masked,
            state: State::Head,
            partial: Vec::with_capacity(14),
            scratch: Vec::new(),
            in_message: false,
            closed: false,
        }
    }

    fn step<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Step<'i>>, Error> {
        loop {
            match self.state {
                State::Head => {
                    // The first two bytes tell how long the head is.
                    let wanted = self.head_length();
                    self.partial.extend_from_slice(take(input, wanted - self.partial.len()));
                    if self.partial.len() < wanted {
                        return Ok(None);
                    }
                    if self.partial.len() == self.head_length() {
                        self.state = self.head()?;
                        self.partial.clear();
                    }
                }
                State::Data { left: 1.., .. } if input.is_empty() => return Ok(None),
                State::Data { kind, fin, first, left, mut mask } => {
                    let most = if self.masked { SCRATCH } else { usize::MAX };
                    let taken = take(input, usize::try_from(left).unwrap_or(usize::MAX).min(most));
                    let (left, used) = (left - taken.len() as u64, mask);
                    let last = left == 0;
                    mask.rotate_left(taken.len() % 4);
                    self.state =
                        if last { State::Head } else { State::Data { kind, fin, first: false, left, mask } };
                    self.in_message = !(fin && last);
                    return Ok(Some(Step::Data { kind, fin, first, last, taken, mask: used }));
                }
                State::Control { opcode, length, mask } => {
                    self.partial.extend_from_slice(take(input, length - self.partial.len()));
                    if self.partial.len() < length {
                        return Ok(None);
                    }
                    self.scratch.clear();
                    mask_onto(&mut self.scratch, &self.partial, mask);
                    self.partial.clear();
                    self.state = State::Head;
                    return Ok(Some(Step::Control { opcode }));
                }
                State::Failed => return Err(Error::Poisoned),
            }
        }
    }

    /// How long the head is, from as much of it as there is.
    fn head_length(&self) -> usize {
        let Some(second) = self.partial.get(1) else { return 2 };
        let extended = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + if second & MASKED != 0 { 4 } else { 0 }
    }

    fn head(&self) -> Result<State, Error> {
        let (first, second) = (self.partial[0], self.partial[1]);
        let (fin, opcode, masked) = (first & FIN != 0, first & 0x0f, second & MASKED != 0);
        if self.closed {
            return Err(Error::WebSocketAfterClose);
        }
        if first & 0x70 != 0 {
            return Err(Error::WebSocketReservedBits);
        }
        if masked != self.masked {
            return Err(Error::WebSocketMask(masked));
        }
        let (head, key) = self.partial.split_at(self.partial.len() - if masked { 4 } else { 0 });
        let mask = if masked { [key[0], key[1], key[2], key[3]] } else { [0; 4] };
        let length = match head.len() {
            2 => u64::from(second & !MASKED),
            extended => head[2..extended].iter().fold(0, |n, b| n << 8 | u64::from(*b)),
        };
        let shortest = match length {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        };
        if head.len() != shortest || length >> 63 != 0 {
            return Err(Error::WebSocketLength);
        }
        let kind = match opcode {
            0x0 => Kind::Continuation,
            0x1 => Kind::Text,
            0x2 => Kind::Binary,
            CLOSE | PING | PONG if fin && length <= MAX_CONTROL as u64 => {
                return Ok(State::Control { opcode, length: length as usize, mask });
            }
            CLOSE | PING | PONG => return Err(Error::WebSocketControl),
            _ => return Err(Error::WebSocketOpcode(opcode)),
        };
        if self.in_message != (kind == Kind::Continuation) {
            return Err(Error::WebSocketFragments);
        }
        if length > MAX_FRAME {
            return Err(Error::WebSocketTooLong { length, limit: MAX_FRAME });
        }
        Ok(State::Data { kind, fin, first: true, left: length, mask })
    }

    fn control(&mut self, opcode: u8) -> Result<Frame<'_>, Error> {
        if opcode == CLOSE {
            self.closed = true;
        }
        let close = match (opcode, &self.scratch[..]) {
            (PING, payload) => return Ok(Frame::Ping(payload)),
            (PONG, payload) => return Ok(Frame::Pong(payload)),
            (_, []) => Some((None, "")),
            (_, [high, low, reason @ ..]) => {
                let code = u16::from_be_bytes([*high, *low]);
                std::str::from_utf8(reason).ok().map(|reason| (Some(code), reason))
            }
            (_, [_]) => None,
        };
        match close {
            Some((code, reason)) => Ok(Frame::Close { code, reason }),
            None => {
                self.state = State::Failed;
                Err(Error::WebSocketClose)
            }
        }
    }
}

/// What a step found, before unmasking.
enum Step<'i> {
    Data { kind: Kind, fin: bool, first: bool, last: bool, taken: &'i [u8], mask: Mask },
    Control { opcode: u8 },
}
