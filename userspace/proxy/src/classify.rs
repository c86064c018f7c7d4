//! Reads a request the way the API server will, and refuses what can be read in two ways (Law 6).

use std::sync::Arc;

use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use portcullis_access::Operation;
use portcullis_kube::RequestInfo;

use crate::caller::Person;
use crate::headers;
use crate::refusal::Refusal;
use crate::wire::Fault;

/// A request whose meaning is known.
pub(crate) struct Classified {
    pub(crate) person: Arc<Person>,
    pub(crate) request: Request<Incoming>,
    pub(crate) info: RequestInfo,
    /// The request target as it was classified.
    pub(crate) target: String,
    pub(crate) operation: Operation,
    /// The `Upgrade` header of a request for exec, attach or port-forward.
    pub(crate) upgrade: Option<HeaderValue>,
}

impl Classified {
    pub(crate) fn read(person: Arc<Person>, request: Request<Incoming>) -> Result<Self, Refusal> {
        if let Some(fault) = request.extensions().get::<Fault>() {
            return Err(Refusal::Framing(*fault));
        }
        if let Some(name) = headers::repeated(request.headers()) {
            return Err(Refusal::Repeated(name));
        }
        let target = target_of(&request);
        let method = request.method().as_str();
        if let Some(ambiguity) = portcullis_kube::ambiguity(method, &target) {
            return Err(Refusal::Ambiguous(ambiguity));
        }
        if headers::impersonates(request.headers()) {
            return Err(Refusal::Impersonation);
        }
        let info = portcullis_kube::classify(method, &target)?;
        let upgrade = request.headers().get(header::UPGRADE).cloned();
        if let Some(protocol) = &upgrade
            && !info.is_session()
        {
            let protocol = String::from_utf8_lossy(protocol.as_bytes()).into_owned();
            return Err(Refusal::Upgrade { protocol });
        }
        let operation = operation(&info);
        Ok(Self { person, request, info, target, operation, upgrade })
    }
}

/// The request target as the client sent it (origin form) or, on h2 and absolute form, its path and query.
fn target_of(request: &Request<Incoming>) -> String {
    let uri = request.uri();
    match (request.version(), uri.scheme()) {
        // Absolute form on HTTP/1.1 is kept whole, so that it is refused as such.
        (http::Version::HTTP_11 | http::Version::HTTP_10, Some(_)) => uri.to_string(),
        _ => uri.path_and_query().map_or_else(|| uri.path().to_owned(), |target| target.as_str().to_owned()),
    }
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
