//! Frames together with the bytes that they came in, for rewriters: control frames pass byte for byte (SPDY's header
//! blocks build on each other), and data is framed anew.

use portcullis_codec::spdy::{self, StreamId};
use portcullis_codec::websocket::{self, Kind, Slice};

use super::{Side, StreamError, base64};

/// One direction of a SPDY connection.
#[derive(Debug, Default)]
pub(super) struct SpdyFrames {
    decoder: spdy::Decoder,
    raw: Raw,
}

/// One direction of a WebSocket connection.
#[derive(Debug)]
pub(super) struct WebSocketFrames {
    decoder: websocket::Decoder,
    raw: Raw,
}

/// What came on a WebSocket.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// A control frame, as it came.
    Control { raw: &'a [u8], close: bool },
    /// A slice of a data frame.
    Data(Slice<'a>),
}

/// The bytes of a control frame, collected until it is complete.
#[derive(Debug, Default)]
struct Raw {
    bytes: Vec<u8>,
    complete: bool,
}

impl Raw {
    /// Notes what a decoder took off the front of `before`; data is not kept.
    fn took(&mut self, before: &[u8], after: &[u8], control: bool, complete: bool) {
        if std::mem::take(&mut self.complete) {
            self.bytes.clear();
        }
        if control {
            self.bytes.extend_from_slice(&before[..before.len() - after.len()]);
        }
        self.complete = complete;
    }
}

impl SpdyFrames {
    /// The next frame, and its bytes unless it is data.
    pub(super) fn next<'i>(
        &mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<(spdy::Frame<'i>, &[u8])>, StreamError> {
        let before = *input;
        let frame = self.decoder.next(input)?;
        let data = matches!(frame, Some(spdy::Frame::Data { .. }));
        self.raw.took(before, input, !data, frame.is_some());
        Ok(frame.map(|frame| (frame, &self.raw.bytes[..])))
    }
}

impl WebSocketFrames {
    pub(super) fn of(side: Side) -> Self {
        let decoder = match side {
            Side::Client => websocket::Decoder::client(),
            Side::Server => websocket::Decoder::server(),
        };
        Self { decoder, raw: Raw::default() }
    }

    pub(super) fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Message<'a>>, StreamError> {
        let before = *input;
        let Some(frame) = self.decoder.next(input)? else {
            self.raw.took(before, input, true, false);
            return Ok(None);
        };
        let data = matches!(frame, websocket::Frame::Data(_));
        self.raw.took(before, input, !data, true);
        Ok(Some(match frame {
            websocket::Frame::Data(slice) => Message::Data(slice),
            frame => {
                let close = matches!(frame, websocket::Frame::Close { .. });
                Message::Control { raw: &self.raw.bytes, close }
            }
        }))
    }

    pub(super) fn at_boundary(&self) -> bool {
        self.decoder.at_boundary() && !self.decoder.in_message()
    }

    pub(super) fn remaining(&self) -> u64 {
        self.decoder.remaining()
    }
}

/// One direction of WebSocket messages that start with the number of their channel.
#[derive(Debug)]
pub(super) struct ChannelFrames {
    frames: WebSocketFrames,
    side: Side,
    base64: bool,
    /// Of the message under way: its kind, its channel, whether it had any byte for it.
    kind: Kind,
    channel: Option<u8>,
    empty: bool,
    text: base64::Decoder,
    decoded: Vec<u8>,
}

/// What came on a WebSocket with channels.
#[derive(Debug)]
pub(super) enum ChannelMessage<'a> {
    /// A control frame, as it came.
    Control { raw: &'a [u8], close: bool },
    /// A message without even a channel.
    Nothing(Kind),
    /// A slice of a message.
    Piece {
        channel: u8,
        bytes: &'a [u8],
        /// Whether the message ends here, and had no byte.
        empty: bool,
        /// Whether the message ends here.
        last: bool,
    },
}

impl ChannelFrames {
    pub(super) fn new(side: Side, base64: bool) -> Self {
        Self {
            frames: WebSocketFrames::of(side),
            side,
            base64,
            kind: Kind::Binary,
            channel: None,
            empty: true,
            text: base64::Decoder::default(),
            decoded: Vec::new(),
        }
    }

    pub(super) fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<ChannelMessage<'a>>, StreamError> {
        let Some(message) = self.frames.next(input)? else { return Ok(None) };
        let slice = match message {
            Message::Control { raw, close } => return Ok(Some(ChannelMessage::Control { raw, close })),
            Message::Data(slice) => slice,
        };
        let fragment = !slice.fin || slice.kind == Kind::Continuation;
        if self.side == Side::Client && fragment {
            return Err(StreamError::Fragmented);
        }
        if slice.begins_message() {
            (self.kind, self.channel, self.empty) = (slice.kind, None, true);
        }
        let (mut bytes, last) = (slice.payload, slice.ends_message());
        if self.channel.is_none()
            && let [first, rest @ ..] = bytes
        {
            self.channel = Some(if self.base64 { first.wrapping_sub(b'0') } else { *first });
            bytes = rest;
        }
        self.empty &= bytes.is_empty();
        if self.base64 {
            self.decoded.clear();
            self.text.push(bytes, &mut self.decoded)?;
            bytes = &self.decoded;
            if last {
                self.text.finish()?;
            }
        }
        Ok(Some(match self.channel {
            None if last => ChannelMessage::Nothing(self.kind),
            // A first fragment with nothing in it, from a server: real ones send no fragments at all.
            None => return Err(StreamError::Fragmented),
            Some(channel) => ChannelMessage::Piece { channel, bytes, empty: self.empty && last, last },
        }))
    }
}

/// Appends a DATA frame.
pub(super) fn data(
    out: &mut Vec<u8>,
    stream: StreamId,
    payload: &[u8],
    fin: bool,
) -> Result<(), StreamError> {
    Ok(spdy::Encoder::default().encode(&spdy::Frame::Data { stream, payload, fin }, out)?)
}

/// Appends a whole message on a channel; a client's has a `mask`.
pub(super) fn on_channel(
    out: &mut Vec<u8>,
    base64: bool,
    channel: u8,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) {
    if base64 {
        let text = ::base64::Engine::encode(&::base64::prelude::BASE64_STANDARD, payload);
        websocket::message(out, Kind::Text, mask, &[&[b'0'.wrapping_add(channel)], text.as_bytes()]);
    } else {
        websocket::message(out, Kind::Binary, mask, &[&[channel], payload]);
    }
}
