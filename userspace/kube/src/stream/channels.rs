//! WebSocket messages that start with the number of their channel (`k8s.io/apimachinery/…/wsstream`).

use portcullis_codec::websocket::{Decoder, Frame, Kind};

use super::{Side, StreamError, base64};

/// Takes both directions apart into channels.
#[derive(Debug)]
pub(super) struct Channels {
    sides: [Direction; 2],
    base64: bool,
}

/// A slice of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// What the message starts with.
    pub(super) channel: u8,
    pub(super) bytes: &'a [u8],
    /// Whether the message ends here.
    pub(super) last: bool,
}

#[derive(Debug)]
struct Direction {
    frames: Decoder,
    /// The channel of the message under way.
    channel: Option<u8>,
    text: base64::Decoder,
    decoded: Vec<u8>,
}

impl Channels {
    pub(super) fn new(base64: bool) -> Self {
        Self { sides: [Decoder::client(), Decoder::server()].map(Direction::new), base64 }
    }

    /// Feeds what `side` sent. Control frames and messages without any byte mean nothing to a channel.
    pub(super) fn feed(
        &mut self,
        side: Side,
        mut input: &[u8],
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let Direction { frames, channel, text, decoded } = &mut self.sides[side as usize];
        while let Some(frame) = frames.next(&mut input)? {
            let Frame::Data(slice) = frame else { continue };
            // The API server's library takes every frame for a message, so that the second fragment's first byte would
            // name a channel. Its own messages are never fragmented, and clients would join them.
            if side == Side::Client && (!slice.fin || slice.kind == Kind::Continuation) {
                return Err(StreamError::Fragmented);
            }
            let (mut bytes, last) = (slice.payload, slice.ends_message());
            if channel.is_none()
                && let [first, rest @ ..] = bytes
            {
                *channel = Some(if self.base64 { first.wrapping_sub(b'0') } else { *first });
                bytes = rest;
            }
            if let Some(channel) = *channel {
                if self.base64 {
                    decoded.clear();
                    text.push(bytes, decoded)?;
                    bytes = decoded;
                }
                if last || !bytes.is_empty() {
                    sink(Piece { channel, bytes, last })?;
                }
            }
            if last {
                text.finish()?;
                *channel = None;
            }
        }
        Ok(())
    }

    /// Whether a message of one's own could be put in here.
    pub(super) fn at_boundary(&self, side: Side) -> bool {
        let frames = &self.sides[side as usize].frames;
        frames.at_boundary() && !frames.in_message()
    }

    pub(super) fn remaining(&self, side: Side) -> u64 {
        self.sides[side as usize].frames.remaining()
    }
}

impl Direction {
    fn new(frames: Decoder) -> Self {
        Self { frames, channel: None, text: base64::Decoder::default(), decoded: Vec::new() }
    }
}
