//! What can go wrong with evidence, on the way in and on the way out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::SessionId;

/// Why something could not be recorded, or a recording not be read.
///
/// Whoever gets one of these from a recorder or a session must refuse the request: nothing may happen that is
/// not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A value of the configuration that cannot work.
    #[error("record.{field}: {reason}")]
    Config {
        /// The field, as written in the configuration.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The directory of recordings is open to others.
    #[error(
        "{} has mode {mode:04o} and owner {owner}; recordings want 0700 and the user that runs portcullis \
         (chmod 700, chown)",
        path.display()
    )]
    InsecureDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner's uid.
        owner: u32,
    },
    /// A system call failed: disk full, read-only, I/O error.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// An earlier failure ended this recording: what came after it would have a hole before it.
    #[error("the recording {session} failed and takes no more: {cause}")]
    Poisoned {
        /// The session.
        session: SessionId,
        /// The failure.
        cause: Arc<RecordError>,
    },
    /// The recorder takes no new sessions until it can write again.
    #[error("no session can be recorded: {0}")]
    Blocked(Arc<RecordError>),
    /// The file system is nearly full.
    #[error("{} has {free} bytes free; a new session wants {minimum} (record.minFreeBytes)", path.display())]
    NearlyFull {
        /// The directory of recordings.
        path: PathBuf,
        /// Bytes that are free to us.
        free: u64,
        /// Bytes that must be.
        minimum: u64,
    },
    /// The session was closed, so it takes no more.
    #[error("the recording {0} has ended")]
    Ended(SessionId),
    /// A thread panicked while it was writing; what it left is unknown.
    #[error("a thread died while recording")]
    Panicked,
    /// One event is larger than a frame may be.
    #[error("an event of {0} bytes does not fit into a recording")]
    TooLarge(usize),
    /// An event could not be written as JSON.
    #[error("cannot encode an event: {0}")]
    Encode(serde_json::Error),

    /// No recording has such an id.
    #[error("no recording {prefix:?} in {}", dir.display())]
    NotFound {
        /// What was asked for.
        prefix: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// Several recordings' ids begin like this.
    #[error("{prefix:?} fits several recordings: {}", names(matches))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// All that fit.
        matches: Vec<SessionId>,
    },
    /// The recording holds no stream that could be played.
    #[error("the recording {0} holds no exec, attach or log stream")]
    NoStream(SessionId),
    /// The recording holds no such stream.
    #[error(
        "request {request} of {session} is no exec, attach or log stream; those are {}",
        numbers(streams)
    )]
    NotAStream {
        /// The session.
        session: SessionId,
        /// The request that was asked for.
        request: u32,
        /// The requests that have one.
        streams: Vec<u32>,
    },
    /// The recording holds several streams and none was chosen.
    #[error("the recording {session} holds several streams: choose one of the requests {}", numbers(streams))]
    ManyStreams {
        /// The session.
        session: SessionId,
        /// The requests that have one.
        streams: Vec<u32>,
    },
    /// Not the form of a session id.
    #[error("{0:?} is no session id (as s-20261123T170102Z-7f3a9c)")]
    BadId(String),
    /// What was read could not be written to where it was wanted.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

impl RecordError {
    /// Adapter for `map_err`: names what was being done, and to which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }
}

fn names(ids: &[SessionId]) -> String {
    ids.iter().map(SessionId::as_str).collect::<Vec<_>>().join(", ")
}

fn numbers(requests: &[u32]) -> String {
    requests.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
