//! Where requests, grants and the trail of what was done to them are kept.
//!
//! Every change is one transaction with at least one [`Event`], and the number of the last event is the store's
//! revision. A writer names the revision that it decided upon: if someone else wrote meanwhile, nothing is
//! written and it decides again. That holds for one process and for many.

mod sqlite;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use sqlite::SqliteStore;

use crate::{AccessError, Grant, GrantId, Person, Request, RequestId, RoleName};

/// Keeps requests, grants and events. Never asked on the path of a request to a target.
pub trait Store: Send + Sync {
    /// What is in force: pending requests, and the grants that have not ended before `ended_since`.
    ///
    /// # Errors
    /// [`AccessError::Store`], as for every function of the trait.
    fn load(&self, ended_since: Timestamp) -> Result<Live, AccessError>;

    /// The number of the last event.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn revision(&self) -> Result<u64, AccessError>;

    /// Writes all of `change`, or nothing.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn apply(&self, revision: u64, change: &Change) -> Result<Applied, AccessError>;

    /// A request of any state.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn request(&self, id: &RequestId) -> Result<Option<Request>, AccessError>;

    /// A grant, live or ended.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn grant(&self, id: &GrantId) -> Result<Option<Grant>, AccessError>;

    /// The newest requests, newest first.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn requests(&self, limit: u32) -> Result<Vec<Request>, AccessError>;

    /// The newest grants, newest first.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn grants(&self, limit: u32) -> Result<Vec<Grant>, AccessError>;

    /// The events after number `after`, oldest first.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, AccessError>;
}

/// What is in force, at a revision.
#[derive(Debug)]
pub struct Live {
    /// The number of the last event that it includes.
    pub revision: u64,
    /// Pending requests.
    pub requests: Vec<Request>,
    /// Live grants and those that ended lately.
    pub grants: Vec<Grant>,
}

/// What one transaction writes.
#[derive(Debug, Default)]
pub struct Change {
    /// A request whose id must not exist yet.
    pub new_request: Option<Request>,
    /// A grant whose id must not exist yet.
    pub new_grant: Option<Grant>,
    /// Requests that exist.
    pub requests: Vec<Request>,
    /// Grants that exist.
    pub grants: Vec<Grant>,
    /// What happened, in order; never empty. The store numbers them.
    pub events: Vec<Event>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is durable, and this is the revision now.
    Done(u64),
    /// Someone else wrote first: load again and decide again.
    Conflict,
    /// A new id was taken already: draw another.
    IdTaken,
}

/// One thing that was done to a request or a grant. Never changed, never deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its number; 0 before the store gave it one.
    #[serde(default)]
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: EventAction,
    /// Who did it; nobody when time did.
    pub by: Option<Person>,
    /// Whose request or grant.
    pub subject: Person,
    /// The role.
    pub role: RoleName,
    /// The target.
    pub target: String,
    /// The request.
    pub request: RequestId,
    /// The grant, where there is one.
    pub grant: Option<GrantId>,
    /// Reason or comment.
    pub comment: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventAction {
    /// A request was made.
    Requested,
    /// Someone approved it.
    Approved,
    /// A condition of its role did.
    AutoApproved,
    /// Someone took the role without approval, in an emergency.
    Emergency,
    /// Its grant began.
    Granted,
    /// A grant lasts longer.
    Extended,
    /// An approver denied it.
    Denied,
    /// The requester withdrew it.
    Cancelled,
    /// Nobody decided it in time.
    RequestExpired,
    /// A grant was ended by someone.
    Revoked,
    /// A grant's time was over.
    GrantExpired,
}
