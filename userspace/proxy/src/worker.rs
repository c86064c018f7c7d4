//! The threads that serve connections. Each has a runtime and upstream connections of its own and keeps a connection
//! from its first byte to its last, so that no request waits for another thread to wake up: that would cost more than
//! the request.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Runs connections until it is dropped; those still open then are closed.
pub struct Workers {
    workers: Vec<Worker>,
    stop: CancellationToken,
}

/// One thread.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) runtime: Handle,
    /// Held by each of its connections.
    load: Arc<()>,
    thread: Option<JoinHandle<()>>,
}

/// Which worker: what is pooled is pooled for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct WorkerId(usize);

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system has no thread or no descriptors to give.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let workers =
            (0..count.get()).map(|number| Worker::start(number, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Self { workers, stop })
    }

    /// The worker with the fewest connections, and what such a connection holds for as long as it lasts.
    pub(crate) fn least_loaded(&self) -> Option<(&Worker, Arc<()>)> {
        let worker = self.workers.iter().min_by_key(|worker| Arc::strong_count(&worker.load))?;
        Some((worker, Arc::clone(&worker.load)))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for worker in &mut self.workers {
            if worker.thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!(worker = worker.id.0, "a worker's thread died");
            }
        }
    }
}

impl Worker {
    fn start(number: usize, stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name(format!("proxy-{number}")).spawn(move || {
            runtime.block_on(stop.run_until_cancelled_owned(tick()));
        })?;
        Ok(Self { id: WorkerId(number), runtime: handle, load: Arc::new(()), thread: Some(thread) })
    }
}

/// A timer that is due before any other: one that becomes the next to be due wakes its own thread by an eventfd, which
/// the timeout of each request would do otherwise.
async fn tick() {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_where_the_fewest_are() {
        let workers = Workers::start(NonZeroUsize::new(2).unwrap()).unwrap();
        let (first, held) = workers.least_loaded().unwrap();
        let (second, also_held) = workers.least_loaded().unwrap();
        assert_ne!(first.id, second.id);
        drop(also_held);
        assert_eq!(workers.least_loaded().unwrap().0.id, second.id);
        drop(held);
    }
}
