//! One request from arrival to answer: authenticate, impersonate, log, authorise, route.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::auth::{User, impersonated};
use crate::cluster::{Call, Cluster};
use crate::journal::Entry;
use crate::object;
use crate::request::{Query, RequestInfo};
use crate::respond::{self, Body};
use crate::status::Status;
use crate::upgrade::Upgrade;
use crate::{discovery, exec, logs, portforward, rest, reviews, scale, stream, watch};

/// The API server's own limit on bodies.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// Answers a request that came in on a connection with that client certificate.
pub(crate) async fn handle(
    cluster: Arc<Cluster>,
    certificate: Option<Arc<User>>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let wants_upgrade =
        stream::wants_upgrade(request.headers()).is_some() && request.version() < Version::HTTP_2;
    let upgrade = wants_upgrade
        .then(|| Upgrade { ready: hyper::upgrade::on(&mut request), shutdown: cluster.shutdown.clone() });
    let (head, incoming) = request.into_parts();
    let query = Query::parse(head.uri.query().unwrap_or_default());
    // A caller's own is used as it is.
    let audit_id = head.headers.get("audit-id").cloned();
    let audit_id =
        audit_id.unwrap_or_else(|| HeaderValue::from_str(&object::uid()).expect("a UUID is ASCII"));
    let answered = match read(incoming).await {
        Err(status) => Err(status),
        Ok(body) => {
            let user = cluster.authenticator.request(&head.headers, certificate.as_deref()).await;
            let info = RequestInfo::new(&head.method, head.uri.path(), &query);
            let acting = match (&user, &info) {
                (Ok(user), Some(info)) => impersonated(user, &head.headers, info),
                _ => Ok(None),
            };
            let id = cluster.journal.request(&Entry {
                method: head.method.as_str(),
                target: head.uri.path_and_query().map_or("", |target| target.as_str()),
                version: if head.version == Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" },
                headers: &head.headers,
                audit_id: &String::from_utf8_lossy(audit_id.as_bytes()),
                user: user.as_ref().ok(),
                impersonated: acting.as_ref().ok().and_then(Option::as_ref),
                body: &body,
            });
            admit(user, acting, info).map(|(user, info)| {
                let (method, headers) = (head.method.clone(), head.headers.clone());
                Call { id, method, headers, query: query.clone(), info, user, body, upgrade }
            })
        }
    };
    let answered = match answered {
        Ok(call) => route(&cluster, call).await,
        Err(status) => Err(status),
    };
    let mut response = answered.unwrap_or_else(|status| respond::refusal(&status, &head.headers, &query));
    if !response.headers().contains_key(http::header::UPGRADE) {
        response.headers_mut().insert("audit-id", audit_id);
    }
    response
}

/// Who the request is by and what it asks for, once all checks before the resource's own have passed.
fn admit(
    user: Result<User, Status>,
    acting: Result<Option<User>, Status>,
    info: Option<RequestInfo>,
) -> Result<(User, RequestInfo), Status> {
    let user = user?;
    let info = info.ok_or_else(|| Status::bad_request("invalid URL escape"))?;
    let user = acting?.unwrap_or(user);
    user.authorize(&info)?;
    Ok((user, info))
}

async fn route(cluster: &Arc<Cluster>, call: Call) -> Result<Response<Body>, Status> {
    if !call.info.is_resource {
        return discovery::serve(cluster, &call);
    }
    let (resource, subresource) = call.info.target().ok_or_else(Status::no_such_resource)?;
    let verbs = subresource.map_or(resource.verbs, |sub| sub.verbs);
    let verb = call.info.verb.as_str();
    let of_one = matches!(verb, "update" | "patch" | "delete");
    let of_namespace =
        resource.namespaced && call.info.namespace.is_empty() && !matches!(verb, "list" | "watch");
    let misplaced = call.info.is_collection() && (of_one || of_namespace);
    if call.method == Method::HEAD || misplaced || !verbs.contains(&verb) {
        return Err(Status::method_not_allowed());
    }
    match (resource.plural, subresource.map(|sub| sub.name)) {
        ("pods", Some("log")) => logs::serve(cluster, call),
        ("pods", Some("exec" | "attach")) => exec::serve(cluster, call),
        ("pods", Some("portforward")) => portforward::serve(cluster, call),
        ("serviceaccounts", Some("token")) => reviews::token(cluster, &call, resource),
        (_, Some("scale")) => scale::serve(cluster, &call, resource),
        (_, None) if resource.verbs == ["create"] => reviews::serve(cluster, &call, resource).await,
        (_, None) if call.info.verb == "watch" => watch::serve(cluster, call, resource),
        _ => rest::serve(cluster, &call, resource).await,
    }
}

async fn read(incoming: Incoming) -> Result<Bytes, Status> {
    let collected = Limited::new(incoming, BODY_LIMIT).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|_| Status::too_large(BODY_LIMIT))
}
