//! Sans-io framing: SPDY/3.1, WebSocket and server-sent events, decode and encode; HTTP/1.1 as far as it has to be
//! followed.
//!
//! Decoders are fed with whatever slices the network delivered and hand back frames; nothing here reads a socket, and
//! no decoder of frames holds more than one control frame, so a 1 GB payload costs as much memory as a 1 KB one (server-sent
//! events come whole, up to a limit):
//!
//! ```
//! # fn main() -> Result<(), portcullis_codec::Error> {
//! use portcullis_codec::spdy::{Decoder, Frame};
//! let mut decoder = Decoder::default();
//! let mut input = &b"\0\0\0\x03\x01\0\0\x02hi"[..];
//! while let Some(frame) = decoder.next(&mut input)? {
//!     assert!(matches!(frame, Frame::Data { payload: b"hi", fin: true, .. }));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `next` returns `None` once it has taken all of the input. Every bound that is passed and every byte that does not fit
//! the specification is a typed [`Error`]; a decoder that failed stays failed, for its place in the stream is lost.

mod error;
pub mod http1;
pub mod spdy;
pub mod sse;
pub mod websocket;

pub use error::Error;

/// Takes up to `want` bytes off the front of `input`.
fn take<'i>(input: &mut &'i [u8], want: usize) -> &'i [u8] {
    let (taken, rest) = input.split_at(want.min(input.len()));
    *input = rest;
    taken
}
