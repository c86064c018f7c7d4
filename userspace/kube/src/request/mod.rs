//! What a request asks for, as `RequestInfoFactory` of `k8s.io/apiserver/pkg/endpoints/request` reads it. The API server
//! authorises by this reading, so anything that decides in its place has to arrive at the same one, oddities included.

mod ambiguity;
mod field_selector;
mod line;
mod purpose;
mod target;

use serde::Serialize;

pub use ambiguity::{Ambiguity, ambiguity};
pub use line::classify_line;
use target::{Query, Target};
pub use target::{query_flag, query_values};

/// A request as the API server reads it. The fields carry the API server's names; text that does not apply is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestInfo {
    /// Whether an API object is asked for, rather than a plain path.
    pub is_resource_request: bool,
    /// The path, percent-decoded.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, …; for a plain path the method in lower case. Empty for a method that no
    /// resource knows. See [`RequestInfo::authz_verb`] for the verb to authorise.
    pub verb: String,
    /// `api` or `apis`.
    pub api_prefix: String,
    /// The API group; empty for the core group.
    pub api_group: String,
    /// The group's version.
    pub api_version: String,
    /// The namespace; empty when the request spans all or the object has none.
    pub namespace: String,
    /// The resource in the plural: `pods`.
    pub resource: String,
    /// The subresource: `exec`, `status`, …
    pub subresource: String,
    /// The object's name, from the path or from a field selector that demands it.
    pub name: String,
    /// The path's segments from the resource on.
    pub parts: Vec<String>,
}

/// Why a request line cannot be classified; the API server answers such a line with an error too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifyError {
    /// Not a path: absolute form, authority form or `*`.
    #[error("the request target does not start with '/'")]
    NotAPath,
    /// A byte below space, or DEL.
    #[error("control byte {0:#04x} in the request target")]
    ControlByte(u8),
    /// A `%` in the path that two hexadecimal digits do not follow.
    #[error("malformed percent-escape in the path")]
    BadEscape,
    /// The decoded path is not text.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// `/watch/` or `/proxy/` with nothing behind it.
    #[error("the path ends after {0:?}, where a resource should follow")]
    NoResource(String),
}

/// Reads a request line as the API server does.
///
/// `target` is the request target as received: path and query, undecoded. Check [`ambiguity`] first.
///
/// # Errors
/// When the API server would refuse the line as well, or the target is not in origin form.
pub fn classify(method: &str, target: &str) -> Result<RequestInfo, ClassifyError> {
    let target = Target::parse(target)?;
    let mut info = RequestInfo::of_path(method, target.path.clone());

    let trimmed = target.path.trim_matches('/');
    let mut parts: Vec<&str> = trimmed.split('/').collect();
    // /{api prefix}/[{group}/]{version}/{resource}: shorter paths are discovery, others plain.
    let head = match parts[0] {
        "api" => 2,
        "apis" => 3,
        _ => return Ok(info),
    };
    if parts.len() <= head {
        return Ok(info);
    }
    info.is_resource_request = true;
    info.api_prefix = parts[0].to_owned();
    info.api_group = if head == 3 { parts[1].to_owned() } else { String::new() };
    info.api_version = parts[head - 1].to_owned();
    parts.drain(..head);

    info.verb = match parts[0] {
        // The deprecated form that carries the verb in the path.
        special @ ("watch" | "proxy") => {
            if parts.len() < 2 {
                return Err(ClassifyError::NoResource(special.to_owned()));
            }
            parts.remove(0).to_owned()
        }
        _ => verb_of(method).to_owned(),
    };

    if parts[0] == "namespaces" && parts.len() > 1 {
        info.namespace = parts[1].to_owned();
        // A namespace's own subresources are spelled like resources inside it.
        if parts.len() > 2 && !matches!(parts[2], "status" | "finalize") {
            parts.drain(..2);
        }
    }
    let part = |n: usize| parts.get(n).map_or_else(String::new, |p| (*p).to_owned());
    info.resource = part(0);
    info.name = part(1);
    if info.verb != "proxy" {
        info.subresource = part(2);
    }
    info.parts = parts.into_iter().map(str::to_owned).collect();

    if info.name.is_empty() && info.verb == "get" {
        info.read_list_options(&target.query);
    }
    if info.name.is_empty() && info.verb == "delete" {
        info.verb = "deletecollection".to_owned();
    }
    Ok(info)
}

impl RequestInfo {
    /// Reads a request line of a server that is no API server: a method and a decoded path, and nothing more.
    ///
    /// # Errors
    /// As [`classify`].
    pub fn of_path_alone(method: &str, target: &str) -> Result<Self, ClassifyError> {
        Ok(Self::of_path(method, Target::parse(target)?.path))
    }

    /// A plain path, until it turns out to be a resource's.
    fn of_path(method: &str, path: String) -> Self {
        Self {
            is_resource_request: false,
            path,
            verb: method.to_ascii_lowercase(),
            api_prefix: String::new(),
            api_group: String::new(),
            api_version: String::new(),
            namespace: String::new(),
            resource: String::new(),
            subresource: String::new(),
            name: String::new(),
            parts: Vec::new(),
        }
    }

    /// A get without a name is a list or a watch, and may still name its object in a field selector.
    ///
    /// A label selector that cannot be parsed makes the API server forget the field selector here; it then answers the
    /// request with 400, so that such a list differs from ours in its name but reads nothing.
    fn read_list_options(&mut self, query: &Query<'_>) {
        let number = |key| query.first(key).is_none_or(|value| value.parse::<i64>().is_ok());
        let selector = field_selector::parse(query.first("fieldSelector").as_deref().unwrap_or_default());
        let whole = number("limit") && number("timeoutSeconds");
        self.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned();
        if let (true, Some(terms)) = (whole, selector)
            && let Some(name) = terms.required("metadata.name")
            && !matches!(name, "." | "..")
            && !name.contains(['/', '%'])
        {
            self.name = name.to_owned();
        }
    }
}

fn verb_of(method: &str) -> &'static str {
    match method {
        "GET" | "HEAD" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_the_api_server_refuses() {
        assert_eq!(classify("GET", "/api/v1/watch"), Err(ClassifyError::NoResource("watch".into())));
        assert_eq!(classify("GET", "/api/v1/p%zz"), Err(ClassifyError::BadEscape));
        assert_eq!(classify("GET", "/api/v1/p%7"), Err(ClassifyError::BadEscape));
        assert_eq!(classify("GET", "/api/v1/%ff"), Err(ClassifyError::NotUtf8));
        assert_eq!(classify("GET", "/api/\u{1}"), Err(ClassifyError::ControlByte(1)));
        for target in ["", "*", "api/v1", "https://host/api/v1/pods"] {
            assert_eq!(classify("GET", target), Err(ClassifyError::NotAPath), "{target}");
        }
    }

    #[test]
    fn a_name_in_the_field_selector() {
        let name = |query| classify("GET", &format!("/api/v1/pods?{query}")).unwrap().name;
        assert_eq!(name("fieldSelector=metadata.name%3Ddb"), "db");
        assert_eq!(name("fieldSelector=spec.nodeName==n,metadata.name==db"), "db");
        assert_eq!(name("fieldSelector=metadata.name%3Ddb&limit=abc"), "");
        assert_eq!(name("fieldSelector=metadata.name%3Da%5C%2Cb"), "a,b");
        assert_eq!(name("fieldSelector=metadata.name%3Da%5Cb"), "");
        assert_eq!(name("fieldSelector=metadata.name!%3Ddb"), "");
        assert_eq!(name("fieldSelector=metadata.name%3Da&fieldSelector=metadata.name%3Db"), "a");
    }
}
