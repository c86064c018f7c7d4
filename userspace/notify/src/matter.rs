//! What notifications are about, and the two things that this crate needs from whoever keeps requests and holds.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_access::{Decidable, Hold, HoldState, Person, Request, RequestState, format_duration};
use portcullis_identity::Subject;
use serde::{Deserialize, Serialize};

/// What someone says to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// One thing to be told or decided, as an approver is shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matter {
    /// `r-…`, `h-…`, or `g-…` for a grant, which nobody decides.
    pub id: String,
    /// Whose it is.
    pub who: Person,
    /// The role that is asked for, or whose rule holds the request.
    pub role: String,
    /// On which target.
    pub target: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// What is asked of the target, as its API server reads it.
    pub operation: Option<String>,
    /// The client's command line with secrets redacted; its own words.
    pub command: Vec<String>,
    /// What a write would change, masked.
    pub diff: Option<String>,
    /// For how long access is asked for.
    pub duration: Option<Duration>,
    /// Until when it can be decided.
    pub deadline: Option<Timestamp>,
    /// The word for where it stands, while it no longer waits.
    pub over: Option<String>,
    /// Groups whose members can decide it; empty when that is not known here.
    pub approver_groups: BTreeSet<String>,
}

/// A kind of event that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Someone asks for a role.
    Requested,
    /// Someone approved a request or a hold.
    Approved,
    /// A grant began.
    Granted,
    /// A grant lasts longer.
    Extended,
    /// An approver said no.
    Denied,
    /// Who asked withdrew it, or went away.
    Cancelled,
    /// A request to a target waits for a decision.
    Held,
    /// A request that was held went on.
    Spent,
    /// Someone ended a grant.
    Revoked,
    /// A request, hold or grant came to its end.
    Expired,
    /// Access was taken without the usual approval. Told to every webhook, whatever it wants to hear of.
    Emergency,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// Its number; later ones are greater.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// Who did it; nobody when time did.
    pub by: Option<Person>,
    /// What they said.
    pub comment: Option<String>,
    /// What it was about, as it stands now.
    pub matter: Matter,
}

/// Some of what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What is worth telling, the oldest first.
    pub happened: Vec<Happening>,
    /// The number of the last event that was looked at, whether or not it is worth telling; where there was none, the
    /// number that was asked from.
    pub seen: u64,
}

/// One person's word, to be taken once.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    /// Whose. A configured account: whoever takes the word finds out which person that is.
    pub by: &'a Subject,
    /// On what.
    pub what: &'a Decidable,
    /// Yes or no.
    pub verdict: Verdict,
    /// What they add; possibly nothing.
    pub comment: &'a str,
    /// The same for every use of one link, button press or message. It is taken at most once.
    pub token_id: &'a str,
    /// When the token is refused for its age, so that its id need not be remembered.
    pub expires: Timestamp,
}

/// Takes decisions. Its functions block, and are called on blocking threads.
pub trait Decider: Send + Sync {
    /// Takes a word and says what became of it. That `token_id` is used is recorded together with the decision, or
    /// not at all; who may decide what, and that nobody decides their own, is judged here too.
    ///
    /// # Errors
    /// In words for the person: why the word was not taken.
    fn decide_once(&self, word: &Word<'_>) -> Result<String, String>;

    /// What an approver is shown before they decide.
    ///
    /// # Errors
    /// In words for the person: why there is nothing to show.
    fn describe(&self, what: &Decidable) -> Result<Matter, String>;
}

/// What is to be told, how far each webhook has been told, and which bastion tells it. Blocks, as [`Decider`].
pub trait Outbox: Send + Sync {
    /// Looks at the next `limit` events after number `seq`, the oldest first.
    ///
    /// # Errors
    /// Why the store does not answer; as for all functions of the trait.
    fn after(&self, seq: u64, limit: u32) -> Result<Page, String>;

    /// The number of the last thing that happened.
    ///
    /// # Errors
    /// Why the store does not answer.
    fn latest(&self) -> Result<u64, String>;

    /// The number of the last thing that `webhook` was told; nothing for a new webhook.
    ///
    /// # Errors
    /// Why the store does not answer.
    fn cursor(&self, webhook: &str) -> Result<Option<u64>, String>;

    /// Moves a cursor that still stands at `from`. `false` when it does not: another bastion moved it.
    ///
    /// # Errors
    /// Why the store does not answer.
    fn advance(&self, webhook: &str, from: Option<u64>, to: u64) -> Result<bool, String>;

    /// Takes or keeps the right to tell `webhook`, for `lasting` from `now` on. `false` while another holder has it.
    ///
    /// # Errors
    /// Why the store does not answer.
    fn lease(&self, webhook: &str, holder: &str, now: Timestamp, lasting: Duration) -> Result<bool, String>;
}

impl Matter {
    /// What there is to decide; `None` for a grant.
    #[must_use]
    pub fn decidable(&self) -> Option<Decidable> {
        self.id.parse().ok()
    }

    /// Whether a member of `groups` can decide it, as far as that is known here.
    pub(crate) fn is_for(&self, groups: &BTreeSet<String>) -> bool {
        self.approver_groups.is_empty() || !self.approver_groups.is_disjoint(groups)
    }

    /// What is known of it, as pairs of a label and words, in the order in which people want to read them.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let asked = [("Role", self.role.clone()), ("Target", self.target.clone())];
        let command = (!self.command.is_empty()).then(|| self.command.join(" "));
        let rest = [
            ("Operation", self.operation.clone()),
            ("Reason", self.reason.clone()),
            ("Command", command),
            ("For", self.duration.map(format_duration)),
            ("Decide by", self.deadline.map(|at| format!("{at:.0}"))),
        ];
        let known = rest.into_iter().filter_map(|(label, value)| Some((label, value?)));
        std::iter::once(("Who", self.who.to_string())).chain(asked).chain(known).collect()
    }
}

impl From<&Request> for Matter {
    fn from(request: &Request) -> Self {
        let denied = request.denied.as_ref();
        Self {
            id: request.id.to_string(),
            who: request.subject.clone(),
            role: request.role.to_string(),
            target: request.target.clone(),
            reason: Some(request.reason.clone()),
            operation: denied.map(|attempt| attempt.operation.to_string()),
            command: denied.map(|attempt| attempt.command.clone()).unwrap_or_default(),
            diff: None,
            duration: Some(request.duration),
            deadline: Some(request.expires_at),
            over: (request.state != RequestState::Pending).then(|| request.state.to_string()),
            approver_groups: BTreeSet::new(),
        }
    }
}

impl From<&Hold> for Matter {
    fn from(hold: &Hold) -> Self {
        Self {
            id: hold.id.to_string(),
            who: hold.subject.clone(),
            role: hold.role.to_string(),
            target: hold.target.clone(),
            reason: None,
            operation: Some(hold.operation.to_string()),
            command: hold.command.clone(),
            diff: hold.diff.clone(),
            duration: None,
            deadline: Some(hold.expires_at),
            over: (hold.state != HoldState::Pending).then(|| hold.state.to_string()),
            approver_groups: hold.terms.groups.clone(),
        }
    }
}

impl Verdict {
    /// The word for it, as serialised.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Approve => "approve",
            Verdict::Deny => "deny",
        }
    }
}

impl EventKind {
    /// The word for it, as serialised.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Requested => "requested",
            EventKind::Approved => "approved",
            EventKind::Granted => "granted",
            EventKind::Extended => "extended",
            EventKind::Denied => "denied",
            EventKind::Cancelled => "cancelled",
            EventKind::Held => "held",
            EventKind::Spent => "spent",
            EventKind::Revoked => "revoked",
            EventKind::Expired => "expired",
            EventKind::Emergency => "emergency",
        }
    }

    /// Whether it says that something waits to be decided.
    pub(crate) fn asks(self) -> bool {
        matches!(self, EventKind::Requested | EventKind::Held)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_decided_is_told_by_its_id() {
        assert_eq!("r-7f3a9c".parse::<Decidable>().unwrap().to_string(), "r-7f3a9c");
        assert!(matches!("h-7f3a9c".parse::<Decidable>().unwrap(), Decidable::Hold(_)));
        for bad in ["g-7f3a9c", "r-7F3A9C", "", "r-7f3a9c ", "x"] {
            assert!(bad.parse::<Decidable>().is_err(), "{bad}");
        }
    }

    #[test]
    fn words_are_those_of_the_configuration() {
        for kind in [
            EventKind::Requested,
            EventKind::Approved,
            EventKind::Granted,
            EventKind::Extended,
            EventKind::Denied,
            EventKind::Cancelled,
            EventKind::Held,
            EventKind::Spent,
            EventKind::Revoked,
            EventKind::Expired,
            EventKind::Emergency,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for verdict in [Verdict::Approve, Verdict::Deny] {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
        }
    }
}
