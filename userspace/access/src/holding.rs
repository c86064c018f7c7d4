//! What becomes of a request that waits for a person's word: pure, from the state to the change.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::Subject;

use crate::denials::shortened;
use crate::lifecycle::{Act, Outcome, one_of};
use crate::state::{State, after, before};
use crate::store::{Change, Event, EventAction};
use crate::{AccessError, Ended, Grant, Hold, HoldId, HoldState, NewHold, Person};

/// Requests of one person that can wait at once.
const PER_PERSON: usize = 8;
/// Requests of all people that can wait at once.
const IN_ALL: usize = 512;
/// How long a refusal is the answer to a retry: kubectl tries a refused exec again, over SPDY.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);
/// Bytes of a diff that are kept.
const LONGEST_DIFF: usize = 64 * 1024;

impl Act<'_> {
    /// The hold that this very action has already, or a new one.
    pub(crate) fn hold(&self, new: &NewHold) -> Outcome<Hold> {
        let grant = self.state.usable(&new.grant, self.now)?;
        if !grant.subject.is(self.subject) || grant.target != new.target || grant.role != new.role {
            return Err(AccessError::NotHolder { who: self.subject.name.clone(), id: grant.id.clone() });
        }
        if let Some(hold) = self.known(new) {
            return Ok(self.joined(hold));
        }
        self.room()?;
        let hold = Hold {
            id: HoldId::random(),
            subject: Person::from(self.subject),
            target: new.target.clone(),
            operation: new.operation.clone(),
            role: new.role.clone(),
            rule: new.rule,
            grant: new.grant.clone(),
            terms: new.terms.clone(),
            digest: new.digest.clone(),
            client: new.client.clone(),
            command: shortened(&new.command),
            diff: new.diff.as_deref().map(cut),
            state: HoldState::Pending,
            created_at: self.now,
            expires_at: after(self.now, new.terms.wait),
            approvals: Vec::new(),
            decided_at: None,
            refusal: None,
            spend_within: new.spend_within,
            abandoned: false,
        };
        let what = Some(hold.operation.to_string());
        let event = event(&hold, EventAction::Held, self.now, Some(self.subject), what);
        let change = Change { new_hold: Some(hold.clone()), events: vec![event], ..Change::default() };
        Ok((change, hold))
    }

    /// Agrees to a hold that waits.
    pub(crate) fn approve_hold(&self, mut hold: Hold, comment: &str) -> Outcome<Hold> {
        let who = || self.subject.name.clone();
        if hold.subject.may_be(self.subject) {
            return Err(AccessError::SelfApproval { who: who(), id: hold.id.into() });
        }
        self.must_be_reviewer(&hold)?;
        if hold.approvals.iter().any(|approval| approval.by.may_be(self.subject)) {
            return Err(AccessError::AlreadyApproved { who: who(), id: hold.id.into() });
        }
        self.state.usable(&hold.grant, self.now)?;
        let approval = self.word(comment)?;
        let said = approval.comment.clone();
        hold.approvals.push(approval);
        // No terms ask for nobody; were they to, one word is needed all the same.
        if hold.approvals.len() >= hold.terms.required.max(1) as usize {
            hold.state = HoldState::Approved;
            hold.decided_at = Some(self.now);
            hold.expires_at = after(self.now, hold.spend_within);
        }
        Ok(self.changed(hold, EventAction::HoldApproved, said))
    }

    /// Says no to a hold; its own requester withdraws it.
    pub(crate) fn deny_hold(&self, mut hold: Hold, comment: &str) -> Outcome<Hold> {
        let action = if hold.subject.is(self.subject) {
            hold.state = HoldState::Cancelled;
            EventAction::HoldCancelled
        } else {
            self.must_be_reviewer(&hold)?;
            hold.state = HoldState::Denied;
            EventAction::HoldDenied
        };
        let refusal = self.word(comment)?;
        let said = refusal.comment.clone();
        hold.decided_at = Some(self.now);
        hold.refusal = Some(refusal);
        Ok(self.changed(hold, action, said))
    }

    /// What is known of this very action and answers it: what waits, what may go on, or what was just refused. Who has to
    /// agree and under which grant must be the same, or else it is another question.
    fn known(&self, new: &NewHold) -> Option<Hold> {
        let same = |hold: &&Hold| {
            hold.subject.is(self.subject)
                && hold.target == new.target
                && hold.client == new.client
                && hold.digest == new.digest
                && (&hold.role, hold.rule, &hold.grant) == (&new.role, new.rule, &new.grant)
                && hold.terms == new.terms
        };
        let found = self.state.holds.values().map(AsRef::as_ref).filter(same);
        let answers = found.map(|hold| as_it_stands(hold, self.now)).filter(|hold| {
            let refused = match hold.state {
                HoldState::Pending | HoldState::Approved => return true,
                HoldState::Denied => true,
                HoldState::Cancelled => hold.refusal.is_some(),
                // An approval that was not used in time is no refusal.
                HoldState::Expired => hold.approvals.len() < hold.terms.required.max(1) as usize,
                HoldState::Spent => false,
            };
            refused && hold.decided_at.is_some_and(|at| at > before(self.now, REFUSED_AGAIN))
        });
        answers.max_by_key(|hold| (hold.is_open(), hold.created_at))
    }

    /// The client is back, if it was away.
    fn joined(&self, hold: Hold) -> (Change, Hold) {
        if !hold.abandoned || !hold.is_open() {
            return (Change::default(), hold);
        }
        let expires_at = match hold.state {
            HoldState::Pending => after(hold.created_at, hold.terms.wait),
            _ => hold.expires_at,
        };
        self.changed(Hold { abandoned: false, expires_at, ..hold }, EventAction::HoldResumed, None)
    }

    fn room(&self) -> Result<(), AccessError> {
        let waiting = || self.state.holds.values().filter(|hold| hold.state == HoldState::Pending);
        let held = waiting().filter(|hold| hold.subject.is(self.subject)).count();
        if held >= PER_PERSON {
            return Err(AccessError::TooManyHeld { who: self.subject.name.clone(), held });
        }
        match waiting().count() {
            all if all >= IN_ALL => Err(AccessError::HoldsFull(all)),
            _ => Ok(()),
        }
    }

    fn must_be_reviewer(&self, hold: &Hold) -> Result<(), AccessError> {
        if !hold.terms.groups.is_disjoint(&self.subject.groups) {
            return Ok(());
        }
        Err(AccessError::NotReviewer {
            who: self.subject.name.clone(),
            id: hold.id.clone(),
            approvers: one_of(&hold.terms.groups, &BTreeSet::new()),
        })
    }

    fn changed(&self, hold: Hold, action: EventAction, comment: Option<String>) -> (Change, Hold) {
        let event = event(&hold, action, self.now, Some(self.subject), comment);
        (Change { holds: vec![hold.clone()], events: vec![event], ..Change::default() }, hold)
    }
}

/// Uses the approval of a hold up: only one who was agreed to, in time, under a grant that still gives access.
pub(crate) fn spend(state: &State, hold: &Hold, now: Timestamp) -> Outcome<Hold> {
    let hold = as_it_stands(hold, now);
    if hold.state != HoldState::Approved {
        return Err(AccessError::NotSpendable { id: hold.id, state: hold.state });
    }
    state.usable(&hold.grant, now)?;
    let hold = Hold { state: HoldState::Spent, ..hold };
    let event = event(&hold, EventAction::HoldSpent, now, None, None);
    Ok((Change { holds: vec![hold.clone()], events: vec![event], ..Change::default() }, hold))
}

/// The client of a hold went away.
pub(crate) fn abandon(hold: &Hold, grace: Duration, now: Timestamp) -> (Change, Hold) {
    let hold = as_it_stands(hold, now);
    if !hold.is_open() || hold.abandoned {
        return (Change::default(), hold);
    }
    let expires_at = hold.expires_at.min(after(now, grace));
    let hold = Hold { abandoned: true, expires_at, ..hold };
    let event = event(&hold, EventAction::HoldAbandoned, now, None, None);
    (Change { holds: vec![hold.clone()], events: vec![event], ..Change::default() }, hold)
}

/// The time of an open hold is over.
pub(crate) fn expire(hold: &Hold, now: Timestamp, change: &mut Change) {
    let over = as_it_stands(hold, now);
    let (action, why) = match (over.state, hold.state) {
        (HoldState::Cancelled, _) => (EventAction::HoldCancelled, Some("its client did not come back")),
        (_, HoldState::Approved) => (EventAction::HoldExpired, Some("its approval was not used in time")),
        _ => (EventAction::HoldExpired, None),
    };
    change.events.push(event(&over, action, now, None, why.map(str::to_owned)));
    change.holds.push(over);
}

/// The grant has ended, and with it whatever waits or may go on under it.
pub(crate) fn cancel_all_of(
    state: &State,
    grant: &Grant,
    now: Timestamp,
    by: Option<&Subject>,
    change: &mut Change,
) {
    let why = match &grant.ended {
        Some(Ended::Revoked { .. }) => format!("grant {} was revoked", grant.id),
        _ => format!("grant {} is over", grant.id),
    };
    for hold in state.holds.values().filter(|hold| hold.is_open() && hold.grant == grant.id) {
        // What is over twice ends once: its own time is looked at elsewhere.
        if hold.expires_at <= now {
            continue;
        }
        let hold = Hold { state: HoldState::Cancelled, decided_at: Some(now), ..hold.as_ref().clone() };
        change.events.push(event(&hold, EventAction::HoldCancelled, now, by, Some(why.clone())));
        change.holds.push(hold);
    }
}

/// The hold, over where its time is and nobody has written that down yet.
pub(crate) fn as_it_stands(hold: &Hold, now: Timestamp) -> Hold {
    let state = match hold.state {
        HoldState::Pending | HoldState::Approved if now < hold.expires_at => return hold.clone(),
        HoldState::Pending if hold.abandoned => HoldState::Cancelled,
        HoldState::Pending | HoldState::Approved => HoldState::Expired,
        _ => return hold.clone(),
    };
    Hold { state, decided_at: Some(hold.expires_at), ..hold.clone() }
}

fn event(
    hold: &Hold,
    action: EventAction,
    at: Timestamp,
    by: Option<&Subject>,
    comment: Option<String>,
) -> Event {
    Event {
        seq: 0,
        at,
        action,
        by: by.map(Person::from),
        subject: hold.subject.clone(),
        role: hold.role.clone(),
        target: hold.target.clone(),
        request: None,
        grant: Some(hold.grant.clone()),
        hold: Some(hold.id.clone()),
        comment,
    }
}

/// A diff up to [`LONGEST_DIFF`], saying so where there is more: the approver must know that not all is shown.
fn cut(diff: &str) -> String {
    if diff.len() <= LONGEST_DIFF {
        return diff.to_owned();
    }
    let shown = &diff[..diff.floor_char_boundary(LONGEST_DIFF)];
    format!("{shown}\n… {} more bytes of this diff are not shown", diff.len() - shown.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::*;

    /// Nobody but all together fill it, and then the next one is told.
    #[test]
    fn only_so_many_wait_in_all() {
        let set = roles(vec![role("pods", &["apiGroups: [''], resources: [pods], verbs: [delete]"])]);
        let open = crate::DiscoveryPolicy::default().compile().unwrap();
        let mut state = State::new(Arc::new(set), targets().into_iter().collect(), Arc::new(open));
        let alice = person("alice", &["dev"]);
        let waiting = |n: u32| Hold { subject: Person::from(&person(&format!("p{n}"), &[])), ..hold(n) };
        for n in 0..u32::try_from(IN_ALL).unwrap() {
            let new_grant = (n == 0).then(|| grant(9, &alice, "pods"));
            let change = Change { new_grant, new_hold: Some(waiting(n)), ..Change::default() };
            state.absorb(change, n.into(), start());
        }
        let asked = hold(9);
        let new = NewHold {
            target: asked.target,
            operation: asked.operation,
            role: asked.role,
            rule: 0,
            grant: asked.grant,
            terms: asked.terms,
            digest: String::new(),
            client: String::new(),
            command: Vec::new(),
            diff: None,
            spend_within: asked.spend_within,
        };
        let ask = |state: &State| {
            let (pending_for, admins) = (minutes(60), BTreeSet::new());
            let act = Act { state, subject: &alice, now: start(), pending_for, admins: &admins };
            act.hold(&new).map(|(_, hold)| hold)
        };
        assert!(matches!(ask(&state), Err(AccessError::HoldsFull(IN_ALL))));
        let spent = Hold { state: HoldState::Spent, decided_at: Some(start()), ..waiting(1) };
        state.absorb(Change { holds: vec![spent], ..Change::default() }, 600, start());
        assert_eq!(ask(&state).unwrap().state, HoldState::Pending);
    }
}
