//! Requests to targets that wait for a person's word.

use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::Subject;

use super::Access;
use crate::state::State;
use crate::{AccessError, Hold, HoldId, HoldState, NewHold, holding};

impl Access {
    /// Makes a request wait for people's word. A retry of the same action (subject, target, client and digest, held by
    /// the same rule under the same grant) joins the hold that waits already, or gets the one that was just decided:
    /// one that was approved and is not spent, or one that was refused within the last 30 seconds. What was spent is
    /// never used again.
    ///
    /// # Errors
    /// [`AccessError::TooManyHeld`], [`AccessError::HoldsFull`], [`AccessError::NoSuchGrant`],
    /// [`AccessError::NotHolder`], [`AccessError::GrantEnded`], [`AccessError::NotBegun`], [`AccessError::Store`].
    pub fn hold(&self, subject: &Subject, new: &NewHold) -> Result<Hold, AccessError> {
        self.act(subject, |act| act.hold(new))
    }

    /// Uses an approval up. Of two who try, on whichever bastion, one succeeds. It has to be within the hold's
    /// `spend_within` of the last approval, and its grant must still give access.
    ///
    /// # Errors
    /// [`AccessError::NoSuchHold`], [`AccessError::NotSpendable`], [`AccessError::GrantEnded`], [`AccessError::Store`].
    pub fn spend(&self, id: &HoldId) -> Result<Hold, AccessError> {
        self.by_itself(|state, now| holding::spend(state, &self.known_hold(state, id)?, now))
    }

    /// The client went away: its hold waits no longer than `grace` for it to come back, which it does by
    /// [`Access::hold`]. Nothing happens to a hold that is decided and over.
    ///
    /// # Errors
    /// [`AccessError::NoSuchHold`], [`AccessError::Store`].
    pub fn abandon(&self, id: &HoldId, grace: Duration) -> Result<(), AccessError> {
        self.by_itself(|state, now| Ok(holding::abandon(&self.known_hold(state, id)?, grace, now))).map(drop)
    }

    /// Agrees to a held request. With the last approval that it needs it may go on, once.
    ///
    /// # Errors
    /// [`AccessError::NoSuchHold`], [`AccessError::NotHeld`], [`AccessError::SelfApproval`],
    /// [`AccessError::NotReviewer`], [`AccessError::AlreadyApproved`], [`AccessError::GrantEnded`],
    /// [`AccessError::Store`].
    pub fn approve_hold(&self, subject: &Subject, id: &HoldId, comment: &str) -> Result<Hold, AccessError> {
        self.act(subject, |act| act.approve_hold(self.waiting(act.state, id, act.now)?, comment))
    }

    /// Says no to a held request; its own requester withdraws it, also once it was agreed to, for as long as it has not
    /// gone on.
    ///
    /// # Errors
    /// [`AccessError::NoSuchHold`], [`AccessError::NotHeld`], [`AccessError::NotReviewer`], [`AccessError::Store`].
    pub fn deny_hold(&self, subject: &Subject, id: &HoldId, comment: &str) -> Result<Hold, AccessError> {
        self.act(subject, |act| act.deny_hold(self.stoppable(act.state, subject, id, act.now)?, comment))
    }

    /// The hold, if `subject` can still keep it from going on, as far as its state goes.
    pub(super) fn stoppable(
        &self,
        state: &State,
        subject: &Subject,
        id: &HoldId,
        now: Timestamp,
    ) -> Result<Hold, AccessError> {
        let hold = holding::as_it_stands(&self.known_hold(state, id)?, now);
        match hold.state {
            HoldState::Pending => Ok(hold),
            HoldState::Approved if hold.subject.is(subject) => Ok(hold),
            state => Err(AccessError::NotHeld { id: id.clone(), state }),
        }
    }

    /// The hold, if it waits.
    pub(super) fn waiting(&self, state: &State, id: &HoldId, now: Timestamp) -> Result<Hold, AccessError> {
        let hold = holding::as_it_stands(&self.known_hold(state, id)?, now);
        match hold.state {
            HoldState::Pending => Ok(hold),
            state => Err(AccessError::NotHeld { id: id.clone(), state }),
        }
    }

    fn known_hold(&self, state: &State, id: &HoldId) -> Result<Hold, AccessError> {
        match state.holds.get(id) {
            Some(hold) => Ok(hold.as_ref().clone()),
            None => self.find_hold(id),
        }
    }
}
