//! The thread that forces recordings to the disk, so that no request waits for it.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::RecordError;
use crate::log::Log;

/// Syncs every log that it was shown, until that is over. Dropping it waits for a last round.
pub(crate) struct Syncer(Option<Background>);

struct Background {
    logs: Arc<Mutex<Vec<Arc<Log>>>>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Without an interval there is nothing to do: every write syncs itself.
    pub(crate) fn start(every: Option<Duration>) -> Result<Self, RecordError> {
        let Some(every) = every else { return Ok(Self(None)) };
        let logs = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("record-sync".to_owned())
            .spawn({
                let logs = Arc::clone(&logs);
                move || {
                    while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                        round(&logs);
                    }
                    round(&logs);
                }
            })
            .map_err(RecordError::io("start the thread for", "fsync".as_ref()))?;
        Ok(Self(Some(Background { logs, stop: Some(stop), thread: Some(thread) })))
    }

    pub(crate) fn watch(&self, log: Arc<Log>) -> Result<(), RecordError> {
        if let Self(Some(background)) = self {
            if background.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(RecordError::Panicked);
            }
            background.logs.lock().map_err(|_| RecordError::Panicked)?.push(log);
        }
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that syncs recordings died");
        }
    }
}

fn round(logs: &Mutex<Vec<Arc<Log>>>) {
    // A list of pointers cannot be half-changed, so a panic elsewhere is no reason to stop syncing.
    let lock = || logs.lock().unwrap_or_else(PoisonError::into_inner);
    let watched = lock().clone();
    watched.iter().for_each(|log| log.sync());
    lock().retain(|log| log.wants_sync());
}
