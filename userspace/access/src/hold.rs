//! One request that waits for a person's word on it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::role::ReviewTerms;
use crate::{Approval, GrantId, HoldId, Operation, Person, RoleName, duration};

/// A request to a target that waits. It is kept in the store, so that it can be decided on any bastion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Whose request it is.
    pub subject: Person,
    /// To which target.
    pub target: String,
    /// What is asked for.
    pub operation: Operation,
    /// The role that allows it once someone has agreed.
    pub role: RoleName,
    /// Which of its rules does, counted from 0.
    pub rule: usize,
    /// The grant that allows it once someone has agreed.
    pub grant: GrantId,
    /// Who has to agree.
    pub terms: ReviewTerms,
    /// SHA-256, in hexadecimal, over method, request target and body: what is agreed to is this and nothing else.
    pub digest: String,
    /// The client's process: a retry by the same one is the same action.
    pub client: String,
    /// The client's command line, redacted; its own words.
    pub command: Vec<String>,
    /// What a write would change, masked, as a unified diff.
    pub diff: Option<String>,
    /// Where it stands.
    pub state: HoldState,
    /// When it began to wait.
    pub created_at: Timestamp,
    /// When it stops to wait; for an approved one, when the approval is lost unless it was spent.
    pub expires_at: Timestamp,
    /// Who has agreed so far.
    pub approvals: Vec<Approval>,
    /// When it left `pending`.
    pub decided_at: Option<Timestamp>,
    /// Who said no, and what they said.
    pub refusal: Option<Approval>,
    /// How long an approval can be spent after it was given.
    #[serde(with = "duration::text")]
    pub spend_within: Duration,
    /// Whether its client went away, and has not come back yet.
    pub abandoned: bool,
}

impl Hold {
    /// Whether it waits, or was agreed to and not used yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, HoldState::Pending | HoldState::Approved)
    }
}

/// Where a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldState {
    /// It waits.
    Pending,
    /// All who have to agree did; the request may go on, once.
    Approved,
    /// Someone said no.
    Denied,
    /// The client went away, its requester withdrew it, or its grant ended.
    Cancelled,
    /// Nobody decided in time, or the approval was not used in time.
    Expired,
    /// The request went on: the approval is used up.
    Spent,
}

impl HoldState {
    /// The word for it, as serialised.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            HoldState::Pending => "pending",
            HoldState::Approved => "approved",
            HoldState::Denied => "denied",
            HoldState::Cancelled => "cancelled",
            HoldState::Expired => "expired",
            HoldState::Spent => "spent",
        }
    }
}

impl fmt::Display for HoldState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that is to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHold {
    /// To which target.
    pub target: String,
    /// What is asked for.
    pub operation: Operation,
    /// The role that allows it once someone has agreed.
    pub role: RoleName,
    /// Which of its rules does, counted from 0.
    pub rule: usize,
    /// The grant that allows it once someone has agreed.
    pub grant: GrantId,
    /// Who has to agree, and how long it waits.
    pub terms: ReviewTerms,
    /// As in [`Hold::digest`].
    pub digest: String,
    /// As in [`Hold::client`].
    pub client: String,
    /// As in [`Hold::command`].
    pub command: Vec<String>,
    /// As in [`Hold::diff`].
    pub diff: Option<String>,
    /// How long an approval can be spent after it was given.
    pub spend_within: Duration,
}
