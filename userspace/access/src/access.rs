//! The service: requests come in, people decide them, grants begin and end, and each change becomes a snapshot.
//!
//! All functions block on the store and are meant for a blocking thread. Nothing is told to anybody, and no
//! snapshot shows it, before the store has made it durable.

mod acts;
mod holds;
mod lists;
mod sharing;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{Timestamp, TimestampRound, Unit};
use portcullis_identity::Subject;
use tokio::sync::watch;

pub use acts::{Decided, NewRequest, Selection};
pub use lists::{GrantFilter, RequestFilter};
pub use sharing::Wakes;

use crate::lifecycle::{self, Act};
use crate::role::RoleSet;
use crate::snapshot::Snapshot;
use crate::state::{REMEMBERED, State, before};
use crate::store::{Applied, Change, PostgresStore, SqliteStore, Store};
use crate::{
    AccessConfig, AccessError, Clock, Grant, GrantId, Request, RequestId, RequestState, StoreConfig,
};

/// How often a change is tried when others write at the same time or an id is taken.
const ATTEMPTS: u32 = 16;

/// Requests, approvals, grants and holds.
pub struct Access {
    config: AccessConfig,
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    state: Mutex<State>,
    published: watch::Sender<Arc<Snapshot>>,
    revisions: watch::Sender<u64>,
}

impl Access {
    /// Opens the store that `config` names and takes up what is live in it.
    ///
    /// # Errors
    /// [`AccessError::Store`], [`AccessError::BadPath`].
    pub fn open(config: AccessConfig, roles: RoleSet, clock: Arc<dyn Clock>) -> Result<Self, AccessError> {
        let store: Arc<dyn Store> = match &config.store {
            StoreConfig::Sqlite(path) => Arc::new(SqliteStore::open(path)?),
            StoreConfig::Postgres(postgres) => Arc::new(PostgresStore::open(postgres)?),
        };
        Self::with_store(config, roles, clock, store)
    }

    /// As [`Access::open`], with a store that is open already.
    ///
    /// # Errors
    /// As [`Access::open`].
    pub fn with_store(
        config: AccessConfig,
        roles: RoleSet,
        clock: Arc<dyn Clock>,
        store: Arc<dyn Store>,
    ) -> Result<Self, AccessError> {
        let now = whole_millis(clock.now());
        let open = Arc::new(config.discovery.compile().map_err(AccessError::BadPath)?);
        let mut state = State::new(Arc::new(roles), config.targets.iter().cloned().collect(), open);
        state.replace(store.load(before(now, REMEMBERED))?, now);
        let (published, _) = watch::channel(Arc::new(Snapshot::of(&state, now, config.max_snapshot_age)));
        let (revisions, _) = watch::channel(state.revision);
        let access = Self { config, clock, store, state: Mutex::new(state), published, revisions };
        access.refresh()?;
        Ok(access)
    }

    /// What is in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.published.borrow())
    }

    /// Always holds what is in force; wakes only when its content changes, not when it is confirmed.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.published.subscribe()
    }

    /// Asks the store whether the snapshot is still the truth, and ends what is over. To be called each second:
    /// when it fails for longer than `maxSnapshotAge`, every decision is a denial.
    ///
    /// # Errors
    /// [`AccessError::Store`], [`AccessError::Contended`].
    pub fn refresh(&self) -> Result<(), AccessError> {
        let mut state = self.lock();
        let now = self.now();
        self.catch_up(&mut state, now)?;
        let forgot = state.forget(now);
        if state.due(now).next().is_some() {
            self.change(&mut state, |state, now| Ok((lifecycle::end_what_is_over(state, now), ())))?;
        } else if forgot {
            self.publish(&state, now);
        }
        self.published.borrow().confirm(now);
        Ok(())
    }

    /// Puts other roles in force. Grants of roles that are gone give no access any more.
    pub fn reload_roles(&self, roles: RoleSet) {
        let mut state = self.lock();
        state.roles = Arc::new(roles);
        state.index_anew();
        let confirmed_at = self.snapshot().confirmed_at();
        self.publish(&state, confirmed_at);
    }

    /// Puts another set of targets in force.
    pub fn reload_targets(&self, targets: BTreeSet<String>) {
        let mut state = self.lock();
        state.targets = targets.into_iter().collect();
        state.index_anew();
        let confirmed_at = self.snapshot().confirmed_at();
        self.publish(&state, confirmed_at);
    }

    /// Something that a person does.
    fn act<T>(
        &self,
        subject: &Subject,
        mut act: impl FnMut(&Act<'_>) -> Result<(Change, T), AccessError>,
    ) -> Result<T, AccessError> {
        let mut state = self.lock();
        self.catch_up(&mut state, self.now())?;
        self.change(&mut state, |state, now| {
            act(&Act {
                state,
                subject,
                now,
                pending_for: self.config.pending_for,
                admins: &self.config.admin_groups,
            })
        })
    }

    /// Something that happens by nobody's word.
    fn by_itself<T>(
        &self,
        decide: impl FnMut(&State, Timestamp) -> Result<(Change, T), AccessError>,
    ) -> Result<T, AccessError> {
        let mut state = self.lock();
        self.catch_up(&mut state, self.now())?;
        self.change(&mut state, decide)
    }

    /// Decides upon a change, makes it durable, publishes it; decides anew when someone else wrote first.
    fn change<T>(
        &self,
        state: &mut State,
        mut decide: impl FnMut(&State, Timestamp) -> Result<(Change, T), AccessError>,
    ) -> Result<T, AccessError> {
        for _ in 0..ATTEMPTS {
            let now = self.now();
            let (change, outcome) = decide(state, now)?;
            if change.events.is_empty() {
                return Ok(outcome);
            }
            match self.store.apply(state.revision, &change)? {
                Applied::Done(revision) => {
                    state.absorb(change, revision, now);
                    self.publish(state, now);
                    return Ok(outcome);
                }
                Applied::Conflict => self.catch_up(state, now)?,
                Applied::IdTaken => {}
                Applied::TokenUsed => return Err(AccessError::AlreadyUsed),
            }
        }
        Err(AccessError::Contended)
    }

    /// Takes over what others wrote since.
    fn catch_up(&self, state: &mut State, now: Timestamp) -> Result<(), AccessError> {
        match self.store.since(state.revision)? {
            Some(live) if live.revision == state.revision => return Ok(()),
            Some(live) => state.take_over(live, now),
            None => state.replace(self.store.load(before(now, REMEMBERED))?, now),
        }
        self.publish(state, now);
        Ok(())
    }

    fn publish(&self, state: &State, confirmed_at: Timestamp) {
        let snapshot = Snapshot::of(state, confirmed_at, self.config.max_snapshot_age);
        self.published.send_replace(Arc::new(snapshot));
        self.revisions.send_if_modified(|revision| {
            let moved = *revision != state.revision;
            *revision = state.revision;
            moved
        });
    }

    fn pending(&self, state: &State, id: &RequestId, now: Timestamp) -> Result<Request, AccessError> {
        match state.requests.get(id) {
            Some(request) if now < request.expires_at => Ok(request.as_ref().clone()),
            Some(_) => Err(AccessError::NotPending { id: id.clone(), state: RequestState::Expired }),
            None => Err(AccessError::NotPending { id: id.clone(), state: self.find_request(id)?.state }),
        }
    }

    fn known_grant(&self, state: &State, id: &GrantId) -> Result<Grant, AccessError> {
        match state.grants.get(id) {
            Some(grant) => Ok(grant.as_ref().clone()),
            None => self.find_grant(id),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // State changes only after the store has, in steps that do not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        whole_millis(self.clock.now())
    }
}

/// Finer times would only make the record harder to read.
fn whole_millis(time: Timestamp) -> Timestamp {
    let round = TimestampRound::new().smallest(Unit::Millisecond).mode(jiff::RoundMode::Trunc);
    time.round(round).unwrap_or(time)
}

#[cfg(test)]
mod tests;
