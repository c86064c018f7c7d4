//! What a server's messages go through on their way to the client: read strictly, lists filtered to what the subject may
//! call, changed tools shown as they were pinned, everything masked. A message in which there is nothing to leave out
//! goes to the masker byte for byte, and of any other all bytes but those of the list.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{self, From};
use crate::list::{self, List, Visible};
use crate::{About, AnswerFault, Era, Id, Kind, Message, MessageMasker, Pins};

/// Longest message of a server, in bytes.
pub const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// What is told of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// What kind of message it is.
    pub kind: PassedKind,
    /// How many entries of a list were left out; 1 for a notification that was left out, of which nothing goes on.
    pub left_out: u64,
    /// What the client has to bring back with its answers (2026-07-28, input_required).
    pub request_state: Option<String>,
}

/// What kind of message passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassedKind {
    /// A result.
    Answer,
    /// The answer that it failed.
    Error {
        /// The JSON-RPC error code.
        code: i64,
        /// What the server says, masked.
        message: String,
    },
    /// A notification, by method.
    Notification(String),
    /// A request to the client, by method (up to 2025-11-25).
    Request(String),
}

/// The way of one answer's messages to one client.
pub struct Outbound {
    asked: Asked,
    era: Era,
    visible: Visible,
    pins: Arc<Pins>,
    masker: Arc<MessageMasker>,
    /// Masks what is kept, whatever the subject may see.
    keeper: Arc<MessageMasker>,
}

/// What the messages answer.
enum Asked {
    /// Nothing in particular: a stream by GET, which may resume the answer to an earlier request.
    Stream,
    /// A request of this id, unless it is answered, and the list that its result is.
    Request { id: Id, list: Option<List>, answered: bool },
    /// A notification or a response, which is answered by an error at most.
    Told,
}

impl Outbound {
    /// For the answer to `asked`; `None` for a stream that the client opened by GET.
    #[must_use]
    pub fn new(
        asked: Option<&Message>,
        era: Era,
        visible: Visible,
        pins: Arc<Pins>,
        masker: Arc<MessageMasker>,
        keeper: Arc<MessageMasker>,
    ) -> Self {
        let asked = match asked.map(|message| (message.kind(), message.method())) {
            None => Asked::Stream,
            Some((Kind::Request(id), method)) => {
                Asked::Request { id: id.clone(), list: List::of_method(method), answered: false }
            }
            Some((Kind::Notification | Kind::Response(_), _)) => Asked::Told,
        };
        Self { asked, era, visible, pins, masker, keeper }
    }

    /// Appends one message, as the client may see it, to `out`; nothing where it is an error, or left out.
    ///
    /// # Errors
    /// Why it is withheld.
    pub fn message(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<Passed, AnswerFault> {
        if json.len() > MAX_ANSWER {
            return Err(AnswerFault::TooLong);
        }
        json::check(json, From::Server).map_err(AnswerFault::Json)?;
        let envelope: Envelope<'_> = json::object(json).map_err(|error| {
            AnswerFault::Shape(format!("its members are not those of a message: {error}"))
        })?;
        let mut edits = Edits { whole: json, made: Vec::new() };
        let mut passed = self.read(&envelope, &mut edits)?;
        if passed.left_out > 0 && matches!(passed.kind, PassedKind::Notification(_)) {
            return Ok(passed);
        }
        let start = out.len();
        let masked = self.masker.mask(&edits.apply(), out).map_err(AnswerFault::Mask);
        let told = masked.and_then(|()| match &mut passed.kind {
            PassedKind::Error { message, .. } => {
                masked_message(&out[start..]).map(|masked| *message = masked)
            }
            _ => Ok(()),
        });
        if let Err(fault) = told {
            out.truncate(start);
            return Err(fault);
        }
        Ok(passed)
    }

    /// Whether the request has its answer.
    pub(crate) fn is_answered(&self) -> bool {
        !matches!(self.asked, Asked::Request { answered: false, .. })
    }

    fn read(&mut self, envelope: &Envelope<'_>, edits: &mut Edits<'_>) -> Result<Passed, AnswerFault> {
        let shape = |what: &str| Err(AnswerFault::Shape(what.to_owned()));
        if envelope.jsonrpc != "2.0" {
            return shape("its jsonrpc is not \"2.0\"");
        }
        let id = match &envelope.id {
            None => None,
            Some(id) => match Id::of(id.clone()) {
                Some(id) => Some(id),
                None => return shape("its id is neither an integer nor a string"),
            },
        };
        let mut passed = Passed { kind: PassedKind::Answer, left_out: 0, request_state: None };
        match (&envelope.method, envelope.result, &envelope.error, id) {
            (Some(method), None, None, id) => {
                passed.kind = match id {
                    Some(_) if self.era == Era::Modern => {
                        return shape("a request, which servers send no more");
                    }
                    Some(_) => PassedKind::Request(method.clone().into_owned()),
                    None => PassedKind::Notification(method.clone().into_owned()),
                };
                passed.left_out = u64::from(!self.may_hear(method, envelope.params)?);
            }
            (None, Some(result), None, Some(id)) if envelope.params.is_none() => {
                self.answers(&id)?;
                self.result(result, edits, &mut passed)?;
            }
            (None, None, Some(error), id) if envelope.params.is_none() => {
                // Where the server could not read the id, there is none.
                if let Some(id) = id {
                    self.answers(&id)?;
                }
                passed.kind = PassedKind::Error { code: error.code, message: String::new() };
            }
            (None, Some(_), None, None) => return shape("a result without an id"),
            (None, None, None, _) => return shape("neither request, notification, result nor error"),
            _ => return shape("several kinds of message at once"),
        }
        Ok(passed)
    }

    /// Whether the subject may be told of the resource that a notification is about.
    fn may_hear(&self, method: &str, params: Option<&RawValue>) -> Result<bool, AnswerFault> {
        #[derive(Deserialize)]
        struct Updated<'a> {
            #[serde(borrow)]
            uri: Cow<'a, str>,
        }
        if method != "notifications/resources/updated" {
            return Ok(true);
        }
        let params = params.map_or("null", RawValue::get);
        let Updated { uri } = json::object(params.as_bytes())
            .map_err(|error| AnswerFault::Shape(format!("{method} names no resource: {error}")))?;
        Ok((self.visible)(About::Resource(&uri)))
    }

    /// Takes an answer for the one to the request that was asked.
    fn answers(&mut self, id: &Id) -> Result<(), AnswerFault> {
        match &mut self.asked {
            Asked::Stream => Ok(()),
            Asked::Request { id: asked, answered, .. } if asked == id && !*answered => {
                *answered = true;
                Ok(())
            }
            Asked::Request { id: asked, .. } if asked == id => {
                Err(AnswerFault::Shape("a second answer to one request".to_owned()))
            }
            Asked::Request { .. } => {
                Err(AnswerFault::Shape(format!("the answer to another request: {}", id.to_json())))
            }
            Asked::Told => Err(AnswerFault::Shape("an answer where nothing was asked".to_owned())),
        }
    }

    fn result(
        &self,
        result: &RawValue,
        edits: &mut Edits<'_>,
        passed: &mut Passed,
    ) -> Result<(), AnswerFault> {
        let members: Members<'_> = json::object(result.get().as_bytes())
            .map_err(|error| AnswerFault::Shape(format!("its result cannot be read: {error}")))?;
        for list in List::ALL {
            let expected = match &self.asked {
                Asked::Request { list, .. } => *list,
                // A resumed stream does not say what it answers: what looks like a list is one.
                Asked::Stream | Asked::Told => members.list(list).map(|_| list),
            };
            if expected == Some(list) {
                let raw = members.list(list);
                let left = list::filter(list, raw, &self.visible, &self.pins, &self.keeper)?;
                passed.left_out += left.left_out;
                if let (Some(raw), Some(text)) = (raw, left.text) {
                    edits.replace(raw, text.into_bytes());
                }
            }
        }
        if self.era == Era::Modern {
            // What was filtered for one person must not be cached for another.
            if let Some(scope) = members.cache_scope
                && scope.get() != r#""private""#
            {
                edits.replace(scope, br#""private""#.to_vec());
            }
            passed.request_state = members.request_state.map(Cow::into_owned);
        }
        Ok(())
    }
}

/// A message of JSON-RPC, each member where it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    id: Option<Value>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<ErrorCode>,
}

/// The part of an error that may be told as it is.
#[derive(Deserialize)]
struct ErrorCode {
    code: i64,
}

/// The members of a result that are not only data.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    resources: Option<&'a RawValue>,
    #[serde(borrow)]
    resource_templates: Option<&'a RawValue>,
    #[serde(borrow)]
    prompts: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_scope: Option<&'a RawValue>,
    #[serde(borrow)]
    request_state: Option<Cow<'a, str>>,
}

impl<'a> Members<'a> {
    fn list(&self, list: List) -> Option<&'a RawValue> {
        match list {
            List::Tools => self.tools,
            List::Resources => self.resources,
            List::Templates => self.resource_templates,
            List::Prompts => self.prompts,
        }
    }
}

/// Parts of a message that are replaced.
struct Edits<'a> {
    whole: &'a [u8],
    made: Vec<(Range<usize>, Vec<u8>)>,
}

impl<'a> Edits<'a> {
    /// `part` is a slice of the whole.
    fn replace(&mut self, part: &RawValue, with: Vec<u8>) {
        let start = part.get().as_ptr().addr() - self.whole.as_ptr().addr();
        self.made.push((start..start + part.get().len(), with));
    }

    fn apply(mut self) -> Cow<'a, [u8]> {
        if self.made.is_empty() {
            return Cow::Borrowed(self.whole);
        }
        self.made.sort_by_key(|(range, _)| range.start);
        let mut edited = Vec::with_capacity(self.whole.len());
        let mut done = 0;
        for (range, with) in self.made {
            edited.extend_from_slice(&self.whole[done..range.start]);
            edited.extend_from_slice(&with);
            done = range.end;
        }
        edited.extend_from_slice(&self.whole[done..]);
        Cow::Owned(edited)
    }
}

/// The message of an error that has been masked.
fn masked_message(masked: &[u8]) -> Result<String, AnswerFault> {
    #[derive(Deserialize)]
    struct Masked {
        error: MaskedError,
    }
    #[derive(Deserialize)]
    struct MaskedError {
        message: String,
    }
    let Masked { error } = serde_json::from_slice(masked)
        .map_err(|error| AnswerFault::Shape(format!("its error has no message: {error}")))?;
    Ok(error.message)
}
