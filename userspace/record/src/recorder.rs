//! All sessions that are being recorded.

use std::collections::HashMap;
use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::event::{EndReason, Event, SessionStarted};
use crate::health::Health;
use crate::log::{Log, Settings};
use crate::session::Item;
use crate::sync::Syncer;
use crate::{Clock, RecordConfig, RecordError, Session, SessionHandle, SessionId, SessionStart, SystemClock};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// Ids of the same second differ in 24 random bits; so many collisions in a row are no chance.
const ATTEMPTS: u32 = 16;

/// Opens sessions, and ends them when their process is gone. Dropping it ends all of them.
pub struct Recorder {
    dir: PathBuf,
    linger: Duration,
    boot_id: String,
    host: String,
    settings: Settings,
    health: Arc<Health>,
    syncer: Syncer,
    sessions: Mutex<HashMap<SessionKey, Entry>>,
}

/// Whose connections make one session. The boot is not part of it: no recorder outlives one.
#[derive(PartialEq, Eq, Hash)]
struct SessionKey {
    pid: u32,
    start_time: u64,
    target: String,
    issuer: String,
    subject: String,
}

/// A session has its own lock while it is being made, so that a slow disk holds up its own process only.
#[derive(Default)]
struct Entry {
    session: Arc<Mutex<Option<SessionHandle>>>,
    /// When it was first seen without connections.
    idle_since: Option<Duration>,
}

impl Recorder {
    /// Opens the directory of recordings, making it if it is missing. If it cannot be written to, the recorder opens
    /// all the same and refuses sessions, so that its caller can refuse requests with the reason.
    ///
    /// # Errors
    /// [`RecordError::Config`], [`RecordError::InsecureDirectory`], [`RecordError::Io`].
    pub fn open(config: &RecordConfig) -> Result<Self, RecordError> {
        Self::with_clock(config, Arc::new(SystemClock::default()))
    }

    /// As [`open`](Self::open), by another clock.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_clock(config: &RecordConfig, clock: Arc<dyn Clock>) -> Result<Self, RecordError> {
        config.check()?;
        let sync_every = config.fsync.interval()?;
        make_private_dir(&config.dir)?;
        Ok(Self {
            dir: config.dir.clone(),
            linger: config.linger()?,
            boot_id: read_line(BOOT_ID)?,
            host: read_line(HOST_NAME)?,
            health: Arc::new(Health::probed(config.dir.clone(), config.min_free_bytes, Arc::clone(&clock))),
            settings: Settings {
                segment_bytes: config.segment_bytes,
                sync_always: sync_every.is_none(),
                clock,
            },
            syncer: Syncer::start(sync_every)?,
            sessions: Mutex::default(),
        })
    }

    /// Whether a new session could begin now. Costs a system call; after a failure, a write once a second.
    ///
    /// # Errors
    /// [`RecordError::Blocked`] after a failure, until a file can be written again; [`RecordError::NearlyFull`].
    pub fn ready(&self) -> Result<(), RecordError> {
        self.health.ready()
    }

    /// The session of the process that `start` describes: the one that is going on, or a new one.
    ///
    /// # Errors
    /// As [`ready`](Self::ready), when a new one is needed. Nothing may be forwarded then.
    pub fn session(&self, start: SessionStart<'_>) -> Result<SessionHandle, RecordError> {
        let slot = {
            let mut sessions = self.sessions.lock().map_err(|_| RecordError::Panicked)?;
            let entry = sessions.entry(SessionKey::of(start)).or_default();
            entry.idle_since = None;
            Arc::clone(&entry.session)
        };
        let mut slot = slot.lock().map_err(|_| RecordError::Panicked)?;
        if let Some(session) = &*slot
            && session.log().is_open()
        {
            return Ok(Arc::clone(session));
        }
        self.ready()?;
        let session = self.begin(start).map_err(|error| {
            tracing::error!(%error, "a recording could not be begun; its requests are refused");
            let cause = Arc::new(error);
            self.health.block(Arc::clone(&cause));
            RecordError::Blocked(cause)
        })?;
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Ends the sessions whose process has had no connection for the time that sessions linger. To be called about
    /// once a second. A session that cannot be ended is reported in the log and through [`ready`](Self::ready).
    pub fn tick(&self) {
        let now = self.settings.clock.monotonic();
        let mut over = Vec::new();
        let Ok(mut sessions) = self.sessions.lock() else { return };
        sessions.retain(|_, entry| {
            // Whoever is in `session` holds the slot, and whoever is in a connection holds the session.
            let Some(slot) = Arc::get_mut(&mut entry.session) else { return true };
            let Ok(Some(session)) = slot.get_mut() else { return false };
            if Arc::strong_count(session) > 1 {
                entry.idle_since = None;
                return true;
            }
            if now.saturating_sub(*entry.idle_since.get_or_insert(now)) < self.linger {
                return true;
            }
            over.push(Arc::clone(session));
            false
        });
        drop(sessions);
        end(&over, EndReason::Idle);
    }

    /// Ends every session, also those that connections still hold: what they write from now on is refused.
    pub fn shutdown(&self) {
        let Ok(mut sessions) = self.sessions.lock() else { return };
        let slots: Vec<_> = sessions.drain().map(|(_, entry)| entry.session).collect();
        drop(sessions);
        let over: Vec<_> =
            slots.iter().filter_map(|slot| slot.lock().ok().and_then(|slot| slot.clone())).collect();
        end(&over, EndReason::Shutdown);
    }

    fn begin(&self, start: SessionStart<'_>) -> Result<SessionHandle, RecordError> {
        let started = self.settings.clock.now();
        let (id, dir) = self.make_session_dir(started)?;
        let day = self.dir.join(id.day());
        let new_dirs = vec![self.dir.clone(), day];
        let log = Log::begin(id.clone(), dir, new_dirs, started, &self.settings, Arc::clone(&self.health))?;
        let begun = Event::SessionStarted(Box::new(SessionStarted {
            session: id,
            started_at: started,
            target: start.target.to_owned(),
            subject: start.subject.clone(),
            attestation: start.attestation.clone(),
            host: self.host.clone(),
            boot_id: self.boot_id.clone(),
            recorder: env!("CARGO_PKG_VERSION").to_owned(),
        }));
        log.append(&[Item::Event(&begun)])?;
        let log = Arc::new(log);
        self.syncer.watch(Arc::clone(&log))?;
        Ok(Arc::new(Session::new(log)))
    }

    /// Makes the directory of a session that no other has.
    fn make_session_dir(&self, started: Timestamp) -> Result<(SessionId, PathBuf), RecordError> {
        let mut attempt = 1;
        loop {
            let id = SessionId::generate(started);
            let day = self.dir.join(id.day());
            match make_dir(&day) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(RecordError::io("create", &day)(error));
                }
                _ => {}
            }
            let dir = day.join(id.as_str());
            match make_dir(&dir) {
                Ok(()) => return Ok((id, dir)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(RecordError::io("create", &dir)(error)),
            }
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl SessionKey {
    fn of(start: SessionStart<'_>) -> Self {
        Self {
            pid: start.attestation.pid.0,
            start_time: start.attestation.process.start_time,
            target: start.target.to_owned(),
            issuer: start.subject.issuer.clone(),
            subject: start.subject.id.clone(),
        }
    }
}

fn end(sessions: &[SessionHandle], reason: EndReason) {
    for session in sessions {
        if let Err(error) = session.log().end(reason) {
            tracing::error!(session = %session.id(), %error, "the end of a session could not be recorded");
        }
    }
}

fn make_private_dir(dir: &Path) -> Result<(), RecordError> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(RecordError::io("create", parent))?;
    }
    match make_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(RecordError::io("create", dir)(error));
        }
        _ => {}
    }
    let metadata = std::fs::metadata(dir).map_err(RecordError::io("stat", dir))?;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    if mode & 0o077 != 0 || owner != nix::unistd::geteuid().as_raw() {
        return Err(RecordError::InsecureDirectory { path: dir.to_owned(), mode, owner });
    }
    Ok(())
}

fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)
}

fn read_line(path: &str) -> Result<String, RecordError> {
    let text = std::fs::read_to_string(path).map_err(RecordError::io("read", Path::new(path)))?;
    Ok(text.trim_end().to_owned())
}
