//! What is asked for, and what comes of it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Attempt, GrantId, Person, RequestId, RoleName, duration};

/// Someone asks for a role on a target, for some time, for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// Who asks.
    pub subject: Person,
    /// For which role.
    pub role: RoleName,
    /// On which target.
    pub target: String,
    /// For how long, from the last approval on, or from `starts_at` where that is later.
    #[serde(with = "duration::text")]
    pub duration: Duration,
    /// Before when its window does not open, where it was asked for ahead of time.
    #[serde(default)]
    pub starts_at: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// The grant that it would extend, when it is about one.
    pub extends: Option<GrantId>,
    /// Where it stands.
    pub state: RequestState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires, if nobody decides it.
    pub expires_at: Timestamp,
    /// Who has approved it so far.
    pub approvals: Vec<Approval>,
    /// When it left `pending`.
    pub decided_at: Option<Timestamp>,
    /// Who denied it or withdrew it, and what they said.
    pub refusal: Option<Approval>,
    /// The grant that came of it.
    pub grant: Option<GrantId>,
    /// What was denied, when it was made from a denial.
    #[serde(default)]
    pub denied: Option<Attempt>,
    /// Whether it was made in an emergency, past the usual approvals.
    #[serde(default)]
    pub emergency: bool,
    /// What its role shows of what is masked: resources and fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmasks: Vec<String>,
}

/// One person's word on a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub by: Person,
    /// When.
    pub at: Timestamp,
    /// What they said, if anything.
    pub comment: Option<String>,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestState {
    /// It waits for approvals.
    Pending,
    /// All approvals are there; its grant began, or begins when it was asked for.
    Approved,
    /// An approver said no.
    Denied,
    /// The requester withdrew it.
    Cancelled,
    /// Nobody decided it in time.
    Expired,
    /// It was approved, and somebody has ended its grant since.
    Revoked,
}

impl RequestState {
    /// The word for it, as serialised.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RequestState::Pending => "pending",
            RequestState::Approved => "approved",
            RequestState::Denied => "denied",
            RequestState::Cancelled => "cancelled",
            RequestState::Expired => "expired",
            RequestState::Revoked => "revoked",
        }
    }
}

impl fmt::Display for RequestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A role on a target, in the hands of one person until it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// The request that it came of.
    pub request: RequestId,
    /// Who holds it.
    pub subject: Person,
    /// The role; its rules are those in force, not those of the time of asking.
    pub role: RoleName,
    /// On which target.
    pub target: String,
    /// Why it was asked for.
    pub reason: String,
    /// Who approved it, extensions included.
    pub approved_by: Vec<Person>,
    /// When it becomes usable: at the last approval, or later where that was asked for.
    pub starts_at: Timestamp,
    /// When it ends by itself. That moment is no longer covered.
    pub expires_at: Timestamp,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
    /// Whether it was given in an emergency, past the usual approvals.
    #[serde(default)]
    pub emergency: bool,
}

impl Grant {
    /// Whether its window is still to open.
    #[must_use]
    pub fn is_scheduled(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.starts_at
    }

    /// How it has ended at `now`, on record or by its time; a grant that is still to begin has not.
    pub(crate) fn over(&self, now: Timestamp) -> Option<Ended> {
        let expired = (now >= self.expires_at).then_some(Ended::Expired { at: self.expires_at });
        self.ended.clone().or(expired)
    }
}

/// How access ended, or why a grant gives none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "how")]
pub enum Ended {
    /// Its time was over.
    Expired {
        /// Since when.
        at: Timestamp,
    },
    /// Someone ended it.
    Revoked {
        /// When.
        at: Timestamp,
        /// Who.
        by: Person,
        /// Why.
        reason: String,
    },
    /// Its role no longer exists, or no longer covers its target, or that is no longer configured.
    RoleWithdrawn {
        /// The role.
        role: RoleName,
    },
    /// Whoever held it logged out, or the login could not be renewed.
    LoggedOut,
    /// The store has been silent for too long to know (Law 7).
    Unconfirmed {
        /// For how long.
        seconds: u64,
    },
    /// It is still to begin.
    Scheduled {
        /// When it does.
        at: Timestamp,
    },
    /// It never was, or ended long ago.
    Unknown,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Expired { at } => write!(f, "expired at {at:.0}"),
            Ended::Revoked { by, reason, .. } => write!(f, "revoked by {by}: {reason}"),
            Ended::RoleWithdrawn { role } => write!(f, "role {role} no longer gives access to this target"),
            Ended::LoggedOut => f.write_str("its holder logged out, or the login could not be renewed"),
            Ended::Unconfirmed { seconds } => {
                write!(f, "the grant store has not answered for {seconds} seconds")
            }
            Ended::Scheduled { at } => write!(f, "begins at {at:.0}"),
            Ended::Unknown => f.write_str("no such grant is live"),
        }
    }
}

impl Ended {
    /// When, where that is known.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        match self {
            Ended::Expired { at } | Ended::Revoked { at, .. } | Ended::Scheduled { at } => Some(*at),
            Ended::RoleWithdrawn { .. } | Ended::LoggedOut | Ended::Unconfirmed { .. } | Ended::Unknown => {
                None
            }
        }
    }
}
