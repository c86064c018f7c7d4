//! Presents the gate's credential upstream, forwards, and shapes the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use jiff::{SignedDuration, Timestamp};
use portcullis_access::{Allowed, Hold, MaskLevel};
use portcullis_kube::{RequestInfo, Status, query_values};
use portcullis_mask::{BodyMasker, Covers, ListFilter, RestoredValues, Rules};
use portcullis_record::{Event, StreamKind};

use crate::Proxy;
use crate::accept;
use crate::body::{BodyError, Ending, ProxiedBody, RequestBody, ResponseBody, RunningAccess, Through};
use crate::caller::Person;
use crate::classify::{Body, Classified, Shape, Upgrade};
use crate::decide::{Decided, Recorded};
use crate::headers;
use crate::lease::Lease;
use crate::mcp::answer::{Way, way};
use crate::mcp::read::note_session;
use crate::mcp::wait::is_events;
use crate::present::{self, Masked};
use crate::record::RequestRecord;
use crate::refusal::{Refusal, Refused};
use crate::upgrade::{self, Masking, Served, Stream};
use crate::upstream::{SendError, Up};
use crate::whole::{self, Answer, Unread};

/// In the last five minutes of a grant, answers carry a warning that kubectl prints.
const WARN_BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// The longest answer that is looked through for what was restored in the request.
const WORDS: usize = 256 * 1024;

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
    /// The answer. What can be masked only as a whole has been then; what cannot be is asked for again, in JSON, which can be
    /// masked in passing.
    async fn ask(&mut self, up: &Up, request: Request<RequestBody>) -> Result<Response<Answer>, Refusal> {
        let mut response = self.checked(up.send(request).await)?;
        if !matches!(self.shape, Shape::Kube) {
            let through = self.of_mcp_server(&mut response)?;
            return Ok(response.map(|body| Answer::Streaming(body, through)));
        }
        let masker = match self.masker(&mut response)? {
            masker if self.restored.is_some() && !response.status().is_success() => {
                return self.words(response, masker).await;
            }
            Some(masker) if masker.is_whole() => masker,
            masker => return Ok(response.map(|body| Answer::Streaming(body, masker.map(Through::Mask)))),
        };
        let (head, body) = response.into_parts();
        let uid = self.person.connection.attestation.uid;
        let refusal = match whole::read(body, masker, &self.proxy.limits, uid).await {
            Ok(masked) => return Ok(Response::from_parts(head, Answer::Whole(masked))),
            Err(Unread::Upstream(error)) => {
                return Err(Refusal::Upstream { target: self.target.clone(), cause: root_cause(&error) });
            }
            Err(Unread::Format(refusal)) => refusal,
        };
        let again = self.again.take().ok_or(refusal)?;
        let mut response = self.checked(up.send(again).await)?;
        let masker = self.masker(&mut response)?;
        Ok(response.map(|body| Answer::Streaming(body, masker.map(Through::Mask))))
    }

    /// What the answer of an MCP server goes through. A session that it begins or ended is noted.
    fn of_mcp_server(&self, response: &mut Response<Incoming>) -> Result<Option<Through>, Refusal> {
        let call = match &self.shape {
            Shape::Call(call) => Some(&**call),
            Shape::Kube | Shape::Web => None,
        };
        if let Some(call) = call.filter(|_| response.status().is_success()) {
            note_session(&self.proxy, &self.person, call, response.headers());
        }
        // What is forwarded is between a client and its server.
        if self.person.connection.forwarded.is_none() {
            // Its challenge would send clients for a token that stays here.
            if response.status() == StatusCode::UNAUTHORIZED {
                let cause = "it does not accept the gate's own credential (401)".to_owned();
                return Err(Refusal::Upstream { target: self.target.clone(), cause });
            }
            response.headers_mut().remove(header::SET_COOKIE);
        }
        if !has_body(response) {
            return Ok(None);
        }
        let (masked, status) = (self.masks(), response.status());
        let way = way(&self.proxy, &self.person, call, masked, status, response.headers())?;
        let through = match way {
            Way::Messages(messages) => Through::Messages(messages),
            Way::Text(masker) => Through::Mask(masker),
            Way::AsItIs => return Ok(None),
        };
        withhold_size(response.headers_mut());
        Ok(Some(through))
    }

    /// An answer that may quote what was restored in the request: read whole, and withheld if it does.
    async fn words(
        &self,
        response: Response<Incoming>,
        masker: Option<BodyMasker>,
    ) -> Result<Response<Answer>, Refusal> {
        let (head, body) = response.into_parts();
        let quoted = |said: &[u8]| self.restored.as_ref().is_none_or(|values| values.are_quoted_in(said));
        let withheld = |reason, fields| Refusal::Quoted { code: head.status, reason, fields };
        let said = Limited::new(body, WORDS).collect().await;
        let said = said.map_err(|_| withheld(String::new(), Vec::new()))?.to_bytes();
        if head.headers.contains_key(header::CONTENT_ENCODING) || quoted(&said) {
            let status: Option<Status> = serde_json::from_slice(&said).ok();
            let told = |word: &String| !word.is_empty() && !quoted(word.as_bytes());
            let reason = status.as_ref().map(|status| status.reason.clone()).filter(told).unwrap_or_default();
            let causes =
                status.and_then(|status| status.details).map_or(Vec::new(), |details| details.causes);
            return Err(withheld(reason, causes.into_iter().map(|cause| cause.field).filter(told).collect()));
        }
        let Some(mut masker) = masker else { return Ok(Response::from_parts(head, Answer::Whole(said))) };
        let mut shown = Vec::with_capacity(said.len());
        masker.push(&said, &mut shown)?;
        masker.finish(&mut shown)?;
        Ok(Response::from_parts(head, Answer::Whole(shown.into())))
    }

    fn checked(
        &self,
        answered: Result<Response<Incoming>, SendError>,
    ) -> Result<Response<Incoming>, Refusal> {
        match answered {
            Ok(response) => self.check(response),
            Err(error) if is_the_clients(&*error) => Err(Refusal::BodyUnreadable(root_cause(&*error))),
            Err(error) => Err(Refusal::Upstream { target: self.target.clone(), cause: root_cause(&*error) }),
        }
    }

    /// An answer that would carry masked or filtered objects in a form that is not read here is withheld.
    fn check(&self, response: Response<Incoming>) -> Result<Response<Incoming>, Refusal> {
        if self.is_filtered(response.status()) && has_body(&response) {
            readable_by_filter(response.headers())?;
        }
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if !self.is_masked() || switched || !has_body(&response) {
            return Ok(response);
        }
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type =
            content_type.map_or("no content type", |value| value.to_str().unwrap_or("not ASCII"));
        let reads = if self.is_log() { BodyMasker::reads_log } else { BodyMasker::reads };
        if !reads(content_type) {
            return Err(Refusal::UnmaskableType { content_type: content_type.to_owned() });
        }
        Ok(response)
    }

    fn deliver(
        self,
        mut response: Response<Answer>,
        mut record: RequestRecord,
        client: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let status = response.status();
        let content_type = text_of(response.headers().get(header::CONTENT_TYPE));
        let switched = status == StatusCode::SWITCHING_PROTOCOLS;
        let masked = self.masks() && (switched || !matches!(self.shape, Shape::Kube));
        record.begun(status.as_u16(), content_type.clone(), masked || self.is_masked());
        if switched {
            record.tell_begun()?;
            return self.switch(response, record, client);
        }
        headers::strip_response(response.headers_mut());
        self.warn(response.headers_mut());

        let filter = self.filter(&mut response);
        let events = matches!(self.shape, Shape::Call(_))
            && content_type.as_deref().is_some_and(|of| is_events(of.as_bytes()));
        let long_running = events || self.info.is_long_running(&self.path);
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
        let (body, through) = match body {
            Answer::Streaming(body, through) => (body, through),
            Answer::Whole(masked) => {
                record.sent(&masked, true)?;
                return Ok(Response::from_parts(head, ResponseBody::whole(masked)));
            }
        };
        let bodiless = http_body::Body::is_end_stream(&body);
        let access = RunningAccess::new(self.lease, ending, self.person.connection.hang_up.clone());
        let mut body = ProxiedBody::new(body, filter, through, record, access);
        if bodiless {
            body.finish_empty()?;
            return Ok(Response::from_parts(head, ResponseBody::Proxied(Box::new(body))));
        }
        match body.begin() {
            Ok(body) => Ok(Response::from_parts(head, body)),
            Err(BodyError::Mask(error)) => Err(error.into()),
            Err(BodyError::Answer(error)) => Err(error.into()),
            Err(BodyError::Record(error)) => Err(error.into()),
            Err(error) => Err(Refusal::Upstream { target: self.target, cause: root_cause(&error) }),
        }
    }

    /// What kind of stream an endless answer is.
    fn stream_kind(&self) -> Option<StreamKind> {
        match (self.info.verb.as_str(), self.info.subresource.as_str()) {
            ("watch", _) => Some(StreamKind::Watch),
            (_, "log") => Some(StreamKind::Log),
            _ => None,
        }
    }

    /// Whether objects are left out of this answer. Errors are about none.
    fn is_filtered(&self, status: StatusCode) -> bool {
        self.allowed.filter.is_some() && status.is_success()
    }

    fn filter(&self, response: &mut Response<Answer>) -> Option<ListFilter> {
        let filter = self.allowed.filter.clone().filter(|_| self.is_filtered(response.status()))?;
        // They would tell how much there is that is left out.
        withhold_size(response.headers_mut());
        let covers: Covers = Box::new(move |namespace, name| filter.covers(namespace, name));
        Some(if self.info.verb == "watch" { ListFilter::watch(covers) } else { ListFilter::list(covers) })
    }

    fn masker(&self, response: &mut Response<Incoming>) -> Result<Option<BodyMasker>, Refusal> {
        if !has_body(response) {
            return Ok(None);
        }
        let header = |name| text_of(response.headers().get(name)).unwrap_or_default();
        let (content_type, coding) = (header(header::CONTENT_TYPE), header(header::CONTENT_ENCODING));
        let key = &self.proxy.mask_key;
        let masker = match &self.rules {
            Some(rules) => BodyMasker::new(&content_type, &coding, Arc::clone(rules), key)?,
            None if self.is_log() => {
                let rules = self.proxy.profile.borrow().for_unknown();
                let cut_off = !query_values(&self.path, "limitBytes").is_empty();
                BodyMasker::for_log(&content_type, &coding, rules, key, cut_off)?
            }
            None => return Ok(None),
        };
        // Masking changes the length, and a digest or range of the original would give the original away.
        withhold_size(response.headers_mut());
        Ok(Some(masker))
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

    /// How the end of access can be told inside this answer.
    fn ending(&self, response: &Response<Answer>) -> Ending {
        let headers = response.headers();
        let content_type = text_of(headers.get(header::CONTENT_TYPE)).unwrap_or_default();
        if let Shape::Call(call) = &self.shape {
            let events = is_events(content_type.as_bytes());
            return if events { Ending::Message(call.id().cloned()) } else { Ending::Silent };
        }
        if headers.contains_key(header::CONTENT_ENCODING) {
            Ending::Silent
        } else if self.info.verb.starts_with("watch") && content_type.starts_with("application/json") {
            Ending::WatchEvent
        } else if self.info.verb.starts_with("watch") && self.rules.is_some() && is_protobuf(&content_type) {
            Ending::WatchFrame
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
        if let Some(filter) = &self.allowed.filter {
            warn(format!("role {} shows only objects {filter}; others are left out", self.allowed.role));
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
        mut response: Response<Answer>,
        record: RequestRecord,
        client: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let Some(client) = client else {
            return Err(Refusal::Upstream {
                target: self.target,
                cause: "it switched protocols without being asked".to_owned(),
            });
        };
        let masking = self.masks().then(|| Masking {
            detectors: self.proxy.profile.borrow().detectors(),
            key: self.proxy.mask_key.clone(),
            rules: self.rules.clone(),
        });
        let served = Served::of(&self.person, &self.info);
        let stream = Stream::new(&self.info, &self.path, response.headers(), masking, served)
            .map_err(|error| Refusal::Upgrade { protocol: error.to_string() })?;
        record.event(&stream.opened(record.number()))?;
        let server = hyper::upgrade::on(&mut response);
        let Self { person, lease, .. } = self;
        tokio::spawn(async move {
            upgrade::tunnel(client, server, stream, record, lease).await;
            drop(person);
        });
        Ok(response.map(|_| ResponseBody::whole(Bytes::new())))
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

fn is_protobuf(content_type: &str) -> bool {
    content_type.starts_with("application/vnd.kubernetes.protobuf")
}

fn has_body(response: &Response<Incoming>) -> bool {
    !http_body::Body::is_end_stream(response.body())
}

/// What says how long an answer is, or what it is, as the API server sent it.
fn withhold_size(headers: &mut http::HeaderMap) {
    for name in [header::CONTENT_LENGTH, header::ETAG, header::ACCEPT_RANGES, header::CONTENT_RANGE] {
        headers.remove(name);
    }
}

fn readable_by_filter(headers: &http::HeaderMap) -> Result<(), Refusal> {
    let of = |name| text_of(headers.get(name)).unwrap_or_default();
    let (content_type, coding) = (of(header::CONTENT_TYPE), of(header::CONTENT_ENCODING));
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::Unfilterable(format!("it came as {content_type:?}")));
    }
    match coding.as_str() {
        "" | "identity" => Ok(()),
        coding => Err(Refusal::Unfilterable(format!("it came in content coding {coding:?}"))),
    }
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
