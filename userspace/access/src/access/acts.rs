//! What people do about requests and grants.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::Subject;
use serde::{Deserialize, Serialize};

use super::Access;
use crate::store::Token;
use crate::{AccessError, Attempt, Decidable, Grant, GrantId, Hold, Request, RequestId, RoleName};

/// Characters of the id of a link or button.
const LONGEST_TOKEN: usize = 128;

/// What someone asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    /// The role.
    pub role: RoleName,
    /// The target; not needed when the role covers only one.
    pub target: Option<String>,
    /// For how long, from the last approval on, or from `starts_at` where that is later.
    pub duration: Duration,
    /// Before when it must not begin: now, or within the next seven days.
    pub starts_at: Option<Timestamp>,
    /// Why, in one line.
    pub reason: String,
    /// What was denied, when that is what it is about.
    pub denied: Option<Attempt>,
    /// Whether it is an emergency, so that the role's terms for those apply.
    pub emergency: bool,
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

/// What was decided about, as it stands then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Decided {
    /// A request for a role.
    Request(Box<Request>),
    /// One request to a target.
    Hold(Box<Hold>),
}

/// An approver's answer.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Yes,
    No,
}

impl Access {
    /// Asks for a role. Where the role needs no approval, the request comes back approved and its grant is live.
    ///
    /// # Errors
    /// [`AccessError::NoSuchRole`], [`AccessError::NotEligible`], [`AccessError::TargetNotCovered`],
    /// [`AccessError::TargetNeeded`], [`AccessError::TooLong`], [`AccessError::BadText`],
    /// [`AccessError::TooManyOpen`], [`AccessError::BadStart`], [`AccessError::Store`].
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

    /// Approves a request or a held request.
    ///
    /// # Errors
    /// As [`Access::approve`] and [`Access::approve_hold`].
    pub fn approve_any(
        &self,
        subject: &Subject,
        what: &Decidable,
        comment: &str,
    ) -> Result<Decided, AccessError> {
        self.answer(subject, what, Answer::Yes, comment, None)
    }

    /// Denies a request or a held request; its own requester withdraws it.
    ///
    /// # Errors
    /// As [`Access::deny`] and [`Access::deny_hold`].
    pub fn deny_any(
        &self,
        subject: &Subject,
        what: &Decidable,
        comment: &str,
    ) -> Result<Decided, AccessError> {
        self.answer(subject, what, Answer::No, comment, None)
    }

    /// As [`Access::approve_any`], by something that works once and until `expires`, whichever bastion it reaches: a
    /// signed link, or a signed callback. It is used up in the transaction that approves, and not when that is refused.
    ///
    /// # Errors
    /// As [`Access::approve_any`], and [`AccessError::AlreadyUsed`], [`AccessError::NoLongerGood`],
    /// [`AccessError::BadToken`].
    pub fn approve_once(
        &self,
        subject: &Subject,
        what: &Decidable,
        comment: &str,
        token_id: &str,
        expires: Timestamp,
    ) -> Result<Decided, AccessError> {
        let token = self.unused(token_id, expires)?;
        self.answer(subject, what, Answer::Yes, comment, Some(&token))
    }

    /// As [`Access::deny_any`], by something that works once: see [`Access::approve_once`].
    ///
    /// # Errors
    /// As [`Access::approve_once`].
    pub fn deny_once(
        &self,
        subject: &Subject,
        what: &Decidable,
        comment: &str,
        token_id: &str,
        expires: Timestamp,
    ) -> Result<Decided, AccessError> {
        let token = self.unused(token_id, expires)?;
        self.answer(subject, what, Answer::No, comment, Some(&token))
    }

    fn answer(
        &self,
        subject: &Subject,
        what: &Decidable,
        answer: Answer,
        comment: &str,
        token: Option<&Token>,
    ) -> Result<Decided, AccessError> {
        self.act(subject, |act| {
            let (mut change, decided) = match what {
                Decidable::Request(id) => {
                    let request = self.pending(act.state, id, act.now)?;
                    let (change, request) = match answer {
                        Answer::Yes => act.approve(request, comment)?,
                        Answer::No => act.deny(request, comment)?,
                    };
                    (change, Decided::Request(Box::new(request)))
                }
                Decidable::Hold(id) => {
                    let (change, hold) = match answer {
                        Answer::Yes => act.approve_hold(self.waiting(act.state, id, act.now)?, comment)?,
                        Answer::No => {
                            act.deny_hold(self.stoppable(act.state, subject, id, act.now)?, comment)?
                        }
                    };
                    (change, Decided::Hold(Box::new(hold)))
                }
            };
            change.token = token.cloned();
            Ok((change, decided))
        })
    }

    /// Looks at a token before anything else, so that a second use reads what it is; the transaction looks again.
    fn unused(&self, id: &str, expires_at: Timestamp) -> Result<Token, AccessError> {
        if id.is_empty() || id.len() > LONGEST_TOKEN {
            return Err(AccessError::BadToken);
        }
        if self.store.token_used(id)? {
            return Err(AccessError::AlreadyUsed);
        }
        if self.now() >= expires_at {
            return Err(AccessError::NoLongerGood(expires_at));
        }
        Ok(Token { id: id.to_owned(), expires_at })
    }
}
