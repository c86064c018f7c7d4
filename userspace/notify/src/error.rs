//! Why notifications cannot be set up. What is wrong with one message, link or call has types of its own
//! ([`TokenError`](crate::TokenError), [`SignatureError`](crate::SignatureError)).

use std::io;
use std::path::PathBuf;

/// Each names the setting or file and what to do about it; none contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Something in the `notify` section cannot be.
    #[error("notify.{field}: {problem}")]
    Config {
        /// The setting, as a path below `notify`.
        field: String,
        /// What is wrong with it and what to write instead.
        problem: String,
    },
    /// A file cannot be read or made.
    #[error("cannot read {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Every user of the host could take the secret, or put another in its place.
    #[error(
        "{} may be read or written by everyone (mode {mode:04o}): chmod o-rwx it \
         (for a mounted Kubernetes Secret set defaultMode: 0440)", .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret that could be guessed, or none at all.
    #[error("{} holds {found} bytes: a secret has at least {least} and at most {most}", .path.display())]
    SecretLength {
        /// The file.
        path: PathBuf,
        /// How many bytes it holds, blanks at the ends not counted.
        found: usize,
        /// The fewest that are accepted.
        least: usize,
        /// The most that are accepted.
        most: usize,
    },
    /// The file does not hold the URL of a webhook. The content is not shown: such URLs are secrets.
    #[error("{} holds no URL that can be called: {problem}", .path.display())]
    SecretUrl {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The operating system has no random numbers.
    #[error("cannot make a key: {0}")]
    Random(String),
    /// Not the PEM that was expected, or certificate and key that do not go together.
    #[error("{}: {problem}", .path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The HTTP client of a webhook cannot be made.
    #[error("webhook {webhook}: {problem}")]
    Client {
        /// Its name.
        webhook: String,
        /// What is wrong.
        problem: String,
    },
    /// Nothing can listen at the address.
    #[error("notify.listen: cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
}

impl NotifyError {
    pub(crate) fn config(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config { field: field.into(), problem: problem.into() }
    }
}
