//! Accepts intercepted connections, bounds how many there are, and drains them at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Proxy;
use crate::conn::{self, ConnError};
use crate::worker::Workers;

/// Connections served at once; more wait in the kernel's accept queue.
const MAX_CONNECTIONS: usize = 32_768;
/// Pause after a failed accept (out of file descriptors, usually), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections since start, by fate.
#[derive(Default)]
pub struct Counts {
    /// Accepted from the kernel.
    pub accepted: AtomicU64,
    /// Closed because the kernel had no record of who connected.
    pub unattested: AtomicU64,
    /// Closed for another reason before their first request.
    pub failed: AtomicU64,
}

/// Serves what `accept` gives on `workers` until `drain` is cancelled; connections under way are in `connections`.
pub async fn listen(
    proxy: Arc<Proxy>,
    accept: impl AsyncFn() -> io::Result<(TcpStream, SocketAddr)>,
    workers: &Workers,
    connections: TaskTracker,
    drain: CancellationToken,
) {
    let limit = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = drain.cancelled() => return,
            accepted = within(&limit, &accept) => accepted,
        };
        let (tcp, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        proxy.counts.accepted.fetch_add(1, Ordering::Relaxed);
        let Some((worker, load)) = workers.least_loaded() else { return };
        let (proxy, drain, id) = (Arc::clone(&proxy), drain.clone(), worker.id);
        let serving = async move {
            let outcome = conn::serve(Arc::clone(&proxy), tcp, id, drain).await;
            drop((permit, load));
            account(&proxy.counts, outcome);
        };
        connections.spawn_on(serving, &worker.runtime);
    }
}

/// Accepts once there is room for one more; the socket is a worker's to poll.
async fn within(
    limit: &Arc<Semaphore>,
    accept: &impl AsyncFn() -> io::Result<(TcpStream, SocketAddr)>,
) -> io::Result<(std::net::TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(limit).acquire_owned().await.map_err(io::Error::other)?;
    let (tcp, _) = accept().await?;
    Ok((tcp.into_std()?, permit))
}

fn account(counts: &Counts, outcome: Result<(), ConnError>) {
    match outcome {
        Ok(()) => {}
        // Clients that vanish are everyday life.
        Err(ConnError::Http(error)) => tracing::debug!(%error, "connection ended"),
        Err(ConnError::Unattested(error)) => {
            counts.unattested.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "connection refused: no attestation");
        }
        Err(error) => {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "connection refused");
        }
    }
}
