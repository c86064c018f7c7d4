//! The questions that somebody asks about themselves: `kubectl auth can-i`, `kubectl auth can-i --list`, `kubectl auth
//! whoami`. What is asked is read from JSON or protobuf, whichever kubectl sends; answers are written as JSON, which
//! every kubectl reads.

mod protobuf;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::RequestInfo;

/// Which question it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfReview {
    /// `SelfSubjectAccessReview`: may I do this?
    Access,
    /// `SelfSubjectRulesReview`: what may I do?
    Rules,
    /// `SelfSubjectReview`: who am I?
    Subject,
}

/// Why a question cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// A content type other than JSON and protobuf.
    #[error(
        "a review of type {0:?} is not read here; application/json and application/vnd.kubernetes.protobuf are"
    )]
    ContentType(String),
    /// JSON that is no review.
    #[error("the review is not readable: {0}")]
    Json(String),
    /// Protobuf that is no review, or has a field twice.
    #[error("the review is not readable: malformed protobuf")]
    Protobuf,
    /// Another kind of object.
    #[error("the body is a {found:?}, and a {expected} was asked for")]
    Kind {
        /// What it says it is.
        found: String,
        /// What the path is for.
        expected: &'static str,
    },
    /// Neither of the two things that can be asked for, or both.
    #[error("spec: exactly one of resourceAttributes and nonResourceAttributes is needed")]
    Attributes,
    /// Rules without a namespace.
    #[error("no namespace on request")]
    NoNamespace,
}

/// `SelfSubjectAccessReviewSpec`: what somebody would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessSpec {
    /// To an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_attributes: Option<ResourceAttributes>,
    /// With another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub non_resource_attributes: Option<NonResourceAttributes>,
}

/// `ResourceAttributes`. Text that is empty means all, `*` too. Selectors are not looked at: without one more is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceAttributes {
    /// Its namespace; empty for all of them and for what has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `get`, `create`…
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verb: String,
    /// Its API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// In the plural.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Such as `exec`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// Its name; empty for any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// `NonResourceAttributes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NonResourceAttributes {
    /// The path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The method in lower case.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verb: String,
}

/// `SubjectAccessReviewStatus`: whether they may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessStatus {
    /// They may.
    pub allowed: bool,
    /// Something forbids it, and nothing else can allow it.
    #[serde(skip_serializing_if = "is_false")]
    pub denied: bool,
    /// Why; kubectl prints it behind a no.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What could not be found out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub evaluation_error: String,
}

/// `SubjectRulesReviewStatus`: what they may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RulesStatus {
    /// To objects.
    pub resource_rules: Vec<ResourceRule>,
    /// With other paths.
    pub non_resource_rules: Vec<NonResourceRule>,
    /// The lists do not say all there is to say.
    pub incomplete: bool,
    /// What they do not say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub evaluation_error: String,
}

/// `ResourceRule`. `*` means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRule {
    /// What may be done.
    pub verbs: Vec<String>,
    /// Empty text for the core group.
    pub api_groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`.
    pub resources: Vec<String>,
    /// Empty for all names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
}

/// `NonResourceRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NonResourceRule {
    /// Methods in lower case.
    pub verbs: Vec<String>,
    /// Paths, or `prefix*`.
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

/// `UserInfo`: who somebody is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UserInfo {
    /// Their name.
    pub username: String,
    /// Their id, where they were identified.
    pub uid: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// What else is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl SelfReview {
    /// The question that a request asks, if it is one. Every version of the API is answered alike: they differ in name.
    #[must_use]
    pub fn of(info: &RequestInfo) -> Option<Self> {
        let plain = info.is_resource_request
            && info.verb == "create"
            && info.namespace.is_empty()
            && info.name.is_empty()
            && info.subresource.is_empty();
        match (&*info.api_group, &*info.resource) {
            ("authorization.k8s.io", "selfsubjectaccessreviews") if plain => Some(Self::Access),
            ("authorization.k8s.io", "selfsubjectrulesreviews") if plain => Some(Self::Rules),
            ("authentication.k8s.io", "selfsubjectreviews") if plain => Some(Self::Subject),
            _ => None,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Access => "SelfSubjectAccessReview",
            Self::Rules => "SelfSubjectRulesReview",
            Self::Subject => "SelfSubjectReview",
        }
    }
}

/// Whether a resource of Kubernetes' own lies in no namespace. Of others that cannot be told from here.
#[must_use]
pub fn is_cluster_scoped(group: &str, resource: &str) -> bool {
    match group {
        "" => matches!(resource, "nodes" | "namespaces" | "persistentvolumes" | "componentstatuses"),
        "admissionregistration.k8s.io"
        | "apiextensions.k8s.io"
        | "apiregistration.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "node.k8s.io"
        | "scheduling.k8s.io"
        | "authentication.k8s.io" => true,
        "authorization.k8s.io" => resource != "localsubjectaccessreviews",
        "certificates.k8s.io" => resource != "podcertificaterequests",
        "networking.k8s.io" => matches!(resource, "ingressclasses" | "ipaddresses" | "servicecidrs"),
        "rbac.authorization.k8s.io" => resource.starts_with("cluster"),
        "storage.k8s.io" => resource != "csistoragecapacities",
        _ => false,
    }
}

/// Reads what a [`SelfReview::Access`] asks.
///
/// # Errors
/// When the body is no such review, or asks for nothing or for two things.
pub fn read_access_review(content_type: &str, body: &[u8]) -> Result<AccessSpec, ReviewError> {
    let spec = match read(SelfReview::Access, content_type, body)? {
        Read::Json(mut spec) => AccessSpec {
            resource_attributes: object(&mut spec, "resourceAttributes")?.map(typed).transpose()?,
            non_resource_attributes: object(&mut spec, "nonResourceAttributes")?.map(typed).transpose()?,
        },
        Read::Protobuf(spec) => protobuf::access_spec(spec)?,
    };
    let AccessSpec { resource_attributes, non_resource_attributes } = &spec;
    if resource_attributes.is_some() == non_resource_attributes.is_some() {
        return Err(ReviewError::Attributes);
    }
    Ok(spec)
}

/// Reads the namespace that a [`SelfReview::Rules`] asks about.
///
/// # Errors
/// When the body is no such review, or names no namespace.
pub fn read_rules_review(content_type: &str, body: &[u8]) -> Result<String, ReviewError> {
    let namespace = match read(SelfReview::Rules, content_type, body)? {
        Read::Json(mut spec) => match spec.remove("namespace") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(namespace)) => namespace,
            Some(_) => return Err(ReviewError::Json("spec.namespace is no text".to_owned())),
        },
        Read::Protobuf(spec) => protobuf::text(spec, 1)?,
    };
    if namespace.is_empty() { Err(ReviewError::NoNamespace) } else { Ok(namespace) }
}

/// Reads a [`SelfReview::Subject`], which asks nothing more.
///
/// # Errors
/// When the body is no such review.
pub fn read_subject_review(content_type: &str, body: &[u8]) -> Result<(), ReviewError> {
    read(SelfReview::Subject, content_type, body).map(drop)
}

/// The answer to `review`, in the version that `info` asks in. `created` is a moment in RFC 3339, for a
/// [`SelfReview::Subject`].
#[must_use]
pub fn review_answer(
    review: SelfReview,
    info: &RequestInfo,
    created: Option<&str>,
    spec: Option<&AccessSpec>,
    status: &impl Serialize,
) -> Vec<u8> {
    let mut answer = json!({
        "kind": review.kind(),
        "apiVersion": format!("{}/{}", info.api_group, info.api_version),
        "metadata": created.map_or_else(|| json!({}), |created| json!({"creationTimestamp": created})),
        "spec": spec.map_or_else(|| json!({}), |spec| json!(spec)),
        "status": status,
    });
    if review == SelfReview::Subject
        && let Some(answer) = answer.as_object_mut()
    {
        answer.shift_remove("spec");
    }
    format!("{answer}\n").into_bytes()
}

/// An [`AccessSpec`] as the body of a question of ours to the API server.
#[must_use]
pub fn access_question(spec: &AccessSpec) -> Vec<u8> {
    let question = json!({
        "kind": SelfReview::Access.kind(), "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": spec
    });
    question.to_string().into_bytes()
}

/// The API server's answer to it.
///
/// # Errors
/// [`ReviewError::Json`] when it is none.
pub fn read_access_answer(body: &[u8]) -> Result<AccessStatus, ReviewError> {
    #[derive(Deserialize)]
    struct Answer {
        status: AccessStatus,
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| ReviewError::Json(error.to_string()))?;
    Ok(answer.status)
}

/// The spec of a review, in the form that it came in.
enum Read<'a> {
    Json(Map<String, Value>),
    Protobuf(&'a [u8]),
}

fn read<'a>(review: SelfReview, content_type: &str, body: &'a [u8]) -> Result<Read<'a>, ReviewError> {
    let (kind, spec) = match content_type.split(';').next().unwrap_or_default().trim() {
        // The API server takes a body that says nothing of itself for JSON.
        "application/json" | "" => {
            let mut review: Map<String, Value> =
                serde_json::from_slice(body).map_err(|error| ReviewError::Json(error.to_string()))?;
            let kind = match review.remove("kind") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(kind)) => kind,
                Some(_) => return Err(ReviewError::Json("kind is no text".to_owned())),
            };
            (kind, Read::Json(object(&mut review, "spec")?.unwrap_or_default()))
        }
        "application/vnd.kubernetes.protobuf" => {
            let (kind, object) = protobuf::envelope(body)?;
            (kind, Read::Protobuf(protobuf::message(object, 2)?.unwrap_or_default()))
        }
        other => return Err(ReviewError::ContentType(other.to_owned())),
    };
    if !kind.is_empty() && kind != review.kind() {
        return Err(ReviewError::Kind { found: kind, expected: review.kind() });
    }
    Ok(spec)
}

/// A member that is an object: serde would take an array for one.
fn object(of: &mut Map<String, Value>, member: &str) -> Result<Option<Map<String, Value>>, ReviewError> {
    match of.remove(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(ReviewError::Json(format!("{member} is no object"))),
    }
}

fn typed<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, ReviewError> {
    serde_json::from_value(Value::Object(object)).map_err(|error| ReviewError::Json(error.to_string()))
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests;
