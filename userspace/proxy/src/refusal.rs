//! The one refusal type: what the client reads, the log says and the record keeps (Law 2).

use bytes::Bytes;
use http::HeaderName;
use http::{HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use portcullis_access::{AccessError, Ended, Hold, HoldId, HoldState, format_duration};
use portcullis_credential::CredentialError;
use portcullis_identity::Challenge;
use portcullis_kube::{Ambiguity, ClassifyError, Status};
use portcullis_mask::MaskError;
use portcullis_mcp::{AnswerFault, Id};
use portcullis_record::RecordError;

use crate::body::ResponseBody;
use crate::caller::Stranger;
use crate::decide::Denial;
use crate::mcp::McpFault;
use crate::wire::Fault;

/// Why a request was not served. `Display` is the sentence that the engineer reads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("portcullis: {0}")]
    Stranger(Stranger),
    #[error("portcullis: refused: {}", framing(*.0))]
    Framing(Fault),
    #[error("portcullis: refused: the request can be read in two ways: it has more than one {0} header")]
    Repeated(HeaderName),
    #[error("portcullis: refused: the request line can be read in two ways: {0}")]
    Ambiguous(Ambiguity),
    #[error("portcullis: refused: {0}")]
    Unclassified(#[from] ClassifyError),
    #[error(
        "portcullis: refused: impersonation (kubectl --as, Impersonate-* headers) does not pass the gate"
    )]
    Impersonation,
    #[error("portcullis: refused: {0}")]
    Mcp(Box<McpFault>),
    #[error("{0}")]
    Denied(Box<Denial>),
    #[error(
        "portcullis: refused: {resource} are masked here and can be sent as JSON or protobuf only; the request accepts {accept:?}",
        resource = "these objects"
    )]
    NotAcceptable { accept: String },
    #[error("portcullis: refused: {what} can be sent as JSON only; the request accepts {accept:?}")]
    JsonOnly { what: &'static str, accept: String },
    #[error(
        "portcullis: refused: a Table without objects (includeObject=None) cannot be filtered; leave includeObject out"
    )]
    BareTable,
    #[error("portcullis: refused: an answer that is filtered cannot be upgraded to {protocol:?}")]
    FilteredUpgrade { protocol: String },
    #[error("portcullis: withheld: the answer cannot be filtered: {0}")]
    Unfilterable(String),
    #[error(
        "portcullis: refused: a question of type {content_type:?} is not read here; application/json and \
         application/vnd.kubernetes.protobuf are"
    )]
    ReviewType { content_type: String },
    #[error(
        "portcullis: refused: an upgrade to {protocol:?} cannot be followed here; only exec, attach, port-forward, watches and logs can be upgraded"
    )]
    Upgrade { protocol: String },
    #[error(
        "portcullis: refused: the body carries a masked value back ({0}); writing it would destroy the secret. Send the real value, or leave that field out (kubectl patch)"
    )]
    WriteBack(String),
    #[error(
        "portcullis: refused: Operation cannot be fulfilled on {object}: the object has been modified; please apply your changes to the latest version and try again (masked values are restored from the version that they were read from)"
    )]
    Stale { object: String },
    #[error(
        "portcullis: withheld: the API server refused the write ({code}), and what it said quotes values that are masked here{}",
        if fields.is_empty() { String::new() } else { format!("; it is about {}", fields.join(", ")) }
    )]
    Quoted { code: StatusCode, reason: String, fields: Vec<String> },
    #[error("portcullis: refused: the body of a write to a masked resource is over {limit} bytes")]
    TooLarge { limit: usize },
    #[error("portcullis: refused: too many writes to masked resources are under way at once")]
    TooManyWrites,
    #[error(
        "portcullis: withheld: too many large answers in protobuf are being masked at once; ask for JSON, or for less (limit)"
    )]
    TooManyAnswers,
    #[error(
        "portcullis: refused: a JSON patch with {operation} could show or probe a masked value; use add, replace and remove"
    )]
    Probe { operation: &'static str },
    #[error(
        "portcullis: refused: a patch of type {content_type:?} cannot be checked for what it does to masked values"
    )]
    PatchType { content_type: String },
    #[error("portcullis: refused: {}", held(.0))]
    Held(Box<Hold>),
    #[error("portcullis: refused: the request needs somebody's agreement and cannot wait for it: {0}")]
    NotHeld(Box<AccessError>),
    #[error("portcullis: refused: held request {id} is not known any more: try again")]
    HoldLost { id: HoldId },
    #[error("portcullis: refused: only what a grant allows can be held")]
    HoldWithoutGrant,
    #[error(
        "portcullis: refused: who has to agree to the request has changed since it was agreed to. Run the command again to ask again"
    )]
    OtherTerms,
    #[error("portcullis: refused: the bearer token that the request presents cannot be read")]
    UnreadableToken,
    #[error("portcullis: access ended: {0}")]
    Ended(Ended),
    #[error("portcullis: refused: the body of the request could not be read: {0}")]
    BodyUnreadable(String),
    #[error("portcullis: refused: a body in content coding {0:?} cannot be checked for masked values")]
    BodyCoding(String),
    #[error(
        "portcullis: refused: the name {name:?} is reserved to the cluster and cannot be presented for an engineer"
    )]
    ReservedName { name: String },
    #[error("portcullis: refused: the name {name:?} cannot stand in an HTTP header")]
    UnspeakableName { name: String },
    #[error("portcullis: refused: this session cannot be recorded: {0}")]
    Unrecorded(Box<RecordError>),
    #[error("portcullis: no credential for target {target}: {source}")]
    Credential { target: String, source: Box<CredentialError> },
    #[error("portcullis: target {target} did not answer: {cause}")]
    Upstream { target: String, cause: String },
    #[error(
        "portcullis: target {target} hung up while the request waited to be agreed to, which it is now: make it again at once"
    )]
    HungUp { target: String },
    #[error("portcullis: withheld: the answer could not be masked: {0}")]
    Unmaskable(Box<MaskError>),
    #[error("portcullis: withheld: {0}")]
    Answer(Box<AnswerFault>),
    #[error("portcullis: withheld: masked objects came as {content_type:?}, which the masker does not read")]
    UnmaskableType { content_type: String },
}

impl From<McpFault> for Refusal {
    fn from(fault: McpFault) -> Self {
        Self::Mcp(Box::new(fault))
    }
}

impl From<AnswerFault> for Refusal {
    fn from(fault: AnswerFault) -> Self {
        Self::Answer(Box::new(fault))
    }
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        Self::Unrecorded(Box::new(error))
    }
}

impl From<MaskError> for Refusal {
    fn from(error: MaskError) -> Self {
        match error {
            MaskError::List(fault) => Self::Unfilterable(fault.to_string()),
            error => Self::Unmaskable(Box::new(error)),
        }
    }
}

/// How a refusal is worded. kubectl shows what it reads of it word for word, and else just "unknown" (checked on 1.27 to
/// 1.33).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wording {
    /// A `metav1.Status`.
    Status,
    /// Plain text: kubectl before 1.32 reads no Status in answer to a watch.
    Text,
    /// Plain text, and always 403.
    Discovery,
    /// A JSON-RPC error, in answer to this request if to any.
    Rpc(Option<Id>),
}

/// A refusal, and the number of the request in its session where it had one already.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) request: Option<u32>,
    /// How it is to be worded, where the request line does not tell.
    pub(crate) wording: Option<Wording>,
}

impl Refused {
    /// The same, worded like this unless it is known how.
    pub(crate) fn or_worded(self, wording: Wording) -> Self {
        Self { wording: self.wording.or(Some(wording)), ..self }
    }
}

impl<E: Into<Refusal>> From<E> for Refused {
    fn from(refusal: E) -> Self {
        Self { refusal: refusal.into(), request: None, wording: None }
    }
}

impl Refusal {
    /// The same refusal of a request whose record is open.
    pub(crate) fn of(self, request: u32) -> Refused {
        Refused { refusal: self, request: Some(request), wording: None }
    }

    /// The HTTP status. Kubernetes clients print the message of 403 word for word and retry 429 and 503 only when
    /// told to by `Retry-After`, which is never sent.
    pub(crate) fn code(&self) -> StatusCode {
        match self {
            Self::Stranger(Stranger::OverLimit { .. }) | Self::TooManyWrites | Self::TooManyAnswers => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Stranger(Stranger::Unidentified(_))
            | Self::Denied(_)
            | Self::Held(_)
            | Self::NotHeld(_)
            | Self::HoldLost { .. }
            | Self::HoldWithoutGrant
            | Self::OtherTerms
            | Self::UnreadableToken
            | Self::Ended(_)
            | Self::Probe { .. }
            | Self::Impersonation
            | Self::Upgrade { .. }
            | Self::FilteredUpgrade { .. }
            | Self::ReservedName { .. }
            | Self::UnspeakableName { .. }
            | Self::WriteBack(_) => StatusCode::FORBIDDEN,
            Self::Mcp(fault) => fault.status(),
            Self::Framing(Fault::TooLong) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Framing(Fault::TargetTooLong) => StatusCode::URI_TOO_LONG,
            Self::Ambiguous(_)
            | Self::Framing(_)
            | Self::Repeated(_)
            | Self::Unclassified(_)
            | Self::BareTable
            | Self::BodyUnreadable(_) => StatusCode::BAD_REQUEST,
            Self::NotAcceptable { .. } | Self::JsonOnly { .. } => StatusCode::NOT_ACCEPTABLE,
            Self::Stale { .. } => StatusCode::CONFLICT,
            Self::Quoted { code, .. } => *code,
            Self::Unmaskable(error) if matches!(**error, MaskError::TooLarge { .. }) => {
                StatusCode::NOT_ACCEPTABLE
            }
            Self::BodyCoding(_) | Self::PatchType { .. } | Self::ReviewType { .. } => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unrecorded(_) | Self::Credential { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream { .. }
            | Self::HungUp { .. }
            | Self::Unmaskable(_)
            | Self::UnmaskableType { .. }
            | Self::Answer(_)
            | Self::Unfilterable(_) => StatusCode::BAD_GATEWAY,
        }
    }

    fn status(&self, message: String) -> Status {
        if let Self::Quoted { code, reason, .. } = self {
            return Status { code: code.as_u16(), reason: reason.clone(), ..Status::bad_request(message) };
        }
        match self.code() {
            StatusCode::CONFLICT => Status::conflict(message),
            StatusCode::FORBIDDEN => Status::forbidden(message),
            StatusCode::BAD_REQUEST => Status::bad_request(message),
            StatusCode::NOT_ACCEPTABLE => Status::not_acceptable(message),
            StatusCode::BAD_GATEWAY => Status::bad_gateway(message),
            StatusCode::SERVICE_UNAVAILABLE => Status::service_unavailable(message),
            code => Status { code: code.as_u16(), ..Status::bad_request(message) },
        }
    }

    /// The refusal as a JSON-RPC error, with the words for an agent to act on.
    pub(crate) fn rpc(&self, id: Option<&Id>) -> Vec<u8> {
        let (code, data) = match self {
            Self::Mcp(fault) => (fault.code(), fault.data()),
            other => (i64::from(other.code().as_u16()), None),
        };
        portcullis_mcp::error(id, code, &self.to_string(), data)
    }

    /// Why a token would help, if one would.
    pub(crate) fn challenge(&self) -> Option<Challenge> {
        match self {
            Self::Stranger(Stranger::Unidentified(error)) => error.challenge(),
            _ => None,
        }
    }

    /// The answer, in the form that the client can show.
    pub(crate) fn response(&self, wording: &Wording) -> Response<ResponseBody> {
        let message = self.to_string();
        let (body, content_type) = match wording {
            Wording::Status => (Bytes::from(self.status(message).to_json()), "application/json"),
            Wording::Text | Wording::Discovery => (Bytes::from(message), "text/plain; charset=utf-8"),
            Wording::Rpc(id) => (Bytes::from(self.rpc(id.as_ref())), "application/json"),
        };
        let mut response = Response::new(ResponseBody::whole(body));
        // On discovery paths a 4xx other than 403 makes kubectl drop the text as well.
        *response.status_mut() = match wording {
            Wording::Discovery => StatusCode::FORBIDDEN,
            // Clients read what a request is answered; of another status some show the number alone.
            Wording::Rpc(Some(_)) if !matches!(self, Self::Mcp(_)) => StatusCode::OK,
            Wording::Rpc(_) | Wording::Status | Wording::Text => self.code(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(date) = date() {
            headers.insert(header::DATE, date);
        }
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        response
    }
}

/// What is wrong with the bytes of a request.
fn framing(fault: Fault) -> String {
    match fault {
        Fault::TooLong | Fault::TargetTooLong => format!("the request is too long: {fault}"),
        fault => format!("the request can be read in two ways: {fault}"),
    }
}

/// The field that every answer has (RFC 9110 §6.6.1).
fn date() -> Option<HeaderValue> {
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()).ok()?;
    HeaderValue::try_from(text).ok()
}

/// Why a request that waited does not go on.
fn held(hold: &Hold) -> String {
    let Hold { id, operation, target, state, .. } = hold;
    let what = format!("{operation} of target {target} (held as {id})");
    let comment = hold.refusal.as_ref().and_then(|word| word.comment.as_ref());
    let comment = comment.map_or(String::new(), |comment| format!(": {comment}"));
    match (state, &hold.refusal) {
        (HoldState::Denied, Some(word)) => format!("{} did not agree to {what}{comment}", word.by),
        (HoldState::Expired, _) if hold.approvals.len() >= hold.terms.required.max(1) as usize => {
            format!("the agreement to {what} was not used in time. Run the command again to ask again")
        }
        (HoldState::Expired, _) => format!(
            "nobody agreed to {what} within {}. Run the command again to ask again",
            format_duration(hold.terms.wait)
        ),
        (HoldState::Cancelled, Some(word)) => format!("{what} was withdrawn by {}{comment}", word.by),
        (state, _) => format!("{what} is {state}. Run the command again to ask again"),
    }
}
