//! MCP over Streamable HTTP as a gate has to read it: a client's message, the headers that repeat it, a server's answers.
//!
//! Pure: no sockets, no clock of its own. Both eras of the protocol are read: 2025-03-26, 2025-06-18 and 2025-11-25 with
//! `initialize` and sessions, 2026-07-28 with everything in each request.

mod answer;
mod blob;
mod data_uri;
mod definition;
mod embedded;
mod fault;
mod format;
mod fragment;
mod guard;
mod headers;
mod issued;
mod json;
mod list;
mod masker;
mod message;
mod method;
pub mod oauth;
mod origin;
mod outbound;
mod pins;
mod rounds;

pub use answer::{AnswerBody, BodyKind};
pub use blob::BlobPolicy;
pub use definition::{Definition, ParamHeader};
pub use fault::{AnswerFault, Fault, PinError, error};
pub use guard::placeholders;
pub use headers::{Era, VERSIONS, check_headers};
pub use issued::{Issued, Owner};
pub use list::Visible;
pub use masker::MessageMasker;
pub use message::{About, Id, Kind, MAX_MESSAGE, Message};
pub use origin::origin_allowed;
pub use outbound::{MAX_ANSWER, Outbound, Passed, PassedKind};
pub use pins::{Pinned, Pins};
pub use rounds::{Action, UrlElicitation, bringing_back};
