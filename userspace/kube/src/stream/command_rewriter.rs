//! exec and attach, rewritten: what the command prints goes through maskers.

use std::fmt;
use std::time::Instant;

use portcullis_codec::spdy::{Frame, StreamId};
use portcullis_codec::websocket;

use super::frames::{ChannelFrames, ChannelMessage, SpdyFrames, data, on_channel};
use super::remote_command::{Emit, MAX_STATUS, Wire};
use super::spdy::Streams;
use super::{
    Channel, Masker, Protocol, RemoteCommandTap, Said, Session, Side, StreamError, StreamEvent, Tell,
};
use crate::Status;

/// Decodes one exec or attach and, with maskers, rewrites it. What the client sends passes as it is; of what the server
/// sends, stdout and stderr are masked. Their held bytes go out before the exit status, before the end of their stream
/// and before the close frame, so that nothing a command printed comes after it. Between stdout and stderr there is no
/// order to keep: they are two pipes.
pub struct RemoteCommandRewriter {
    tap: RemoteCommandTap,
    /// None: everything passes as it is.
    masking: Option<Masking>,
    failed: bool,
}

struct Masking {
    frames: Frames,
    outputs: Outputs,
}

/// The server's side.
enum Frames {
    Spdy(SpdyFrames),
    WebSocket {
        frames: ChannelFrames,
        /// A message that is not masked, until it is complete.
        whole: Vec<u8>,
    },
}

/// The maskers of stdout and stderr.
struct Outputs {
    maskers: [Box<dyn Masker>; 2],
    masked: Vec<u8>,
}

/// How output reaches the client.
#[derive(Clone, Copy)]
enum Way<'a> {
    Spdy(&'a Streams<Channel>),
    WebSocket { base64: bool },
}

impl RemoteCommandRewriter {
    /// A rewriter for a session that starts now, with a masker for stdout and one for stderr. Without maskers everything
    /// passes byte for byte.
    #[must_use]
    pub fn new(protocol: Protocol, tty: bool, maskers: Option<[Box<dyn Masker>; 2]>) -> Self {
        let masking = maskers.map(|maskers| {
            let frames = match protocol {
                Protocol::Spdy(_) => Frames::Spdy(SpdyFrames::default()),
                Protocol::WebSocket { base64, .. } => {
                    Frames::WebSocket { frames: ChannelFrames::new(Side::Server, base64), whole: Vec::new() }
                }
            };
            Masking { frames, outputs: Outputs { maskers, masked: Vec::new() } }
        });
        Self { tap: RemoteCommandTap::new(protocol, tty), masking, failed: false }
    }

    fn server(&mut self, bytes: &[u8], out: &mut Vec<u8>, emit: &mut Emit<'_>) -> Result<(), StreamError> {
        if self.failed {
            return Err(portcullis_codec::Error::Poisoned.into());
        }
        let Self { tap, masking: Some(masking), failed } = self else {
            self.tap.feed(Side::Server, bytes, emit)?;
            out.extend_from_slice(bytes);
            return Ok(());
        };
        let mut input = bytes;
        loop {
            let told = out.len();
            let step = masking.step(tap, &mut input, out);
            match step.and_then(|more| tell(tap, told, out, emit).map(|()| more)) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    *failed = true;
                    out.truncate(told);
                    return Err(error);
                }
            }
        }
    }

    fn release(&mut self, out: &mut Vec<u8>, say: &mut Tell<'_>, how: Release) -> Result<(), StreamError> {
        let Self { tap, masking: Some(masking), .. } = self else { return Ok(()) };
        let told = out.len();
        masking.outputs.release_all(Way::of(tap), out, how)?;
        tell(tap, told, out, &mut |event| say(Said::Command(event)))
    }
}

impl Session for RemoteCommandRewriter {
    fn feed(
        &mut self,
        side: Side,
        bytes: &[u8],
        out: &mut Vec<u8>,
        tell: &mut Tell<'_>,
    ) -> Result<(), StreamError> {
        if side == Side::Server {
            return self.server(bytes, out, &mut |event| tell(Said::Command(event)));
        }
        let Self { tap, masking, .. } = self;
        tap.feed(side, bytes, &mut |event| {
            if let (StreamEvent::Resize { width, .. }, Some(masking)) = (event, masking.as_mut()) {
                masking.outputs.maskers.iter_mut().for_each(|masker| masker.resize(width));
            }
            tell(Said::Command(event));
        })?;
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        let maskers = self.masking.iter().flat_map(|masking| &masking.outputs.maskers);
        maskers.filter_map(|masker| masker.due()).min()
    }

    fn flush(&mut self, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError> {
        self.release(out, tell, |masker, masked| masker.flush(masked))
    }

    fn finish(&mut self, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError> {
        self.release(out, tell, |masker, masked| masker.finish(masked))
    }

    fn at_boundary(&self) -> bool {
        self.tap.at_boundary(Side::Server)
    }

    fn remaining(&self) -> u64 {
        self.tap.remaining(Side::Server)
    }

    fn ending(&mut self, status: &Status, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError> {
        self.finish(out, tell)?;
        out.extend_from_slice(&self.tap.ending(status)?);
        Ok(())
    }
}

/// Feeds the tap with what was appended to `out` since `told`.
fn tell(tap: &mut RemoteCommandTap, told: usize, out: &[u8], emit: &mut Emit<'_>) -> Result<(), StreamError> {
    if out.len() == told { Ok(()) } else { tap.feed(Side::Server, &out[told..], emit) }
}

impl Masking {
    /// Rewrites the next frame, or slice of one; whether there may be more in `input`.
    fn step(
        &mut self,
        tap: &RemoteCommandTap,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, StreamError> {
        let way = Way::of(tap);
        match &mut self.frames {
            Frames::Spdy(frames) => {
                let Some((frame, raw)) = frames.next(input)? else { return Ok(false) };
                self.outputs.spdy(way, &frame, raw, out)?;
            }
            Frames::WebSocket { frames, whole } => {
                let Some(message) = frames.next(input)? else { return Ok(false) };
                self.outputs.websocket(way, whole, &message, out)?;
            }
        }
        Ok(true)
    }
}

impl Outputs {
    fn spdy(
        &mut self,
        way: Way<'_>,
        frame: &Frame<'_>,
        raw: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), StreamError> {
        match *frame {
            Frame::Data { stream, payload, fin } => {
                // On a stream that is over the receiver drops what still comes, and nobody would mask it.
                let Some(channel) = way.lane(stream)? else { return Ok(()) };
                if let Some(masker) = masker_of(&mut self.maskers, channel) {
                    self.masked.clear();
                    masker.push(payload, &mut self.masked)?;
                    if fin {
                        masker.finish(&mut self.masked)?;
                    }
                    if self.masked.is_empty() && !payload.is_empty() && !fin {
                        return Ok(());
                    }
                    return data(out, stream, &self.masked, fin);
                }
                if channel == Channel::Error {
                    self.finish_all(way, out)?;
                }
                return data(out, stream, payload, fin);
            }
            Frame::RstStream { stream, .. }
            | Frame::SynReply { stream, fin: true, .. }
            | Frame::Headers { stream, fin: true, .. } => match way.lane(stream)? {
                Some(Channel::Error) => self.finish_all(way, out)?,
                Some(channel) => self.release(way, channel, out, |masker, masked| masker.finish(masked))?,
                None => {}
            },
            Frame::GoAway { .. } => self.finish_all(way, out)?,
            _ => {}
        }
        out.extend_from_slice(raw);
        Ok(())
    }

    fn websocket(
        &mut self,
        way: Way<'_>,
        whole: &mut Vec<u8>,
        message: &ChannelMessage<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), StreamError> {
        match *message {
            ChannelMessage::Control { raw, close } => {
                if close {
                    self.finish_all(way, out)?;
                }
                out.extend_from_slice(raw);
            }
            ChannelMessage::Nothing(kind) => websocket::message(out, kind, None, &[]),
            ChannelMessage::Piece { channel, bytes, empty, last } => {
                let of = Channel::of_number(channel)?;
                if let Some(masker) = masker_of(&mut self.maskers, of) {
                    self.masked.clear();
                    masker.push(bytes, &mut self.masked)?;
                    if !self.masked.is_empty() || empty {
                        way.output(of, &self.masked, out)?;
                    }
                    return Ok(());
                }
                whole.extend_from_slice(bytes);
                if whole.len() > MAX_STATUS {
                    return Err(StreamError::ExitStatus);
                }
                if last {
                    if of == Channel::Error && !empty {
                        self.finish_all(way, out)?;
                    }
                    way.output(of, whole, out)?;
                    whole.clear();
                }
            }
        }
        Ok(())
    }

    fn finish_all(&mut self, way: Way<'_>, out: &mut Vec<u8>) -> Result<(), StreamError> {
        self.release_all(way, out, |masker, masked| masker.finish(masked))
    }

    fn release_all(&mut self, way: Way<'_>, out: &mut Vec<u8>, how: Release) -> Result<(), StreamError> {
        [Channel::Stdout, Channel::Stderr].into_iter().try_for_each(|of| self.release(way, of, out, how))
    }

    /// Appends what `of`'s masker gives when asked by `how`.
    fn release(
        &mut self,
        way: Way<'_>,
        of: Channel,
        out: &mut Vec<u8>,
        how: Release,
    ) -> Result<(), StreamError> {
        let Some(masker) = masker_of(&mut self.maskers, of) else { return Ok(()) };
        self.masked.clear();
        how(masker, &mut self.masked)?;
        if self.masked.is_empty() { Ok(()) } else { way.output(of, &self.masked, out) }
    }
}

impl<'a> Way<'a> {
    fn of(tap: &'a RemoteCommandTap) -> Self {
        match (&tap.wire, tap.protocol) {
            (Wire::Spdy(streams), _) => Self::Spdy(streams),
            (_, protocol) => {
                Self::WebSocket { base64: matches!(protocol, Protocol::WebSocket { base64: true, .. }) }
            }
        }
    }

    /// What a SPDY stream is for; `None` once it is over.
    fn lane(self, stream: StreamId) -> Result<Option<Channel>, StreamError> {
        match self {
            Self::Spdy(streams) => streams.lane(stream),
            Self::WebSocket { .. } => Ok(None),
        }
    }

    /// Appends bytes on a channel; on a SPDY stream that is over they would be dropped.
    fn output(self, of: Channel, payload: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
        match self {
            Self::WebSocket { base64 } => on_channel(out, base64, of as u8, payload, None),
            Self::Spdy(streams) => {
                if let Some((stream, _)) = streams.open(Side::Server).find(|(_, lane)| *lane == of) {
                    data(out, stream, payload, false)?;
                }
            }
        }
        Ok(())
    }
}

/// How a masker is asked for what it holds.
type Release = fn(&mut dyn Masker, &mut Vec<u8>) -> Result<(), StreamError>;

fn masker_of(maskers: &mut [Box<dyn Masker>; 2], of: Channel) -> Option<&mut dyn Masker> {
    let [stdout, stderr] = maskers;
    match of {
        Channel::Stdout => Some(&mut **stdout),
        Channel::Stderr => Some(&mut **stderr),
        Channel::Stdin | Channel::Error | Channel::Resize => None,
    }
}

impl fmt::Debug for RemoteCommandRewriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteCommandRewriter").field("tap", &self.tap).finish_non_exhaustive()
    }
}
