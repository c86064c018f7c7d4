//! What one request leaves in its session's recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use portcullis_access::RecordLevel;
use portcullis_record::{Channel, Event, RecordError, SessionHandle};

/// The open record of one request. Nothing is forwarded without one; dropping it unfinished closes it as abandoned.
pub(crate) struct RequestRecord {
    session: SessionHandle,
    number: u32,
    level: RecordLevel,
    started: Instant,
    status: Option<u16>,
    received: Arc<AtomicU64>,
    sent: u64,
    open: bool,
}

impl RequestRecord {
    /// Opens the record with the event of the decision, which is on its way to disk when this returns.
    pub(crate) fn open(
        session: SessionHandle,
        number: u32,
        level: RecordLevel,
        decided: &Event,
    ) -> Result<Self, RecordError> {
        session.event(decided)?;
        Ok(Self {
            session,
            number,
            level,
            started: Instant::now(),
            status: None,
            received: Arc::default(),
            sent: 0,
            open: true,
        })
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Where the request body's bytes are counted.
    pub(crate) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    pub(crate) fn event(&self, event: &Event) -> Result<(), RecordError> {
        self.session.event(event)
    }

    pub(crate) fn set_status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// Bytes that go to the client, after masking.
    pub(crate) fn sent(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        self.sent += bytes.len() as u64;
        self.data(Channel::Body, bytes)
    }

    /// Counts bytes that went to the client in an upgraded stream, whose content is recorded by channel.
    pub(crate) fn passed(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Bytes of a stream, kept when the grant asks for a full recording.
    pub(crate) fn data(&self, channel: Channel, bytes: &[u8]) -> Result<(), RecordError> {
        match self.level {
            RecordLevel::Full => self.session.data(self.number, channel, bytes),
            RecordLevel::Metadata => Ok(()),
        }
    }

    /// Closes the record; `error` says what cut the request short.
    pub(crate) fn end(&mut self, error: Option<String>) -> Result<(), RecordError> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        self.session.event(&Event::RequestEnded {
            request: self.number,
            status: self.status,
            bytes_in: self.received.load(Ordering::Relaxed),
            bytes_out: self.sent,
            duration_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            error,
        })
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if let Err(error) = self.end(Some("the client went away".to_owned())) {
            tracing::error!(%error, request = self.number, "the end of a request could not be recorded");
        }
    }
}
