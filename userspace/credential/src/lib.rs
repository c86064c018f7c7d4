//! What the proxy presents upstream, and what it verifies the server against: a credential of its own, never the
//! client's, and the target's own CA, never the system's.
//!
//! A credential is read from files, or fetched: an EKS token or AWS' keys from a role session that bears the engineer's
//! name, a service account's token from the cluster itself, an access token from an OAuth authorization server. What is
//! fetched is kept in memory until it ends.

mod account;
mod aws;
mod cache;
mod clock;
mod config;
mod credential;
mod error;
mod file;
mod oauth;
mod source;
mod tls;
mod web;

pub use account::{ServiceAccount, TargetPlace, TokenRequestConfig, Using};
pub use aws::{
    AwsSigner, DiscoveredCluster, Discovery, EksConfig, EksEndpoints, SigV4Config, SigV4Endpoints,
    check_role_arn, discover, discover_or_remembered, session_name,
};
pub use config::{ClientCertificateFiles, UpstreamConfig};
pub use credential::{BearerToken, ClientCertificate, Credential, CredentialId};
pub use error::{CredentialError, Unavailable, Why};
pub use oauth::ClientCredentialsConfig;
pub use source::{OnBehalf, Presenting, Source};
pub use tls::UpstreamTls;
