//! Why a process or a person could not be identified. Every variant means: refused.

use std::io;
use std::path::PathBuf;

use crate::{Pid, Uid};

/// Identification failed; the message says what was looked at and what was wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The process exited before its `/proc` entry was read, so its login uid is unknown.
    #[error("process {0} is gone; who started it cannot be known")]
    ProcessGone(Pid),
    /// The process that has this pid now is not the one the kernel recorded.
    #[error("pid {0} now belongs to another process than the one that connected")]
    PidReused(Pid),
    /// A file under `/proc` could not be read.
    #[error("cannot read {}: {source} (reading other users' processes needs CAP_SYS_PTRACE)", path.display())]
    ProcUnreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file under `/proc` does not have the form that proc(5) gives it.
    #[error("{} is not as proc(5) describes it", path.display())]
    ProcMalformed {
        /// The file.
        path: PathBuf,
    },
    /// The uid has no entry in the configured mapping nor, where it is asked, in the name service.
    #[error("uid {0} has no account: neither in the configured users nor in the name service")]
    UnknownUid(Uid),
    /// The name service failed (not: answered that there is no such account).
    #[error("the name service failed to look up uid {uid}: {source}")]
    NameService {
        /// Who was looked up.
        uid: Uid,
        /// What it answered.
        source: io::Error,
    },
    /// Login uid and uid name two different people, and neither is root: see
    /// [`LoginuidTrust`](crate::LoginuidTrust).
    #[error(
        "uid {uid} runs in a login session of uid {loginuid}; which of the two people is calling cannot be \
         proved, so neither is assumed"
    )]
    LoginuidMismatch {
        /// The effective uid at `connect(2)`.
        uid: Uid,
        /// `/proc/<pid>/loginuid`.
        loginuid: Uid,
    },
    /// The configured users contradict each other.
    #[error("users: {0}")]
    Config(String),
    /// The lookup's thread was cancelled or panicked.
    #[error("the lookup of uid {0} was interrupted")]
    Interrupted(Uid),
}
