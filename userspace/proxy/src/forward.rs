//! Presents the gate's credential upstream, forwards, gets the [`answer`], and [`deliver`]s it as the client may see it.

mod answer;
mod deliver;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use portcullis_access::{Allowed, Hold, MaskLevel};
use portcullis_kube::RequestInfo;
use portcullis_mask::{RestoredValues, Rules};

use crate::Proxy;
use crate::accept;
use crate::body::{RequestBody, ResponseBody};
use crate::caller::Person;
use crate::classify::{Body, Classified, Shape, Upgrade};
use crate::decide::{Decided, Recorded};
use crate::headers;
use crate::lease::Lease;
use crate::present::{self, Masked};
use crate::record::RequestRecord;
use crate::refusal::{Refusal, Refused};
use crate::upstream::Up;

/// A recorded request, dressed with the gate's own credential.
pub(crate) struct Credentialed {
    request: Request<RequestBody>,
    up: Up,
    record: RequestRecord,
    exchange: Exchange,
    /// The client's side of an upgrade, when one was asked for.
    client: Option<OnUpgrade>,
}

/// What is known of a request when its answer arrives.
struct Exchange {
    /// Keeps the connection's record open for as long as an upgraded stream goes on.
    person: Arc<Person>,
    target: String,
    info: RequestInfo,
    shape: Shape,
    /// Path and query.
    path: String,
    allowed: Allowed,
    hold: Option<Hold>,
    rules: Option<Arc<Rules>>,
    /// What was put back in the body; an error must not quote it.
    restored: Option<RestoredValues>,
    /// The same request for JSON alone, should its answer in protobuf be one that cannot be masked.
    again: Option<Request<RequestBody>>,
    lease: Lease,
    proxy: Arc<Proxy>,
    now: Timestamp,
}

impl Credentialed {
    pub(crate) async fn new(proxy: &Arc<Proxy>, recorded: Recorded) -> Result<Self, Refused> {
        let Recorded { decided, hold, mut record, audit_id } = recorded;
        let dressed = Self::dress(proxy, decided, hold, &record, &audit_id).await;
        match dressed {
            Ok((request, up, exchange, client)) => Ok(Self { request, up, record, exchange, client }),
            Err(refusal) => {
                record.end(Some(refusal.to_string()))?;
                Err(refusal.of(record.number()))
            }
        }
    }

    async fn dress(
        proxy: &Arc<Proxy>,
        decided: Decided,
        hold: Option<Hold>,
        record: &RequestRecord,
        audit_id: &str,
    ) -> Result<(Request<RequestBody>, Up, Exchange, Option<OnUpgrade>), Refusal> {
        let Decided { classified, allowed, rules, lease, .. } = decided;
        let Classified { person, head, body, info, target: path, shape, upgrade, .. } = classified;
        let repeatable = matches!(info.verb.as_str(), "get" | "list") && is_bodiless(&head.method, &body);
        let masked = match rules {
            _ if !matches!(shape, Shape::Kube) => Masked::InPassing,
            None => Masked::No,
            Some(_) if repeatable => Masked::Repeatable,
            Some(_) => Masked::Once,
        };
        let outgoing = body.outgoing();
        let dressing = present::dress(&person, &allowed, head, masked, &outgoing);
        let (mut head, up) = lease.within(dressing).await.map_err(Refusal::Ended)??;
        headers::set_audit_id(&mut head.headers, audit_id)?;
        let json = match masked {
            Masked::Repeatable => accept::json_instead(&head.headers),
            Masked::No | Masked::InPassing | Masked::Once => None,
        };
        let again = json.map(|json| {
            let mut head = head.clone();
            head.headers.insert(header::ACCEPT, json);
            Request::from_parts(head, RequestBody::whole(Bytes::new(), record.received()))
        });
        let client = upgrade.map(|Upgrade { protocol, client }| {
            headers::set_upgrade(&mut head.headers, protocol);
            client
        });
        let (body, restored) = match body {
            Body::Empty => (RequestBody::whole(Bytes::new(), record.received()), None),
            Body::Streaming(body) => (RequestBody::stream(body, record.received()), None),
            Body::Whole { bytes, restored: None, .. } => (RequestBody::whole(bytes, record.received()), None),
            Body::Whole { bytes, restored: Some(restored), .. } => {
                head.headers.remove(header::CONTENT_LENGTH);
                record.received().fetch_add(bytes.len() as u64, Ordering::Relaxed);
                (RequestBody::whole(restored.body, Arc::default()), Some(restored.values))
            }
        };
        let exchange = Exchange {
            target: person.connection.target_name().to_owned(),
            person: Arc::clone(&person),
            info,
            shape,
            path,
            allowed,
            hold,
            rules,
            restored,
            again,
            lease,
            proxy: Arc::clone(proxy),
            now: proxy.clock.now(),
        };
        Ok((Request::from_parts(head, body), up, exchange, client))
    }
}

/// Forwards, and returns the answer as the client may see it.
pub(crate) async fn send(credentialed: Credentialed) -> Result<Response<ResponseBody>, Refused> {
    let Credentialed { request, up, mut record, mut exchange, client } = credentialed;
    let lease = exchange.lease.clone();
    let answered = lease.within(exchange.ask(&up, request)).await.map_err(Refusal::Ended);
    match answered.flatten() {
        Ok(response) => {
            let number = record.number();
            exchange.deliver(response, record, client).map_err(|refusal| refusal.of(number))
        }
        Err(refusal) => {
            record.end(Some(refusal.to_string()))?;
            Err(refusal.of(record.number()))
        }
    }
}

impl Exchange {
    /// Whether objects are left out of this answer. Errors are about none.
    fn is_filtered(&self, status: StatusCode) -> bool {
        self.allowed.filter.is_some() && status.is_success()
    }

    fn is_masked(&self) -> bool {
        self.rules.is_some() || self.is_log()
    }

    /// Whether the answer is a log, in which detectors look for secrets.
    fn is_log(&self) -> bool {
        self.masks() && (self.info.resource.as_str(), self.info.subresource.as_str()) == ("pods", "log")
    }

    /// Whether the role wants anything masked at all.
    fn masks(&self) -> bool {
        self.allowed.obligations.mask == MaskLevel::Default
    }
}

/// Whether a request is a GET and nothing else.
fn is_bodiless(method: &Method, body: &Body) -> bool {
    method == Method::GET
        && match body {
            Body::Empty => true,
            Body::Streaming(body) => http_body::Body::is_end_stream(body),
            Body::Whole { bytes, .. } => bytes.is_empty(),
        }
}

/// What says how long an answer is, or what it is, as the API server sent it.
fn withhold_size(headers: &mut http::HeaderMap) {
    for name in [header::CONTENT_LENGTH, header::ETAG, header::ACCEPT_RANGES, header::CONTENT_RANGE] {
        headers.remove(name);
    }
}

fn text_of(value: Option<&HeaderValue>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The innermost cause: "connection refused" says more than "client error (Connect)".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
