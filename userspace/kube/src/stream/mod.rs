//! Sessions that follow an upgrade, decoded on their way. A tap only looks: what is forwarded is fed to it, both
//! directions, and it tells what that meant. A rewriter gives what is to be forwarded instead: decoded, masked and
//! framed anew. It feeds a tap of its own with that, so that what is told is what the client gets.
//!
//! - [`RemoteCommandTap`], [`RemoteCommandRewriter`]: exec and attach over SPDY/3.1 (protocols v1 to v4) and WebSocket
//!   (v1 to v5, plain and base64).
//! - [`PortForwardTap`], [`PortForwardRewriter`]: port-forward over SPDY/3.1, over SPDY/3.1 tunnelled in WebSocket, and
//!   over WebSocket channels.
//! - [`MessageStream`]: watches and logs over WebSocket, masked or not.
//!
//! Where a peer could read the bytes in another way than we do, decoding fails, and the caller cuts the stream: what
//! cannot be recorded is not passed on. Each can also put an end to its session with a reason that the client prints;
//! see `ending`.
//!
//! A rewriter gives whole frames only, so that something of one's own can be put in between at any time. It never
//! splits a message into fragments; a message that arrived in several reads may leave as several messages, since what
//! channels carry is a stream of bytes.

mod base64;
mod channels;
mod command_rewriter;
mod end;
mod forwarded;
mod frames;
mod masker;
mod message_stream;
mod port_forward;
mod port_rewriter;
mod protocol;
mod remote_command;
mod session;
mod spdy;

use portcullis_codec::spdy::StreamId;

pub use command_rewriter::RemoteCommandRewriter;
pub use forwarded::{MakeMasker, begins_http};
pub use masker::Masker;
pub use message_stream::{MessageProtocol, MessageStream};
pub use port_forward::{PortEvent, PortForwardTap};
pub use port_rewriter::{PortForwardRewriter, PortRewriting};
pub use protocol::{PortForwardProtocol, Protocol, Version};
pub use remote_command::{RemoteCommandTap, StreamEvent};
pub use session::{PortPiece, Said, Session, Tell};

/// Who sent the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// kubectl and the like.
    Client,
    /// The API server, for the container.
    Server,
}

/// A channel of exec or attach, numbered as on WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Channel {
    /// From the client.
    Stdin = 0,
    /// From the container; with a terminal, its stderr too.
    Stdout = 1,
    /// From the container.
    Stderr = 2,
    /// How the command ended, from the server.
    Error = 3,
    /// The terminal's size, from the client.
    Resize = 4,
}

/// Why a stream cannot be decoded any further. The caller cuts it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The framing is broken, or the tap was fed after it had failed.
    #[error(transparent)]
    Frame(#[from] portcullis_codec::Error),
    /// An upgrade to something unknown.
    #[error("cannot decode a session that was upgraded to {upgrade:?} with sub-protocol {subprotocol:?}")]
    Protocol {
        /// The `Upgrade` header of the answer.
        upgrade: String,
        /// The sub-protocol header of the answer; empty for none.
        subprotocol: String,
    },
    /// A client split a message: the API server takes the pieces for messages of their own.
    #[error("the client sent a WebSocket message in fragments")]
    Fragmented,
    /// A message on a channel that the protocol does not have.
    #[error("WebSocket message on unknown channel {0}")]
    UnknownChannel(u8),
    /// Data from the side that has nothing to say on this channel.
    #[error("the {} sent data on {channel}", if *.from == Side::Client { "client" } else { "server" })]
    WrongWay {
        /// The sender.
        from: Side,
        /// The channel, in words.
        channel: String,
    },
    /// A base64 message that is none.
    #[error("malformed base64 in a WebSocket message")]
    Base64,
    /// A WebSocket text message where SPDY bytes should be.
    #[error("text message inside a SPDY tunnel")]
    TextInTunnel,
    /// A SPDY stream opened by the server, twice, out of order, or after the server has said that it takes no more.
    #[error("SPDY stream {0} must not be opened here")]
    Opening(StreamId),
    /// A SPDY frame for a stream that was never opened.
    #[error("SPDY frame for stream {0}, which was never opened")]
    NeverOpened(StreamId),
    /// Data on a SPDY stream after its sender had ended it.
    #[error("data on SPDY stream {0} after its end")]
    AfterEnd(StreamId),
    /// A SPDY stream whose headers do not say what it is for.
    #[error("SPDY stream {stream}: {fault}")]
    StreamHeaders {
        /// The stream.
        stream: StreamId,
        /// What is wrong with its headers.
        fault: &'static str,
    },
    /// More streams open at a time than is sensible.
    #[error("more than {0} SPDY streams open")]
    TooManyStreams(usize),
    /// A terminal size that cannot be read.
    #[error("malformed terminal size")]
    Resize,
    /// An exit status that cannot be read.
    #[error("malformed exit status on the error channel")]
    ExitStatus,
    /// What was to be masked is not what it should be.
    #[error("cannot be masked: {0}")]
    Unmaskable(String),
    /// A message that has to be masked whole is too long; bytes.
    #[error("WebSocket message of more than {0} bytes")]
    MessageTooLong(usize),
    /// A port-forward channel that announced another port than was asked for.
    #[error("WebSocket channel {0} did not announce its port")]
    PortAnnouncement(u8),
    /// Something was to be put into a session of which no connection was taken out.
    #[error("no connection was taken out of this session")]
    NothingTaken,
    /// An ending was asked for while a frame is under way.
    #[error("the server's side of the stream is inside a frame")]
    InsideFrame,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Client, Self::Server];
}

impl Channel {
    const ALL: [Self; 5] = [Self::Stdin, Self::Stdout, Self::Stderr, Self::Error, Self::Resize];

    /// Who speaks on it.
    #[must_use]
    pub fn sender(self) -> Side {
        match self {
            Self::Stdin | Self::Resize => Side::Client,
            Self::Stdout | Self::Stderr | Self::Error => Side::Server,
        }
    }

    /// Its name, as SPDY's `streamType` header has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Error => "error",
            Self::Resize => "resize",
        }
    }
}
