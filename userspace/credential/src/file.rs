//! Files that are read again when they change.
//!
//! Asking for the value costs nothing within a second of the last look; then it costs one stat a file, and only when a
//! file changed are they read. A failure is not remembered: the next request looks again.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use crate::{CredentialError, source::Clock};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A value made of files.
pub(crate) struct Watched<T> {
    clock: Clock,
    seen: Mutex<Option<Seen<T>>>,
}

struct Seen<T> {
    value: T,
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
}

/// What tells one state of a file from the next: any write, replacement or chmod changes one of these (inode(7)).
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl<T: Clone> Watched<T> {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, seen: Mutex::new(None) }
    }

    /// The value as of at most a second ago; `make` reads it from `files` when one of them has changed.
    pub(crate) fn current(
        &self,
        files: &[&Path],
        make: impl FnOnce() -> Result<T, CredentialError>,
    ) -> Result<T, CredentialError> {
        let now = (self.clock)();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.as_ref()
            && now.saturating_duration_since(seen.looked) < LOOK_EVERY
        {
            return Ok(seen.value.clone());
        }
        // Taken before reading, so that what is written meanwhile is noticed at the next look.
        let stamps: Vec<_> = files.iter().map(|path| Stamp::of(path)).collect();
        if let Some(seen) = seen.as_mut()
            && seen.stamps == stamps
        {
            seen.looked = now;
            return Ok(seen.value.clone());
        }
        // From here on there is no value until reading succeeds.
        *seen = None;
        let value = make()?;
        *seen = Some(Seen { value: value.clone(), stamps, looked: now });
        Ok(value)
    }
}

impl Stamp {
    /// `None` for a file that cannot be looked at; reading it will tell why.
    fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Some(Self { device: metadata.dev(), inode: metadata.ino(), size: metadata.size(), changed })
    }
}

/// Reads a file that only its owner and group may use.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    read(path, 0o006)
}

/// Reads a file that only its owner and group may write.
pub(crate) fn read_public(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    read(path, 0o002)
}

fn read(path: &Path, forbidden: u32) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let failed = |source| CredentialError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(CredentialError::Exposed { path: path.to_owned(), mode });
    }
    // Room for all of it from the start: growing would leave copies of the secret behind.
    let room = usize::try_from(metadata.size()).unwrap_or(0).saturating_add(1);
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    file.read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    #[test]
    fn a_change_is_seen_after_a_second_and_a_loss_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let (start, passed) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let clock = Arc::clone(&passed);
        let watched =
            Watched::new(Arc::new(move || start + Duration::from_millis(clock.load(Ordering::Relaxed))));
        let (reads, pass) = (AtomicU64::new(0), |millis| passed.fetch_add(millis, Ordering::Relaxed));
        let look = || {
            watched.current(&[&path], || {
                reads.fetch_add(1, Ordering::Relaxed);
                read_public(&path).map(|content| content.to_vec())
            })
        };
        std::fs::write(&path, "one").unwrap();
        assert_eq!(look().unwrap(), b"one");
        std::fs::write(&path, "two").unwrap();
        pass(999);
        assert_eq!(look().unwrap(), b"one");
        pass(1);
        assert_eq!(look().unwrap(), b"two");
        pass(5000);
        assert_eq!(look().unwrap(), b"two");
        assert_eq!(reads.load(Ordering::Relaxed), 2, "an unchanged file is not read");
        // Replaced by renaming, with the same size: as Kubernetes does.
        std::fs::write(dir.path().join("next"), "six").unwrap();
        std::fs::rename(dir.path().join("next"), &path).unwrap();
        pass(1000);
        assert_eq!(look().unwrap(), b"six");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look().unwrap(), b"six");
        pass(1000);
        assert!(matches!(look().unwrap_err(), CredentialError::Read { .. }));
        // A failure is not remembered.
        std::fs::write(&path, "new").unwrap();
        assert_eq!(look().unwrap(), b"new");
    }
}
