//! What the kernel said of the process that connected, and the wrapper that proves it was asked.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{CgroupId, Gid, IdentityError, NetnsCookie, OriginalDst, Pid, Process, Uid};

/// The process behind an accepted connection, as the kernel recorded it at `connect(2)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    /// Real uid at `connect(2)` (`bpf_get_current_uid_gid`): the person, also behind a setuid program.
    pub uid: Uid,
    /// Real gid at `connect(2)`.
    pub gid: Gid,
    /// Process (tgid) that connected; for the record only.
    pub pid: Pid,
    /// Its cgroup v2.
    pub cgroup: CgroupId,
    /// The network namespace of its socket.
    pub netns: NetnsCookie,
    /// Its command name, at most 15 bytes; for the record only.
    pub comm: String,
    /// Where it wanted to go.
    pub original_dst: OriginalDst,
    /// Its own end of the connection.
    pub peer: SocketAddr,
    /// What `/proc` added.
    pub process: Process,
}

/// Asks the kernel who is behind an accepted socket.
pub trait Attestor: Send + Sync {
    /// The attestation of the process at the other end of `socket`.
    ///
    /// # Errors
    /// [`AttestError`]: the connection must be refused, whichever variant it is.
    fn attest(&self, socket: BorrowedFd<'_>) -> Result<Attestation, AttestError>;
}

/// A connection whose origin the kernel has attested. [`Attested::new`] is the only way to make one, so a
/// stage that takes it cannot be handed a connection that nobody vouched for.
#[derive(Debug)]
pub struct Attested<IO> {
    io: IO,
    attestation: Arc<Attestation>,
}

impl<IO: AsFd> Attested<IO> {
    /// Attests `io`; the connection is dropped, and so closed, when that fails.
    ///
    /// # Errors
    /// As [`Attestor::attest`].
    pub fn new(io: IO, attestor: &dyn Attestor) -> Result<Self, AttestError> {
        let attestation = Arc::new(attestor.attest(io.as_fd())?);
        Ok(Self { io, attestation })
    }
}

impl<IO> Attested<IO> {
    /// Who is at the other end.
    pub fn attestation(&self) -> &Arc<Attestation> {
        &self.attestation
    }

    /// The connection and its attestation, for the stage that consumes both.
    pub fn into_parts(self) -> (IO, Arc<Attestation>) {
        (self.io, self.attestation)
    }
}

/// Why an accepted connection has no attestation. Always: refuse it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The kernel holds no record for this socket: it did not come through the gate.
    #[error("the gate holds no record of this connection: it was not intercepted")]
    NoRecord,
    /// The process exited before it was looked at, or its pid was reused.
    #[error("process {0} exited before it could be attested")]
    ProcessGone(Pid),
    /// `/proc` could not be read as expected.
    #[error(transparent)]
    Process(IdentityError),
    /// Reading the record failed.
    #[error("cannot read the gate's record of this connection: {0}")]
    Kernel(#[source] io::Error),
}

impl From<IdentityError> for AttestError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::ProcessGone(pid) | IdentityError::PidReused(pid) => AttestError::ProcessGone(pid),
            other => AttestError::Process(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    struct Nothing;

    impl Attestor for Nothing {
        fn attest(&self, _socket: BorrowedFd<'_>) -> Result<Attestation, AttestError> {
            Err(AttestError::NoRecord)
        }
    }

    #[test]
    fn an_unattested_connection_is_closed() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(matches!(Attested::new(ours, &Nothing), Err(AttestError::NoRecord)));
        assert_eq!(io::Read::read(&mut theirs, &mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn a_process_that_is_gone_stays_told_apart() {
        let gone = AttestError::from(IdentityError::PidReused(Pid(7)));
        assert!(matches!(gone, AttestError::ProcessGone(Pid(7))), "{gone}");
    }
}
