//! Ending grants before their time: pure, from the state to the change.

use crate::access::Selection;
use crate::holding;
use crate::lifecycle::{Act, Outcome, grant_event, line};
use crate::store::{Change, EventAction};
use crate::{AccessError, Ended, Grant, Person};

impl Act<'_> {
    pub(crate) fn revoke(&self, grant: &Grant, reason: &str) -> Outcome<Grant> {
        if !self.may_revoke(grant) {
            return Err(AccessError::MayNotRevoke {
                who: self.subject.name.clone(),
                id: grant.id.clone(),
                role: grant.role.clone(),
            });
        }
        self.still_live(grant)?;
        let reason = line("reason", reason)?;
        let mut change = Change::default();
        let grant = self.end(grant, reason, &mut change);
        Ok((change, grant))
    }

    pub(crate) fn revoke_all(&self, selection: &Selection, reason: &str) -> Outcome<Vec<Grant>> {
        let reason = line("reason", reason)?;
        if selection.is_all() && !self.is_admin() {
            return Err(AccessError::NotAdmin { who: self.subject.name.clone() });
        }
        let selected: Vec<&Grant> = self
            .state
            .grants
            .values()
            .map(AsRef::as_ref)
            .filter(|grant| selection.includes(grant) && self.still_live(grant).is_ok())
            .collect();
        // That nothing is live is what a lockdown wants.
        if selected.is_empty() && !selection.is_all() {
            return Err(AccessError::NothingSelected { selection: selection.to_string() });
        }
        let grants: Vec<Grant> =
            selected.iter().filter(|grant| !self.may_revoke(grant)).map(|&grant| grant.clone()).collect();
        if !grants.is_empty() {
            return Err(AccessError::MayNotRevokeAll { who: self.subject.name.clone(), grants });
        }
        let mut change = Change::default();
        let ended = selected.into_iter().map(|grant| self.end(grant, reason.clone(), &mut change)).collect();
        Ok((change, ended))
    }

    fn may_revoke(&self, grant: &Grant) -> bool {
        let approver = self.state.roles.get(&grant.role).is_some_and(|role| role.is_approver(self.subject));
        grant.subject.is(self.subject) || approver || self.is_admin()
    }

    fn is_admin(&self) -> bool {
        !self.admins.is_disjoint(&self.subject.groups)
    }

    /// Ends `grant` as part of `change`.
    fn end(&self, grant: &Grant, reason: String, change: &mut Change) -> Grant {
        let by = Person::from(self.subject);
        let ended = Ended::Revoked { at: self.now, by, reason: reason.clone() };
        let grant = Grant { ended: Some(ended), ..grant.clone() };
        holding::cancel_all_of(self.state, &grant, self.now, Some(self.subject), change);
        change.revoked.push(grant.request.clone());
        change.events.push(grant_event(
            &grant,
            EventAction::Revoked,
            self.now,
            Some(self.subject),
            Some(reason),
        ));
        change.grants.push(grant.clone());
        grant
    }
}
