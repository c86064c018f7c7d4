//! Configuration: which credential a target is given. Exactly one kind; the key names it.

use std::{path::PathBuf, sync::Arc, time::Instant};

use serde::Deserialize;

use crate::{
    CredentialError,
    source::{BearerFile, CertificateFiles, Clock, Source},
};

/// Where the credential comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum UpstreamConfig {
    /// A file with a bearer token, as a service account has; read again when it changes.
    BearerTokenFile(PathBuf),
    /// A client certificate and its key; read again when either changes.
    ClientCertificate(ClientCertificateFiles),
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
    /// The source of the credential, looked at once, so that a wrong path is told now and not at the first request.
    ///
    /// # Errors
    /// As [`Source::current`].
    pub fn open(&self) -> Result<Box<dyn Source>, CredentialError> {
        let clock: Clock = Arc::new(Instant::now);
        let source: Box<dyn Source> = match self.clone() {
            Self::BearerTokenFile(path) => Box::new(BearerFile::new(path, clock)),
            Self::ClientCertificate(files) => Box::new(CertificateFiles::new(files, clock)),
        };
        source.check()?;
        Ok(source)
    }
}
