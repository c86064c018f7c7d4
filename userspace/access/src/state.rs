//! What is in force, in memory: the service's own copy of the store's live rows, from which snapshots are made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::Subject;

use crate::pattern::Pattern;
use crate::role::{Role, RoleSet};
use crate::snapshot::Snapshot;
use crate::store::{Change, Live};
use crate::{AccessError, Ended, Grant, GrantId, Person, Request, RequestId, RequestState, RoleName};

/// How long a grant that ended is remembered, so that a denial can say how.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(3600);

pub(crate) struct State {
    pub(crate) revision: u64,
    pub(crate) roles: Arc<RoleSet>,
    /// Sorted.
    pub(crate) targets: Arc<[String]>,
    pub(crate) open_paths: Arc<[Pattern]>,
    pub(crate) requests: BTreeMap<RequestId, Arc<Request>>,
    pub(crate) grants: BTreeMap<GrantId, Arc<Grant>>,
}

impl State {
    /// Takes over what the store says.
    pub(crate) fn replace(&mut self, live: Live) {
        self.revision = live.revision;
        self.requests =
            live.requests.into_iter().map(|request| (request.id.clone(), Arc::new(request))).collect();
        self.grants = live.grants.into_iter().map(|grant| (grant.id.clone(), Arc::new(grant))).collect();
    }

    /// Takes over a change that the store has made durable.
    pub(crate) fn absorb(&mut self, change: Change, revision: u64, now: Timestamp) {
        self.revision = revision;
        for request in change.new_request.into_iter().chain(change.requests) {
            if request.state == RequestState::Pending {
                self.requests.insert(request.id.clone(), Arc::new(request));
            } else {
                self.requests.remove(&request.id);
            }
        }
        for grant in change.new_grant.into_iter().chain(change.grants) {
            self.grants.insert(grant.id.clone(), Arc::new(grant));
        }
        let forgotten = before(now, REMEMBERED);
        self.grants.retain(|_, grant| {
            grant.ended.as_ref().and_then(Ended::at).is_none_or(|ended_at| ended_at >= forgotten)
        });
    }

    pub(crate) fn snapshot(&self, confirmed_at: Timestamp, max_age: Duration) -> Snapshot {
        Snapshot::new(
            confirmed_at,
            max_age,
            Arc::clone(&self.roles),
            Arc::clone(&self.targets),
            Arc::clone(&self.open_paths),
            self.grants.values(),
            self.requests.values(),
        )
    }

    /// The first moment at which a request or a grant ends by itself.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        let requests = self.requests.values().map(|request| request.expires_at);
        let grants = self.grants.values().filter(|grant| grant.ended.is_none()).map(|grant| grant.expires_at);
        requests.chain(grants).min()
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
        let mine = |person: &Person| person.is(subject);
        self.requests.values().filter(|request| mine(&request.subject)).count()
            + self.grants.values().filter(|grant| grant.ended.is_none() && mine(&grant.subject)).count()
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
