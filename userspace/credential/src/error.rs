//! Why there is no credential to present, or nothing to verify a server against.

use std::{io, path::PathBuf};

/// Each names the file and what to do about it; none contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file cannot be read, for instance because it is gone.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Every user of the host could take the credential, or put another in its place.
    #[error(
        "{} may be read or written by everyone (mode {mode:04o}): chmod o-rw it \
         (for a mounted Kubernetes Secret set defaultMode: 0440)", .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no token.
    #[error("{} is empty: there is no token to present", .0.display())]
    Empty(PathBuf),
    /// The file holds something that cannot stand in an Authorization header (RFC 6750 section 2.1).
    #[error("{} is not a bearer token: it holds blanks or characters that no token has", .0.display())]
    NotAToken(PathBuf),
    /// Not the PEM that was expected.
    #[error("{} holds no {what} in PEM: {source}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// "certificate" or "private key".
        what: &'static str,
        /// The parser's answer.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not go together, or the key is of an unknown kind.
    #[error("{} cannot be used with {}: {source}", .certificate.display(), .key.display())]
    KeyPair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// The TLS library's answer.
        source: rustls::Error,
    },
    /// A certificate in the target's CA bundle cannot be a CA.
    #[error("certificate {number} in {} cannot be a target's CA: {source}", .path.display())]
    Ca {
        /// The bundle.
        path: PathBuf,
        /// Its position in the bundle, from 1.
        number: usize,
        /// The TLS library's answer.
        source: rustls::Error,
    },
    /// The TLS library refused a configuration.
    #[error("cannot configure TLS toward the target: {0}")]
    Tls(#[from] rustls::Error),
}
