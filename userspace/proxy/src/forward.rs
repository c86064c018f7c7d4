//! Presents the gate's credential upstream, forwards, and shapes the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use jiff::{SignedDuration, Timestamp};
use portcullis_access::{Allowed, Hold};
use portcullis_kube::{RequestInfo, Status, query_values};
use portcullis_mask::{BodyMasker, RestoredValues, Rules};
use portcullis_record::{Event, StreamKind};

use crate::Proxy;
use crate::body::{BodyError, Ending, ProxiedBody, RequestBody, ResponseBody, RunningAccess};
use crate::caller::Person;
use crate::classify::{Body, Classified, Upgrade};
use crate::decide::{Decided, Recorded};
use crate::lease::Lease;
use crate::record::RequestRecord;
use crate::refusal::{Refusal, Refused};
use crate::upstream::Pools;
use crate::{headers, present, upgrade};

/// In the last five minutes of a grant, answers carry a warning that kubectl prints.
const WARN_BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// The longest answer that is looked through for what was restored in the request.
const WORDS: usize = 256 * 1024;

/// A recorded request, dressed with the gate's own credential.
pub(crate) struct Credentialed {
    request: Request<RequestBody>,
    pools: Arc<Pools>,
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
    /// Path and query.
    path: String,
    allowed: Allowed,
    hold: Option<Hold>,
    rules: Option<Arc<Rules>>,
    /// What was put back in the body; an error must not quote it.
    restored: Option<RestoredValues>,
    lease: Lease,
    proxy: Arc<Proxy>,
    now: Timestamp,
}

impl Credentialed {
    pub(crate) async fn new(proxy: &Arc<Proxy>, recorded: Recorded) -> Result<Self, Refused> {
        let Recorded { decided, hold, mut record, audit_id } = recorded;
        let dressed = Self::dress(proxy, decided, hold, &record, &audit_id).await;
        match dressed {
            Ok((request, pools, exchange, client)) => Ok(Self { request, pools, record, exchange, client }),
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
    ) -> Result<(Request<RequestBody>, Arc<Pools>, Exchange, Option<OnUpgrade>), Refusal> {
        let Decided { classified, allowed, review: _, rules, lease } = decided;
        let Classified { person, head, body, info, target: path, upgrade, .. } = classified;
        let dressing = present::dress(&person, &allowed, head, rules.is_some());
        let (mut head, pools) = lease.within(dressing).await.map_err(Refusal::Ended)??;
        headers::set_audit_id(&mut head.headers, audit_id)?;
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
            target: person.connection.route.target.name.clone(),
            person: Arc::clone(&person),
            info,
            path,
            allowed,
            hold,
            rules,
            restored,
            lease,
            proxy: Arc::clone(proxy),
            now: proxy.clock.now(),
        };
        Ok((Request::from_parts(head, body), pools, exchange, client))
    }
}

/// Forwards, and returns the answer as the client may see it.
pub(crate) async fn send(credentialed: Credentialed) -> Result<Response<ResponseBody>, Refused> {
    let Credentialed { request, pools, mut record, exchange, client } = credentialed;
    let answered = match exchange.lease.within(pools.send(request)).await {
        Ok(Ok(response)) if exchange.may_quote(&response) => {
            let number = record.number();
            return exchange.deliver_words(response, record).await.map_err(|refusal| refusal.of(number));
        }
        Ok(Ok(response)) => exchange.check(response),
        Ok(Err(error)) if is_the_clients(&error) => Err(Refusal::BodyUnreadable(root_cause(&error))),
        Ok(Err(error)) => {
            Err(Refusal::Upstream { target: exchange.target.clone(), cause: root_cause(&error) })
        }
        Err(ended) => Err(Refusal::Ended(ended)),
    };
    match answered {
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
    /// An answer that would carry masked objects in a form the masker does not read is withheld.
    fn check<B: http_body::Body>(&self, response: Response<B>) -> Result<Response<B>, Refusal> {
        if self.rules.is_none() || !has_body(&response) {
            return Ok(response);
        }
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type =
            content_type.map_or("no content type", |value| value.to_str().unwrap_or("not ASCII"));
        let essence = content_type.split(';').next().unwrap_or(content_type).trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::UnmaskableType { content_type: content_type.to_owned() });
        }
        Ok(response)
    }

    fn deliver(
        self,
        mut response: Response<Incoming>,
        mut record: RequestRecord,
        client: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let status = response.status();
        let content_type = text_of(response.headers().get(header::CONTENT_TYPE));
        record.begun(status.as_u16(), content_type, self.rules.is_some());
        if status == StatusCode::SWITCHING_PROTOCOLS {
            record.tell_begun()?;
            return self.switch(response, record, client);
        }
        headers::strip_response(response.headers_mut());
        self.warn(response.headers_mut());

        let masker = self.masker(&mut response)?;
        let long_running = self.info.is_long_running(&self.path);
        let ending = if long_running { self.ending(&response) } else { Ending::Silent };
        if long_running && let Some(kind) = self.stream_kind() {
            record.tell_begun()?;
            record.event(&Event::StreamOpened {
                request: record.number(),
                kind,
                protocol: text_of(response.headers().get(header::CONTENT_TYPE)).unwrap_or_default(),
                command: Vec::new(),
                container: query_values(&self.path, "container").into_iter().next(),
                tty: false,
            })?;
        }
        let (head, body) = response.into_parts();
        let bodiless = http_body::Body::is_end_stream(&body);
        let access = RunningAccess::new(self.lease, ending, self.person.connection.hang_up.clone());
        let mut body = ProxiedBody::new(body, masker, record, access);
        if bodiless {
            body.finish_empty()?;
            return Ok(Response::from_parts(head, ResponseBody::Proxied(Box::new(body))));
        }
        match body.begin() {
            Ok(body) => Ok(Response::from_parts(head, body)),
            Err(BodyError::Mask(error)) => Err(error.into()),
            Err(BodyError::Record(error)) => Err(error.into()),
            Err(error) => Err(Refusal::Upstream { target: self.target, cause: root_cause(&error) }),
        }
    }

    /// Whether an answer may quote what was restored in the request.
    fn may_quote(&self, response: &Response<Incoming>) -> bool {
        self.restored.is_some() && !response.status().is_success()
    }

    /// Delivers an answer that may quote what was restored: read whole, and withheld if it does.
    async fn deliver_words(
        self,
        response: Response<Incoming>,
        mut record: RequestRecord,
    ) -> Result<Response<ResponseBody>, Refusal> {
        match self.lease.within(self.words(response)).await.map_err(Refusal::Ended).and_then(|words| words) {
            Ok(words) => {
                let content_type = text_of(words.headers().get(header::CONTENT_TYPE));
                record.begun(words.status().as_u16(), content_type, self.rules.is_some());
                record.sent(words.body(), true)?;
                Ok(words.map(ResponseBody::whole))
            }
            Err(refusal) => {
                record.end(Some(refusal.to_string()))?;
                Err(refusal)
            }
        }
    }

    async fn words(&self, response: Response<Incoming>) -> Result<Response<Bytes>, Refusal> {
        let (head, body) = response.into_parts();
        let code = head.status;
        let quoted = |said: &Bytes| self.restored.as_ref().is_none_or(|values| values.are_quoted_in(said));
        let said = match Limited::new(body, WORDS).collect().await {
            Ok(said) => said.to_bytes(),
            Err(_) => return Err(Refusal::Quoted { code, reason: String::new(), fields: Vec::new() }),
        };
        if head.headers.contains_key(header::CONTENT_ENCODING) || quoted(&said) {
            let status: Option<Status> = serde_json::from_slice(&said).ok();
            let told = |word: &String| !word.is_empty() && !quoted(&Bytes::copy_from_slice(word.as_bytes()));
            let reason = status.as_ref().map(|status| status.reason.clone()).filter(told).unwrap_or_default();
            let causes =
                status.and_then(|status| status.details).map_or(Vec::new(), |details| details.causes);
            let fields = causes.into_iter().map(|cause| cause.field).filter(told).collect();
            return Err(Refusal::Quoted { code, reason, fields });
        }
        let mut response = self.check(Response::from_parts(head, Full::new(said.clone())))?;
        headers::strip_response(response.headers_mut());
        self.warn(response.headers_mut());
        let Some(mut masker) = self.masker(&mut response)? else { return Ok(response.map(|_| said)) };
        let mut shown = Vec::with_capacity(said.len());
        masker.push(&said, &mut shown)?;
        masker.finish(&mut shown)?;
        Ok(response.map(|_| shown.into()))
    }

    /// What kind of stream an endless answer is.
    fn stream_kind(&self) -> Option<StreamKind> {
        match (self.info.verb.as_str(), self.info.subresource.as_str()) {
            ("watch", _) => Some(StreamKind::Watch),
            (_, "log") => Some(StreamKind::Log),
            _ => None,
        }
    }

    fn masker<B: http_body::Body>(&self, response: &mut Response<B>) -> Result<Option<BodyMasker>, Refusal> {
        let Some(rules) = &self.rules else { return Ok(None) };
        if !has_body(response) {
            return Ok(None);
        }
        let coding = text_of(response.headers().get(header::CONTENT_ENCODING)).unwrap_or_default();
        let masker = BodyMasker::new(&coding, Arc::clone(rules), &self.proxy.mask_key)?;
        // Masking changes the length, and a digest or range of the original would give the original away.
        for name in [header::CONTENT_LENGTH, header::ETAG, header::ACCEPT_RANGES, header::CONTENT_RANGE] {
            response.headers_mut().remove(name);
        }
        Ok(Some(masker))
    }

    /// How the end of access can be told inside this answer.
    fn ending(&self, response: &Response<Incoming>) -> Ending {
        let headers = response.headers();
        let content_type = text_of(headers.get(header::CONTENT_TYPE)).unwrap_or_default();
        if headers.contains_key(header::CONTENT_ENCODING) {
            Ending::Silent
        } else if self.info.verb.starts_with("watch") && content_type.starts_with("application/json") {
            Ending::WatchEvent
        } else if self.info.subresource == "log" && content_type.starts_with("text/plain") {
            Ending::LogLine
        } else {
            Ending::Silent
        }
    }

    /// What kubectl prints beside the answer (RFC 7234 §5.5, code 299).
    fn warn(&self, headers: &mut http::HeaderMap) {
        let mut warn = |text: String| {
            if let Ok(value) = HeaderValue::from_str(&format!("299 portcullis \"{text}\"")) {
                headers.append(header::WARNING, value);
            }
        };
        if let Some(hold) = &self.hold {
            let by: Vec<String> = hold.approvals.iter().map(|word| word.by.to_string()).collect();
            let by = by.join(", ").replace(['"', '\\'], "");
            warn(format!("held as {} until {by} agreed", hold.id));
        }
        let (Some(grant), Some(expires)) = (&self.allowed.grant, self.allowed.expires) else { return };
        let left = expires.duration_since(self.now);
        if left <= WARN_BEFORE {
            let (minutes, seconds) = (left.as_secs() / 60, left.as_secs() % 60);
            warn(format!("grant {grant} (role {}) ends in {minutes}m{seconds:02}s", self.allowed.role));
        }
    }

    /// The server agreed to an upgrade: hand both ends to the tunnel.
    fn switch(
        self,
        mut response: Response<Incoming>,
        record: RequestRecord,
        client: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let Some(client) = client else {
            return Err(Refusal::Upstream {
                target: self.target,
                cause: "it switched protocols without being asked".to_owned(),
            });
        };
        let tap = upgrade::Tap::new(&self.info, &self.path, response.headers())
            .map_err(|error| Refusal::Upgrade { protocol: error.to_string() })?;
        record.event(&tap.opened(record.number()))?;
        let server = hyper::upgrade::on(&mut response);
        let Self { person, lease, .. } = self;
        tokio::spawn(async move {
            upgrade::tunnel(client, server, tap, record, lease).await;
            drop(person);
        });
        Ok(response.map(|_| ResponseBody::whole(Bytes::new())))
    }
}

fn has_body<B: http_body::Body>(response: &Response<B>) -> bool {
    !http_body::Body::is_end_stream(response.body())
}

fn text_of(value: Option<&HeaderValue>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Whether forwarding failed for the body that the client sends, and not for the server.
fn is_the_clients(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_user)
}

/// The innermost cause: "connection refused" says more than "client error (Connect)".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
