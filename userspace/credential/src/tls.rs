//! TLS toward a target: its certificate is verified against its own CA, and there is no way to say otherwise.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::ResolvesClientCert,
    crypto::{CryptoProvider, aws_lc_rs},
    sign::SingleCertAndKey,
};

use crate::{Credential, CredentialError, credential::certificates, file::read_public};

/// Makes the TLS configurations for one target. Cloning is cheap.
#[derive(Clone)]
pub struct UpstreamTls {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl UpstreamTls {
    /// Reads the target's CA, a file with one certificate or several in PEM. It is read once: after its rotation the
    /// configuration must be loaded again.
    ///
    /// # Errors
    /// When the file cannot be read, may be written by everyone, or holds anything but CA certificates.
    pub fn from_file(path: &Path) -> Result<Self, CredentialError> {
        Self::from_pem(path, &read_public(path)?)
    }

    /// The same of a CA that came another way, as from [`discover`](crate::discover); errors name `origin`.
    ///
    /// # Errors
    /// When it holds anything but CA certificates.
    pub fn from_pem(origin: &Path, pem: &[u8]) -> Result<Self, CredentialError> {
        let found = certificates(pem).map_err(|source| CredentialError::Pem {
            path: origin.to_owned(),
            what: "CA certificate",
            source,
        })?;
        let mut roots = RootCertStore::empty();
        for (index, certificate) in found.into_iter().enumerate() {
            let (path, number) = (origin.to_owned(), index + 1);
            roots.add(certificate).map_err(|source| CredentialError::Ca { path, number, source })?;
        }
        Ok(Self { roots: Arc::new(roots), provider: Arc::new(aws_lc_rs::default_provider()) })
    }

    /// A configuration that presents the credential, if it is a certificate, and offers these protocols. TLS 1.2 and
    /// 1.3. Each has its own session cache, so sessions are never resumed across credentials: make one a pool.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn client_config(
        &self,
        credential: &Credential,
        alpn: &[Vec<u8>],
    ) -> Result<Arc<ClientConfig>, CredentialError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = match credential {
            Credential::None | Credential::Bearer(_) | Credential::AwsSigV4(_) => {
                builder.with_no_client_auth()
            }
            Credential::ClientCertificate(certificate) => {
                let certified = Arc::clone(&certificate.certified);
                let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(certified));
                builder.with_client_cert_resolver(resolver)
            }
        };
        config.alpn_protocols = alpn.to_vec();
        Ok(Arc::new(config))
    }
}

/// A bundle of CA certificates in PEM, for libraries that want it so. As strict as for a target's CA: the AWS SDK's client
/// would panic at what is none.
///
/// # Errors
/// As [`UpstreamTls::from_file`].
pub(crate) fn read_ca(path: &Path) -> Result<Vec<u8>, CredentialError> {
    let pem = read_public(path)?;
    UpstreamTls::from_pem(path, &pem)?;
    Ok(pem.to_vec())
}
