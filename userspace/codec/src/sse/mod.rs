//! Server-sent events (WHATWG HTML, section 9.2): `text/event-stream` taken apart into events and put together again.
//!
//! Fields that the specification does not know are left out, and so is what it tells a client to pass over: an id with
//! a NUL in it, a retry that is no number. A comment is told at once, without its text, since it keeps a connection
//! alive.

mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::{comment, event};

/// What stands in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A line that says nothing.
    Comment,
    /// An event, or fields without data.
    Event(Event),
}

/// The fields between two blank lines; of those that are repeated, the last counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `event`: its type. None and the empty one are `message`.
    pub kind: Option<Vec<u8>>,
    /// `id`: where a client goes on after this event. May be empty, which forgets the one before.
    pub id: Option<Vec<u8>>,
    /// `retry`: how long a client waits before it connects again, in milliseconds, as it was spelled.
    pub retry: Option<Vec<u8>>,
    /// `data`: its lines, joined by line feeds.
    pub data: Option<Vec<u8>>,
}

impl Event {
    /// Whether it is of the type that one without a type is of.
    #[must_use]
    pub fn is_message(&self) -> bool {
        matches!(self.kind.as_deref(), None | Some(b"" | b"message"))
    }
}
