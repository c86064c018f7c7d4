//! A small, strict AWS Security Token Service for tests.
//!
//! Other stand-ins for AWS take any signature. This one recomputes the canonical request of every call, by code of its
//! own, and compares signatures; it keeps time, checks session tokens, names and tags as the API reference says, and
//! writes down who assumed which role under which name. It speaks the query protocol to SDKs and the CLI, verifies
//! EKS tokens as a cluster does ([`Sts::authenticate`]) and signed requests as other services do ([`Sts::verify`]), and
//! can be told to throttle, fail, hang or redirect.
//!
//! A test tool: it guards nothing, and its journal is open to whoever can connect.

mod answer;
mod assume;
mod control;
mod eks;
mod error;
mod form;
mod journal;
mod legal;
mod options;
mod pki;
mod principals;
mod server;
mod service;
mod sigv4;

pub use eks::{Identity, TokenRefused};
pub use error::{Error, Refusal};
pub use journal::Event;
pub use options::{Clock, Options, Role, User};
pub use server::Sts;
pub use service::Fault;
