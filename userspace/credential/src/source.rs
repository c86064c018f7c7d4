//! Where credentials come from.

use std::{path::PathBuf, sync::Arc, time::Instant};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

use crate::{
    BearerToken, ClientCertificate, ClientCertificateFiles, Credential, CredentialError,
    file::{Watched, read_public, read_secret},
};

/// Tells the time; injected so that tests can turn the clock.
pub(crate) type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Gives the credential to present to a target.
pub trait Source: Send + Sync {
    /// The credential as it is now. Cheap enough to be called for every request.
    ///
    /// # Errors
    /// When there is none that may be used: then nothing may be forwarded.
    fn current(&self) -> Result<Credential, CredentialError>;
}

/// A bearer token in a file.
pub(crate) struct BearerFile {
    path: PathBuf,
    token: Watched<BearerToken>,
}

impl BearerFile {
    pub(crate) fn new(path: PathBuf, clock: Clock) -> Self {
        Self { path, token: Watched::new(clock) }
    }
}

impl Source for BearerFile {
    fn current(&self) -> Result<Credential, CredentialError> {
        let read = || BearerToken::parse(&self.path, &read_secret(&self.path)?);
        self.token.current(&[&self.path], read).map(Credential::Bearer)
    }
}

/// A client certificate in two files. While only one of them has been replaced they do not go together, and there is
/// no credential.
pub(crate) struct CertificateFiles {
    files: ClientCertificateFiles,
    provider: CryptoProvider,
    certificate: Watched<Arc<ClientCertificate>>,
}

impl CertificateFiles {
    pub(crate) fn new(files: ClientCertificateFiles, clock: Clock) -> Self {
        Self { files, provider: aws_lc_rs::default_provider(), certificate: Watched::new(clock) }
    }
}

impl Source for CertificateFiles {
    fn current(&self) -> Result<Credential, CredentialError> {
        let ClientCertificateFiles { cert_file, key_file } = &self.files;
        let read = || {
            let (certificate, key) = (read_public(cert_file)?, read_secret(key_file)?);
            ClientCertificate::parse(&self.files, &certificate, &key, &self.provider).map(Arc::new)
        };
        self.certificate.current(&[cert_file, key_file], read).map(Credential::ClientCertificate)
    }
}
