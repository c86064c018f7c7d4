//! WebSocket frames (RFC 6455), without extensions. Fragments are handed on as they came and never joined or split: the
//! API server takes a continuation for a message of its own.

mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::{close, message, pong};

/// Longest payload of a control frame, in bytes (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// One control frame, or the slice of a data frame that has arrived, unmasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A slice of a data frame.
    Data(Slice<'a>),
    /// A ping with its payload.
    Ping(&'a [u8]),
    /// A pong with its payload.
    Pong(&'a [u8]),
    /// The sender's last frame.
    Close {
        /// Status code (RFC 6455, section 7.4), when one was given.
        code: Option<u16>,
        /// The reason in words.
        reason: &'a str,
    },
}

/// A slice of a data frame and where it stands in its frame and message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice<'a> {
    /// What the frame says it is.
    pub kind: Kind,
    /// Whether the frame is its message's last.
    pub fin: bool,
    /// Whether the slice is its frame's first.
    pub first: bool,
    /// Whether the slice is its frame's last.
    pub last: bool,
    /// The bytes. Empty only for a frame that is.
    pub payload: &'a [u8],
}

impl Slice<'_> {
    /// Whether the slice begins a message.
    #[must_use]
    pub fn begins_message(&self) -> bool {
        self.first && self.kind != Kind::Continuation
    }

    /// Whether the slice ends a message.
    #[must_use]
    pub fn ends_message(&self) -> bool {
        self.last && self.fin
    }
}

/// Data frame opcodes, numbered as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Goes on with the message of the frame before.
    Continuation = 0x0,
    /// Starts a message of UTF-8 text (not checked here).
    Text = 0x1,
    /// Starts a message of bytes.
    Binary = 0x2,
}

/// Appends `bytes` under a mask, or from under it; the mask's first byte applies to the first of them.
fn mask_onto(out: &mut Vec<u8>, bytes: &[u8], mask: [u8; 4]) {
    let start = out.len();
    out.extend_from_slice(bytes);
    let (words, rest) = out[start..].as_chunks_mut::<4>();
    let key = u32::from_ne_bytes(mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    rest.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
}

const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
