//! A whole answer body, in either media type: `application/json` is one message, `text/event-stream` one in each event.

use portcullis_codec::sse::{Decoder, Event, Frame, comment, event};

use crate::outbound::MAX_ANSWER;
use crate::{AnswerFault, Outbound, Passed, PassedKind};

/// The media type of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// `application/json`.
    Json,
    /// `text/event-stream`.
    Events,
}

/// An answer body on its way to the client. After an error there is nothing more that may go on.
pub struct AnswerBody {
    outbound: Outbound,
    framing: Framing,
}

enum Framing {
    /// All of it so far.
    Json(Vec<u8>),
    Events(Decoder),
}

impl AnswerBody {
    /// A body of this kind, whose messages go through `outbound`.
    #[must_use]
    pub fn new(kind: BodyKind, outbound: Outbound) -> Self {
        let framing = match kind {
            BodyKind::Json => Framing::Json(Vec::new()),
            BodyKind::Events => Framing::Events(Decoder::new(MAX_ANSWER)),
        };
        Self { outbound, framing }
    }

    /// Takes bytes as they come, cut anywhere; appends what may go on to `out`, each event as soon as it has ended, and
    /// what is told of its message to `told`.
    ///
    /// # Errors
    /// Why the rest is withheld. What is in `out` may still go on.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        told: &mut Vec<Passed>,
    ) -> Result<(), AnswerFault> {
        match &mut self.framing {
            Framing::Json(held) if held.len() + bytes.len() > MAX_ANSWER => Err(AnswerFault::TooLong),
            Framing::Json(held) => {
                held.extend_from_slice(bytes);
                Ok(())
            }
            Framing::Events(decoder) => {
                while let Some(frame) = decoder.next(&mut bytes).map_err(AnswerFault::Stream)? {
                    match frame {
                        Frame::Comment => comment(out),
                        Frame::Event(fields) => pass(&mut self.outbound, fields, out, told)?,
                    }
                }
                Ok(())
            }
        }
    }

    /// The body has ended: a JSON body goes on now. An event stream may end before the answer; the connection of an
    /// older client may be resumed.
    ///
    /// # Errors
    /// Why it is withheld; that the stream broke off inside an event, of which nothing went on.
    pub fn finish(&mut self, out: &mut Vec<u8>, told: &mut Vec<Passed>) -> Result<(), AnswerFault> {
        match &self.framing {
            Framing::Json(held) if held.is_empty() && self.outbound.is_answered() => Ok(()),
            Framing::Json(held) if held.is_empty() => Err(AnswerFault::Incomplete),
            Framing::Json(held) => {
                let start = out.len();
                let passed = self.outbound.message(held, out)?;
                if !matches!(passed.kind, PassedKind::Answer | PassedKind::Error { .. }) {
                    out.truncate(start);
                    return Err(AnswerFault::Shape("a body that answers nothing".to_owned()));
                }
                told.push(passed);
                Ok(())
            }
            Framing::Events(decoder) if decoder.at_boundary() => Ok(()),
            Framing::Events(_) => Err(AnswerFault::Incomplete),
        }
    }
}

/// Passes one event. Clients take messages from events of the type `message` alone: of others, only what a stream needs
/// to be resumed goes on, and the same of an event whose message is left out.
fn pass(
    outbound: &mut Outbound,
    mut fields: Event,
    out: &mut Vec<u8>,
    told: &mut Vec<Passed>,
) -> Result<(), AnswerFault> {
    let data = fields.data.take();
    if !fields.is_message() {
        fields.kind = None;
    } else if let Some(data) = data {
        // An event that says nothing primes a client to resume; some servers say it with an empty object.
        let says_nothing = matches!(data.trim_ascii(), b"" | b"{}");
        let mut masked = Vec::new();
        if !says_nothing {
            told.push(outbound.message(&data, &mut masked)?);
        }
        fields.data =
            if says_nothing { Some(data) } else { Some(masked).filter(|masked| !masked.is_empty()) };
    }
    match fields {
        // It still says that the stream is alive.
        Event { kind: None, id: None, retry: None, data: None } => comment(out),
        fields => event(&fields, out),
    }
    Ok(())
}
