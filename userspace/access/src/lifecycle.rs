//! What people may do to requests and grants, and what time does: pure, from the state to the change.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::Subject;

use crate::access::NewRequest;
use crate::grant::{Approval, Ended, Grant, Request, RequestState};
use crate::holding;
use crate::role::Role;
use crate::state::{Key, State, after};
use crate::store::{Change, Event, EventAction};
use crate::{AccessError, Ask, Attempt, GrantId, Person, RequestId};

/// How many requests and grants one person can have open.
const MAX_OPEN: usize = 50;
/// The longest reason or comment, in characters.
const MAX_TEXT: usize = 500;
/// How far ahead of its start a grant can be asked for.
const FURTHEST_START: Duration = Duration::from_secs(7 * 24 * 3600);

/// Someone acts upon the state.
pub(crate) struct Act<'a> {
    pub(crate) state: &'a State,
    pub(crate) subject: &'a Subject,
    pub(crate) now: Timestamp,
    pub(crate) pending_for: Duration,
    pub(crate) admins: &'a BTreeSet<String>,
}

/// How a grant is to begin, where not at once upon its approvals.
#[derive(Debug, Clone, Copy, Default)]
struct Opening {
    starts_at: Option<Timestamp>,
    emergency: bool,
}

pub(crate) type Outcome<T> = Result<(Change, T), AccessError>;

impl Act<'_> {
    pub(crate) fn request(&self, new: &NewRequest) -> Outcome<Request> {
        let role = self.state.role(&new.role)?;
        let target = self.state.target(role, new.target.as_deref())?;
        if let Some(Attempt { operation, .. }) = &new.denied
            && !role.covers(operation)
        {
            let operation = Box::new(operation.clone());
            return Err(AccessError::NoLongerCovers { role: role.name.clone(), operation });
        }
        let (mut change, mut request) = self.submit(
            role,
            target,
            new.duration,
            &new.reason,
            None,
            Opening { starts_at: new.starts_at, emergency: new.emergency },
        )?;
        request.denied.clone_from(&new.denied);
        change.new_request = Some(request.clone());
        Ok((change, request))
    }

    pub(crate) fn extend(&self, grant: &Grant, duration: Duration, reason: &str) -> Outcome<Request> {
        if !grant.subject.is(self.subject) {
            return Err(AccessError::NotHolder { who: self.subject.name.clone(), id: grant.id.clone() });
        }
        self.still_live(grant)?;
        let role = self.state.role(&grant.role)?;
        let target = self.state.target(role, Some(&grant.target))?;
        self.submit(role, target, duration, reason, Some(grant.id.clone()), Opening::default())
    }

    pub(crate) fn approve(&self, mut request: Request, comment: &str) -> Outcome<Request> {
        let role = self.state.role(&request.role)?;
        let who = || self.subject.name.clone();
        if request.subject.may_be(self.subject) {
            return Err(AccessError::SelfApproval { who: who(), id: request.id.into() });
        }
        self.must_be_approver(role)?;
        if request.approvals.iter().any(|approval| approval.by.may_be(self.subject)) {
            return Err(AccessError::AlreadyApproved { who: who(), id: request.id.into() });
        }
        let approval = self.word(comment)?;
        let mut change = Change::default();
        change.events.push(self.event(&request, EventAction::Approved, approval.comment.clone()));
        request.approvals.push(approval);
        if request.approvals.len() >= role.approval.required as usize {
            self.begin(role, &mut request, &mut change)?;
        }
        change.requests.push(request.clone());
        Ok((change, request))
    }

    pub(crate) fn deny(&self, mut request: Request, comment: &str) -> Outcome<Request> {
        let action = if request.subject.is(self.subject) {
            request.state = RequestState::Cancelled;
            EventAction::Cancelled
        } else {
            self.must_be_approver(self.state.role(&request.role)?)?;
            request.state = RequestState::Denied;
            EventAction::Denied
        };
        let refusal = self.word(comment)?;
        let event = self.event(&request, action, refusal.comment.clone());
        request.decided_at = Some(self.now);
        request.refusal = Some(refusal);
        let change = Change { requests: vec![request.clone()], events: vec![event], ..Change::default() };
        Ok((change, request))
    }

    /// A new request, checked against its role; where that needs no approval, its grant begins at once.
    fn submit(
        &self,
        role: &Role,
        target: String,
        duration: Duration,
        reason: &str,
        extends: Option<GrantId>,
        opening: Opening,
    ) -> Outcome<Request> {
        if opening.emergency {
            self.may_break_glass(role, duration)?;
        } else if !role.is_eligible(self.subject) {
            return Err(AccessError::NotEligible {
                who: self.subject.name.clone(),
                role: role.name.clone(),
                eligible: one_of(&role.eligible.groups, &role.eligible.users),
            });
        }
        role.reason_fits(reason, opening.emergency)?;
        not_too_long(role, duration)?;
        let open = self.state.open_count(self.subject);
        if open >= MAX_OPEN {
            return Err(AccessError::TooManyOpen { who: self.subject.name.clone(), open });
        }
        let mut request = Request {
            id: RequestId::random(),
            subject: Person::from(self.subject),
            role: role.name.clone(),
            target,
            duration,
            starts_at: self.start(opening.starts_at)?,
            reason: if reason.trim().is_empty() { String::new() } else { line("reason", reason)? },
            extends,
            state: RequestState::Pending,
            created_at: self.now,
            expires_at: self.pending_until(opening.starts_at, duration),
            approvals: Vec::new(),
            decided_at: None,
            refusal: None,
            grant: None,
            denied: None,
            emergency: opening.emergency,
            unmasks: role.obligations.unmasks(),
        };
        let mut change = Change::default();
        change.events.push(self.event(&request, EventAction::Requested, Some(request.reason.clone())));
        let ask = Ask { role: &role.name, target: &request.target, duration };
        let auto = role.auto_approves(self.subject, &ask, self.now);
        if opening.emergency {
            let said = format!("without approval: {}", request.reason);
            change.events.push(self.event(&request, EventAction::Emergency, Some(said)));
        } else if let Some(condition) = auto {
            let said = format!("by condition {} of role {}", condition + 1, role.name);
            change.events.push(self.event(&request, EventAction::AutoApproved, Some(said)));
        }
        if opening.emergency || auto.is_some() || role.approval.required == 0 {
            self.begin(role, &mut request, &mut change)?;
        }
        change.new_request = Some(request.clone());
        Ok((change, request))
    }

    /// A start ahead of time, if it is one.
    fn start(&self, asked: Option<Timestamp>) -> Result<Option<Timestamp>, AccessError> {
        let latest = after(self.now, FURTHEST_START);
        match asked {
            Some(at) if at < self.now || at > latest => Err(AccessError::BadStart { at, latest }),
            asked => Ok(asked),
        }
    }

    /// Until when a request can be approved: `pendingFor` from now, or from its start where that is later, but not past
    /// the window that was asked for.
    fn pending_until(&self, starts_at: Option<Timestamp>, duration: Duration) -> Timestamp {
        let start = starts_at.map(|start| after(start, self.pending_for).min(after(start, duration)));
        start.unwrap_or_else(|| after(self.now, self.pending_for))
    }

    fn may_break_glass(&self, role: &Role, duration: Duration) -> Result<(), AccessError> {
        let Some(longest) = role.may_break_glass(self.subject) else {
            let groups = role.approval.emergency.iter().flat_map(|emergency| &emergency.groups);
            return Err(AccessError::NoEmergency {
                who: self.subject.name.clone(),
                role: role.name.clone(),
                groups: groups.map(String::as_str).collect::<Vec<_>>().join(", "),
            });
        };
        if duration > longest {
            return Err(AccessError::TooLong { role: role.name.clone(), asked: duration, longest });
        }
        Ok(())
    }

    /// The request has all it needs: its window opens now or when it was asked for, or the window that it extends grows.
    fn begin(&self, role: &Role, request: &mut Request, change: &mut Change) -> Result<(), AccessError> {
        not_too_long(role, request.duration)?; // the role may have been tightened since
        let approvers = request.approvals.iter().map(|approval| approval.by.clone());
        let (grant, action) = match &request.extends {
            None => {
                let starts_at = request.starts_at.map_or(self.now, |start| start.max(self.now));
                let grant = Grant {
                    id: GrantId::random(),
                    request: request.id.clone(),
                    subject: request.subject.clone(),
                    role: request.role.clone(),
                    target: request.target.clone(),
                    reason: request.reason.clone(),
                    approved_by: approvers.collect(),
                    starts_at,
                    expires_at: after(starts_at, request.duration),
                    ended: None,
                    emergency: request.emergency,
                };
                change.new_grant = Some(grant.clone());
                (grant, EventAction::Granted)
            }
            Some(id) => {
                let grant = self.state.grants.get(id).ok_or_else(|| AccessError::NoSuchGrant(id.clone()))?;
                self.still_live(grant)?;
                let mut grant = grant.as_ref().clone();
                let extended = after(grant.expires_at, request.duration);
                let furthest = after(grant.starts_at.max(self.now), role.max_duration);
                grant.expires_at = grant.expires_at.max(extended.min(furthest));
                grant.approved_by.extend(approvers);
                change.grants.push(grant.clone());
                (grant, EventAction::Extended)
            }
        };
        request.state = RequestState::Approved;
        request.decided_at = Some(self.now);
        request.grant = Some(grant.id.clone());
        let window = if grant.is_scheduled(self.now) {
            format!("from {:.0} until {:.0}", grant.starts_at, grant.expires_at)
        } else {
            format!("until {:.0}", grant.expires_at)
        };
        change.events.push(self.event(request, action, Some(window)));
        Ok(())
    }

    fn must_be_approver(&self, role: &Role) -> Result<(), AccessError> {
        if role.is_approver(self.subject) {
            return Ok(());
        }
        Err(AccessError::NotApprover {
            who: self.subject.name.clone(),
            role: role.name.clone(),
            approvers: one_of(&role.approval.groups, &BTreeSet::new()),
        })
    }

    pub(crate) fn still_live(&self, grant: &Grant) -> Result<(), AccessError> {
        match grant.over(self.now) {
            Some(ended) => Err(AccessError::GrantEnded { id: grant.id.clone(), ended: Box::new(ended) }),
            None => Ok(()),
        }
    }

    pub(crate) fn word(&self, comment: &str) -> Result<Approval, AccessError> {
        let comment = if comment.trim().is_empty() { None } else { Some(line("comment", comment)?) };
        Ok(Approval { by: Person::from(self.subject), at: self.now, comment })
    }

    fn event(&self, request: &Request, action: EventAction, comment: Option<String>) -> Event {
        request_event(request, action, self.now, Some(self.subject), comment)
    }
}

/// Requests and holds that nobody decided in time, approvals that were not used, and grants whose window has closed.
pub(crate) fn end_what_is_over(state: &State, now: Timestamp) -> Change {
    let mut change = Change::default();
    for key in state.due(now) {
        match key {
            Key::Request(id) => {
                let Some(request) = state.requests.get(id) else { continue };
                let mut request = request.as_ref().clone();
                request.state = RequestState::Expired;
                request.decided_at = Some(now);
                change.events.push(request_event(&request, EventAction::RequestExpired, now, None, None));
                change.requests.push(request);
            }
            Key::Grant(id) => {
                let Some(grant) = state.grants.get(id).filter(|grant| grant.ended.is_none()) else {
                    continue;
                };
                let mut grant = grant.as_ref().clone();
                grant.ended = Some(Ended::Expired { at: grant.expires_at });
                holding::cancel_all_of(state, &grant, now, None, &mut change);
                change.events.push(grant_event(&grant, EventAction::GrantExpired, now, None, None));
                change.grants.push(grant);
            }
            Key::Hold(id) => {
                let Some(hold) = state.holds.get(id).filter(|hold| hold.is_open()) else { continue };
                holding::expire(hold, now, &mut change);
            }
        }
    }
    change
}

fn request_event(
    request: &Request,
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
        subject: request.subject.clone(),
        role: request.role.clone(),
        target: request.target.clone(),
        request: Some(request.id.clone()),
        grant: request.grant.clone().or_else(|| request.extends.clone()),
        hold: None,
        comment,
    }
}

pub(crate) fn grant_event(
    grant: &Grant,
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
        subject: grant.subject.clone(),
        role: grant.role.clone(),
        target: grant.target.clone(),
        request: Some(grant.request.clone()),
        grant: Some(grant.id.clone()),
        hold: None,
        comment,
    }
}

fn not_too_long(role: &Role, asked: Duration) -> Result<(), AccessError> {
    if asked > role.max_duration || asked.is_zero() {
        return Err(AccessError::TooLong { role: role.name.clone(), asked, longest: role.max_duration });
    }
    Ok(())
}

/// Words that one person types and another reads on a terminal, deciding by them: one line, nothing invisible.
pub(crate) fn line(what: &'static str, text: &str) -> Result<String, AccessError> {
    let text = text.trim();
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    if text.is_empty() || text.chars().count() > MAX_TEXT || text.contains(hidden) {
        return Err(AccessError::BadText { what });
    }
    Ok(text.to_owned())
}

/// `the groups a, b and the users c`.
pub(crate) fn one_of(groups: &BTreeSet<String>, users: &BTreeSet<String>) -> String {
    let list = |what: &str, names: &BTreeSet<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
    };
    let parts: Vec<String> = [list("group", groups), list("user", users)].into_iter().flatten().collect();
    if parts.is_empty() { "nobody".to_owned() } else { parts.join(" or ") }
}
