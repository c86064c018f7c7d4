//! Where requests, grants, held requests and the trail of what was done to them are kept.
//!
//! Every change is one transaction with at least one [`Event`], and the number of the last event is the store's
//! revision. A writer names the revision that it decided upon: if someone else wrote meanwhile, nothing is
//! written and it decides again. That holds for one process and for many.

mod event;
mod postgres;
mod rows;
mod sqlite;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

pub use event::{Event, EventAction};
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;

use crate::{AccessError, Grant, GrantId, Hold, HoldId, Request, RequestId};

/// Keeps requests, grants, holds and events. Never asked on the path of a request to a target, unless that is held.
pub trait Store: Send + Sync {
    /// What is in force: pending requests, holds that wait or can be spent, and the grants and holds that have not
    /// ended before `since`.
    ///
    /// # Errors
    /// [`AccessError::Store`], as for every function of the trait.
    fn load(&self, since: Timestamp) -> Result<Live, AccessError>;

    /// What was written after `revision`, whatever its state; nothing when nothing was. `None` when the store cannot
    /// tell, because it is no longer sure that it is the one in which that revision was: then [`Store::load`].
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn since(&self, revision: u64) -> Result<Option<Live>, AccessError>;

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

    /// A hold of any state.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn hold(&self, id: &HoldId) -> Result<Option<Hold>, AccessError>;

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

    /// The newest holds, newest first.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn holds(&self, limit: u32) -> Result<Vec<Hold>, AccessError>;

    /// The events after number `after`, oldest first.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, AccessError>;

    /// Whether a token of this id was used.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn token_used(&self, id: &str) -> Result<bool, AccessError>;

    /// How far a reader of events has come: the number of the last one that it is done with, 0 before the first.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn cursor(&self, name: &str) -> Result<u64, AccessError>;

    /// Moves a reader's cursor, if it still stands at `from`. Of several bastions that try, one succeeds.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn advance_cursor(&self, name: &str, from: u64, to: u64) -> Result<bool, AccessError>;

    /// Whether `holder` has the lease `name` until `now` + `lasting`: it had it, or nobody does at `now`.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    fn lease(&self, name: &str, holder: &str, now: Timestamp, lasting: Duration)
    -> Result<bool, AccessError>;

    /// Moves when somebody else may have written; none where nobody else writes. It spares waiting for the next look
    /// and no look: what is missed here is found by [`Store::since`].
    fn changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// What is in force, or was written, up to a revision.
#[derive(Debug)]
pub struct Live {
    /// The number of the last event that it includes.
    pub revision: u64,
    /// Pending requests; those of any state among what was written after another revision.
    pub requests: Vec<Request>,
    /// Live grants and those that ended lately.
    pub grants: Vec<Grant>,
    /// Holds that wait or can be spent, and those decided lately.
    pub holds: Vec<Hold>,
}

/// What one transaction writes.
#[derive(Debug, Default)]
pub struct Change {
    /// A request whose id must not exist yet.
    pub new_request: Option<Request>,
    /// A grant whose id must not exist yet.
    pub new_grant: Option<Grant>,
    /// A hold whose id must not exist yet.
    pub new_hold: Option<Hold>,
    /// Requests that exist.
    pub requests: Vec<Request>,
    /// Approved requests that exist and become [`Revoked`](crate::RequestState::Revoked), each once.
    pub revoked: Vec<RequestId>,
    /// Grants that exist.
    pub grants: Vec<Grant>,
    /// Holds that exist.
    pub holds: Vec<Hold>,
    /// A token that must not have been used yet.
    pub token: Option<Token>,
    /// What happened, in order; never empty. The store numbers them.
    pub events: Vec<Event>,
}

/// What lets somebody decide once: the id of a signed link or callback.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// Until when it is good; it is remembered for a while longer.
    pub expires_at: Timestamp,
}

/// The id is close to what opens the link.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
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
    /// The token was used before.
    TokenUsed,
}

/// How long a used token is remembered after its time, so that a bastion whose clock is behind finds it used.
const TOKEN_KEPT: Duration = Duration::from_secs(3600);

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod tests;
