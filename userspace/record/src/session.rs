//! One session that is being recorded, as its connections hold it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_identity::{Attestation, Subject};

use crate::event::{Channel, Event};
use crate::log::Log;
use crate::{RecordError, SessionId};

/// What a connection holds. The session ends some time after the last one is dropped.
pub type SessionHandle = Arc<Session>;

/// Who connects, from which process, to where. The process, its start time, the target and the subject together say
/// which session a connection belongs to.
#[derive(Debug, Clone, Copy)]
pub struct SessionStart<'a> {
    /// The person.
    pub subject: &'a Subject,
    /// The process.
    pub attestation: &'a Attestation,
    /// The protected endpoint set.
    pub target: &'a str,
}

/// Something to append to a session.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// Something that happened.
    Event(&'a Event),
    /// Bytes of a body or a stream, masked already; any length fits.
    Data {
        /// The request's number.
        request: u32,
        /// Of what.
        channel: Channel,
        /// What.
        bytes: &'a [u8],
    },
}

/// The recording of all connections of one client process.
///
/// Every way to write return once the kernel has what was written, so that the death of this process loses nothing.
/// All fail for good after the first failure; see [`RecordError`]. They block for a few microseconds, longer only
/// under [`Fsync::Always`](crate::Fsync::Always).
pub struct Session {
    log: Arc<Log>,
    requests: AtomicU32,
    connections: AtomicU32,
}

impl Session {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self { log, requests: AtomicU32::new(1), connections: AtomicU32::new(1) }
    }

    /// The session's name.
    pub fn id(&self) -> &SessionId {
        self.log.id()
    }

    /// A number for the next request; the first is 1.
    pub fn next_request(&self) -> u32 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// A number for the next connection; the first is 1.
    pub fn next_connection(&self) -> u32 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends items that belong together, which costs hardly more than one of them.
    ///
    /// # Errors
    /// As [`event`](Self::event). Some of the items may have been written then.
    pub fn append(&self, items: &[Item<'_>]) -> Result<(), RecordError> {
        self.log.append(items)
    }

    /// Appends an event.
    ///
    /// # Errors
    /// [`RecordError::Poisoned`] when the disk refused this write or an earlier one, [`RecordError::Ended`] after the
    /// recorder was closed, [`RecordError::TooLarge`] over 16 MiB.
    pub fn event(&self, event: &Event) -> Result<(), RecordError> {
        self.log.append(&[Item::Event(event)])
    }

    /// Appends bytes of a body or a stream, masked already.
    ///
    /// # Errors
    /// As [`event`](Self::event); any length fits.
    pub fn data(&self, request: u32, channel: Channel, bytes: &[u8]) -> Result<(), RecordError> {
        self.log.append(&[Item::Data { request, channel, bytes }])
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(self.id()).finish()
    }
}
