//! SPDY/3.1 frames, as spoken after `Upgrade: SPDY/3.1` by kubectl up to 1.30 and inside
//! `SPDY/3.1+portforward.k8s.io` since. Source: the SPDY protocol draft 3.1; behaviour checked against captures of
//! real exchanges.

mod decode;
mod encode;
mod headers;

use std::fmt;

pub use decode::{Decoder, Limits};
pub use encode::Encoder;
pub use headers::Headers;

const VERSION: u16 = 3;
const FLAG_FIN: u8 = 0x01;
const FLAG_UNIDIRECTIONAL: u8 = 0x02;
const FLAG_CLEAR_SETTINGS: u8 = 0x01;
/// Length of the head that every frame starts with.
const HEAD: usize = 8;
/// The largest payload a frame's 24-bit length can announce, in bytes.
pub const MAX_PAYLOAD: usize = (1 << 24) - 1;

/// The number of a stream: odd when the client opened it. 31 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// One frame, or the slice of a DATA frame that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A stream is opened.
    SynStream {
        /// The new stream.
        stream: StreamId,
        /// The stream it belongs to; zero for none.
        associated: StreamId,
        /// 0 (highest) to 7.
        priority: u8,
        /// The opener will send no data.
        fin: bool,
        /// The other side will send no data.
        unidirectional: bool,
        /// The stream's headers.
        headers: Headers,
    },
    /// A stream is accepted.
    SynReply {
        /// The accepted stream.
        stream: StreamId,
        /// The acceptor will send no data.
        fin: bool,
        /// The answer's headers.
        headers: Headers,
    },
    /// A stream is ended at once, in both directions.
    RstStream {
        /// The ended stream.
        stream: StreamId,
        /// Status code: 1 protocol error, 2 invalid stream, 3 refused, 5 cancel, …
        status: u32,
    },
    /// Settings of the connection.
    Settings {
        /// Forget the persisted settings first.
        clear: bool,
        /// The settings, in order.
        entries: Vec<Setting>,
    },
    /// A ping, or, with the id of the other side's, its answer.
    Ping {
        /// Odd when the client's.
        id: u32,
    },
    /// No further streams will be accepted.
    GoAway {
        /// The last stream that was accepted.
        last_good: StreamId,
        /// Status code: 0 OK, 1 protocol error, 2 internal error.
        status: u32,
    },
    /// More headers on an open stream.
    Headers {
        /// The stream.
        stream: StreamId,
        /// The sender will send no more data.
        fin: bool,
        /// The headers.
        headers: Headers,
    },
    /// The other side may send more.
    WindowUpdate {
        /// The stream, or zero for the connection.
        stream: StreamId,
        /// How many more bytes. 31 bits.
        delta: u32,
    },
    /// Payload. Decoded, it is the slice that has arrived, and `fin` is true on a finished frame's last slice only;
    /// a frame without payload is one empty slice. Encoded, it is a frame of its own.
    Data {
        /// The stream.
        stream: StreamId,
        /// The bytes.
        payload: &'a [u8],
        /// The sender will send no more data on this stream.
        fin: bool,
    },
}

/// One entry of a SETTINGS frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// 1: please persist; 2: was persisted.
    pub flags: u8,
    /// What is set. 24 bits.
    pub id: u32,
    /// To what.
    pub value: u32,
}

/// Control frame types, numbered as in the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
enum Kind {
    SynStream = 1,
    SynReply = 2,
    RstStream = 3,
    Settings = 4,
    Ping = 6,
    GoAway = 7,
    Headers = 8,
    WindowUpdate = 9,
}

impl Kind {
    fn of(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::SynStream,
            2 => Self::SynReply,
            3 => Self::RstStream,
            4 => Self::Settings,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::Headers,
            9 => Self::WindowUpdate,
            _ => return None,
        })
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
