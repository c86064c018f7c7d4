//! Who is behind an accepted socket: the gate's record, read by descriptor, and `/proc`.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{MapData, MapError, SkStorage};
use portcullis_abi::Record;
use portcullis_abi::maps::RECORDS;
use portcullis_identity::{
    AttestError, Attestation, Attestor, CgroupId, Gid, NetnsCookie, OriginalDst, Pid, Process, Uid,
};
use socket2::SockRef;

use crate::GateError;
use crate::pins::Pins;

/// Attests accepted sockets by what the kernel programs left on them.
#[derive(Debug)]
pub struct KernelAttestor {
    records: SkStorage<MapData, Record>,
    proc_root: PathBuf,
    refused: AtomicU64,
}

impl KernelAttestor {
    pub(crate) fn open(pins: &Pins, proc_root: &Path) -> Result<Self, GateError> {
        Ok(Self { records: pins.map(RECORDS)?, proc_root: proc_root.to_owned(), refused: AtomicU64::new(0) })
    }

    /// How many sockets it could not attest.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn look(&self, socket: BorrowedFd<'_>) -> Result<Attestation, AttestError> {
        let record = match self.records.get(&socket, 0) {
            Ok(record) if record.stage == Record::ACCEPTED => record,
            Ok(_) | Err(MapError::KeyNotFound) => return Err(AttestError::NoRecord),
            Err(error) => return Err(AttestError::Kernel(io::Error::other(error))),
        };
        let peer = SockRef::from(&socket).peer_addr().map_err(AttestError::Kernel)?;
        let peer = peer.as_socket().ok_or(AttestError::NoRecord)?;
        let pid = Pid(record.pid);
        let process = Process::read(&self.proc_root, pid, Some(record.connected_at))?;
        let comm = record.comm.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(Attestation {
            uid: Uid(record.uid),
            gid: Gid(record.gid),
            pid,
            cgroup: CgroupId(record.cgroup),
            netns: NetnsCookie(record.netns),
            comm: String::from_utf8_lossy(comm).into_owned(),
            original_dst: OriginalDst(record.destination.into()),
            peer,
            process,
        })
    }
}

impl Attestor for KernelAttestor {
    fn attest(&self, socket: BorrowedFd<'_>) -> Result<Attestation, AttestError> {
        self.look(socket).inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
    }
}
