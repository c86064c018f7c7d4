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
    /// Something in a credential's configuration cannot be meant.
    #[error("{field}: {problem}")]
    Config {
        /// The field, as `eks.roleArn`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A request cannot be signed.
    #[error("cannot sign the request to {host}: {why}")]
    Sign {
        /// Where it goes.
        host: String,
        /// What is in the way.
        why: String,
    },
    /// It has to be fetched, and could not be.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl CredentialError {
    pub(crate) fn config(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config { field: field.into(), problem: problem.into() }
    }
}

/// Why a credential could not be fetched. Cloned to everybody who waited for the same one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {what}: {why}")]
pub struct Unavailable {
    /// What was tried: "assume arn:aws:iam::111122223333:role/portcullis as alice", for instance.
    pub what: String,
    /// What came of it.
    pub why: Why,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Whoever was asked said no, in these words.
    #[error("{code}: {message}")]
    Refused {
        /// `AccessDenied`, `Throttling`, `Forbidden`, …
        code: String,
        /// The text, on one line.
        message: String,
    },
    /// No answer came, or none that decides: a timeout, a broken connection, an overloaded server.
    #[error("{0}")]
    Unreachable(String),
    /// An answer came that is of no use.
    #[error("{0}")]
    Unusable(String),
}

/// The longest text of others that an error repeats, in characters.
const LONGEST_QUOTE: usize = 400;

/// The first line of what others said, cut, without control characters: STS quotes what was signed, session token
/// included, from the second line on, and the text is for a terminal.
pub(crate) fn quote(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    let mut quoted: String = line.chars().filter(|c| !c.is_control()).take(LONGEST_QUOTE).collect();
    if line.chars().nth(LONGEST_QUOTE).is_some() {
        quoted.push('…');
    }
    quoted
}

/// An error and what caused it, in one line. By Display alone: Debug of an answer holds the answer.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        if !parts.iter().any(|known| known.contains(&part)) {
            parts.push(part);
        }
        next = error.source();
    }
    quote(&parts.join(": ").replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sts_quotes_of_the_request_is_not_repeated() {
        let said = "The signature does not match.\n\nThe Canonical String was 'x-amz-security-token:SECRET'";
        assert_eq!(quote(said), "The signature does not match.");
        assert_eq!(quote("a\u{1b}[31mb"), "a[31mb");
        let long = quote(&"x".repeat(500));
        assert_eq!(long.chars().count(), 401);
    }
}
