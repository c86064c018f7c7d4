//! How long an allowed request may go on: until its grant expires or is revoked (Law 10).

use std::sync::Arc;
use std::time::Duration;

use portcullis_access::{Clock, Ended, GrantId, Snapshot};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The wall clock may be set while we wait: look at it again at least this often.
const RECHECK: Duration = Duration::from_secs(5);

/// The claim of a running request on its grant.
#[derive(Clone)]
pub(crate) struct Lease {
    grant: Option<GrantId>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    clock: Arc<dyn Clock>,
    logged_out: Option<CancellationToken>,
}

impl Lease {
    /// A lease on `grant`, for as long as its holder is not `logged_out`; without a grant (discovery) nothing else
    /// ends it.
    pub(crate) fn new(
        grant: Option<GrantId>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        clock: Arc<dyn Clock>,
        logged_out: Option<CancellationToken>,
    ) -> Self {
        Self { grant, snapshots, clock, logged_out }
    }

    /// Does `work`, unless access ends before it is done.
    ///
    /// # Errors
    /// How access ended.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            ended = self.clone().ended() => Err(ended),
        }
    }

    /// How access ended, if it has.
    pub(crate) fn over(&self) -> Option<Ended> {
        if self.logged_out.as_ref().is_some_and(CancellationToken::is_cancelled) {
            return Some(Ended::LoggedOut);
        }
        let grant = self.grant.as_ref()?;
        self.snapshots.borrow().grant_live(grant, self.clock.now()).err()
    }

    /// Waits until access ends and says why.
    pub(crate) async fn ended(mut self) -> Ended {
        match self.logged_out.take() {
            None => self.grant_ended().await,
            Some(logged_out) => tokio::select! {
                () = logged_out.cancelled() => Ended::LoggedOut,
                ended = self.grant_ended() => ended,
            },
        }
    }

    async fn grant_ended(mut self) -> Ended {
        let Some(grant) = self.grant else { return std::future::pending().await };
        loop {
            let now = self.clock.now();
            let live = self.snapshots.borrow_and_update().grant_live(&grant, now);
            let expires = match live {
                Ok(expires) => expires,
                Err(ended) => return ended,
            };
            let left = Duration::try_from(expires.duration_since(now)).unwrap_or(Duration::ZERO);
            // A few milliseconds more, so that the clock has passed the end when we look again.
            let wait = left.min(RECHECK) + Duration::from_millis(5);
            if let Ok(Err(_closed)) = tokio::time::timeout(wait, self.snapshots.changed()).await {
                // The store's side is gone: what we know still holds until it expires.
                tokio::time::sleep(wait).await;
            }
        }
    }
}
