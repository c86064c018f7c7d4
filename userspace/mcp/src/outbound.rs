//! What a server's messages go through on their way to the client.

use std::sync::Arc;

use crate::{About, AnswerFault, Era, Message, MessageMasker, Pins};

/// Whether the subject may see a thing.
pub type Visible = Arc<dyn Fn(About<'_>) -> bool + Send + Sync>;

/// What passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// What kind of message it was.
    pub kind: PassedKind,
    /// How many entries of a list were left out.
    pub left_out: u64,
    /// What the client has to bring back (2026-07-28).
    pub request_state: Option<String>,
}

/// What kind of message passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassedKind {
    /// The answer.
    Answer,
    /// The answer is an error.
    Error {
        /// The JSON-RPC error code.
        code: i64,
        /// The masked message.
        message: String,
    },
    /// A notification, by method.
    Notification(String),
    /// A server's request, by method.
    Request(String),
}

/// Lists filtered, changed tools shown as they were pinned, everything masked.
pub struct Outbound;

impl Outbound {
    /// For the answers to `asked`; for a stream that answers nothing, `None`.
    #[must_use]
    pub fn new(
        _asked: Option<&Message>,
        _era: Era,
        _visible: Visible,
        _pins: Arc<Pins>,
        _masker: Arc<MessageMasker>,
    ) -> Self {
        Self
    }

    /// Appends one message, as the client may see it, to `out`.
    ///
    /// # Errors
    /// Why it is withheld.
    pub fn message(&mut self, _json: &[u8], _out: &mut Vec<u8>) -> Result<Passed, AnswerFault> {
        unimplemented!()
    }
}
