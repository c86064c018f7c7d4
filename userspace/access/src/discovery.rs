//! What is open to any identified subject: paths, so that the first refusal kubectl shows is the real one, and the
//! questions that people ask about themselves, which the gate answers.

use serde::{Deserialize, Serialize};

use crate::operation::Operation;
use crate::pattern::Pattern;

/// The role under which what is open to all is decided and recorded.
pub const DISCOVERY_ROLE: &str = "discovery";

/// What the ClusterRoles `system:discovery` and `system:public-info-viewer` open in Kubernetes.
const DEFAULT_PATHS: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/openapi",
    "/openapi/*",
    "/version",
    "/version/",
    "/healthz",
    "/healthz/*",
    "/livez",
    "/livez/*",
    "/readyz",
    "/readyz/*",
];

/// What `kubectl auth can-i` and `kubectl auth whoami` ask with (the ClusterRole `system:basic-user`).
const SELF_REVIEWS: &[(&str, &str)] = &[
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
];

/// Which paths are open without a grant, for reading. A deny rule of a live grant still wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiscoveryPolicy {
    /// Whether any path is.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The open paths; a list here replaces the usual one. `*` may stand at the end.
    #[serde(default = "default_paths")]
    pub paths: Vec<String>,
    /// Further paths.
    #[serde(default)]
    pub extra_paths: Vec<String>,
}

impl DiscoveryPolicy {
    /// The open paths as patterns.
    pub(crate) fn compile(&self) -> Result<Vec<Pattern>, String> {
        if !self.enabled {
            return Ok(Vec::new());
        }
        self.paths.iter().chain(&self.extra_paths).cloned().map(Pattern::try_from).collect()
    }
}

impl Default for DiscoveryPolicy {
    fn default() -> Self {
        Self { enabled: true, paths: default_paths(), extra_paths: Vec::new() }
    }
}

/// Whether anybody may do `operation`: `open` lets them, or it is a question about themselves.
pub(crate) fn is_open(open: &[Pattern], operation: &Operation) -> bool {
    match operation {
        Operation::Resource { verb, api_group, resource, subresource, namespace, name, api_version: _ } => {
            verb == "create"
                && SELF_REVIEWS.contains(&(api_group.as_str(), resource.as_str()))
                && [subresource, namespace, name].into_iter().all(String::is_empty)
        }
        Operation::NonResource { verb, path } => {
            matches!(verb.as_str(), "get" | "head") && open.iter().any(|pattern| pattern.matches(path))
        }
        Operation::Mcp { .. } => false,
    }
}

/// Whether `pattern` reaches a path that is open unless the configuration closes it.
pub(crate) fn is_usually_open(pattern: &Pattern) -> bool {
    DEFAULT_PATHS.iter().any(|open| match open.strip_suffix('*') {
        None => pattern.matches(open),
        Some(below) => match pattern {
            Pattern::Exact(path) => path.starts_with(below),
            Pattern::Prefix(prefix) => prefix.starts_with(below) || below.starts_with(prefix.as_str()),
        },
    })
}

fn yes() -> bool {
    true
}

fn default_paths() -> Vec<String> {
    DEFAULT_PATHS.iter().map(ToString::to_string).collect()
}
