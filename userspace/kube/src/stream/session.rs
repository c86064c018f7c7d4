//! What rewriters of all kinds have in common.

use std::time::Instant;

use super::{PortEvent, Side, StreamError, StreamEvent};
use crate::Status;

/// What a session means, as it reaches the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Said<'a> {
    /// Of exec or attach.
    Command(StreamEvent<'a>),
    /// Of a port-forward.
    Port(PortEvent<'a>),
    /// Of a watch or a log, from the server.
    Body(&'a [u8]),
}

/// Is told what a session means.
pub type Tell<'t> = dyn FnMut(Said<'_>) + 't;

/// What is said on a forwarded connection that is taken out of its session, in the place of one of its sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortPiece<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// Nothing more.
    End,
    /// Nothing more, for this reason. Only a server can say why.
    Refused(&'a str),
}

/// A session between a client and a server, decoded and, with maskers, rewritten on its way.
pub trait Session: Send {
    /// Takes what `side` sent, and appends what the other side gets to `out`.
    ///
    /// # Errors
    /// When it cannot be decoded or masked; from then on always, of this side. What came before the fault is in `out`.
    fn feed(
        &mut self,
        side: Side,
        bytes: &[u8],
        out: &mut Vec<u8>,
        tell: &mut Tell<'_>,
    ) -> Result<(), StreamError>;

    /// When the client has waited long enough for the first of what is held back from it; `None` while nothing is.
    fn due(&self) -> Option<Instant>;

    /// Appends what is held back and [`due`](Self::due) to `out`.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    fn flush(&mut self, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError>;

    /// Appends what is held back to `out`: the server has ended its side.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    fn finish(&mut self, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError>;

    /// Appends what `from` says on a connection that was taken out of the session, by port and number, to `out`. On one that
    /// `from` has ended already nothing is said any more.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), and [`StreamError::NothingTaken`] where nothing is ever taken out.
    fn put(
        &mut self,
        from: Side,
        connection: (u16, u32),
        piece: PortPiece<'_>,
        out: &mut Vec<u8>,
        tell: &mut Tell<'_>,
    ) -> Result<(), StreamError> {
        let _ = (from, connection, piece, out, tell);
        Err(StreamError::NothingTaken)
    }

    /// Whether the server has closed the session, and its client is told by [`finish`](Self::finish): what is still to be
    /// put goes first.
    fn is_closing(&self) -> bool {
        false
    }

    /// Whether what the client gets stands between two frames; always, where something is masked.
    fn at_boundary(&self) -> bool;

    /// How many bytes the server's frame under way still needs before there is a boundary, as far as is known. In a
    /// tunnel these are the inner bytes, without the heads of the messages that they will be wrapped in.
    fn remaining(&self) -> u64;

    /// Appends what is held back to `out`, and then what ends the session with `status` in a way that its client shows.
    ///
    /// # Errors
    /// [`StreamError::InsideFrame`] when nothing can be put in.
    fn ending(&mut self, status: &Status, out: &mut Vec<u8>, tell: &mut Tell<'_>) -> Result<(), StreamError>;
}
