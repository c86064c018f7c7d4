//! A credential in memory: wiped when the last user lets go of it, never printed.

use std::{fmt, path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{AwsSigner, ClientCertificateFiles, CredentialError};

/// What is presented to a target. Cloning is cheap and shares the secret.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing: the server trusts whoever reaches it.
    None,
    /// A token in the Authorization header.
    Bearer(BearerToken),
    /// A certificate in the TLS handshake.
    ClientCertificate(Arc<ClientCertificate>),
    /// A signature on each request, by [`Credential::sign`].
    AwsSigV4(Arc<AwsSigner>),
}

impl Credential {
    /// Tells credentials apart without giving them away. Connections are pooled by it, never across.
    pub fn id(&self) -> CredentialId {
        match self {
            Self::None => CredentialId::of("none", &[]),
            Self::Bearer(token) => token.id,
            Self::ClientCertificate(certificate) => certificate.id,
            Self::AwsSigV4(signer) => signer.id(),
        }
    }

    /// The value for the Authorization header, marked sensitive, if the credential goes there.
    pub fn authorization(&self) -> Option<HeaderValue> {
        match self {
            Self::Bearer(token) => Some(token.header.clone()),
            Self::None | Self::ClientCertificate(_) | Self::AwsSigV4(_) => None,
        }
    }

    /// Makes these headers present the credential, where it goes into headers: the Authorization header, or a signature
    /// over the request as it will be sent, with `target` its path and query and `host` its Host or `:authority`. What
    /// was there under those names goes.
    ///
    /// # Errors
    /// When the request cannot be signed, or has a signature of its own.
    pub fn sign(
        &self,
        method: &Method,
        target: &str,
        host: &str,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), CredentialError> {
        headers.remove(AUTHORIZATION);
        match self {
            Self::None | Self::ClientCertificate(_) => {}
            Self::Bearer(token) => {
                headers.insert(AUTHORIZATION, token.header.clone());
            }
            Self::AwsSigV4(signer) => signer.sign(method, target, host, headers, body)?,
        }
        Ok(())
    }
}

/// The first 128 bits of a SHA-256 digest over the kind of credential and what it consists of. Fit for logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId([u8; 16]);

impl CredentialId {
    pub(crate) fn of(kind: &str, content: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(content).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A bearer token (RFC 6750).
#[derive(Clone)]
pub struct BearerToken {
    header: HeaderValue,
    id: CredentialId,
}

impl BearerToken {
    /// Reads a file's content. White space around the token is dropped, as client-go does.
    pub(crate) fn parse(path: &Path, content: &[u8]) -> Result<Self, CredentialError> {
        let token = content.trim_ascii();
        if token.is_empty() {
            return Err(CredentialError::Empty(path.to_owned()));
        }
        Self::new(token).ok_or_else(|| CredentialError::NotAToken(path.to_owned()))
    }

    /// The token, if it can stand in an Authorization header (RFC 6750 section 2.1).
    pub(crate) fn new(token: &[u8]) -> Option<Self> {
        if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        // The header shares these bytes instead of copying them, and so they are wiped with its last clone.
        let value = Bytes::from_owner(Zeroizing::new([b"Bearer ", token].concat()));
        let mut header = HeaderValue::from_maybe_shared(value).ok()?;
        header.set_sensitive(true);
        Some(Self { header, id: CredentialId::of("bearer", token) })
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BearerToken({})", self.id)
    }
}

/// A certificate chain and the key that proves it ours. The TLS library wipes the key when it drops it.
pub struct ClientCertificate {
    pub(crate) certified: Arc<CertifiedKey>,
    id: CredentialId,
}

impl ClientCertificate {
    pub(crate) fn parse(
        files: &ClientCertificateFiles,
        certificate: &[u8],
        key: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, CredentialError> {
        let pem = |path: &Path, what| {
            let path = path.to_owned();
            move |source| CredentialError::Pem { path, what, source }
        };
        let chain = certificates(certificate).map_err(pem(&files.cert_file, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(pem(&files.key_file, "private key"))?;
        let id = CredentialId::of(
            "client certificate",
            &chain.iter().flat_map(|der| der.iter()).copied().collect::<Vec<_>>(),
        );
        match CertifiedKey::from_der(chain, key, provider) {
            Ok(certified) => Ok(Self { certified: Arc::new(certified), id }),
            Err(source) => Err(CredentialError::KeyPair {
                certificate: files.cert_file.clone(),
                key: files.key_file.clone(),
                source,
            }),
        }
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({})", self.id)
    }
}

/// All certificates of a PEM file; none at all is an error.
pub(crate) fn certificates(
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() { Err(rustls::pki_types::pem::Error::NoItemsFound) } else { Ok(found) }
}
