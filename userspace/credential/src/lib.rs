//! What the proxy presents upstream, and what it verifies the server against: a credential of its own, never the
//! client's, and the target's own CA, never the system's.

mod config;
mod credential;
mod error;
mod file;
mod source;
mod tls;

pub use config::{ClientCertificateFiles, UpstreamConfig};
pub use credential::{BearerToken, ClientCertificate, Credential, CredentialId};
pub use error::CredentialError;
pub use source::{OnBehalf, Presenting, Source};
pub use tls::UpstreamTls;
