//! Configuration: which credential a target is given. Exactly one kind; the key names it.

use std::{path::PathBuf, sync::Arc, time::Instant};

use serde::Deserialize;

use crate::{
    ClientCredentialsConfig, CredentialError, EksConfig, SigV4Config, TargetPlace, TokenRequestConfig,
    account::AccountSource,
    aws::{EksSource, SigV4Source},
    clock,
    oauth::ClientCredentialsSource,
    source::{BearerFile, CertificateFiles, Clock, Nothing, Source},
};

/// Where the credential comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum UpstreamConfig {
    /// `none: {}`: nothing is presented. For a server that trusts whoever reaches it, where nobody else does.
    None {},
    /// A file with a bearer token, as a service account has; read again when it changes.
    BearerTokenFile(PathBuf),
    /// A client certificate and its key; read again when either changes.
    ClientCertificate(ClientCertificateFiles),
    /// Tokens for an EKS cluster, from a role that is assumed for each engineer.
    Eks(Box<EksConfig>),
    /// Short-lived tokens of a service account, from the cluster itself.
    TokenRequest(TokenRequestConfig),
    /// Access tokens of an OAuth authorization server, by the client credentials grant.
    #[serde(rename = "oauthClientCredentials")]
    OAuthClientCredentials(ClientCredentialsConfig),
    /// Signatures with AWS' keys on each request, by a role that is assumed for each engineer.
    AwsSigV4(Box<SigV4Config>),
}

/// Two PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificateFiles {
    /// The certificate, followed by intermediate ones if there are any.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

impl UpstreamConfig {
    /// The source of the credential for the target at `place` (none where it is reached without TLS), looked at once, so that a wrong path is told now and not
    /// at the first request. Nobody is called: that has to wait for an engineer. Where there is a runtime, fetches run
    /// on it.
    ///
    /// # Errors
    /// As [`Source::check`].
    pub fn open(&self, place: Option<&TargetPlace>) -> Result<Box<dyn Source>, CredentialError> {
        let looks: Clock = Arc::new(Instant::now);
        let source: Box<dyn Source> = match self.clone() {
            Self::None {} => Box::new(Nothing),
            Self::BearerTokenFile(path) => Box::new(BearerFile::new(path, looks)),
            Self::ClientCertificate(files) => Box::new(CertificateFiles::new(files, looks)),
            Self::Eks(config) => Box::new(EksSource::new(*config, clock::system())?),
            Self::TokenRequest(config) => {
                Box::new(AccountSource::new(config, place.ok_or_else(no_tls)?.clone(), clock::system()))
            }
            Self::OAuthClientCredentials(config) => {
                Box::new(ClientCredentialsSource::new(config, clock::system(), looks)?)
            }
            Self::AwsSigV4(config) => Box::new(SigV4Source::new(*config, clock::system())?),
        };
        source.check()?;
        Ok(source)
    }

    /// The EKS cluster, where the credential is for one: its endpoint and CA may be left to [`discover`](crate::discover).
    #[must_use]
    pub fn eks(&self) -> Option<&EksConfig> {
        match self {
            Self::Eks(config) => Some(config),
            _ => None,
        }
    }
}

fn no_tls() -> CredentialError {
    CredentialError::config("tokenRequest", "the target is reached without TLS, and gives out no tokens so")
}
