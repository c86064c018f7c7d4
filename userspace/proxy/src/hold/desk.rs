//! The desk at which requests wait: holds in the store, and who of this bastion's clients waits for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_access::{Access, AccessError, Hold, HoldId, HoldState, NewHold, Snapshot};
use portcullis_identity::Subject;
use tokio::sync::watch;

use crate::lease::Lease;
use crate::mcp::McpFault;
use crate::mcp::ask::Returned;
use crate::refusal::Refusal;

/// How long a hold outlives its client, which may be trying another way.
const GRACE: Duration = Duration::from_secs(15);
/// What is said for a person who withdraws a hold in their client.
const DECLINED: &str = "declined in the client";

/// The desk at which requests wait.
pub struct Holds {
    access: Arc<Access>,
    /// Tells this bastion's processes from another's.
    pub(super) host: String,
    /// How many requests wait for each hold: retries of one action share it.
    waiting: Arc<Mutex<HashMap<HoldId, usize>>>,
}

impl Holds {
    /// A desk that keeps what waits in `access`; `host` names this bastion.
    #[must_use]
    pub fn new(access: Arc<Access>, host: String) -> Self {
        Self { access, host, waiting: Arc::default() }
    }

    /// The hold, and its waiter unless the client is `absent`: made together, so that a client who goes away in between
    /// leaves nothing behind.
    pub(super) async fn begin(
        &self,
        subject: Arc<Subject>,
        new: NewHold,
        absent: bool,
    ) -> Result<(Hold, Option<Waiting>), Refusal> {
        let (access, waiting) = (Arc::clone(&self.access), Arc::clone(&self.waiting));
        blocking(move || {
            let hold = access.hold(&subject, &new)?;
            let waiting = (!absent).then(|| Waiting::begin(access, waiting, &hold.id));
            Ok((hold, waiting))
        })
        .await
    }

    /// The hold that a client comes back for, which has to be of this very request.
    pub(super) async fn of_returned(&self, returned: &Returned, digest: &str) -> Result<Hold, Refusal> {
        let (access, id) = (Arc::clone(&self.access), returned.hold.clone());
        let hold = blocking(move || access.find_hold(&id)).await?;
        if hold.digest == digest { Ok(hold) } else { Err(McpFault::RequestState.into()) }
    }

    /// The hold, withdrawn by whoever asked for it unless it is over already.
    pub(super) async fn withdraw(&self, subject: Arc<Subject>, id: HoldId) -> Result<Hold, Refusal> {
        let access = Arc::clone(&self.access);
        blocking(move || match access.deny_hold(&subject, &id, DECLINED) {
            Err(AccessError::NotHeld { .. }) => access.find_hold(&id),
            withdrawn => withdrawn,
        })
        .await
    }

    pub(super) async fn spend(&self, id: HoldId) -> Result<Hold, Refusal> {
        let access = Arc::clone(&self.access);
        blocking(move || access.spend(&id)).await
    }

    /// The hold once it waits no longer.
    pub(super) async fn decided(
        &self,
        hold: Hold,
        mut waiting: Option<Waiting>,
        lease: &Lease,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> Result<Hold, Refusal> {
        let mut over = || waiting.iter_mut().for_each(|waiting| waiting.over = true);
        if hold.state != HoldState::Pending {
            over();
            return Ok(hold);
        }
        let decided = async {
            loop {
                let found = snapshots.borrow_and_update().hold(&hold.id).cloned();
                match found {
                    Some(found) if found.state == HoldState::Pending => {}
                    Some(found) => return Ok(found),
                    None => return Err(Refusal::HoldLost { id: hold.id.clone() }),
                }
                if snapshots.changed().await.is_err() {
                    return Err(Refusal::HoldLost { id: hold.id.clone() });
                }
            }
        };
        let decided = lease.within(decided).await.map_err(Refusal::Ended)??;
        over();
        Ok(decided)
    }
}

/// Somebody waits for a hold. Dropped when the client goes away or its access ends; the last one to go abandons it.
pub(super) struct Waiting {
    access: Arc<Access>,
    waiting: Arc<Mutex<HashMap<HoldId, usize>>>,
    id: HoldId,
    /// It was decided.
    over: bool,
}

impl Waiting {
    fn begin(access: Arc<Access>, waiting: Arc<Mutex<HashMap<HoldId, usize>>>, id: &HoldId) -> Self {
        *waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default() += 1;
        Self { access, waiting, id: id.clone(), over: false }
    }

    /// Whether this was the last one.
    fn leave(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let others = waiting.get(&self.id).map_or(0, |count| count.saturating_sub(1));
        if others > 0 {
            waiting.insert(self.id.clone(), others);
        } else {
            waiting.remove(&self.id);
        }
        others == 0
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.leave() || self.over {
            return;
        }
        let (access, id) = (Arc::clone(&self.access), self.id.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = access.abandon(&id, GRACE) {
                tracing::warn!(%error, hold = %id, "a hold whose client went away could not be ended");
            }
        });
    }
}

/// The store blocks; connections must not.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AccessError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Refusal::NotHeld(Box::new(error))),
        Err(_) => Err(Refusal::NotHeld(Box::new(AccessError::Contended))),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_access::{AccessConfig, RoleSet, SystemClock};

    use super::*;

    #[test]
    fn the_last_of_several_waiters_abandons_a_hold() {
        let dir = tempfile::tempdir().unwrap();
        let config = AccessConfig::new(dir.path().join("db"), Default::default());
        let access = Access::open(config, RoleSet::default(), Arc::new(SystemClock)).unwrap();
        let holds = Holds::new(Arc::new(access), "host".to_owned());
        let id: HoldId = "h-7f3a9c".parse().unwrap();
        let begin = |_| Waiting::begin(Arc::clone(&holds.access), Arc::clone(&holds.waiting), &id);
        let mut waiters: Vec<Waiting> = (0..3).map(begin).collect();
        waiters.iter_mut().for_each(|waiter| waiter.over = true);
        assert!(!waiters[0].leave());
        assert!(!waiters[1].leave());
        assert!(waiters[2].leave());
        assert!(holds.waiting.lock().unwrap().is_empty());
    }
}
