//! Where a rule says so, a request waits here until a person has agreed to it: to this very request, once.
//!
//! kubectl just takes longer. What is agreed to is a digest over verb, request target and body (of an MCP call: server,
//! tool and arguments), so the body of a held
//! write is read whole first. The approval is used up before anything is forwarded, in the store, so that of two
//! requests that share it, on whichever bastion, one goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use portcullis_access::{
    Access, AccessError, Hold, HoldId, HoldState, NewHold, Operation, ReviewTerms, Snapshot,
};
use portcullis_identity::Subject;
use portcullis_record::{Event, redact_query};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::Proxy;
use crate::classify::{Body, Classified, Shape};
use crate::decide::{Decided, Recorded};
use crate::lease::Lease;
use crate::mcp::{Changed, McpFault};
use crate::refusal::{Refusal, Refused};
use crate::{preview, record, writeback};

/// How long an approval can be used after it was given: the request waits for it, so this is for a client that comes
/// back.
const SPEND_WITHIN: Duration = Duration::from_secs(30);
/// How long a hold outlives its client, which may be trying another way.
const GRACE: Duration = Duration::from_secs(15);

/// The desk at which requests wait.
pub struct Holds {
    access: Arc<Access>,
    /// Tells this bastion's processes from another's.
    host: String,
    /// How many requests wait for each hold: retries of one action share it.
    waiting: Arc<Mutex<HashMap<HoldId, usize>>>,
}

/// A decided request that nobody has to agree to any more.
pub(crate) struct Cleared {
    decided: Decided,
    /// The number and the hold of one that had to wait.
    held: Option<(u32, Hold)>,
}

impl Cleared {
    /// Waits where the decision says so.
    pub(crate) async fn wait(proxy: &Arc<Proxy>, mut decided: Decided) -> Result<Self, Refused> {
        read_whole(proxy, &mut decided).await?;
        writeback::restore(proxy, &mut decided).await?;
        let Some((terms, by)) = decided.review.take() else { return Ok(Self { decided, held: None }) };
        let line = decided.classified.person.line()?;
        let number = line.session.next_request();
        line.session.event(&Event::HoldBegun {
            request: number,
            connection: line.connection,
            method: decided.classified.head.method.to_string(),
            path: redact_query(&decided.classified.target),
            call: record::called(&decided.classified),
            role: by.role.to_string(),
            rule: by.rule,
        })?;
        let went_on = async {
            let hold = Self::agreed_to(proxy, &decided, terms, number).await?;
            let mut decided = decided.anew(proxy, &hold.terms)?;
            // From what is live now.
            writeback::restore(proxy, &mut decided).await?;
            decided.classified.person.connection.still_leads_there()?;
            let hold = proxy.holds.spend(hold.id).await?;
            accept_definition(proxy, &decided.classified)?;
            Ok((decided, hold))
        };
        let (decided, hold) = went_on.await.map_err(|refusal: Refusal| refusal.of(number))?;
        Ok(Self { decided, held: Some((number, hold)) })
    }

    /// The hold of this request, once those who have to agree did.
    async fn agreed_to(
        proxy: &Arc<Proxy>,
        decided: &Decided,
        terms: ReviewTerms,
        number: u32,
    ) -> Result<Hold, Refusal> {
        let Decided { classified, allowed, lease, .. } = decided;
        let person = &classified.person;
        // Discovery is never held, and whatever else is allowed is allowed by a grant.
        let grant = allowed.grant.clone().ok_or(Refusal::HoldWithoutGrant)?;
        let diff = lease.within(preview::of(proxy, decided)).await.map_err(Refusal::Ended)?;
        let attestation = &person.connection.attestation;
        let new = NewHold {
            target: classified.target_name().to_owned(),
            operation: classified.operation.clone(),
            role: allowed.role.clone(),
            rule: allowed.rule,
            grant,
            terms,
            digest: match &classified.shape {
                // Ids and progress tokens are new with each try, and change nothing of what is done.
                Shape::Call(call) => {
                    digest(&classified.operation, &classified.target, &HeaderMap::new(), &call.fingerprint())
                }
                Shape::Kube | Shape::Web => digest(
                    &classified.operation,
                    &classified.target,
                    &classified.head.headers,
                    classified.body.bytes(),
                ),
            },
            client: format!("{}/{}/{}", proxy.holds.host, attestation.pid, attestation.process.start_time),
            command: attestation.process.argv.clone(),
            diff,
            spend_within: SPEND_WITHIN,
        };
        let (hold, waiting) = proxy.holds.begin(Arc::clone(&person.subject), new).await?;
        let session = person.line()?.session;
        session.event(&Event::Held {
            request: number,
            hold: hold.id.to_string(),
            digest: hold.digest.clone(),
            diff: hold.diff.clone(),
        })?;
        tracing::info!(subject = %person.subject, hold = %hold.id, operation = %hold.operation, "held");
        let hold = proxy.holds.decided(hold, waiting, lease, proxy.snapshots.clone()).await?;
        session.event(&outcome(number, &hold))?;
        // What ended the hold may be what ended its grant.
        if let (HoldState::Cancelled, None, Some(ended)) = (hold.state, &hold.refusal, lease.over()) {
            return Err(Refusal::Ended(ended));
        }
        match hold.state {
            HoldState::Approved => Ok(hold),
            _ => Err(Refusal::Held(Box::new(hold))),
        }
    }

    /// Opens the record of this request: once this returns, what was decided is evidence.
    pub(crate) fn open_record(self) -> Result<Recorded, Refusal> {
        let (number, hold) = self.held.unzip();
        Recorded::open(self.decided, number, hold)
    }
}

impl Holds {
    /// A desk that keeps what waits in `access`; `host` names this bastion.
    #[must_use]
    pub fn new(access: Arc<Access>, host: String) -> Self {
        Self { access, host, waiting: Arc::default() }
    }

    /// The hold, and its waiter: made together, so that a client who goes away in between leaves nothing behind.
    async fn begin(&self, subject: Arc<Subject>, new: NewHold) -> Result<(Hold, Waiting), Refusal> {
        let (access, waiting) = (Arc::clone(&self.access), Arc::clone(&self.waiting));
        blocking(move || {
            let hold = access.hold(&subject, &new)?;
            let waiting = Waiting::begin(access, waiting, &hold.id);
            Ok((hold, waiting))
        })
        .await
    }

    async fn spend(&self, id: HoldId) -> Result<Hold, Refusal> {
        let access = Arc::clone(&self.access);
        blocking(move || access.spend(&id)).await
    }

    /// The hold once it waits no longer.
    async fn decided(
        &self,
        hold: Hold,
        mut waiting: Waiting,
        lease: &Lease,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> Result<Hold, Refusal> {
        if hold.state != HoldState::Pending {
            waiting.over = true;
            return Ok(hold);
        }
        let decided = async {
            loop {
                let found = snapshots.borrow_and_update().hold(&hold.id).cloned();
                match found {
                    Some(found) if found.state == HoldState::Pending => {}
                    Some(found) => return Ok(found),
                    None => return Err(Refusal::HoldLost { id: hold.id.clone() }),
                }
                if snapshots.changed().await.is_err() {
                    return Err(Refusal::HoldLost { id: hold.id.clone() });
                }
            }
        };
        let decided = lease.within(decided).await.map_err(Refusal::Ended)??;
        waiting.over = true;
        Ok(decided)
    }
}

/// Somebody waits for a hold. Dropped when the client goes away or its access ends; the last one to go abandons it.
struct Waiting {
    access: Arc<Access>,
    waiting: Arc<Mutex<HashMap<HoldId, usize>>>,
    id: HoldId,
    /// It was decided.
    over: bool,
}

impl Waiting {
    fn begin(access: Arc<Access>, waiting: Arc<Mutex<HashMap<HoldId, usize>>>, id: &HoldId) -> Self {
        *waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default() += 1;
        Self { access, waiting, id: id.clone(), over: false }
    }

    /// Whether this was the last one.
    fn leave(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let others = waiting.get(&self.id).map_or(0, |count| count.saturating_sub(1));
        if others > 0 {
            waiting.insert(self.id.clone(), others);
        } else {
            waiting.remove(&self.id);
        }
        others == 0
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.leave() || self.over {
            return;
        }
        let (access, id) = (Arc::clone(&self.access), self.id.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = access.abandon(&id, GRACE) {
                tracing::warn!(%error, hold = %id, "a hold whose client went away could not be ended");
            }
        });
    }
}

/// Who agreed to a call of a tool that has changed agreed to what it is now.
fn accept_definition(proxy: &Proxy, classified: &Classified) -> Result<(), Refusal> {
    let Shape::Call(call) = &classified.shape else { return Ok(()) };
    let Some(Changed { tool, now, .. }) = &call.changed else { return Ok(()) };
    let pins = proxy.mcp.pins(&call.server.name).map_err(McpFault::from)?;
    Ok(pins.accept(tool, &now.digest()).map_err(McpFault::from)?)
}

/// Reads the body of a write that has to be known whole: one that is held, and one to a masked resource.
async fn read_whole(proxy: &Proxy, decided: &mut Decided) -> Result<(), Refusal> {
    let Decided { classified, review, rules, lease, .. } = decided;
    let Classified { head, body, shape, upgrade, .. } = classified;
    // What goes to a web server may have to be signed.
    let needed = rules.is_some() || review.is_some() || matches!(shape, Shape::Web);
    if !is_write(&head.method) || !needed || upgrade.is_some() {
        return Ok(());
    }
    let streaming = match std::mem::take(body) {
        Body::Streaming(streaming) => streaming,
        known => {
            *body = known;
            return Ok(());
        }
    };
    let uid = classified.person.connection.attestation.uid;
    let share = proxy.limits.held_write(uid).ok_or(Refusal::TooManyWrites)?;
    let whole = lease.within(writeback::whole(streaming)).await.map_err(Refusal::Ended)??;
    *body = Body::Whole { bytes: whole, restored: None, _place: Some(share) };
    Ok(())
}

fn is_write(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE)
}

/// What is agreed to: also what kind of body it is, since the same bytes are one thing as a merge patch and another as
/// a JSON patch. The verb and not the method: an exec is the same over WebSocket (GET) and SPDY (POST).
fn digest(operation: &Operation, target: &str, headers: &HeaderMap, body: &[u8]) -> String {
    let header = |name| headers.get(name).map_or(&[][..], HeaderValue::as_bytes);
    let parts = [
        operation.authorised_as().as_bytes(),
        target.as_bytes(),
        header(header::CONTENT_TYPE),
        header(header::CONTENT_ENCODING),
        body,
    ];
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn outcome(request: u32, hold: &Hold) -> Event {
    let words = hold.refusal.iter().chain(&hold.approvals);
    Event::HoldEnded {
        request,
        hold: hold.id.to_string(),
        outcome: hold.state.to_string(),
        by: words.clone().map(|word| word.by.to_string()).collect(),
        comment: words.filter_map(|word| word.comment.clone()).next(),
    }
}

/// The store blocks; connections must not.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AccessError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Refusal::NotHeld(Box::new(error))),
        Err(_) => Err(Refusal::NotHeld(Box::new(AccessError::Contended))),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_access::{AccessConfig, RoleSet, SystemClock};

    use super::*;

    #[test]
    fn what_is_agreed_to_is_all_that_makes_the_request() {
        let exec = |verb: &str| Operation::Resource {
            verb: verb.to_owned(),
            api_group: String::new(),
            api_version: "v1".to_owned(),
            resource: "pods".to_owned(),
            subresource: "exec".to_owned(),
            namespace: "demo".to_owned(),
            name: "web".to_owned(),
        };
        let typed = |content_type: &str| {
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap())])
        };
        let none = HeaderMap::new();
        let first = digest(&exec("create"), "/exec?command=ls", &none, b"");
        assert_eq!(first, digest(&exec("get"), "/exec?command=ls", &none, b""), "over WebSocket too");
        for other in [
            digest(&exec("delete"), "/exec?command=ls", &none, b""),
            digest(&exec("create"), "/exec?command=rm", &none, b""),
            digest(&exec("create"), "/exec?command=ls", &none, b"x"),
            digest(&exec("create"), "/exec?command=ls", &typed("application/json"), b""),
            digest(&exec("create"), "/exec?command=", &none, b"ls"),
        ] {
            assert_ne!(first, other);
        }
        assert_ne!(
            digest(&exec("patch"), "/", &typed("application/merge-patch+json"), b"{}"),
            digest(&exec("patch"), "/", &typed("application/json-patch+json"), b"{}"),
        );
    }

    #[test]
    fn the_last_of_several_waiters_abandons_a_hold() {
        let dir = tempfile::tempdir().unwrap();
        let config = AccessConfig::new(dir.path().join("db"), Default::default());
        let access = Access::open(config, RoleSet::default(), Arc::new(SystemClock)).unwrap();
        let holds = Holds::new(Arc::new(access), "host".to_owned());
        let id: HoldId = "h-7f3a9c".parse().unwrap();
        let begin = |_| Waiting::begin(Arc::clone(&holds.access), Arc::clone(&holds.waiting), &id);
        let mut waiters: Vec<Waiting> = (0..3).map(begin).collect();
        waiters.iter_mut().for_each(|waiter| waiter.over = true);
        assert!(!waiters[0].leave());
        assert!(!waiters[1].leave());
        assert!(waiters[2].leave());
        assert!(holds.waiting.lock().unwrap().is_empty());
    }
}
