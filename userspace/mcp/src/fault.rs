//! Everything that can be wrong with messages and pins, and how it is told in JSON-RPC.

use http::StatusCode;
use serde_json::Value;

use crate::Id;

/// Why a client's message is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No JSON.
    #[error("the message cannot be read: {0}")]
    Json(String),
}

impl Fault {
    /// The JSON-RPC error code.
    #[must_use]
    pub fn code(&self) -> i64 {
        unimplemented!()
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        unimplemented!()
    }

    /// The id of the request, where one could be read.
    #[must_use]
    pub fn id(&self) -> Option<&Id> {
        unimplemented!()
    }
}

/// Why a server's answer is withheld.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerFault {
    /// It cannot be masked.
    #[error("the answer cannot be masked: {0}")]
    Mask(#[from] portcullis_mask::MaskError),
}

/// Why tool definitions could not be read, or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// No such definition waits.
    #[error("no changed definition of tool {0:?} with this digest is known")]
    Unknown(String),
}

/// The JSON text of an error answer.
#[must_use]
pub fn error(_id: Option<&Id>, _code: i64, _message: &str, _data: Option<Value>) -> Vec<u8> {
    unimplemented!()
}
