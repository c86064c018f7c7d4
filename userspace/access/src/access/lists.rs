//! What is there: requests, grants, holds and the trail.

use std::cmp::Reverse;

use super::Access;
use crate::store::Event;
use crate::{AccessError, Grant, GrantId, Hold, HoldId, HoldState, Person, Request, RequestId, RequestState};

/// How many rows a list shows.
const LISTED: u32 = 1000;

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
    /// Only those that give access now, or will: their window is still to open.
    pub live: bool,
    /// Only those of this person.
    pub subject: Option<Person>,
}

impl Access {
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
        requests.sort_by_key(|request| Reverse(request.created_at));
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
            let (snapshot, now) = (self.snapshot(), self.now());
            let state = self.lock();
            let counts =
                |grant: &&Grant| grant.is_scheduled(now) || snapshot.grant_live(&grant.id, now).is_ok();
            state.grants.values().map(AsRef::as_ref).filter(counts).cloned().collect()
        } else {
            self.store.grants(LISTED)?
        };
        grants.sort_by_key(|grant| Reverse(grant.starts_at));
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

    /// Held requests that wait, the newest first; with `all`, at most 1000 of any state.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    pub fn holds(&self, all: bool) -> Result<Vec<Hold>, AccessError> {
        let mut holds: Vec<Hold> = if all {
            self.store.holds(LISTED)?
        } else {
            let (state, now) = (self.lock(), self.now());
            let waits = |hold: &&Hold| hold.state == HoldState::Pending && now < hold.expires_at;
            state.holds.values().map(AsRef::as_ref).filter(waits).cloned().collect()
        };
        holds.sort_by_key(|hold| Reverse(hold.created_at));
        Ok(holds)
    }

    /// A hold of any state.
    ///
    /// # Errors
    /// [`AccessError::NoSuchHold`], [`AccessError::Store`].
    pub fn find_hold(&self, id: &HoldId) -> Result<Hold, AccessError> {
        self.store.hold(id)?.ok_or_else(|| AccessError::NoSuchHold(id.clone()))
    }
}
