//! The service: requests come in, people decide them, grants begin and end, and each change becomes a snapshot.
//!
//! All functions block on the store and are meant for a blocking thread. Nothing is told to anybody, and no
//! snapshot shows it, before the store has made it durable.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{Timestamp, TimestampRound, Unit};
use portcullis_identity::Subject;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::lifecycle::{self, Act};
use crate::role::RoleSet;
use crate::snapshot::Snapshot;
use crate::state::{REMEMBERED, State, before};
use crate::store::{Applied, Change, Event, SqliteStore, Store};
use crate::{
    AccessConfig, AccessError, Attempt, Clock, Grant, GrantId, Hold, HoldId, NewHold, Person, Request,
    RequestId, RequestState, RoleName,
};

/// How often a change is tried when others write at the same time or an id is taken.
const ATTEMPTS: u32 = 16;
/// How many rows a list shows.
const LISTED: u32 = 1000;

/// Requests, approvals and grants.
pub struct Access {
    config: AccessConfig,
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    state: Mutex<State>,
    published: watch::Sender<Arc<Snapshot>>,
}

/// What someone asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    /// The role.
    pub role: RoleName,
    /// The target; not needed when the role covers only one.
    pub target: Option<String>,
    /// For how long, from the last approval on.
    pub duration: Duration,
    /// Why, in one line.
    pub reason: String,
    /// What was denied, when that is what it is about.
    pub denied: Option<Attempt>,
    /// There is no time to ask: for those whom the role's emergency terms name.
    pub emergency: bool,
}

/// Which requests to list.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Only those in this state.
    pub state: Option<RequestState>,
    /// Only those of this person.
    pub subject: Option<Person>,
}

/// Which grants to list.
#[derive(Debug, Clone, Default)]
pub struct GrantFilter {
    /// Only those that give access now.
    pub live: bool,
    /// Only those of this person.
    pub subject: Option<Person>,
}

/// Which grants to revoke: those that fit all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selection {
    /// Held by whom, by name.
    pub subject: Option<String>,
    /// Of which role.
    pub role: Option<RoleName>,
    /// On which target.
    pub target: Option<String>,
}

impl Selection {
    /// Whether it selects every grant there is.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn includes(&self, grant: &Grant) -> bool {
        self.subject.as_ref().is_none_or(|name| grant.subject.name == *name)
            && self.role.as_ref().is_none_or(|role| grant.role == *role)
            && self.target.as_ref().is_none_or(|target| grant.target == *target)
    }
}

/// `of role look, held by alice, on target demo`
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.role.as_ref().map(|role| format!("of role {role}")),
            self.subject.as_ref().map(|name| format!("held by {name:?}")),
            self.target.as_ref().map(|target| format!("on target {target:?}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl Access {
    /// Opens the SQLite store that `config` names and takes up what is live in it.
    ///
    /// # Errors
    /// [`AccessError::Store`], [`AccessError::BadPath`].
    pub fn open(config: AccessConfig, roles: RoleSet, clock: Arc<dyn Clock>) -> Result<Self, AccessError> {
        let store = Arc::new(SqliteStore::open(&config.store)?);
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
        let mut state = State {
            revision: 0,
            roles: Arc::new(roles),
            targets: config.targets.iter().cloned().collect(),
            open_paths: config.discovery.compile().map_err(AccessError::BadPath)?.into(),
            requests: Default::default(),
            grants: Default::default(),
        };
        state.replace(store.load(before(now, REMEMBERED))?);
        let (published, _) = watch::channel(Arc::new(state.snapshot(now, config.max_snapshot_age)));
        let access = Self { config, clock, store, state: Mutex::new(state), published };
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
        if state.next_end().is_some_and(|end| end <= now) {
            self.change(&mut state, |state, now| Ok((lifecycle::end_what_is_over(state, now), ())))?;
        }
        self.published.borrow().confirm(now);
        Ok(())
    }

    /// Puts other roles in force. Grants of roles that are gone give no access any more.
    pub fn reload_roles(&self, roles: RoleSet) {
        let mut state = self.lock();
        state.roles = Arc::new(roles);
        let confirmed_at = self.snapshot().confirmed_at();
        self.publish(&state, confirmed_at);
    }

    /// Puts another set of targets in force.
    pub fn reload_targets(&self, targets: BTreeSet<String>) {
        let mut state = self.lock();
        state.targets = targets.into_iter().collect();
        let confirmed_at = self.snapshot().confirmed_at();
        self.publish(&state, confirmed_at);
    }

    /// Asks for a role. Where the role needs no approval, the request comes back approved and its grant is live.
    ///
    /// # Errors
    /// [`AccessError::NoSuchRole`], [`AccessError::NotEligible`], [`AccessError::TargetNotCovered`],
    /// [`AccessError::TargetNeeded`], [`AccessError::TooLong`], [`AccessError::BadText`],
    /// [`AccessError::TooManyOpen`], [`AccessError::Store`].
    pub fn request(&self, subject: &Subject, new: &NewRequest) -> Result<Request, AccessError> {
        self.act(subject, |act| act.request(new))
    }

    /// Asks to hold a grant for longer. The terms are those of a new request, approvals included; once approved,
    /// the grant's end moves by `duration`, to no more than the role's longest duration from that moment.
    ///
    /// # Errors
    /// As [`Access::request`], and [`AccessError::NoSuchGrant`], [`AccessError::NotHolder`],
    /// [`AccessError::GrantEnded`].
    pub fn extend(
        &self,
        subject: &Subject,
        grant: &GrantId,
        duration: Duration,
        reason: &str,
    ) -> Result<Request, AccessError> {
        self.act(subject, |act| act.extend(&self.known_grant(act.state, grant)?, duration, reason))
    }

    /// Approves a request. With the last approval that it needs, its grant begins.
    ///
    /// # Errors
    /// [`AccessError::NoSuchRequest`], [`AccessError::NotPending`], [`AccessError::SelfApproval`],
    /// [`AccessError::NotApprover`], [`AccessError::AlreadyApproved`], [`AccessError::TooLong`],
    /// [`AccessError::GrantEnded`], [`AccessError::Store`].
    pub fn approve(&self, subject: &Subject, id: &RequestId, comment: &str) -> Result<Request, AccessError> {
        self.act(subject, |act| act.approve(self.pending(act.state, id, act.now)?, comment))
    }

    /// Denies a request; its own requester withdraws it.
    ///
    /// # Errors
    /// [`AccessError::NoSuchRequest`], [`AccessError::NotPending`], [`AccessError::NotApprover`],
    /// [`AccessError::Store`].
    pub fn deny(&self, subject: &Subject, id: &RequestId, comment: &str) -> Result<Request, AccessError> {
        self.act(subject, |act| act.deny(self.pending(act.state, id, act.now)?, comment))
    }

    /// Ends a grant now: by its holder, an approver of its role, or an administrator.
    ///
    /// # Errors
    /// [`AccessError::NoSuchGrant`], [`AccessError::GrantEnded`], [`AccessError::MayNotRevoke`],
    /// [`AccessError::BadText`], [`AccessError::Store`].
    pub fn revoke(&self, subject: &Subject, id: &GrantId, reason: &str) -> Result<Grant, AccessError> {
        self.act(subject, |act| act.revoke(&self.known_grant(act.state, id)?, reason))
    }

    /// Ends all live grants that `selection` includes, or none: everything of it when nothing is selected by, which
    /// only administrators may. Returns what was ended.
    ///
    /// # Errors
    /// [`AccessError::NothingSelected`], [`AccessError::MayNotRevokeAll`], [`AccessError::NotAdmin`],
    /// [`AccessError::BadText`], [`AccessError::Store`].
    pub fn revoke_all(
        &self,
        subject: &Subject,
        selection: &Selection,
        reason: &str,
    ) -> Result<Vec<Grant>, AccessError> {
        self.act(subject, |act| act.revoke_all(selection, reason))
    }

    /// Makes a request wait for people's word. A retry of the same action (subject, target, client and digest) joins
    /// the hold that waits already, or gets the one that was just decided.
    ///
    /// # Errors
    /// [`AccessError::TooManyOpen`], [`AccessError::Store`].
    pub fn hold(&self, _subject: &Subject, _new: &NewHold) -> Result<Hold, AccessError> {
        Err(AccessError::Contended)
    }

    /// Uses an approval up. Of two who try, on whichever bastion, one succeeds.
    ///
    /// # Errors
    /// [`AccessError::NoSuchHold`], [`AccessError::Store`].
    pub fn spend(&self, id: &HoldId) -> Result<Hold, AccessError> {
        Err(AccessError::NoSuchHold(id.clone()))
    }

    /// The client went away: its hold waits no longer than `grace` for it to come back.
    ///
    /// # Errors
    /// [`AccessError::NoSuchHold`], [`AccessError::Store`].
    pub fn abandon(&self, id: &HoldId, _grace: Duration) -> Result<(), AccessError> {
        Err(AccessError::NoSuchHold(id.clone()))
    }

    /// Agrees to a held request.
    ///
    /// # Errors
    /// As [`Access::approve`], for a hold.
    pub fn approve_hold(&self, _subject: &Subject, id: &HoldId, _comment: &str) -> Result<Hold, AccessError> {
        Err(AccessError::NoSuchHold(id.clone()))
    }

    /// Says no to a held request; its own requester withdraws it.
    ///
    /// # Errors
    /// As [`Access::deny`], for a hold.
    pub fn deny_hold(&self, _subject: &Subject, id: &HoldId, _comment: &str) -> Result<Hold, AccessError> {
        Err(AccessError::NoSuchHold(id.clone()))
    }

    /// Held requests that wait, the newest first; with `all`, at most 1000 of any state.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    pub fn holds(&self, _all: bool) -> Result<Vec<Hold>, AccessError> {
        Ok(Vec::new())
    }

    /// Requests, the newest first, at most 1000.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    pub fn requests(&self, filter: &RequestFilter) -> Result<Vec<Request>, AccessError> {
        let mut requests: Vec<Request> = match filter.state {
            Some(RequestState::Pending) => {
                let state = self.lock();
                let now = self.now();
                let waiting = state.requests.values().filter(|request| now < request.expires_at);
                waiting.map(|request| request.as_ref().clone()).collect()
            }
            _ => self.store.requests(LISTED)?,
        };
        requests.sort_by_key(|request| std::cmp::Reverse(request.created_at));
        requests.retain(|request| {
            filter.state.is_none_or(|state| request.state == state)
                && filter.subject.as_ref().is_none_or(|person| request.subject == *person)
        });
        Ok(requests)
    }

    /// Grants, the newest first, at most 1000 unless only live ones are asked for.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    pub fn grants(&self, filter: &GrantFilter) -> Result<Vec<Grant>, AccessError> {
        let mut grants: Vec<Grant> = if filter.live {
            let snapshot = self.snapshot();
            let now = self.now();
            let state = self.lock();
            let live = state.grants.values().filter(|grant| snapshot.grant_live(&grant.id, now).is_ok());
            live.map(|grant| grant.as_ref().clone()).collect()
        } else {
            self.store.grants(LISTED)?
        };
        grants.sort_by_key(|grant| std::cmp::Reverse(grant.starts_at));
        grants.retain(|grant| filter.subject.as_ref().is_none_or(|person| grant.subject == *person));
        Ok(grants)
    }

    /// A request of any state.
    ///
    /// # Errors
    /// [`AccessError::NoSuchRequest`], [`AccessError::Store`].
    pub fn find_request(&self, id: &RequestId) -> Result<Request, AccessError> {
        self.store.request(id)?.ok_or_else(|| AccessError::NoSuchRequest(id.clone()))
    }

    /// A grant, live or ended.
    ///
    /// # Errors
    /// [`AccessError::NoSuchGrant`], [`AccessError::Store`].
    pub fn find_grant(&self, id: &GrantId) -> Result<Grant, AccessError> {
        self.store.grant(id)?.ok_or_else(|| AccessError::NoSuchGrant(id.clone()))
    }

    /// What was done after event number `after`, oldest first: who asked, approved, revoked, and why.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    pub fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, AccessError> {
        self.store.events(after, limit)
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

    /// Decides upon a change, makes it durable, publishes it; decides anew when someone else wrote first.
    fn change<T>(
        &self,
        state: &mut State,
        mut decide: impl FnMut(&State, Timestamp) -> Result<(Change, T), AccessError>,
    ) -> Result<T, AccessError> {
        for _ in 0..ATTEMPTS {
            let now = self.now();
            let (change, outcome) = decide(state, now)?;
            match self.store.apply(state.revision, &change)? {
                Applied::Done(revision) => {
                    state.absorb(change, revision, now);
                    self.publish(state, now);
                    return Ok(outcome);
                }
                Applied::Conflict => self.reload(state, now)?,
                Applied::IdTaken => {}
            }
        }
        Err(AccessError::Contended)
    }

    /// Takes over what others wrote since.
    fn catch_up(&self, state: &mut State, now: Timestamp) -> Result<(), AccessError> {
        if self.store.revision()? == state.revision { Ok(()) } else { self.reload(state, now) }
    }

    fn reload(&self, state: &mut State, now: Timestamp) -> Result<(), AccessError> {
        state.replace(self.store.load(before(now, REMEMBERED))?);
        self.publish(state, now);
        Ok(())
    }

    fn publish(&self, state: &State, confirmed_at: Timestamp) {
        self.published.send_replace(Arc::new(state.snapshot(confirmed_at, self.config.max_snapshot_age)));
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
