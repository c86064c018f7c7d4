//! Asks the snapshot of roles and grants whether this request may go on, and opens its record.

use std::fmt;
use std::sync::Arc;

use portcullis_access::{
    Allowed, Decision, DenialId, Denied, Hold, MaskLevel, Operation, Query, ReviewTerms, RuleRef, Snapshot,
    decide,
};
use portcullis_identity::redact;
use portcullis_kube::query_values;
use portcullis_mask::{FieldPath, Rules};
use portcullis_record::{Action, Event, redact_query};

use crate::Proxy;
use crate::caller::Line;
use crate::classify::{Classified, Shape};
use crate::lease::Lease;
use crate::mcp::{self, Changed, McpFault};
use crate::record::{self, RequestRecord};
use crate::refusal::Refusal;

/// A request that a grant allows, under the obligations of its role.
pub(crate) struct Decided {
    pub(crate) classified: Classified,
    pub(crate) allowed: Allowed,
    /// Who has to agree first, and the rule that says so.
    pub(crate) review: Option<(ReviewTerms, RuleRef)>,
    /// What is to be masked in the answer.
    pub(crate) rules: Option<Arc<Rules>>,
    /// What is not, although it is for others.
    unmasked: Vec<FieldPath>,
    pub(crate) lease: Lease,
}

/// A cleared request whose record is open.
pub(crate) struct Recorded {
    pub(crate) decided: Decided,
    /// That which was agreed to, where somebody had to.
    pub(crate) hold: Option<Hold>,
    pub(crate) record: RequestRecord,
    pub(crate) audit_id: String,
}

impl Decided {
    pub(crate) fn by_policy(proxy: &Proxy, classified: Classified) -> Result<Self, Refusal> {
        let person = &classified.person;
        let snapshots = proxy.snapshots.clone();
        let snapshot = Arc::clone(&snapshots.borrow());
        let query = Query {
            subject: &person.subject,
            target: classified.target_name(),
            operation: &classified.operation,
            facts: &classified.facts,
        };
        let now = proxy.clock.now();
        let (allowed, review) = match decide(&snapshot, &query, now) {
            Decision::Allow(allowed) => (allowed, None),
            Decision::Review(review) => (review.allowed, Some((review.terms, review.by))),
            Decision::Deny(denied) => {
                let command = &person.connection.attestation.process.argv;
                let id = proxy.remembered.remember(&query, &denied, command, now);
                let message = denied.message(&query, id.as_ref());
                return Err(Refusal::Denied(Box::new(Denial {
                    described: described(&classified),
                    denied,
                    id,
                    message,
                })));
            }
        };
        let allowed = mcp::under_a_grant(&snapshot, &classified, allowed, now)?;
        let review = match review {
            None => of_changed_tool(&snapshot, &classified, &allowed)?,
            held => held,
        };
        if allowed.filter.is_some() {
            filterable(&classified)?;
        }
        let rules = match (allowed.obligations.mask, &classified.operation) {
            (MaskLevel::Default, operation) => masked(proxy, operation),
            _ => None,
        };
        let unmasked = match rules {
            Some(_) => allowed.obligations.unmasked(&classified.operation),
            None => Vec::new(),
        };
        let rules = rules.map(|rules| opened(proxy, rules, &unmasked));
        let clock = Arc::clone(&proxy.clock);
        let lease = Lease::new(allowed.grant.clone(), snapshots, clock, person.logged_out.clone());
        Ok(Self { classified, allowed, review, rules, unmasked, lease })
    }
}

impl Decided {
    /// Says, for all to hear, what is shown that is masked for others.
    fn tell_unmasked(&self, record: &RequestRecord) -> Result<(), Refusal> {
        if self.unmasked.is_empty() {
            return Ok(());
        }
        let (subject, role) = (self.classified.person.subject.name.clone(), self.allowed.role.to_string());
        let paths: Vec<String> = self.unmasked.iter().map(ToString::to_string).collect();
        tracing::warn!(
            subject,
            role,
            paths = paths.join(", "),
            "fields are shown that are masked for others"
        );
        record.event(&Event::Unmasked { request: record.number(), subject, role, paths })?;
        Ok(())
    }

    /// The same request, decided by what is in force now that people have agreed to it on `terms`: roles, grants and the
    /// time may be others than when it began to wait.
    pub(crate) fn anew(self, proxy: &Proxy, terms: &ReviewTerms) -> Result<Self, Refusal> {
        let mut anew = Self::by_policy(proxy, self.classified)?;
        match anew.review.take() {
            Some((other, _)) if other != *terms => Err(Refusal::OtherTerms),
            _ => Ok(anew),
        }
    }
}

/// A call of a tool that is not any more what it was when people agreed to it is held, whatever the rules say: the same
/// people are asked who give the role.
fn of_changed_tool(
    snapshot: &Snapshot,
    classified: &Classified,
    allowed: &Allowed,
) -> Result<Option<(ReviewTerms, RuleRef)>, Refusal> {
    let Shape::Call(call) = &classified.shape else { return Ok(None) };
    let Some(Changed { tool, .. }) = &call.changed else { return Ok(None) };
    let reason = Some(format!("the definition of tool {tool:?} is not the one that was pinned"));
    let by = RuleRef { role: allowed.role.clone(), rule: allowed.rule, reason };
    let terms = snapshot.roles().usual_review(&allowed.role);
    if terms.groups.is_empty() {
        let (tool, role) = (tool.clone(), allowed.role.to_string());
        return Err(McpFault::Changed { tool, role }.into());
    }
    Ok(Some((terms, by)))
}

/// Passes a request whose answer will tell whose each object is.
fn filterable(classified: &Classified) -> Result<(), Refusal> {
    if let Some(upgrade) = &classified.upgrade {
        let protocol = String::from_utf8_lossy(upgrade.protocol.as_bytes()).into_owned();
        return Err(Refusal::FilteredUpgrade { protocol });
    }
    match query_values(&classified.target, "includeObject").iter().any(|policy| policy == "None") {
        true => Err(Refusal::BareTable),
        false => Ok(()),
    }
}

/// What is masked of the objects that `operation` is about, unless a role unmasks it.
pub(crate) fn masked(proxy: &Proxy, operation: &Operation) -> Option<Arc<Rules>> {
    match operation {
        Operation::Resource { api_group, resource, subresource, .. } => {
            proxy.profile.borrow().for_request(api_group, resource, subresource)
        }
        _ => None,
    }
}

/// The rules without what a role opens. What cannot be opened stays masked.
fn opened(proxy: &Proxy, rules: Arc<Rules>, unmasked: &[FieldPath]) -> Arc<Rules> {
    if unmasked.is_empty() {
        return rules;
    }
    proxy.profile.borrow().opened(&rules, unmasked).unwrap_or_else(|error| {
        tracing::error!(%error, "what a role unmasks cannot be opened, and stays masked");
        rules
    })
}

impl Recorded {
    /// Opens the record of a request, under the number that it has already where it was held.
    pub(crate) fn open(decided: Decided, number: Option<u32>, hold: Option<Hold>) -> Result<Self, Refusal> {
        let Decided { classified, allowed, .. } = &decided;
        let line = classified.person.line()?;
        let number = number.unwrap_or_else(|| line.session.next_request());
        let mut event = described(classified);
        let audit_id = audit_id();
        if let Event::RequestDecided {
            request, connection, audit_id: id, decision, role, rule, grant, ..
        } = &mut event
        {
            *request = number;
            *connection = line.connection;
            id.clone_from(&audit_id);
            *decision = Action::Allow;
            *role = Some(allowed.role.to_string());
            *rule = Some(allowed.rule);
            *grant = allowed.grant.as_ref().map(ToString::to_string);
        }
        let record = RequestRecord::open(line.session, number, allowed.obligations.record, &event)?;
        decided.tell_unmasked(&record)?;
        if let Some(restored) = classified.body.restored() {
            record.event(&restored.event(number))?;
        }
        Ok(Self { decided, hold, record, audit_id })
    }
}

/// A request that was denied, as it is told and recorded.
#[derive(Debug)]
pub(crate) struct Denial {
    described: Event,
    denied: Denied,
    id: Option<DenialId>,
    message: String,
}

impl Denial {
    /// The denial as a request of its own on `line`.
    pub(crate) fn event(&self, line: &Line) -> Event {
        let mut event = self.described.clone();
        if let Event::RequestDecided { request, connection, role, rule, reason, denial, .. } = &mut event {
            *request = line.session.next_request();
            *connection = line.connection;
            *reason = Some(self.message.clone());
            *denial = self.id.as_ref().map(ToString::to_string);
            if let Some(denied_by) = self.denied.rule() {
                *role = Some(denied_by.role.to_string());
                *rule = Some(denied_by.rule);
            }
        }
        event
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What is asked for, as the event that says how it was decided: denied, until a grant says otherwise.
fn described(classified: &Classified) -> Event {
    let Classified { head, info, target, operation, facts, .. } = classified;
    Event::RequestDecided {
        request: 0,
        connection: 0,
        audit_id: String::new(),
        method: head.method.to_string(),
        path: redact_query(target),
        verb: operation.verb().to_owned(),
        api_group: info.api_group.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        command: redact(facts.command.clone()),
        call: record::called(classified),
        decision: Action::Deny,
        role: None,
        rule: None,
        grant: None,
        reason: None,
        denial: None,
    }
}

/// An id for the API server's audit log, which takes at most 64 ASCII characters word for word.
pub(crate) fn audit_id() -> String {
    format!("portcullis-{:032x}", rand::random::<u128>())
}
