//! A whole answer body, in either media type.

use crate::{AnswerFault, Outbound, Passed};

/// The media type of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// `application/json`: one message.
    Json,
    /// `text/event-stream`.
    Events,
}

/// An answer body on its way to the client.
pub struct AnswerBody {
    _outbound: Outbound,
}

impl AnswerBody {
    /// A body of this kind, whose messages go through `outbound`.
    #[must_use]
    pub fn new(_kind: BodyKind, outbound: Outbound) -> Self {
        Self { _outbound: outbound }
    }

    /// Takes bytes as they come; appends what may go on to `out`, and what passed to `told`.
    ///
    /// # Errors
    /// Why the rest is withheld.
    pub fn push(
        &mut self,
        _bytes: &[u8],
        _out: &mut Vec<u8>,
        _told: &mut Vec<Passed>,
    ) -> Result<(), AnswerFault> {
        unimplemented!()
    }

    /// The body has ended.
    ///
    /// # Errors
    /// Why the rest is withheld.
    pub fn finish(&mut self, _out: &mut Vec<u8>, _told: &mut Vec<Passed>) -> Result<(), AnswerFault> {
        unimplemented!()
    }
}
