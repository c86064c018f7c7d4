//! HTTP/1.1 framing as RFC 9112 writes it, and nothing that a lenient reader makes of it: heads of requests
//! ([`read_head`]) and chunked bodies ([`Chunks`]).
//!
//! Servers may fold a line, drop a length, take a bare line feed for a line's end or skip a space. Whoever sends what
//! needs such kindness means two readers to see two requests. What is not refused here is read in one way by all.

mod chunked;
mod head;

pub use chunked::Chunks;
pub use head::{Follows, LONGEST_HEAD, LONGEST_TARGET, end_of_head, read_head};

/// Why a request is refused for its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// RFC 9112 §6.3, the classic.
    #[error("it has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// Equal or not: RFC 9112 §6.3 lets a server choose.
    #[error("it has more than one Content-Length")]
    RepeatedLength,
    /// A sign, a list, hexadecimal digits, more than 64 bits.
    #[error("its Content-Length is not a plain number")]
    Length,
    /// `gzip, chunked`, `xchunked`, twice, or on HTTP/1.0.
    #[error("its Transfer-Encoding is not just \"chunked\" on HTTP/1.1")]
    Coding,
    /// A bare line feed or carriage return.
    #[error("a line of its head does not end with CR LF")]
    LineEnd,
    /// RFC 9112 §5.2, obsolete since 2014.
    #[error("a line of its head is folded")]
    Folded,
    /// No colon, nothing before it, or a space there (RFC 9112 §5.1).
    #[error("the name of a header is not a plain word with a colon right behind it")]
    Name,
    /// NUL and other control bytes (RFC 9110 §5.5).
    #[error("the value of a header has control bytes in it")]
    Value,
    /// Not `METHOD target HTTP/1.1` with one space each.
    #[error("its request line is not a method, a target and HTTP/1.1, with one space between each")]
    RequestLine,
    /// A proxy takes the host of an absolute form, an API server does not look at it.
    #[error("its target does not start with '/'")]
    NotAPath,
    /// Control bytes, spaces and what is not ASCII have to be escaped.
    #[error("its target has bytes that have to be escaped")]
    Target,
    /// Never sent by any client, and read in two ways.
    #[error("its target has a fragment")]
    Fragment,
    /// RFC 9112 §3.2.
    #[error("it has no Host")]
    NoHost,
    /// See [`LONGEST_TARGET`].
    #[error("its target is over {LONGEST_TARGET} bytes")]
    TargetTooLong,
    /// See [`LONGEST_HEAD`].
    #[error("its head is over {LONGEST_HEAD} bytes")]
    TooLong,
    /// A sign, a space, no digit, more than 64 bits.
    #[error("the size of a chunk is not a plain hexadecimal number")]
    ChunkSize,
    /// A bare line feed, or data beyond the size.
    #[error("a chunk does not end where its size says, with CR LF")]
    ChunkEnd,
    /// Extensions or trailers that go on and on.
    #[error("what stands beside its chunks is over 16384 bytes")]
    ChunkAside,
}
