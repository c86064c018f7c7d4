//! What a request asks for: `RequestInfo` as the API server derives it from method and path.
//!
//! An implementation of its own on purpose: the gate under test must not be checked against itself.

use http::Method;

use crate::kinds::{Resource, Subresource};

/// A classified request.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestInfo {
    /// Decoded path.
    pub path: String,
    /// `get`, `list`, `create`, …; the lower-case method for paths that are no resource.
    pub verb: String,
    /// Below `/api/v1` or `/apis/<group>/<version>`.
    pub is_resource: bool,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, empty at the cluster scope.
    pub namespace: String,
    /// Resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Object name.
    pub name: String,
    /// The deprecated `/watch/` path.
    pub legacy_watch: bool,
    /// Object name in the path; a selector may add one to `name`.
    path_name: String,
    /// Path parts that belong to no form of resource path: such a request is a 404.
    surplus: bool,
}

impl RequestInfo {
    /// Classifies; `None` when the path is not valid percent-encoded UTF-8.
    pub(crate) fn new(method: &Method, raw_path: &str, query: &Query) -> Option<RequestInfo> {
        let path = percent_decode(raw_path)?;
        let mut info =
            RequestInfo { verb: method.as_str().to_ascii_lowercase(), path, ..RequestInfo::default() };
        let path = info.path.clone();
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts.first() {
            Some(&"api") if parts.len() > 2 => info.version = parts[1].to_owned(),
            Some(&"apis") if parts.len() > 3 => {
                info.group = parts[1].to_owned();
                info.version = parts[2].to_owned();
                parts.remove(0);
            }
            _ => return Some(info),
        }
        info.is_resource = true;
        info.verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            Method::GET | Method::HEAD => "get",
            _ => "",
        }
        .to_owned();
        let mut parts = &parts[2..];
        if parts.first() == Some(&"watch") && parts.len() > 1 {
            info.legacy_watch = true;
            parts = &parts[1..];
        }
        if let ["namespaces", namespace, rest @ ..] = parts {
            info.namespace = (*namespace).to_owned();
            // /namespaces/x and /namespaces/x/status are the namespace itself.
            if !rest.is_empty() && !matches!(rest, ["status" | "finalize", ..]) {
                parts = rest;
            }
        }
        let at = |index: usize| parts.get(index).map(|part| (*part).to_owned()).unwrap_or_default();
        (info.resource, info.name, info.subresource) = (at(0), at(1), at(2));
        info.path_name.clone_from(&info.name);
        info.surplus = parts.len() > 3;
        if info.name.is_empty() {
            info.verb = match info.verb.as_str() {
                "get" if query.is_true("watch") => "watch",
                "get" => "list",
                "delete" => "deletecollection",
                verb => verb,
            }
            .to_owned();
            // A selector for one name is authorised as that name.
            let selected = query.get("fieldSelector").and_then(|text| text.strip_prefix("metadata.name="));
            if let (Some(name), "list" | "watch" | "deletecollection") = (selected, info.verb.as_str()) {
                info.name = name.to_owned();
            }
        }
        if info.legacy_watch {
            info.verb = "watch".to_owned();
        }
        Some(info)
    }

    /// Whether the path ends with the resource, whatever the method.
    pub(crate) fn is_collection(&self) -> bool {
        self.path_name.is_empty()
    }

    /// The resource and subresource of this server, where the path names any and its scope fits.
    pub(crate) fn target(&self) -> Option<(&'static Resource, Option<&'static Subresource>)> {
        if self.surplus || self.path.contains("//") || self.path.split('/').any(|part| part == "..") {
            return None;
        }
        let resource = Resource::find(&self.group, &self.version, &self.resource)?;
        let whole_cluster = self.is_collection() || self.verb == "watch";
        if resource.namespaced && self.namespace.is_empty() && !whole_cluster {
            return None;
        }
        if !resource.namespaced && !self.namespace.is_empty() && resource.plural != "namespaces" {
            return None;
        }
        match self.subresource.as_str() {
            "" => Some((resource, None)),
            name => resource.subresource(name).map(|sub| (resource, Some(sub))),
        }
    }
}

/// A parsed query string.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c=d`; pairs that are not valid percent-encoded UTF-8 are dropped, as Go does.
    pub(crate) fn parse(query: &str) -> Query {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((percent_decode(&key.replace('+', " "))?, percent_decode(&value.replace('+', " "))?))
        });
        Query(pairs.collect())
    }

    /// The first value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The first value of `key`, unless it is empty.
    pub(crate) fn filled(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// Every value of `key`.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether `key` is set to a true value; `?watch` and `?watch=` count.
    pub(crate) fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// The value of `key` as a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key)?.parse().ok()
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &Method, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::new(method, path, &Query::parse(query)).expect("decodes")
    }

    #[test]
    fn verbs_and_parts() {
        let list = info(&Method::GET, "/api/v1/namespaces/demo/secrets?limit=500");
        assert_eq!(
            (list.verb.as_str(), list.namespace.as_str(), list.resource.as_str()),
            ("list", "demo", "secrets")
        );
        assert_eq!(info(&Method::GET, "/apis/apps/v1/deployments?watch=1").verb, "watch");
        assert_eq!(info(&Method::DELETE, "/api/v1/namespaces/demo/pods").verb, "deletecollection");
        let exec = info(&Method::GET, "/api/v1/namespaces/demo/pods/shell/exec?command=ls");
        assert_eq!(
            (exec.verb.as_str(), exec.name.as_str(), exec.subresource.as_str()),
            ("get", "shell", "exec")
        );
        let namespace = info(&Method::GET, "/api/v1/namespaces/demo");
        assert_eq!((namespace.resource.as_str(), namespace.name.as_str()), ("namespaces", "demo"));
        assert!(!info(&Method::GET, "/api/v1").is_resource);
    }

    #[test]
    fn decodes_before_it_splits_and_rejects_odd_paths() {
        assert!(info(&Method::GET, "/api/v1/namespaces/demo/secrets%2Fapi-key").target().is_some());
        assert!(info(&Method::GET, "/api/v1/namespaces/demo/secrets/").target().is_some());
        for odd in ["/api/v1//namespaces/demo/secrets/x", "/api/v1/namespaces/demo/pods/../secrets/x"] {
            assert!(info(&Method::GET, odd).target().is_none(), "{odd}");
        }
        assert!(info(&Method::GET, "/api/v1/namespaces/demo/Secrets").target().is_none());
        assert!(info(&Method::GET, "/api/v1/pods/x").target().is_none());
    }
}
