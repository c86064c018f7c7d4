//! The trail: who did what, when and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{GrantId, HoldId, Person, RequestId, RoleName};

/// One thing that was done to a request, a grant or a hold. Never changed, never deleted.
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
    /// The request; none where it is about a hold.
    #[serde(default)]
    pub request: Option<RequestId>,
    /// The grant, where there is one.
    pub grant: Option<GrantId>,
    /// The hold, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldId>,
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
    /// A request to a target waits for a person's word.
    Held,
    /// Someone agreed to it.
    HoldApproved,
    /// Someone said no to it.
    HoldDenied,
    /// Its client did not come back, its requester withdrew it, or its grant ended.
    HoldCancelled,
    /// Nobody decided it in time, or its approval was not used in time.
    HoldExpired,
    /// It went on: the approval is used up.
    HoldSpent,
    /// Its client went away.
    HoldAbandoned,
    /// Its client came back.
    HoldResumed,
}
