//! Where credentials come from.

use std::{
    future::{Future, ready},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;
use portcullis_identity::Subject;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use crate::{
    BearerToken, ClientCertificate, ClientCertificateFiles, Credential, CredentialError,
    file::{Watched, read_public, read_secret},
};

/// Tells the time; injected so that tests can turn the clock.
pub(crate) type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// For whom, and under what, a credential is presented.
#[derive(Debug, Clone, Copy)]
pub struct OnBehalf<'a> {
    /// The engineer.
    pub subject: &'a Subject,
    /// The role that allowed the request.
    pub role: &'a str,
    /// The grant, where there is one (discovery has none).
    pub grant: Option<&'a str>,
    /// When that ends.
    pub expires: Option<Timestamp>,
    /// The recording session.
    pub session: &'a str,
    /// The AWS role to assume instead of the target's own.
    pub aws_role: Option<&'a str>,
    /// Namespace and name of the service account to be instead of the target's own.
    pub service_account: Option<(&'a str, &'a str)>,
}

/// The answer of [`Source::present`], boxed so that sources can be chosen at run time.
pub type Presenting<'a> = Pin<Box<dyn Future<Output = Result<Credential, CredentialError>> + Send + 'a>>;

/// Gives the credential to present to a target.
pub trait Source: Send + Sync {
    /// The credential as it is now. Cheap enough to be called for every request: what has to be fetched is kept.
    ///
    /// # Errors
    /// When there is none that may be used: then nothing may be forwarded.
    fn present<'a>(&'a self, on_behalf: &'a OnBehalf<'a>) -> Presenting<'a>;

    /// Looks whether it could work, as far as that can be told without an engineer.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self) -> Result<(), CredentialError>;
}

/// Presents nothing.
pub(crate) struct Nothing;

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

impl BearerFile {
    pub(crate) fn current(&self) -> Result<Credential, CredentialError> {
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

impl CertificateFiles {
    pub(crate) fn current(&self) -> Result<Credential, CredentialError> {
        let ClientCertificateFiles { cert_file, key_file } = &self.files;
        let read = || {
            let (certificate, key) = (read_public(cert_file)?, read_secret(key_file)?);
            ClientCertificate::parse(&self.files, &certificate, &key, &self.provider).map(Arc::new)
        };
        self.certificate.current(&[cert_file, key_file], read).map(Credential::ClientCertificate)
    }
}

impl Source for Nothing {
    fn present<'a>(&'a self, _on_behalf: &'a OnBehalf<'a>) -> Presenting<'a> {
        Box::pin(ready(Ok(Credential::None)))
    }

    fn check(&self) -> Result<(), CredentialError> {
        Ok(())
    }
}

impl Source for BearerFile {
    fn present<'a>(&'a self, _on_behalf: &'a OnBehalf<'a>) -> Presenting<'a> {
        Box::pin(ready(self.current()))
    }

    fn check(&self) -> Result<(), CredentialError> {
        self.current().map(drop)
    }
}

impl Source for CertificateFiles {
    fn present<'a>(&'a self, _on_behalf: &'a OnBehalf<'a>) -> Presenting<'a> {
        Box::pin(ready(self.current()))
    }

    fn check(&self) -> Result<(), CredentialError> {
        self.current().map(drop)
    }
}
