//! The writing side of one session's files.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LockResult, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use jiff::Timestamp;

use crate::batch::Batch;
use crate::event::{EndReason, Event};
use crate::health::Health;
use crate::segment::{self, SegmentHeader, SegmentWriter};
use crate::session::Item;
use crate::{Clock, RecordError, SessionId};

/// Looks at a lock before sleeping on it: a few microseconds.
const SPINS: u32 = 300;

/// Appends frames to a session's segments. What one call wrote is in the kernel's hands when it returns; after the
/// first failure every call fails, since a recording with a hole would look like one without.
pub(crate) struct Log {
    id: SessionId,
    dir: PathBuf,
    started_us: i64,
    /// The monotonic clock at the session's start.
    origin: Duration,
    segment_bytes: u64,
    sync_always: bool,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    writer: Mutex<Writer>,
    dirty: AtomicBool,
}

struct Writer {
    state: State,
    number: u32,
    next_seq: u64,
    last_offset_us: u64,
    /// What was written since the last sync, apart from the current segment.
    unsynced: Unsynced,
}

enum State {
    Open(SegmentWriter),
    Ended,
    Failed(Arc<RecordError>),
}

/// What is still to be forced to the disk: finished segments, and directories with new names in them.
#[derive(Default)]
struct Unsynced {
    segments: Vec<Arc<File>>,
    dirs: Vec<PathBuf>,
}

impl Log {
    /// Begins the first segment in `dir`, which is empty. `new_dirs` are the directories that `dir`'s making changed.
    pub(crate) fn begin(
        id: SessionId,
        dir: PathBuf,
        new_dirs: Vec<PathBuf>,
        started: Timestamp,
        settings: &Settings,
        health: Arc<Health>,
    ) -> Result<Self, RecordError> {
        let header = SegmentHeader {
            number: 1,
            first_seq: 0,
            started_us: started.as_microsecond(),
            session: id.clone(),
        };
        let segment = SegmentWriter::create(&dir, &header)?;
        let mut unsynced = Unsynced { segments: Vec::new(), dirs: new_dirs };
        unsynced.dirs.push(dir.clone());
        if settings.sync_always {
            std::mem::take(&mut unsynced).sync().map_err(RecordError::io("sync", &dir))?;
        }
        let writer =
            Writer { state: State::Open(segment), number: 1, next_seq: 0, last_offset_us: 0, unsynced };
        Ok(Self {
            id,
            dir,
            started_us: header.started_us,
            origin: settings.clock.monotonic(),
            segment_bytes: settings.segment_bytes,
            sync_always: settings.sync_always,
            clock: Arc::clone(&settings.clock),
            health,
            writer: Mutex::new(writer),
            dirty: AtomicBool::new(true),
        })
    }

    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    /// Appends all of `items`, in one write(2).
    pub(crate) fn append(&self, items: &[Item<'_>]) -> Result<(), RecordError> {
        let batch = Batch::encode(items)?;
        self.write(&mut *self.lock_open()?, batch)
    }

    /// Writes the last event and closes the file. Does nothing if that was done, or can no longer be.
    pub(crate) fn end(&self, reason: EndReason) -> Result<(), RecordError> {
        let ended = Event::SessionEnded { reason };
        let batch = Batch::encode(&[Item::Event(&ended)])?;
        let Ok(mut writer) = self.lock_open() else { return Ok(()) };
        self.write(&mut writer, batch)?;
        if let State::Open(segment) = std::mem::replace(&mut writer.state, State::Ended)
            && !self.sync_always
        {
            writer.unsynced.segments.push(segment.file());
        }
        Ok(())
    }

    /// Whether the next write may succeed.
    pub(crate) fn is_open(&self) -> bool {
        self.writer.lock().is_ok_and(|writer| matches!(writer.state, State::Open(_)))
    }

    /// Forces to the disk what was written since the last time.
    ///
    /// After a failed sync the kernel may have dropped the pages and call the next sync a success, so the session
    /// is over (<https://lwn.net/Articles/752063/>).
    pub(crate) fn sync(&self) {
        if !self.dirty.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut writer) = self.writer.lock() else { return }; // it refuses writes for ever
        self.dirty.store(false, Ordering::Relaxed);
        let mut unsynced = std::mem::take(&mut writer.unsynced);
        if let State::Open(segment) = &writer.state {
            unsynced.segments.push(segment.file());
        }
        drop(writer); // nobody waits for the disk
        if let Err(error) = unsynced.sync()
            && let Ok(mut writer) = self.writer.lock()
        {
            self.poison(&mut writer, RecordError::io("sync", &self.dir)(error));
        }
    }

    /// Whether there is, or may come to be, something to sync.
    pub(crate) fn wants_sync(&self) -> bool {
        self.is_open() || self.dirty.load(Ordering::Relaxed)
    }

    fn lock_open(&self) -> Result<MutexGuard<'_, Writer>, RecordError> {
        let writer = self.lock().map_err(|_| RecordError::Panicked)?;
        match &writer.state {
            State::Open(_) => Ok(writer),
            State::Ended => Err(RecordError::Ended(self.id.clone())),
            State::Failed(cause) => Err(self.poisoned(cause)),
        }
    }

    /// Whoever has the lock gives it back after a write to the page cache: going to sleep would take longer.
    fn lock(&self) -> LockResult<MutexGuard<'_, Writer>> {
        for _ in 0..SPINS {
            match self.writer.try_lock() {
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
                Ok(writer) => return Ok(writer),
                Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned),
            }
        }
        self.writer.lock()
    }

    fn write(&self, writer: &mut Writer, batch: Batch<'_>) -> Result<(), RecordError> {
        self.try_write(writer, batch).map_err(|error| self.poison(writer, error))
    }

    fn try_write(&self, writer: &mut Writer, mut batch: Batch<'_>) -> Result<(), RecordError> {
        self.rotate_for(writer, batch.bytes())?;
        let Writer { state: State::Open(segment), next_seq, last_offset_us, .. } = writer else {
            return Err(RecordError::Ended(self.id.clone()));
        };
        let since_start = self.clock.monotonic().saturating_sub(self.origin).as_micros();
        *last_offset_us = (*last_offset_us).max(u64::try_from(since_start).unwrap_or(u64::MAX));
        batch.stamp(*next_seq, *last_offset_us);
        segment.append(&mut batch.pieces())?;
        *next_seq += batch.len();
        if self.sync_always {
            segment.file().sync_data().map_err(RecordError::io("sync", segment.path()))?;
        } else {
            self.dirty.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Begins the next segment if frames of `length` bytes do not fit into the current one.
    fn rotate_for(&self, writer: &mut Writer, length: u64) -> Result<(), RecordError> {
        let State::Open(segment) = &mut writer.state else { return Ok(()) };
        let full = segment.length() + length > self.segment_bytes;
        if !full || segment.length() == segment::HEADER as u64 {
            return Ok(());
        }
        let header = SegmentHeader {
            number: writer.number + 1,
            first_seq: writer.next_seq,
            started_us: self.started_us,
            session: self.id.clone(),
        };
        let next = SegmentWriter::create(&self.dir, &header)?;
        let last = std::mem::replace(segment, next);
        writer.number += 1;
        if self.sync_always {
            sync_dir(&self.dir).map_err(RecordError::io("sync", &self.dir))?;
        } else {
            writer.unsynced.segments.push(last.file());
            writer.unsynced.dirs.push(self.dir.clone());
        }
        Ok(())
    }

    /// Ends this recording, and new ones until the recorder has shown that it can write.
    fn poison(&self, writer: &mut Writer, error: RecordError) -> RecordError {
        tracing::error!(session = %self.id, %error, "a recording failed; its requests are refused");
        let cause = Arc::new(error);
        self.health.block(Arc::clone(&cause));
        let poisoned = self.poisoned(&cause);
        writer.state = State::Failed(cause);
        poisoned
    }

    fn poisoned(&self, cause: &Arc<RecordError>) -> RecordError {
        RecordError::Poisoned { session: self.id.clone(), cause: Arc::clone(cause) }
    }
}

/// What all logs of a recorder have in common.
pub(crate) struct Settings {
    pub(crate) segment_bytes: u64,
    pub(crate) sync_always: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Unsynced {
    fn sync(self) -> io::Result<()> {
        self.segments.iter().try_for_each(|segment| segment.sync_data())?;
        // The innermost directory was added last; a name is worth nothing before what it names.
        self.dirs.iter().rev().try_for_each(|dir| sync_dir(dir))
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Channel, SystemClock};

    #[test]
    fn after_a_failed_sync_nothing_more_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("session");
        std::fs::create_dir(&dir).unwrap();
        let clock = Arc::new(SystemClock::default());
        let health = Arc::new(Health::probed(root.path().to_owned(), 0, clock.clone()));
        let settings = Settings { segment_bytes: 1 << 20, sync_always: false, clock };
        let id = SessionId::generate(Timestamp::now());
        let log = Log::begin(id, dir.clone(), Vec::new(), Timestamp::now(), &settings, Arc::clone(&health))
            .unwrap();
        let written = Item::Data { request: 1, channel: Channel::Stdout, bytes: b"written" };
        log.append(&[written]).unwrap();
        health.ready().unwrap();

        std::fs::remove_dir_all(&dir).unwrap(); // so that the directory's sync fails
        log.sync();
        let error = log.append(&[written]).unwrap_err();
        assert!(error.to_string().contains("cannot sync"), "{error}");
        assert!(matches!(health.ready(), Err(RecordError::Blocked(_))));
        assert!(!log.wants_sync());
    }
}
