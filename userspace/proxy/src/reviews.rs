//! The questions that people ask about themselves, answered with the gate's own verdict: `kubectl auth can-i`, `kubectl
//! auth can-i --list`, `kubectl auth whoami`.
//!
//! The API server knows the gate's credential and nothing of grants, so its own answer would be about somebody else. It is
//! asked only what a live grant allows, as whoever such a request would go up as, and both have to say yes. Whoever has no
//! grant learns what the gate says, and nothing goes upstream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use jiff::fmt::strtime;
use portcullis_access::{Allowed, Decision, Facts, Operation, Query, Snapshot, decide};
use portcullis_kube::{
    AccessSpec, AccessStatus, NonResourceRule, ResourceAttributes, ResourceRule, ReviewError, RulesStatus,
    SelfReview, UserInfo, access_question, is_cluster_scoped, read_access_answer, read_access_review,
    read_rules_review, read_subject_review, review_answer,
};
use serde_json::json;

use crate::Proxy;
use crate::body::ResponseBody;
use crate::classify::{Body, Classified};
use crate::decide::{Decided, Recorded};
use crate::refusal::{Refusal, Refused};
use crate::{accept, headers, inquiry, writeback};

/// How long the API server may take to say whether it would allow something.
const TIMEOUT: Duration = Duration::from_secs(10);
const QUESTION: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Answers a question that was decided to be open to whoever asks it.
pub(crate) async fn answer(
    proxy: &Proxy,
    mut decided: Decided,
    review: SelfReview,
) -> Result<Response<ResponseBody>, Refused> {
    let body = read(proxy, &mut decided).await?;
    let mut recorded = Recorded::open(decided, None, None)?;
    let answered = match recorded.decided.lease.within(answered(proxy, &recorded, review, &body)).await {
        Ok(answered) => answered,
        Err(ended) => Err(Refusal::Ended(ended)),
    };
    let record = &mut recorded.record;
    match answered {
        Ok(answer) => {
            record.begun(StatusCode::CREATED.as_u16(), Some("application/json".to_owned()), false);
            record.sent(&answer, true)?;
            let mut response = Response::new(ResponseBody::whole(answer.into()));
            *response.status_mut() = StatusCode::CREATED;
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
            headers::set_audit_id(headers, &recorded.audit_id)?;
            Ok(response)
        }
        Err(refusal) => {
            record.end(Some(refusal.to_string()))?;
            Err(refusal.of(record.number()))
        }
    }
}

/// The question, whole.
async fn read(proxy: &Proxy, decided: &mut Decided) -> Result<Bytes, Refusal> {
    let Decided { classified, lease, .. } = decided;
    let Classified { person, head, body, .. } = classified;
    accept::accept_json(&mut head.headers, "answers of the gate")?;
    writeback::readable(head)?;
    let Body::Streaming(streaming) = std::mem::take(body) else { return Ok(Bytes::new()) };
    let _share = proxy.limits.held_write(person.connection.attestation.uid).ok_or(Refusal::TooManyWrites)?;
    lease.within(writeback::whole(streaming)).await.map_err(Refusal::Ended)?
}

async fn answered(
    proxy: &Proxy,
    recorded: &Recorded,
    review: SelfReview,
    body: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let Classified { person, head, info, .. } = &recorded.decided.classified;
    let content_type = head.headers.get(header::CONTENT_TYPE).map_or(Ok(""), |value| value.to_str());
    let content_type = content_type.unwrap_or("not ASCII");
    let snapshot = Arc::clone(&proxy.snapshots.borrow());
    let (now, target) = (proxy.clock.now(), &*person.connection.route.target.name);
    match review {
        SelfReview::Access => {
            let spec = read_access_review(content_type, body)?;
            let status = may(proxy, recorded, &snapshot, &spec).await;
            Ok(review_answer(review, info, None, Some(&spec), &status))
        }
        SelfReview::Rules => {
            let namespace = read_rules_review(content_type, body)?;
            let rules = listed(&snapshot.permissions(&person.subject, target, &namespace, now));
            Ok(review_answer(review, info, None, None, &rules))
        }
        SelfReview::Subject => {
            read_subject_review(content_type, body)?;
            let mut extra = std::collections::BTreeMap::new();
            extra.insert("portcullis.dev/issuer".to_owned(), vec![person.subject.issuer.clone()]);
            let grants = snapshot.live_grants(&person.subject, target, now);
            let grants: Vec<String> = grants.map(|grant| grant.id.to_string()).collect();
            if !grants.is_empty() {
                extra.insert("portcullis.dev/grant".to_owned(), grants);
            }
            let user = UserInfo {
                username: person.subject.name.clone(),
                uid: person.subject.id.clone(),
                groups: person.subject.groups.iter().cloned().collect(),
                extra,
            };
            let created = strtime::format("%Y-%m-%dT%H:%M:%SZ", now).ok();
            Ok(review_answer(review, info, created.as_deref(), None, &json!({ "userInfo": user })))
        }
    }
}

/// What the gate says and, where that is yes, the cluster.
async fn may(proxy: &Proxy, recorded: &Recorded, snapshot: &Snapshot, spec: &AccessSpec) -> AccessStatus {
    let person = &recorded.decided.classified.person;
    let operation = operation(spec);
    let facts = Facts { process: Some(Arc::clone(&person.connection.process)), ..Facts::default() };
    let target = &person.connection.route.target.name;
    let query = Query { subject: &person.subject, target, operation: &operation, facts: &facts };
    let now = proxy.clock.now();
    let (allowed, reason) = match decide(snapshot, &query, now) {
        Decision::Deny(denied) => {
            let command = &person.connection.attestation.process.argv;
            let id = proxy.remembered.remember(&query, &denied, command, now);
            let reason = denied.message(&query, id.as_ref());
            return AccessStatus { denied: true, reason, ..AccessStatus::default() };
        }
        Decision::Review(review) => {
            let reason = review.message(&query);
            (review.allowed, reason)
        }
        Decision::Allow(allowed) => {
            let reason = granted(&allowed);
            (allowed, reason)
        }
    };
    if allowed.grant.is_none() {
        return AccessStatus { allowed: true, reason, ..AccessStatus::default() };
    }
    let theirs = match tokio::time::timeout(TIMEOUT, ask(recorded, &allowed, spec)).await {
        Ok(theirs) => theirs,
        Err(_) => Err(format!("no answer in {TIMEOUT:?}")),
    };
    match theirs {
        Ok(theirs) if theirs.allowed => AccessStatus { allowed: true, reason, ..AccessStatus::default() },
        Ok(AccessStatus { reason: why, evaluation_error, .. }) => {
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            let reason = format!(
                "portcullis: {reason}, but target {target} does not let it be done with the credential that is presented \
                 for it{why}"
            );
            AccessStatus { reason, evaluation_error, ..AccessStatus::default() }
        }
        Err(error) => {
            let evaluation_error =
                format!("portcullis: {reason}, but target {target} could not be asked: {error}");
            AccessStatus { evaluation_error, ..AccessStatus::default() }
        }
    }
}

fn granted(allowed: &Allowed) -> String {
    let Allowed { role, grant, filter, .. } = allowed;
    let filter = filter.as_ref().map_or(String::new(), |filter| format!(" for objects {filter}"));
    match grant {
        Some(grant) => format!("grant {grant} of role {role} allows it{filter}"),
        None => "it is open to everybody who is identified".to_owned(),
    }
}

/// Puts the same question to the API server, as whoever such a request would be presented as.
async fn ask(recorded: &Recorded, allowed: &Allowed, spec: &AccessSpec) -> Result<AccessStatus, String> {
    let Classified { person, head: asked, .. } = &recorded.decided.classified;
    let mut head = Request::new(()).into_parts().0;
    head.method = Method::POST;
    head.uri = http::Uri::from_static(QUESTION);
    head.version = asked.version;
    head.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = access_question(spec).into();
    let answer = inquiry::put(person, allowed, head, body, &recorded.audit_id).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("it answered {}", answer.status));
    }
    if !matches!(&*answer.coding, "" | "identity") {
        return Err(format!("it answered in content coding {:?}", answer.coding));
    }
    read_access_answer(&answer.body).map_err(|error| error.to_string())
}

/// What is asked about, in the terms of roles.
fn operation(spec: &AccessSpec) -> Operation {
    if let Some(path) = &spec.non_resource_attributes {
        return Operation::NonResource { verb: path.verb.clone(), path: path.path.clone() };
    }
    let ResourceAttributes { namespace, verb, group, version, resource, subresource, name } =
        spec.resource_attributes.clone().unwrap_or_default();
    // kubectl names the namespace that it is in for what lies in none, too. As RequestInfo has it, a Namespace lies in
    // itself.
    let namespace = match (&*group, &*resource) {
        ("", "namespaces") => name.clone(),
        (group, resource) if is_cluster_scoped(group, resource) => String::new(),
        _ => namespace,
    };
    Operation::Resource {
        verb,
        api_group: group,
        api_version: version,
        resource,
        subresource,
        namespace,
        name,
    }
}

/// A list of permissions in Kubernetes' form, with what is open to everybody.
fn listed(permissions: &portcullis_access::Permissions) -> RulesStatus {
    let of_everybody = |group: &str, resources: &[&str]| ResourceRule {
        verbs: vec!["create".to_owned()],
        api_groups: vec![group.to_owned()],
        resources: resources.iter().map(ToString::to_string).collect(),
        resource_names: Vec::new(),
    };
    let mut resource_rules = vec![
        of_everybody("authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
        of_everybody("authentication.k8s.io", &["selfsubjectreviews"]),
    ];
    resource_rules.extend(permissions.resources.iter().map(|permission| ResourceRule {
        verbs: permission.verbs(),
        api_groups: vec![permission.api_group.clone()],
        resources: vec![permission.resource.clone()],
        resource_names: permission.names.clone(),
    }));
    let non_resource_rules = permissions.paths.iter().map(|permission| NonResourceRule {
        verbs: permission.verbs(),
        non_resource_urls: permission.paths().collect(),
    });
    RulesStatus {
        resource_rules,
        non_resource_rules: non_resource_rules.collect(),
        incomplete: !permissions.unsaid.is_empty(),
        evaluation_error: permissions.unsaid.join("; "),
    }
}

impl From<ReviewError> for Refusal {
    fn from(error: ReviewError) -> Self {
        match error {
            ReviewError::ContentType(content_type) => Self::ReviewType { content_type },
            other => Self::BodyUnreadable(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(attributes: ResourceAttributes) -> String {
        operation(&AccessSpec { resource_attributes: Some(attributes), non_resource_attributes: None })
            .to_string()
    }

    #[test]
    fn what_lies_in_no_namespace_is_asked_about_in_none() {
        let of = |resource: &str, name: &str| {
            asked(ResourceAttributes {
                namespace: "demo".into(),
                verb: "get".into(),
                resource: resource.into(),
                name: name.into(),
                ..Default::default()
            })
        };
        assert_eq!(of("pods", "web"), "get pods \"web\" in namespace \"demo\"");
        assert_eq!(of("nodes", "one"), "get nodes \"one\"");
        assert_eq!(of("namespaces", "prod"), "get namespaces \"prod\" in namespace \"prod\"");
        assert_eq!(of("namespaces", ""), "get namespaces across the cluster");
    }
}
