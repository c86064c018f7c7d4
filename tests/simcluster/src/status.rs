//! `metav1.Status`: how the API server says no, word for word as the real one does.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::kinds::Resource;

/// A failure (or the success of a delete) as the client sees it.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    /// HTTP status, repeated in the body.
    pub code: StatusCode,
    /// Machine-readable reason, such as `NotFound`.
    pub reason: &'static str,
    /// What kubectl prints.
    pub message: String,
    /// `details`, absent for some refusals and empty for others, as in the real server.
    pub details: Option<Value>,
}

impl Status {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Status {
        Status { code, reason, message: message.into(), details: None }
    }

    fn with_details(mut self, details: Value) -> Status {
        self.details = Some(details);
        self
    }

    /// 400 without details.
    pub(crate) fn bad_request(message: impl Into<String>) -> Status {
        Status::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 401.
    pub(crate) fn unauthorized() -> Status {
        Status::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 403 on a path that is no resource.
    pub(crate) fn forbidden_path(user: &str, verb: &str, path: &str) -> Status {
        let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}");
        Status::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(json!({}))
    }

    /// 403 on a resource, in RBAC's words.
    pub(crate) fn forbidden(user: &str, verb: &str, asked: &crate::request::RequestInfo) -> Status {
        let (group, resource, name) = (&asked.group, &asked.resource, &asked.name);
        let full = if asked.subresource.is_empty() {
            resource.clone()
        } else {
            format!("{resource}/{}", asked.subresource)
        };
        let scope = match asked.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let what = Qualified { group, resource, name };
        let message = format!(
            "{what} is forbidden: User {user:?} cannot {verb} resource {full:?} in API group {group:?} {scope}"
        );
        Status::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(details(name, group, resource))
    }

    /// 404 of an object.
    pub(crate) fn not_found(resource: &Resource, name: &str) -> Status {
        let what = Qualified { group: resource.group, resource: resource.plural, name };
        Status::new(StatusCode::NOT_FOUND, "NotFound", format!("{what} not found")).with_details(details(
            name,
            resource.group,
            resource.plural,
        ))
    }

    /// 404 of a path below `/api` or `/apis` that is no resource.
    pub(crate) fn no_such_resource() -> Status {
        let message = "the server could not find the requested resource";
        Status::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(json!({}))
    }

    /// 405.
    pub(crate) fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        Status::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).with_details(json!({}))
    }

    /// 406: no representation that the client takes.
    pub(crate) fn not_acceptable() -> Status {
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                       application/vnd.kubernetes.protobuf, application/json;stream=watch, \
                       application/vnd.kubernetes.protobuf;stream=watch";
        Status::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message).with_details(json!({}))
    }

    /// 406: a Table was asked for in protobuf, which does not exist.
    pub(crate) fn not_acceptable_table() -> Status {
        let message = "only the following media types are accepted: application/json, application/yaml, \
                       application/vnd.kubernetes.protobuf";
        Status::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// 409 on create.
    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Status {
        let what = Qualified { group: resource.group, resource: resource.plural, name };
        Status::new(StatusCode::CONFLICT, "AlreadyExists", format!("{what} already exists"))
            .with_details(details(name, resource.group, resource.plural))
    }

    /// 409: the object changed since the client read it.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Status {
        Status::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 with a reason of its own.
    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Status {
        let what = Qualified { group: resource.group, resource: resource.plural, name };
        Status::new(
            StatusCode::CONFLICT,
            "Conflict",
            format!("Operation cannot be fulfilled on {what}: {why}"),
        )
        .with_details(details(name, resource.group, resource.plural))
    }

    /// 409 of server-side apply: `(manager, field path)` of each field that someone else owns.
    pub(crate) fn apply_conflict(conflicts: &[(String, String)]) -> Status {
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, field)| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": field})
            })
            .collect();
        let plural = if conflicts.len() == 1 { "" } else { "s" };
        let list: Vec<String> = match conflicts {
            [(manager, field)] => vec![format!("conflict with {manager}: {field}")],
            many => {
                many.iter().map(|(manager, field)| format!("conflict with {manager}:\n- {field}")).collect()
            }
        };
        let message = format!("Apply failed with {} conflict{plural}: {}", conflicts.len(), list.join("\n"));
        Status::new(StatusCode::CONFLICT, "Conflict", message).with_details(json!({ "causes": causes }))
    }

    /// 410: the watch or page asked for is older than the history kept.
    pub(crate) fn expired(message: impl Into<String>) -> Status {
        Status::new(StatusCode::GONE, "Expired", message)
    }

    /// 413.
    pub(crate) fn too_large(limit: usize) -> Status {
        let message = format!("Request entity too large: limit is {limit}");
        Status::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// 415 of a body that is no object encoding.
    pub(crate) fn unsupported_media_type(accepted: &str) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Status::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// 422 with its causes: `(reason, field, message)`.
    pub(crate) fn invalid(
        resource: &Resource,
        name: &str,
        causes: &[(&'static str, String, String)],
    ) -> Status {
        Status::invalid_of(resource.group, resource.kind, name, causes)
    }

    /// The same of a kind that is not stored.
    pub(crate) fn invalid_of(
        group: &str,
        kind: &str,
        name: &str,
        causes: &[(&'static str, String, String)],
    ) -> Status {
        let each: Vec<String> =
            causes.iter().map(|(_, field, message)| format!("{field}: {message}")).collect();
        let all = if each.len() == 1 { each[0].clone() } else { format!("[{}]", each.join(", ")) };
        let full = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let causes: Vec<Value> = causes
            .iter()
            .map(|(reason, field, message)| json!({"reason": reason, "message": message, "field": field}))
            .collect();
        let mut details = details(name, group, kind);
        details["causes"] = Value::Array(causes);
        Status::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", format!("{full} {name:?} is invalid: {all}"))
            .with_details(details)
    }

    /// 422 of a patch that cannot be applied.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Status {
        Status::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_details(json!({}))
    }

    /// 422 in place of this: the real server quotes a strategic merge patch whose outcome it cannot take, a leak the gate
    /// must stop (apiserver, handlers/patch.go).
    pub(crate) fn quoting(self, patch: &Value) -> Status {
        let quoted = patch.to_string();
        Status::unprocessable(format!(
            "The request is invalid: patch: Invalid value: {quoted:?}: {}",
            self.message
        ))
    }

    /// 500.
    pub(crate) fn internal(message: &str) -> Status {
        Status::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
        .with_details(json!({"causes": [{"message": message}]}))
    }

    /// 504: the client asks for a version that does not exist yet.
    pub(crate) fn version_too_large(asked: u64, current: u64) -> Status {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Status::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).with_details(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }))
    }

    /// The object a client reads.
    pub(crate) fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status["code"] = json!(self.code.as_u16());
        status
    }

    /// What a delete answers when the object is gone at once.
    pub(crate) fn deleted(resource: &Resource, name: &str, uid: &str) -> Value {
        let mut details = details(name, resource.group, resource.plural);
        details["uid"] = json!(uid);
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
    }
}

/// `pods "shell"`, `deployments.apps "web"`, or just `pods` where there is no name.
struct Qualified<'a> {
    group: &'a str,
    resource: &'a str,
    name: &'a str,
}

impl std::fmt::Display for Qualified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.name.is_empty() {
            write!(f, " {:?}", self.name)?;
        }
        Ok(())
    }
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let parts = [("name", name), ("group", group), ("kind", kind)];
    let filled = parts.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(filled.map(|(key, value)| (key.to_owned(), json!(value))).collect::<Map<_, _>>())
}
