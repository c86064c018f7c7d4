//! What each command does, for the person whom the kernel and the identity sources name.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use portcullis_access::{
    Access, Allowed, Clock, Decided, Decision, Denials, Facts, GrantFilter, NewRequest, Operation, Query,
    RequestFilter, RequestState, Snapshot, SystemClock, decide,
};
use portcullis_identity::{Identities, Subject};
use serde_json::Value;

use super::server::Peer;
use super::{Ask, Explained, TrustAnchor};

/// What commands ask about.
pub(crate) struct Commands {
    access: Arc<Access>,
    identities: Arc<Identities>,
    trust: TrustAnchor,
    /// What was denied lately; requests can be made from it.
    remembered: Arc<Denials>,
}

impl Commands {
    pub(crate) fn new(
        access: Arc<Access>,
        identities: Arc<Identities>,
        trust: TrustAnchor,
        remembered: Arc<Denials>,
    ) -> Self {
        Self { access, identities, trust, remembered }
    }

    /// The answer to a line.
    pub(super) async fn handle(self: &Arc<Self>, peer: &Peer, line: &str) -> Result<Value> {
        let ask: Ask =
            serde_json::from_str(line).context("the command cannot be read; is it of another version?")?;
        if matches!(ask, Ask::Trust) {
            // Public, and needed before anybody is known by name.
            return Ok(serde_json::to_value(&self.trust)?);
        }
        let process = peer.process()?;
        let ask = match super::logins::handle(&self.identities, peer.uid, &process, ask).await? {
            Ok(answer) => return Ok(answer),
            Err(ask) => ask,
        };
        let subject = self.identities.identify_command(peer.uid, &process).await?.subject;
        tracing::info!(%subject, uid = %peer.uid, ?ask, "command");
        // The store blocks; it must not hold up others.
        let commands = Arc::clone(self);
        tokio::task::spawn_blocking(move || commands.act(&subject, ask)).await?
    }

    fn act(&self, subject: &Subject, ask: Ask) -> Result<Value> {
        let access = &self.access;
        Ok(match ask {
            Ask::Request { role, target, seconds, starts_at, reason, emergency } => {
                let duration = Duration::from_secs(seconds);
                let new = NewRequest { role, target, duration, starts_at, reason, denied: None, emergency };
                serde_json::to_value(access.request(subject, &new)?)?
            }
            Ask::RequestFrom { denial, seconds, starts_at, reason, emergency } => {
                let denial = self.remembered.find(subject, &denial, SystemClock.now())?;
                let new = NewRequest {
                    role: denial.role,
                    target: Some(denial.target),
                    duration: seconds.map_or(denial.duration, Duration::from_secs),
                    starts_at,
                    reason,
                    denied: Some(denial.attempt),
                    emergency,
                };
                serde_json::to_value(access.request(subject, &new)?)?
            }
            Ask::Extend { id, seconds, reason } => {
                serde_json::to_value(access.extend(subject, &id, Duration::from_secs(seconds), &reason)?)?
            }
            Ask::Requests { all } => {
                let state = (!all).then_some(RequestState::Pending);
                let requests = access.requests(&RequestFilter { state, subject: None })?.into_iter();
                let held = access.holds(all)?.into_iter().map(|hold| Decided::Hold(Box::new(hold)));
                let asked = requests.map(|request| Decided::Request(Box::new(request)));
                serde_json::to_value(held.chain(asked).collect::<Vec<_>>())?
            }
            Ask::Approve { id, comment } => {
                serde_json::to_value(access.approve_any(subject, &id, &comment)?)?
            }
            Ask::Deny { id, comment } => serde_json::to_value(access.deny_any(subject, &id, &comment)?)?,
            Ask::Revoke { id, reason } => serde_json::to_value(access.revoke(subject, &id, &reason)?)?,
            Ask::RevokeAll { selection, reason } => {
                serde_json::to_value(access.revoke_all(subject, &selection, &reason)?)?
            }
            Ask::Trust
            | Ask::WhoAmI
            | Ask::LoginDevice { .. }
            | Ask::LoginBrowser { .. }
            | Ask::LoginWait { .. }
            | Ask::LoginFinish { .. }
            | Ask::Logout => unreachable!("answered before"),
            Ask::Explain { target, operation, command, arguments } => {
                let arguments = arguments.map(|fields| Arc::new(fields.into()));
                let facts = Facts { command, arguments, ..Facts::default() };
                serde_json::to_value(self.explain(subject, &target, &operation, &facts)?)?
            }
            Ask::Grants { all } => {
                serde_json::to_value(access.grants(&GrantFilter { live: !all, subject: None })?)?
            }
        })
    }

    /// Decides as for a request, of which there is none: nothing is recorded, and no denial remembered.
    fn explain(
        &self,
        subject: &Subject,
        target: &str,
        operation: &Operation,
        facts: &Facts,
    ) -> Result<Explained> {
        let snapshot = self.access.snapshot();
        let query = Query { subject, target, operation, facts };
        let decision = decide(&snapshot, &query, SystemClock.now());
        let (allowed, message) = match &decision {
            Decision::Allow(allowed) => (
                true,
                format!(
                    "portcullis: {subject} may {operation} of target {target}: {}",
                    by(&snapshot, allowed)
                ),
            ),
            Decision::Review(review) => (false, review.message(&query)),
            Decision::Deny(denied) => (false, denied.message(&query, None)),
        };
        Ok(Explained { allowed, message, decision: serde_json::to_value(&decision)? })
    }
}

/// `rule 1 of role look (roles/look.yaml:12), by grant g-41d0e2 until 2026-03-01T13:00:00Z.`
fn by(snapshot: &Snapshot, allowed: &Allowed) -> String {
    let filter =
        allowed.filter.as_ref().map_or(String::new(), |filter| format!(", for objects {filter} only"));
    match (snapshot.roles().get(&allowed.role), &allowed.grant, allowed.expires) {
        (Some(role), Some(grant), Some(expires)) => format!(
            "rule {} of role {} ({}){filter}, by grant {grant} until {expires:.0}.",
            allowed.rule + 1,
            role.name,
            role.rule_at(allowed.rule)
        ),
        _ => "it is open to everybody identified.".to_owned(),
    }
}
