//! Whether new sessions can be recorded, so that whoever would refuse a request for want of a record can know first.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use crate::{Clock, RecordError};

/// After a failure, how long until the next attempt to write.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// More than a file system may tuck away in an inode.
const PROBE: &[u8] = &[0x5a; 4096];

/// Remembers that writing failed, and finds out when it works again.
pub(crate) struct Health {
    dir: PathBuf,
    min_free_bytes: u64,
    clock: Arc<dyn Clock>,
    blocked: Mutex<Option<Blocked>>,
}

struct Blocked {
    cause: Arc<RecordError>,
    probed: Duration,
}

impl Health {
    /// Healthy if a first probe succeeds.
    pub(crate) fn probed(dir: PathBuf, min_free_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        let health = Self { dir, min_free_bytes, clock, blocked: Mutex::new(None) };
        if let Err(error) = probe(&health.dir) {
            tracing::error!(%error, "nothing can be recorded: every request will be refused");
            health.block(Arc::new(error));
        }
        health
    }

    /// As [`Recorder::ready`](crate::Recorder::ready).
    pub(crate) fn ready(&self) -> Result<(), RecordError> {
        let mut blocked = self.blocked.lock().map_err(|_| RecordError::Panicked)?;
        if let Some(was) = &mut *blocked {
            let now = self.clock.monotonic();
            if now.saturating_sub(was.probed) < PROBE_EVERY {
                return Err(RecordError::Blocked(Arc::clone(&was.cause)));
            }
            was.probed = now;
            if let Err(error) = probe(&self.dir) {
                was.cause = Arc::new(error);
                return Err(RecordError::Blocked(Arc::clone(&was.cause)));
            }
            tracing::info!(dir = %self.dir.display(), "recording works again");
            *blocked = None;
        }
        drop(blocked);
        self.has_room()
    }

    /// No new session until a probe succeeds.
    pub(crate) fn block(&self, cause: Arc<RecordError>) {
        // If a thread panicked holding the lock, `ready` refuses for ever already.
        if let Ok(mut blocked) = self.blocked.lock() {
            *blocked = Some(Blocked { cause, probed: self.clock.monotonic() });
        }
    }

    fn has_room(&self) -> Result<(), RecordError> {
        let stat = statvfs(&self.dir).map_err(|errno| RecordError::io("stat", &self.dir)(errno.into()))?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        if free < self.min_free_bytes {
            return Err(RecordError::NearlyFull {
                path: self.dir.clone(),
                free,
                minimum: self.min_free_bytes,
            });
        }
        Ok(())
    }
}

/// Writes a file through to the disk and removes it.
fn probe(dir: &Path) -> Result<(), RecordError> {
    let path = dir.join(".probe");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(RecordError::io("create", &path))?;
    file.write_all(PROBE).and_then(|()| file.sync_data()).map_err(RecordError::io("write", &path))?;
    std::fs::remove_file(&path).map_err(RecordError::io("remove", &path))
}
