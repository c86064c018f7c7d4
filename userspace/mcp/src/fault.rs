//! Everything that can be wrong with messages and pins, and how it is told in JSON-RPC.

use std::io;
use std::path::PathBuf;

use http::StatusCode;
use serde_json::{Value, json};

use crate::Id;
use crate::headers::VERSIONS;
use crate::message::MAX_MESSAGE;
use crate::outbound::MAX_ANSWER;

/// JSON-RPC 2.0, section 5.1: no JSON.
const PARSE_ERROR: i64 = -32700;
/// JSON-RPC 2.0, section 5.1: no request.
const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC 2.0, section 5.1: parameters that the method does not take.
const INVALID_PARAMS: i64 = -32602;
/// MCP 2026-07-28: a header is missing or says something else than the body.
const HEADER_MISMATCH: i64 = -32020;
/// MCP 2026-07-28: a revision of the protocol that is not spoken.
const UNSUPPORTED_VERSION: i64 = -32022;

/// Most characters of a client's or server's own words in a message.
const QUOTED: usize = 80;

/// Why a client's message is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// More bytes than [`MAX_MESSAGE`].
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    /// No JSON, or JSON that can be read in two ways.
    #[error("the message cannot be read: {0}")]
    Json(#[source] serde_json::Error),
    /// Several messages in one body, which 2025-03-26 had and the revisions after it do not.
    #[error("batches are not taken: send each message by itself")]
    Batch,
    /// JSON that is no message of the protocol.
    #[error("this is no message of MCP: {what}")]
    Invalid {
        /// Of the message.
        id: Option<Id>,
        /// What is wrong, and where.
        what: String,
    },
    /// Parameters that do not say what the request is about.
    #[error("the parameters of {method} cannot be read: {what}")]
    Params {
        /// Of the message.
        id: Option<Id>,
        /// Its method.
        method: String,
        /// What is wrong, and where.
        what: String,
    },
    /// A header that is missing, repeated, or says something else than the body.
    #[error("the header {header} {what}")]
    Header {
        /// Of the message.
        id: Option<Id>,
        /// The header.
        header: String,
        /// What is wrong with it.
        what: String,
    },
    /// A revision of the protocol that is not spoken here.
    #[error("the revision {} of MCP is not known; those are {}", quoted(requested), VERSIONS.join(", "))]
    Version {
        /// Of the message.
        id: Option<Id>,
        /// What `MCP-Protocol-Version` says.
        requested: String,
    },
}

impl Fault {
    /// The JSON-RPC error code.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Fault::Json(_) => PARSE_ERROR,
            Fault::TooLong | Fault::Batch | Fault::Invalid { .. } => INVALID_REQUEST,
            Fault::Params { .. } => INVALID_PARAMS,
            Fault::Header { .. } => HEADER_MISMATCH,
            Fault::Version { .. } => UNSUPPORTED_VERSION,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Fault::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The id of the request, where one could be read.
    #[must_use]
    pub fn id(&self) -> Option<&Id> {
        match self {
            Fault::TooLong | Fault::Json(_) | Fault::Batch => None,
            Fault::Invalid { id, .. }
            | Fault::Params { id, .. }
            | Fault::Header { id, .. }
            | Fault::Version { id, .. } => id.as_ref(),
        }
    }

    /// What the error's `data` says, so that a client can try another revision of the protocol.
    #[must_use]
    pub fn data(&self) -> Option<Value> {
        match self {
            Fault::Version { requested, .. } => {
                Some(json!({ "supported": VERSIONS, "requested": requested }))
            }
            _ => None,
        }
    }
}

/// Why a server's answer is withheld.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerFault {
    /// More bytes than [`MAX_ANSWER`].
    #[error("the server's message is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// An event stream that cannot be followed.
    #[error("the server's event stream cannot be read: {0}")]
    Stream(#[source] portcullis_codec::Error),
    /// The answer, or the event under way, has no end.
    #[error("the server's answer breaks off in the middle of a message")]
    Incomplete,
    /// No JSON, or JSON that can be read in two ways.
    #[error("the server's message cannot be read: {0}")]
    Json(#[source] serde_json::Error),
    /// JSON that is no message of the protocol, or none that belongs here.
    #[error("the server's message is not one of MCP: {0}")]
    Shape(String),
    /// The definitions of tools could not be compared with those before.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// What is in it cannot be masked.
    #[error("the server's message cannot be masked: {0}")]
    Mask(#[from] portcullis_mask::MaskError),
}

/// Why tool definitions could not be read, or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The file cannot be read or written.
    #[error("cannot {action} the pinned tool definitions in {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The file is not as it was written.
    #[error("the pinned tool definitions in {} cannot be read: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// More tools, or longer definitions, than are kept.
    #[error("the server describes {0}; its tools cannot be told from changed ones")]
    Full(String),
    /// The definition to accept is not the one that the server shows.
    #[error("the server shows no changed definition of the tool {} with this digest", quoted(.0))]
    Unknown(String),
}

/// The JSON text of an error answer. Its id is null where none could be read (JSON-RPC 2.0, section 5): MCP would have it
/// left out, but clients that read answers strictly (the Python SDK) show nothing of one without.
#[must_use]
pub fn error(id: Option<&Id>, code: i64, message: &str, data: Option<Value>) -> Vec<u8> {
    let id = id.map(Id::to_json);
    let mut answer = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } });
    if let Some(data) = data {
        answer["error"]["data"] = data;
    }
    answer.to_string().into_bytes()
}

/// Somebody else's words in a message: in quotes, cut.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
