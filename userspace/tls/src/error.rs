//! What can go wrong with the interception CA, with leaves and with a kubeconfig; each error names what and where.

use std::{io, path::PathBuf};

use jiff::Timestamp;

use crate::Name;

/// Why TLS could not be set up, or a kubeconfig not changed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Neither a DNS name nor an address.
    #[error("{0:?} is neither a DNS name (wildcards are not possible) nor an address")]
    BadName(String),
    /// A CA without targets could be limited to nothing.
    #[error("no target has a name or an address, so there is nothing that the interception CA may vouch for")]
    NoTargets,
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was being done, as a verb: "read", "write".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody else could read or replace the CA's key.
    #[error("{} is not safe for the interception CA: {problem}", .path.display())]
    Unsafe {
        /// The key file or its directory.
        path: PathBuf,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The files in the CA's directory are not a CA that this program made.
    #[error("{}: {problem}", .path.display())]
    BadCa {
        /// `ca.key` or `ca.crt`.
        path: PathBuf,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The CA's certificate has run out.
    #[error(
        "the interception CA {} expired at {at}: delete that file to have it issued anew for the same key, \
         then run `portcullis trust install` for every kubeconfig", .path.display()
    )]
    Expired {
        /// `ca.crt`.
        path: PathBuf,
        /// The end of its validity.
        at: Timestamp,
    },
    /// The CA was made for other targets than those now configured.
    #[error("the interception CA does not cover {0}: it was made before that target was configured")]
    NotCovered(Name),
    /// Making a key or a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused a configuration.
    #[error("cannot configure TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// No trustworthy randomness for serial numbers.
    #[error("the system gives no random bytes")]
    NoRandom,
    /// The kubeconfig cannot be read as one, or cannot be edited without harm. It was left as it was.
    #[error("{}:{line}: {problem} (the file was left as it was)", .path.display())]
    Kubeconfig {
        /// The kubeconfig.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// kubectl, or another run of this program, is changing the file.
    #[error(
        "{} exists: kubectl (or another `portcullis trust`) is changing the kubeconfig; if none is running, delete it",
        .0.display()
    )]
    Locked(PathBuf),
}

impl TlsError {
    /// For `map_err` on a file operation.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
