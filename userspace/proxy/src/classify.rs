//! Reads a request the way the API server will, and refuses what can be read in two ways (Law 6).

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use portcullis_access::{Facts, Operation};
use portcullis_identity::Share;
use portcullis_kube::{RequestInfo, query_flag, query_values};

use crate::Proxy;
use crate::caller::Person;
use crate::headers;
use crate::mcp::{self, Call};
use crate::refusal::{Refusal, Refused, Wording};
use crate::sent::SentBody;
use crate::wire::Fault;
use crate::writeback::Restored;

/// A request whose meaning is known.
pub(crate) struct Classified {
    pub(crate) person: Arc<Person>,
    pub(crate) head: Parts,
    pub(crate) body: Body,
    pub(crate) info: RequestInfo,
    /// The request target as it was classified.
    pub(crate) target: String,
    pub(crate) operation: Operation,
    pub(crate) facts: Facts,
    pub(crate) shape: Shape,
    /// Of a request for exec, attach or port-forward, and of a watch or log that is to come over WebSocket.
    pub(crate) upgrade: Option<Upgrade>,
}

/// What kind of server a request is for, and so how its answer is read.
pub(crate) enum Shape {
    /// An API server.
    Kube,
    /// The endpoint of an MCP server.
    Call(Box<Call>),
    /// Any other path of an MCP server.
    Web,
}

/// The body of a request.
#[derive(Default)]
pub(crate) enum Body {
    /// None, or none any more.
    #[default]
    Empty,
    /// As it comes.
    Streaming(SentBody),
    /// Read whole, with its place among those of its uid.
    Whole {
        /// All of it, as the client sent it.
        bytes: Bytes,
        /// What goes up instead, where it brings masked values back.
        restored: Option<Restored>,
        _place: Option<Share>,
    },
}

/// What a client wants its connection to become.
pub(crate) struct Upgrade {
    /// The `Upgrade` header.
    pub(crate) protocol: HeaderValue,
    /// The client's side of it, once the server has agreed.
    pub(crate) client: OnUpgrade,
}

impl Classified {
    pub(crate) async fn read(
        proxy: &Proxy,
        person: Arc<Person>,
        request: Request<SentBody>,
    ) -> Result<Self, Refused> {
        refuse_doubtful(&request)?;
        let (method, target) = (request.method().as_str(), target_of(&request));
        let at = &person.connection;
        let read = if at.mcp().is_some() { RequestInfo::of_path_alone } else { portcullis_kube::classify };
        let info = read(method, &target).map_err(Refusal::from)?;
        match mcp::asked_for(at, &info).map_err(Refusal::from)? {
            Some(asked) => {
                let read = mcp::read::read(proxy, person, asked, info, request).await;
                read.map_err(|refused| refused.or_worded(Wording::Rpc(None)))
            }
            None => Ok(Self::of_api_server(person, info, target, request)?),
        }
    }

    fn of_api_server(
        person: Arc<Person>,
        info: RequestInfo,
        target: String,
        mut request: Request<SentBody>,
    ) -> Result<Self, Refusal> {
        let protocol = wanted_upgrade(request.method(), request.headers(), &info)?;
        let upgrade = protocol.map(|protocol| Upgrade { protocol, client: hyper::upgrade::on(&mut request) });
        let operation = operation(&info);
        let facts = facts(&person, &info, &target, request.body().is_end_stream());
        let (head, body) = request.into_parts();
        let body = Body::Streaming(body);
        let shape = Shape::Kube;
        Ok(Self { person, head, body, info, target, operation, facts, shape, upgrade })
    }
}

impl Classified {
    /// The name of what it is for, in the terms of roles: a target, or an MCP server behind one.
    pub(crate) fn target_name(&self) -> &str {
        match &self.shape {
            Shape::Call(call) => &call.server.name,
            Shape::Kube | Shape::Web => self.person.connection.target_name(),
        }
    }

    /// How a refusal of it is to be worded, where the request line does not tell.
    pub(crate) fn wording(&self) -> Option<Wording> {
        match &self.shape {
            Shape::Kube => None,
            Shape::Call(call) => Some(Wording::Rpc(call.id().cloned())),
            Shape::Web => Some(Wording::Text),
        }
    }
}

/// Refuses what two readers could take for two requests, or for somebody else's.
pub(crate) fn refuse_doubtful(request: &Request<SentBody>) -> Result<(), Refusal> {
    if let Some(fault) = request.extensions().get::<Fault>() {
        return Err(Refusal::Framing(*fault));
    }
    if let Some(name) = headers::repeated(request.headers()) {
        return Err(Refusal::Repeated(name));
    }
    if names_another_host(request) {
        return Err(Refusal::Repeated(header::HOST));
    }
    if let Some(ambiguity) = portcullis_kube::ambiguity(request.method().as_str(), &target_of(request)) {
        return Err(Refusal::Ambiguous(ambiguity));
    }
    if headers::impersonates(request.headers()) {
        return Err(Refusal::Impersonation);
    }
    Ok(())
}

impl Body {
    /// What is known of it before it is forwarded.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty | Self::Streaming(_) => &[],
            Self::Whole { bytes, .. } => bytes,
        }
    }

    /// What is known of that which is forwarded.
    pub(crate) fn outgoing(&self) -> Bytes {
        match self {
            Self::Empty | Self::Streaming(_) => Bytes::new(),
            Self::Whole { restored: Some(restored), .. } => restored.body.clone(),
            Self::Whole { bytes, .. } => bytes.clone(),
        }
    }

    pub(crate) fn restored(&self) -> Option<&Restored> {
        match self {
            Self::Whole { restored, .. } => restored.as_ref(),
            Self::Empty | Self::Streaming(_) => None,
        }
    }

    /// Whether an answer quotes what was restored in the body.
    pub(crate) fn is_quoted_in(&self, answer: &[u8]) -> bool {
        self.restored().is_some_and(|restored| restored.values.are_quoted_in(answer))
    }
}

/// Whether `:authority` and `Host` differ (RFC 9113 §8.3.1).
fn names_another_host(request: &Request<SentBody>) -> bool {
    let host = request.headers().get(header::HOST);
    request.uri().authority().zip(host).is_some_and(|(authority, host)| host != authority.as_str())
}

/// The request target as the client sent it (origin form) or, on h2 and absolute form, its path and query.
pub(crate) fn target_of(request: &Request<SentBody>) -> String {
    let uri = request.uri();
    match (request.version(), uri.scheme()) {
        // Absolute form on HTTP/1.1 is kept whole, so that it is refused as such.
        (http::Version::HTTP_11 | http::Version::HTTP_10, Some(_)) => uri.to_string(),
        _ => uri.path_and_query().map_or_else(|| uri.path().to_owned(), |target| target.as_str().to_owned()),
    }
}

/// What the client may have its connection become. A WebSocket where the API server has none to give is ignored, as it
/// does: it answers as if it had not been asked for.
fn wanted_upgrade(
    method: &Method,
    headers: &HeaderMap,
    info: &RequestInfo,
) -> Result<Option<HeaderValue>, Refusal> {
    let Some(protocol) = headers.get(header::UPGRADE) else { return Ok(None) };
    if info.is_session() {
        return Ok(Some(protocol.clone()));
    }
    let is = |value: &HeaderValue, word: &str| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').any(|token| token.trim().eq_ignore_ascii_case(word))
    };
    // What stands behind a proxy or an unknown subresource might take the upgrade, and nobody here could follow it.
    let known = info.is_upgradable() && !info.is_proxy() || info.subresource.is_empty();
    if *method != Method::GET || !is(protocol, "websocket") || info.is_proxy() || !known {
        let protocol = String::from_utf8_lossy(protocol.as_bytes()).into_owned();
        return Err(Refusal::Upgrade { protocol });
    }
    let asked = headers.get_all(header::CONNECTION).iter().any(|value| is(value, "upgrade"));
    Ok((asked && info.is_upgradable()).then(|| protocol.clone()))
}

/// What is to be decided, in the terms of roles.
fn operation(info: &RequestInfo) -> Operation {
    let verb = info.authz_verb().to_owned();
    if !info.is_resource_request {
        return Operation::NonResource { verb, path: info.path.clone() };
    }
    Operation::Resource {
        verb,
        api_group: info.api_group.clone(),
        api_version: info.api_version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
    }
}

/// What conditions of roles can look at beside the operation.
fn facts(person: &Person, info: &RequestInfo, target: &str, bodiless: bool) -> Facts {
    let mut facts = Facts { process: Some(Arc::clone(&person.connection.process)), ..Facts::default() };
    if target.contains('?') {
        let first = |key| query_values(target, key).into_iter().next();
        facts.dry_run = is_dry_run(info, target, bodiless);
        facts.field_manager = first("fieldManager").unwrap_or_default();
        if matches!(info.subresource.as_str(), "exec" | "attach" | "log") {
            facts.command = query_values(target, "command");
            facts.container = first("container").unwrap_or_default();
            facts.tty = query_flag(target, "tty");
            facts.stdin = query_flag(target, "stdin");
        }
    }
    facts
}

/// Whether the request changes nothing. The options of a delete are read from its body where it has one, and the query
/// counts for nothing then (apiserver, handlers/delete.go).
fn is_dry_run(info: &RequestInfo, target: &str, bodiless: bool) -> bool {
    let counts = bodiless || !info.verb.starts_with("delete");
    counts && query_values(target, "dryRun") == ["All"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_are_followed_ignored_or_refused() {
        const POD: &str = "/api/v1/namespaces/demo/pods/web";
        let wanted = |method: &str, target: &str, protocol: &'static str, connection: &'static str| {
            let headers = HeaderMap::from_iter([
                (header::UPGRADE, HeaderValue::from_static(protocol)),
                (header::CONNECTION, HeaderValue::from_static(connection)),
            ]);
            let info = portcullis_kube::classify(method, target).unwrap();
            wanted_upgrade(&method.parse().unwrap(), &headers, &info).map(|protocol| protocol.is_some())
        };
        for followed in ["/exec", "/attach", "/portforward", "/log", "/log?follow=true"] {
            assert!(wanted("GET", &format!("{POD}{followed}"), "websocket", "keep-alive, Upgrade").unwrap());
        }
        assert!(wanted("POST", &format!("{POD}/exec"), "SPDY/3.1", "Upgrade").unwrap());
        for watch in ["/api/v1/secrets?watch=true", "/api/v1/watch/secrets"] {
            assert!(wanted("GET", watch, "WebSocket", "Upgrade").unwrap());
            assert!(!wanted("GET", watch, "websocket", "close").unwrap());
        }
        for ignored in ["/api/v1/secrets", POD, "/version", "/api"] {
            assert!(!wanted("GET", ignored, "websocket", "Upgrade").unwrap(), "{ignored}");
        }
        for (method, target, protocol) in [
            ("GET", "/api/v1/namespaces/demo/services/a/proxy", "websocket"),
            ("GET", "/apis/kubevirt.io/v1/namespaces/a/vms/b/console", "websocket"),
            ("GET", "/api/v1/secrets?watch=true", "SPDY/3.1"),
            ("GET", "/api/v1/secrets", "h2c"),
            ("POST", "/api/v1/namespaces/demo/configmaps", "websocket"),
        ] {
            let refused = wanted(method, target, protocol, "Upgrade");
            assert!(matches!(refused, Err(Refusal::Upgrade { .. })), "{method} {target} {protocol}");
        }
    }

    #[test]
    fn a_dry_run_is_one_to_the_api_server_too() {
        const POD: &str = "/api/v1/namespaces/demo/pods/web";
        let dry = |method: &str, query: &str, bodiless| {
            let target = format!("{POD}{query}");
            is_dry_run(&portcullis_kube::classify(method, &target).unwrap(), &target, bodiless)
        };
        assert!(dry("PATCH", "?dryRun=All", false));
        assert!(dry("DELETE", "?dryRun=All", true));
        assert!(!dry("DELETE", "?dryRun=All", false), "its body counts");
        for query in ["", "?dryRun=", "?dryRun=all", "?dryRun=All&dryRun=", "?dryRun=&dryRun=All"] {
            assert!(!dry("PATCH", query, false), "{query:?}");
        }
    }
}
