//! The decision about one request: pure, and all there is to it.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::condition::Case;
use crate::duration;
use crate::filter::Filter;
use crate::operation::{Operation, Query};
use crate::role::{Obligations, PresentAs, ReviewTerms, Role};
use crate::snapshot::{Dossier, Snapshot};
use crate::{Ended, Grant, GrantId, RequestId, RoleName};

/// How long the command in a denial asks for, where the role allows as much.
pub(crate) const USUAL_REQUEST: Duration = Duration::from_secs(30 * 60);

/// Whether a request may go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "decision")]
pub enum Decision {
    /// It may.
    Allow(Allowed),
    /// It may not.
    Deny(Denied),
    /// It may once a person has agreed to this very request.
    Review(Box<Review>),
}

/// What would allow a request, and who has to agree first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// What allows it then.
    pub allowed: Allowed,
    /// Who has to agree, and how long the request waits for them.
    pub terms: ReviewTerms,
    /// The rule that holds it; of several, the one that asks for most people.
    pub by: RuleRef,
}

/// What allows a request, and what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Allowed {
    /// The role; [`DISCOVERY_ROLE`](crate::DISCOVERY_ROLE) for paths that are open to all.
    pub role: RoleName,
    /// Which of its rules, counted from 0.
    pub rule: usize,
    /// Under which grant; none for discovery.
    pub grant: Option<GrantId>,
    /// When that ends.
    pub expires: Option<Timestamp>,
    /// What the request carries.
    pub obligations: Obligations,
    /// As whom it goes to the target.
    pub present_as: PresentAs,
    /// What of the answer may be seen, where that is not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
}

/// Why a request is denied, and what could be done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Denied {
    /// Why.
    pub reason: DenyReason,
    /// Roles that this person may ask for and that would allow it, the narrowest first.
    pub requestable: Vec<RoleName>,
    /// How long to ask for the first of them.
    #[serde(serialize_with = "duration::serialize_option")]
    pub ask_for: Option<Duration>,
    /// A request of this person that waits and would allow it.
    pub pending: Option<RequestId>,
    /// Namespaces to which the request would have to be limited for a live grant to cover it.
    pub namespaces: Vec<String>,
    /// What the session would have to be like for a live grant to cover it: `command: ls *`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<String>,
}

/// Why a request is denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
#[non_exhaustive]
pub enum DenyReason {
    /// No live grant covers it.
    NoGrant,
    /// A grant that would have covered it has ended.
    GrantEnded {
        /// The grant.
        grant: GrantId,
        /// Its role.
        role: RoleName,
        /// How it ended.
        ended: Ended,
    },
    /// A rule forbids it.
    DenyRule(RuleRef),
    /// Rules of several roles hold it, and no group is among those that each of them asks.
    NobodyMayAgree {
        /// Those rules.
        rules: Vec<RuleRef>,
    },
    /// The store has not confirmed the grants lately.
    SnapshotStale {
        /// For how long.
        #[serde(with = "duration::text")]
        age: Duration,
    },
    /// The target is not configured.
    UnknownTarget,
}

/// A rule of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleRef {
    /// The role.
    pub role: RoleName,
    /// The rule, counted from 0 as in the file's list.
    pub rule: usize,
    /// What the rule says about itself.
    pub reason: Option<String>,
}

/// Decides. A deny rule of any live grant on the target wins; then what is open; then review rules of live grants, over
/// requests that a live grant covers; then live grants; and what none of these covers is denied. What is open of MCP is
/// never held either, but goes as a live grant that covers it says.
#[must_use]
pub fn decide(snapshot: &Snapshot, query: &Query<'_>, now: Timestamp) -> Decision {
    if let Some(age) = snapshot.stale(now) {
        return Decision::Deny(Denied::because(DenyReason::SnapshotStale { age }));
    }
    let Some(target) = snapshot.target(query.target) else {
        return Decision::Deny(Denied::because(DenyReason::UnknownTarget));
    };
    let case = Case::new(query, now);
    let dossier = snapshot.dossier(query.subject);
    let found =
        dossier.map(|dossier| search(snapshot, dossier, &case, target, now)).unwrap_or(Found::NOTHING);
    if let Some((role, rule)) = found.denied {
        return Decision::Deny(Denied::because(DenyReason::DenyRule(role.rule_ref(rule))));
    }
    let open = is_open(snapshot, query, now);
    if open && !(is_mcp(query) && found.allowed.is_some()) {
        return Decision::Allow(Allowed::discovery());
    }
    let Some(Candidate { role, rule, grant, in_part }) = found.allowed else {
        return Decision::Deny(explain(snapshot, dossier, &case, target, now));
    };
    let allowed = Allowed {
        role: role.name.clone(),
        rule,
        grant: Some(grant.id.clone()),
        expires: Some(grant.expires_at),
        obligations: role.obligations.clone(),
        present_as: role.present_as.clone(),
        filter: in_part.then(|| role.filter(&case)),
    };
    if open || found.holding.is_empty() {
        return Decision::Allow(allowed);
    }
    held(allowed, found.holding)
}

/// Whether it needs no grant. An MCP server is there for nobody who could not come to call anything of it.
fn is_open(snapshot: &Snapshot, query: &Query<'_>, now: Timestamp) -> bool {
    let Query { subject, target, operation, .. } = *query;
    let may_ask = || {
        let mut roles = snapshot.roles.eligible_for(subject, operation);
        roles.any(|role| role.covers_target(target))
    };
    snapshot.open.includes(target, operation)
        && (!is_mcp(query) || snapshot.live(subject, target, now).next().is_some() || may_ask())
}

fn is_mcp(query: &Query<'_>) -> bool {
    matches!(query.operation, Operation::Mcp { .. })
}

fn held(allowed: Allowed, holding: Vec<(&Role, usize, &ReviewTerms)>) -> Decision {
    match all_agree(holding) {
        Ok((terms, by)) => Decision::Review(Box::new(Review { allowed, terms, by })),
        Err(rules) => Decision::Deny(Denied::because(DenyReason::NobodyMayAgree { rules })),
    }
}

/// Several rules that hold one request are all satisfied at once: by as many people as the strictest asks for, from
/// groups that each of them asks, in the shortest of the times. With the strictest rule; or with all of them, when
/// there is no such group.
pub(crate) fn all_agree(
    mut holding: Vec<(&Role, usize, &ReviewTerms)>,
) -> Result<(ReviewTerms, RuleRef), Vec<RuleRef>> {
    holding.sort_by_key(|(role, rule, terms)| (Reverse(terms.required), &role.name, *rule));
    holding.dedup_by_key(|(role, rule, _)| (role.name.clone(), *rule));
    let (role, rule, strictest) = holding[0];
    let mut terms = strictest.clone();
    for (_, _, other) in &holding[1..] {
        terms.groups.retain(|group| other.groups.contains(group));
        terms.wait = terms.wait.min(other.wait);
    }
    if terms.groups.is_empty() {
        return Err(holding.iter().map(|(role, rule, _)| role.rule_ref(*rule)).collect());
    }
    Ok((terms, role.rule_ref(rule)))
}

impl Allowed {
    fn discovery() -> Self {
        Self {
            role: RoleName::discovery(),
            rule: 0,
            grant: None,
            expires: None,
            obligations: Obligations::default(),
            present_as: PresentAs::default(),
            filter: None,
        }
    }
}

impl Denied {
    /// The rule that denied, where one did.
    #[must_use]
    pub fn rule(&self) -> Option<&RuleRef> {
        match &self.reason {
            DenyReason::DenyRule(rule) => Some(rule),
            _ => None,
        }
    }

    /// The role to ask for and for how long, where asking is what helps: nothing forbids it, and no request for
    /// it waits already.
    #[must_use]
    pub fn way_out(&self) -> Option<(&RoleName, Duration)> {
        let helps = self.is_for_want_of_a_grant() && self.pending.is_none();
        self.requestable.first().zip(self.ask_for).filter(|_| helps)
    }

    pub(crate) fn is_for_want_of_a_grant(&self) -> bool {
        matches!(self.reason, DenyReason::NoGrant | DenyReason::GrantEnded { .. })
    }

    fn because(reason: DenyReason) -> Self {
        let (requestable, namespaces, sessions) = Default::default();
        Self { reason, requestable, ask_for: None, pending: None, namespaces, sessions }
    }
}

struct Found<'a> {
    denied: Option<(&'a Role, usize)>,
    holding: Vec<(&'a Role, usize, &'a ReviewTerms)>,
    allowed: Option<Candidate<'a>>,
}

/// What could allow a request.
struct Candidate<'a> {
    role: &'a Role,
    rule: usize,
    grant: &'a Grant,
    /// A part of the answer only.
    in_part: bool,
}

impl Found<'_> {
    const NOTHING: Self = Self { denied: None, holding: Vec::new(), allowed: None };
}

/// What the live grants say. Where several allow, the one is taken that allows all of it, masks least (it was asked for and
/// approved; of those that open fields the one that opens most), records most and lasts longest; never does the order of
/// grants matter.
fn search<'a>(
    snapshot: &'a Snapshot,
    dossier: &'a Dossier,
    case: &'a Case<'_>,
    target: u32,
    now: Timestamp,
) -> Found<'a> {
    let about = snapshot.roles.about(case.query.operation);
    let preference = |Candidate { role, grant, in_part, .. }: &Candidate<'a>| {
        let Obligations { mask, record, .. } = role.obligations;
        let opened = role.obligations.unmasked(case.query.operation).len();
        (*in_part, mask, Reverse(opened), record, Reverse(grant.expires_at), &grant.id)
    };
    let mut found = Found::NOTHING;
    for held in &dossier.held {
        let counts = |role: &u32| about.contains(*role) && held.target == Some(target) && held.is_live(now);
        let Some(role) = held.role.filter(counts).map(|role| snapshot.roles.at(role)) else { continue };
        let said = role.say(case, &mut found.holding);
        if let Some(rule) = said.denied
            && found.denied.is_none_or(|(other, _)| role.name < other.name)
        {
            found.denied = Some((role, rule));
        }
        if let Some(rule) = said.allowed.or(said.filtered) {
            let in_part = said.allowed.is_none();
            let candidate = Candidate { role, rule, grant: held.grant.as_ref(), in_part };
            if found.allowed.as_ref().is_none_or(|best| preference(&candidate) < preference(best)) {
                found.allowed = Some(candidate);
            }
        }
    }
    found
}

/// Why nothing covers it, and what to do about that.
fn explain(
    snapshot: &Snapshot,
    dossier: Option<&Dossier>,
    case: &Case<'_>,
    target: u32,
    now: Timestamp,
) -> Denied {
    let Query { subject, operation, .. } = case.query;
    let mut requestable: Vec<&Role> = snapshot
        .roles
        .eligible_for(subject, operation)
        .filter(|role| role.covers_target(case.query.target) && role.allows(case))
        .collect();
    requestable.sort_by_key(|role| (role.breadth, role.max_duration, &role.name));

    let mut denied = Denied::because(DenyReason::NoGrant);
    denied.ask_for = requestable.first().map(|role| role.max_duration.min(USUAL_REQUEST));
    denied.requestable = requestable.into_iter().map(|role| role.name.clone()).collect();
    let Some(dossier) = dossier else { return denied };

    let pending = dossier.pending.iter().filter(|pending| pending.target == Some(target));
    denied.pending = pending
        .filter(|pending| snapshot.roles.at(pending.role).allows(case))
        .map(|pending| pending.id.clone())
        .min();

    let mut ended: Option<(&Grant, Ended)> = None;
    for held in dossier.held.iter().filter(|held| held.target == Some(target)) {
        let Some(role) = held.role.map(|role| snapshot.roles.at(role)) else { continue };
        match held.live(now) {
            Ok(()) => {
                denied.namespaces.extend(role.namespaces_for(&case.asked).map(ToString::to_string));
                denied.sessions.extend(role.sessions_for(&case.asked).map(ToString::to_string));
            }
            Err(how) if role.allows(case) => {
                let when = |(grant, how): &(&Grant, Ended)| (how.at(), grant.id.clone());
                let this = (held.grant.as_ref(), how);
                if ended.as_ref().is_none_or(|last| when(last) < when(&this)) {
                    ended = Some(this);
                }
            }
            Err(_) => {}
        }
    }
    denied.namespaces.sort();
    denied.namespaces.dedup();
    denied.sessions.sort();
    denied.sessions.dedup();
    if let Some((grant, how)) = ended {
        denied.reason =
            DenyReason::GrantEnded { grant: grant.id.clone(), role: grant.role.clone(), ended: how };
    }
    denied
}

#[cfg(test)]
mod mcp;
#[cfg(test)]
mod semantics;
#[cfg(test)]
mod tests;
