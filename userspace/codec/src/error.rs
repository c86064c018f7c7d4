//! Everything that can be wrong with a framed stream.

use crate::spdy::StreamId;

/// Why a stream could not be decoded or a frame not be encoded. No variant carries payload bytes.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A decoder was fed again after it had failed.
    #[error("the decoder failed earlier and has lost its place in the stream")]
    Poisoned,

    /// A SPDY control frame of another version than 3.
    #[error("SPDY control frame of version {0}; only version 3 is spoken")]
    SpdyVersion(u16),
    /// A SPDY control frame type that version 3.1 does not define.
    #[error("unknown SPDY control frame type {0}")]
    SpdyFrameType(u16),
    /// A control frame longer than the decoder's limit; the sizes are bytes.
    #[error("SPDY control frame of {length} bytes; at most {limit} are taken")]
    SpdyControlTooLong {
        /// The length that the frame announced.
        length: usize,
        /// [`crate::spdy::Limits::control_frame`].
        limit: usize,
    },
    /// A control frame too short, or too long, for what its type holds.
    #[error("SPDY control frame of type {kind} cannot be {length} bytes long")]
    SpdyControlLength {
        /// The frame type, as numbered in the specification.
        kind: u16,
        /// The length that the frame announced.
        length: usize,
    },
    /// A frame on stream zero where a stream is needed.
    #[error("SPDY frame of type {0} names stream 0")]
    SpdyStreamZero(u16),
    /// zlib refused the header block.
    #[error("SPDY header block cannot be inflated: {0}")]
    SpdyInflate(#[source] flate2::DecompressError),
    /// The zlib stream ended, though it lasts as long as the connection.
    #[error("the zlib stream of the SPDY header blocks ended")]
    SpdyInflateEnded,
    /// A header block that inflates past the decoder's limit: a compression bomb.
    #[error("SPDY header block inflates to more than {0} bytes")]
    SpdyHeadersTooLong(usize),
    /// More header pairs than the decoder's limit.
    #[error("SPDY header block of {0} pairs")]
    SpdyTooManyHeaders(u32),
    /// A header block whose lengths do not add up.
    #[error("malformed SPDY header block: {0}")]
    SpdyHeaders(&'static str),
    /// zlib failed to deflate a header block.
    #[error("SPDY header block cannot be deflated: {0}")]
    SpdyDeflate(#[source] flate2::CompressError),
    /// A frame to encode whose payload does not fit the 24-bit length.
    #[error("payload of {1} bytes for SPDY stream {0} does not fit one frame")]
    SpdyPayloadTooLong(StreamId, usize),

    /// A reserved bit was set; no WebSocket extension is ever negotiated here.
    #[error("WebSocket frame with reserved bits set")]
    WebSocketReservedBits,
    /// A reserved opcode.
    #[error("unknown WebSocket opcode {0:#x}")]
    WebSocketOpcode(u8),
    /// A client's frame without a mask, or a server's with one (RFC 6455, section 5.1).
    #[error("WebSocket frame from a {from} {fault}", from = if *.0 { "server" } else { "client" }, fault = if *.0 { "is masked" } else { "is not masked" })]
    WebSocketMask(
        /// Whether the frame was masked.
        bool,
    ),
    /// A length in a longer form than it needs, or with the top bit set (RFC 6455, section 5.2).
    #[error("WebSocket frame length is not in its shortest form")]
    WebSocketLength,
    /// A data frame longer than the decoder's limit; the sizes are bytes.
    #[error("WebSocket frame of {length} bytes; at most {limit} are taken")]
    WebSocketTooLong {
        /// The length that the frame announced.
        length: u64,
        /// The decoder's limit.
        limit: u64,
    },
    /// A control frame that is fragmented or longer than 125 bytes (RFC 6455, section 5.5).
    #[error("WebSocket control frame is fragmented or longer than 125 bytes")]
    WebSocketControl,
    /// A continuation of nothing, or a new message inside another (RFC 6455, section 5.4).
    #[error("WebSocket message fragments are out of order")]
    WebSocketFragments,
    /// A close frame with half a status code, or a reason that is not UTF-8.
    #[error("malformed WebSocket close frame")]
    WebSocketClose,
    /// A frame after the close frame (RFC 6455, section 5.5.1).
    #[error("WebSocket frame after the close frame")]
    WebSocketAfterClose,

    /// A server-sent event longer than the decoder's limit, in bytes.
    #[error("server-sent event of more than {0} bytes")]
    SseTooLong(usize),
}
