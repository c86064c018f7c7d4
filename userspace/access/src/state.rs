//! What is in force, in memory: the service's own copy of the store's live rows, from which snapshots are made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::Subject;

use crate::discovery::Open;
use crate::index::Index;
use crate::role::{Role, RoleSet};
use crate::store::{Change, Live};
use crate::{AccessError, Ended, Grant, GrantId, Hold, HoldId, Request, RequestId, RequestState, RoleName};

/// How long a grant that ended is remembered, so that a denial can say how.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(3600);
/// How long a decided hold is remembered, so that its client, and that client's second try, learn of it.
const HOLD_REMEMBERED: Duration = Duration::from_secs(120);

pub(crate) struct State {
    pub(crate) revision: u64,
    pub(crate) roles: Arc<RoleSet>,
    /// Sorted.
    pub(crate) targets: Arc<[String]>,
    pub(crate) open: Arc<Open>,
    /// Pending ones.
    pub(crate) requests: BTreeMap<RequestId, Arc<Request>>,
    pub(crate) grants: BTreeMap<GrantId, Arc<Grant>>,
    pub(crate) holds: Arc<BTreeMap<HoldId, Arc<Hold>>>,
    pub(crate) index: Index,
    /// When each has to be looked at again: what is open ends, what ended is forgotten.
    due: BTreeSet<(Timestamp, Key)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Request(RequestId),
    Grant(GrantId),
    Hold(HoldId),
}

impl State {
    /// Nothing yet.
    pub(crate) fn new(roles: Arc<RoleSet>, targets: Arc<[String]>, open: Arc<Open>) -> Self {
        Self {
            revision: 0,
            roles,
            targets,
            open,
            requests: BTreeMap::new(),
            grants: BTreeMap::new(),
            holds: Arc::default(),
            index: Index::empty(),
            due: BTreeSet::new(),
        }
    }

    /// Takes over all that the store says, and nothing that was known before.
    pub(crate) fn replace(&mut self, live: Live, now: Timestamp) {
        let (roles, targets) = (Arc::clone(&self.roles), Arc::clone(&self.targets));
        *self = Self::new(roles, targets, Arc::clone(&self.open));
        self.take_over(live, now);
    }

    /// Takes over what was written since.
    pub(crate) fn take_over(&mut self, live: Live, now: Timestamp) {
        let Live { revision, requests, grants, holds } = live;
        self.absorb(Change { requests, grants, holds, ..Change::default() }, revision, now);
    }

    /// Takes over a change that the store has made durable.
    pub(crate) fn absorb(&mut self, change: Change, revision: u64, now: Timestamp) {
        self.revision = revision;
        change.new_request.into_iter().chain(change.requests).for_each(|request| self.put_request(request));
        change.new_grant.into_iter().chain(change.grants).for_each(|grant| self.put_grant(grant));
        change.new_hold.into_iter().chain(change.holds).for_each(|hold| self.put_hold(hold));
        self.forget(now);
    }

    /// Other roles or targets: what each grant refers to is looked up anew.
    pub(crate) fn index_anew(&mut self) {
        let mut index = Index::empty();
        self.grants.values().for_each(|grant| index.put_grant(grant, &self.roles, &self.targets));
        self.requests.values().for_each(|request| index.put_request(request, &self.roles, &self.targets));
        self.index = index;
    }

    fn put_request(&mut self, request: Request) {
        let key = || Key::Request(request.id.clone());
        if let Some(known) = self.requests.remove(&request.id) {
            self.due.remove(&(known.expires_at, key()));
            self.index.remove_request(&known);
        }
        if request.state == RequestState::Pending {
            self.due.insert((request.expires_at, key()));
            self.index.put_request(&request, &self.roles, &self.targets);
            self.requests.insert(request.id.clone(), Arc::new(request));
        }
    }

    fn put_grant(&mut self, grant: Grant) {
        let key = || Key::Grant(grant.id.clone());
        if let Some(known) = self.grants.get(&grant.id) {
            self.due.remove(&(grant_due(known), key()));
        }
        self.due.insert((grant_due(&grant), key()));
        let grant = Arc::new(grant);
        self.index.put_grant(&grant, &self.roles, &self.targets);
        self.grants.insert(grant.id.clone(), grant);
    }

    fn put_hold(&mut self, hold: Hold) {
        let key = || Key::Hold(hold.id.clone());
        if let Some(known) = self.holds.get(&hold.id) {
            self.due.remove(&(hold_due(known), key()));
        }
        self.due.insert((hold_due(&hold), key()));
        Arc::make_mut(&mut self.holds).insert(hold.id.clone(), Arc::new(hold));
    }

    /// Drops what ended long enough ago; whether there was any.
    pub(crate) fn forget(&mut self, now: Timestamp) -> bool {
        let settled = |key: &&Key| match key {
            Key::Request(_) => false,
            Key::Grant(id) => self.grants.get(id).is_some_and(|grant| grant.ended.is_some()),
            Key::Hold(id) => self.holds.get(id).is_some_and(|hold| !hold.is_open()),
        };
        let over: Vec<Key> = self.due(now).filter(settled).cloned().collect();
        let any = !over.is_empty();
        for key in over {
            match &key {
                Key::Request(_) => {}
                Key::Grant(id) => {
                    if let Some(grant) = self.grants.remove(id) {
                        self.index.remove_grant(&grant);
                        self.due.remove(&(grant_due(&grant), key));
                    }
                }
                Key::Hold(id) => {
                    if let Some(hold) = Arc::make_mut(&mut self.holds).remove(id) {
                        self.due.remove(&(hold_due(&hold), key));
                    }
                }
            }
        }
        any
    }

    /// What has to be looked at, the longest overdue first.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, key)| key)
    }

    pub(crate) fn role(&self, name: &RoleName) -> Result<&Role, AccessError> {
        self.roles.get(name).ok_or_else(|| AccessError::NoSuchRole(name.clone()))
    }

    /// The target that is meant: the one named, or the only one that the role covers.
    pub(crate) fn target(&self, role: &Role, named: Option<&str>) -> Result<String, AccessError> {
        let covered = self.targets.iter().filter(|target| role.covers_target(target));
        match named {
            Some(target)
                if self.targets.iter().any(|known| known == target) && role.covers_target(target) =>
            {
                Ok(target.to_owned())
            }
            Some(target) => {
                Err(AccessError::TargetNotCovered { role: role.name.clone(), target: target.to_owned() })
            }
            None => match covered.cloned().collect::<Vec<_>>() {
                mut only if only.len() == 1 => Ok(only.remove(0)),
                targets => Err(AccessError::TargetNeeded { role: role.name.clone(), targets }),
            },
        }
    }

    /// How many requests and grants of `subject` are open.
    pub(crate) fn open_count(&self, subject: &Subject) -> usize {
        let held = self.index.dossier(subject).map_or(&[][..], |dossier| &dossier.held);
        self.requests.values().filter(|request| request.subject.is(subject)).count()
            + held.iter().filter(|held| held.grant.ended.is_none()).count()
    }

    /// The grant, if it gives access at `now` by all that is known here.
    pub(crate) fn usable(&self, id: &GrantId, now: Timestamp) -> Result<&Grant, AccessError> {
        let grant = self.grants.get(id).ok_or_else(|| AccessError::NoSuchGrant(id.clone()))?;
        let role = self.roles.get(&grant.role).filter(|role| role.covers_target(&grant.target));
        let withdrawn = || role.is_none().then(|| Ended::RoleWithdrawn { role: grant.role.clone() });
        match grant.over(now).or_else(withdrawn) {
            Some(ended) => Err(AccessError::GrantEnded { id: id.clone(), ended: Box::new(ended) }),
            None if grant.is_scheduled(now) => {
                Err(AccessError::NotBegun { id: id.clone(), at: grant.starts_at })
            }
            None => Ok(grant),
        }
    }
}

fn grant_due(grant: &Grant) -> Timestamp {
    match &grant.ended {
        Some(ended) => after(ended.at().unwrap_or(grant.expires_at), REMEMBERED),
        None => grant.expires_at,
    }
}

fn hold_due(hold: &Hold) -> Timestamp {
    match hold.decided_at {
        Some(decided_at) if !hold.is_open() => after(decided_at, HOLD_REMEMBERED),
        _ => hold.expires_at,
    }
}

/// `duration` after `now`; `now` itself where time has no such moment, so that nothing lasts for ever.
pub(crate) fn after(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_add(duration).unwrap_or(now)
}

/// `duration` before `now`.
pub(crate) fn before(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_sub(duration).unwrap_or(Timestamp::MIN)
}
