//! Why a process or a person could not be identified. Every variant means: refused.

use std::io;
use std::path::PathBuf;

use crate::eks::EksRefusal;
use crate::login::LoginError;
use crate::oidc::TokenRefusal;
use crate::{Challenge, Pid, Uid};

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
    /// The configuration contradicts itself, or names something that is not there.
    #[error("identity: {0}")]
    Config(String),
    /// The lookup's thread was cancelled or panicked.
    #[error("the lookup of uid {0} was interrupted")]
    Interrupted(Uid),
    /// A login did not come about.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The JWT that the client sent is not believed.
    #[error("the bearer token is refused: {0}")]
    Bearer(#[from] TokenRefusal),
    /// The EKS token that the client sent is not believed.
    #[error("the EKS token is refused: {0}")]
    Eks(#[from] EksRefusal),
    /// A login or token of one person came from another's account.
    #[error(
        "uid {uid} is {local}'s account, and the login or token is {presented}'s: whose it is cannot be used here \
         (one person with two names is listed in identity.people)"
    )]
    OtherPerson {
        /// The account.
        uid: Uid,
        /// Whose it is.
        local: String,
        /// Whom the login or token names.
        presented: String,
    },
    /// Sources that must agree name different people.
    #[error("{first_source} says that this is {first}, {second_source} that it is {second}; they must agree")]
    Mismatch {
        /// One source.
        first_source: &'static str,
        /// Whom it names.
        first: String,
        /// Another.
        second_source: &'static str,
        /// Whom it names.
        second: String,
    },
    /// No accepted source has anything to say, or one that must has not.
    #[error("{why}")]
    Silent {
        /// What is missing.
        why: &'static str,
        /// What the client is to be told where a token would have been taken.
        challenge: Option<Challenge>,
    },
}

impl IdentityError {
    /// What a client is to be told that a token, or another one, would help; `None` where it would not. An EKS token is
    /// not given out by an authorization server, so it is nothing to ask for in this way.
    #[must_use]
    pub fn challenge(&self) -> Option<Challenge> {
        match self {
            Self::Bearer(refusal) => refusal.is_verdict().then_some(Challenge::INVALID_TOKEN),
            Self::Silent { challenge, .. } => *challenge,
            _ => None,
        }
    }
}
