//! Requests signed with AWS' keys, for servers that let IAM decide who may call them.

mod config;
mod signer;
mod source;

pub use config::{SigV4Config, SigV4Endpoints};
pub use signer::AwsSigner;
pub(crate) use source::SigV4Source;
