//! Where a rule says so, a request waits here until a person has agreed to it: to this very request, once.
//!
//! kubectl just takes longer. What is agreed to is a digest over verb, request target and body (of an MCP call: server,
//! tool and arguments), so the body of a held
//! write is read whole first. The approval is used up before anything is forwarded, in the store, so that of two
//! requests that share it, on whichever bastion, one goes on. A hold ends with its client, but for one that was told to
//! come back ([`ask`]).

mod desk;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response, header};
use portcullis_access::{Hold, HoldState, NewHold, Operation, ReviewTerms};
use portcullis_record::{Event, redact_query};
use sha2::{Digest, Sha256};

use crate::Proxy;
use crate::body::ResponseBody;
use crate::classify::{Body, Classified, Shape};
use crate::decide::{Decided, Recorded};
use crate::mcp::ask::{self, Returned};
use crate::mcp::{Changed, McpFault};
use crate::refusal::{Refusal, Refused};
use crate::{preview, record, writeback};
pub use desk::Holds;

/// How long an approval can be used after it was given: the request waits for it, so this is for a client that comes
/// back. One that was asked to may be as long as people had to agree, if that is longer.
const SPEND_WITHIN: Duration = Duration::from_secs(30);

/// The URL of the page on which a person can look where a hold stands.
pub type HoldPage = Arc<dyn Fn(&Hold) -> String + Send + Sync>;

/// What waiting came to: the request goes on, or its client is to come back for it, and is answered this.
pub(crate) type Waited = ControlFlow<Response<ResponseBody>, Cleared>;

/// A decided request that nobody has to agree to any more.
pub(crate) struct Cleared {
    decided: Decided,
    /// The number and the hold of one that had to wait.
    held: Option<(u32, Hold)>,
}

impl Cleared {
    /// Waits where the decision says so.
    pub(crate) async fn wait(proxy: &Arc<Proxy>, mut decided: Decided) -> Result<Waited, Refused> {
        read_whole(proxy, &mut decided).await?;
        writeback::restore(proxy, &mut decided).await?;
        let Some((terms, by)) = decided.review.take() else {
            let declined = returned(&decided.classified).filter(|returned| returned.declines());
            let Some(declined) = declined else { return Ok(Waited::Continue(Self { decided, held: None })) };
            let subject = Arc::clone(&decided.classified.person.subject);
            let withdrawn = proxy.holds.withdraw(subject, declined.hold.clone()).await?;
            return Err(Refusal::Held(Box::new(withdrawn)).into());
        };
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
        // Few requests wait, and every connection keeps room for what may be under way on it.
        let went_on = Box::pin(async {
            let hold = Self::agreed_to(proxy, &decided, terms, number).await?;
            if hold.state == HoldState::Pending {
                let answer = ask::answer(proxy, &decided.classified, &hold);
                return answer.map(Waited::Break).ok_or(Refusal::HoldLost { id: hold.id });
            }
            let mut decided = decided.anew(proxy, &hold.terms)?;
            // From what is live now.
            writeback::restore(proxy, &mut decided).await?;
            decided.classified.person.connection.still_leads_there()?;
            let hold = proxy.holds.spend(hold.id).await?;
            accept_definition(proxy, &decided.classified)?;
            Ok(Waited::Continue(Self { decided, held: Some((number, hold)) }))
        });
        went_on.await.map_err(|refusal: Refusal| refusal.of(number))
    }

    /// The hold of this request, once those who have to agree did; or while it waits, where its client is to come back.
    async fn agreed_to(
        proxy: &Arc<Proxy>,
        decided: &Decided,
        terms: ReviewTerms,
        number: u32,
    ) -> Result<Hold, Refusal> {
        let Decided { classified, lease, .. } = decided;
        let person = &classified.person;
        let asks = ask::asks(proxy, classified);
        let returned = returned(classified);
        let (hold, waiting) = match returned {
            Some(returned) => (proxy.holds.of_returned(returned, &digest_of(classified)).await?, None),
            None => {
                let new = Self::new_hold(proxy, decided, terms, asks).await?;
                proxy.holds.begin(Arc::clone(&person.subject), new, asks).await?
            }
        };
        let session = person.line()?.session;
        session.event(&Event::Held {
            request: number,
            hold: hold.id.to_string(),
            digest: hold.digest.clone(),
            diff: hold.diff.clone(),
        })?;
        tracing::info!(subject = %person.subject, hold = %hold.id, operation = %hold.operation, "held");
        let declines = returned.is_some_and(Returned::declines);
        if asks && !declines && hold.state == HoldState::Pending {
            session.event(&Event::InputRequired { request: number, hold: hold.id.to_string() })?;
            return Ok(hold);
        }
        let hold = match declines {
            true => proxy.holds.withdraw(Arc::clone(&person.subject), hold.id).await?,
            false => proxy.holds.decided(hold, waiting, lease, proxy.snapshots.clone()).await?,
        };
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

    /// What people are to agree to; `absent` says that its client does not wait for them.
    async fn new_hold(
        proxy: &Arc<Proxy>,
        decided: &Decided,
        terms: ReviewTerms,
        absent: bool,
    ) -> Result<NewHold, Refusal> {
        let Decided { classified, allowed, lease, .. } = decided;
        // Discovery is never held, and whatever else is allowed is allowed by a grant.
        let grant = allowed.grant.clone().ok_or(Refusal::HoldWithoutGrant)?;
        let diff = lease.within(preview::of(proxy, decided)).await.map_err(Refusal::Ended)?;
        let attestation = &classified.person.connection.attestation;
        Ok(NewHold {
            target: classified.target_name().to_owned(),
            operation: classified.operation.clone(),
            role: allowed.role.clone(),
            rule: allowed.rule,
            grant,
            spend_within: if absent { terms.wait.max(SPEND_WITHIN) } else { SPEND_WITHIN },
            terms,
            digest: digest_of(classified),
            client: format!("{}/{}/{}", proxy.holds.host, attestation.pid, attestation.process.start_time),
            command: attestation.process.argv.clone(),
            diff,
        })
    }

    /// Opens the record of this request: once this returns, what was decided is evidence.
    pub(crate) fn open_record(self) -> Result<Recorded, Refusal> {
        let (number, hold) = self.held.unzip();
        Recorded::open(self.decided, number, hold)
    }
}

/// What the client of a request comes back for.
fn returned(classified: &Classified) -> Option<&Returned> {
    match &classified.shape {
        Shape::Call(call) => call.returned.as_ref(),
        Shape::Kube | Shape::Web => None,
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

/// What is agreed to of a request.
fn digest_of(classified: &Classified) -> String {
    let Classified { operation, target, head, body, shape, .. } = classified;
    match shape {
        // Ids and progress tokens are new with each try, and change nothing of what is done.
        Shape::Call(call) => digest(operation, target, &HeaderMap::new(), &call.fingerprint()),
        Shape::Kube | Shape::Web => digest(operation, target, &head.headers, body.bytes()),
    }
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

#[cfg(test)]
mod tests {
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
}
