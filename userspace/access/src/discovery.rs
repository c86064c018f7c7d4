//! What is open to any identified subject: paths, so that the first refusal kubectl shows is the real one, the
//! questions that people ask about themselves, which the gate answers, and what an MCP client has to say before it can
//! call anything.

use std::collections::BTreeSet;

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

/// What keeps an MCP session going and does nothing by itself. A client's streams and answers have no method of their own:
/// `session/stream` is a GET, `session/end` a DELETE, `response` the answer to a request of the server.
const MCP_PLUMBING: &[&str] = &[
    "initialize",
    "ping",
    "server/discover",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "logging/setLevel",
    "subscriptions/listen",
    "session/stream",
    "session/end",
    "response",
];

/// Lists, which show only what may be called.
const MCP_LISTS: &[&str] = &["tools/list", "resources/list", "resources/templates/list", "prompts/list"];

/// What is open without a grant: paths, for reading, and the plumbing and lists of MCP. A deny rule of a live grant still
/// wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiscoveryPolicy {
    /// Whether anything is.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The open paths; a list here replaces the usual one. `*` may stand at the end.
    #[serde(default = "default_paths")]
    pub paths: Vec<String>,
    /// Further paths.
    #[serde(default)]
    pub extra_paths: Vec<String>,
    /// Whether the plumbing and the lists of MCP are, for those who have a grant on the server or may ask for one.
    #[serde(default = "yes")]
    pub mcp: bool,
    /// Which of the targets are MCP servers, filled in by whoever reads those. None of these paths is discovery there.
    #[serde(skip)]
    pub mcp_targets: BTreeSet<String>,
}

impl DiscoveryPolicy {
    /// It, ready for deciding.
    pub(crate) fn compile(&self) -> Result<Open, String> {
        let paths = self.paths.iter().chain(&self.extra_paths).filter(|_| self.enabled);
        Ok(Open {
            paths: paths.cloned().map(Pattern::try_from).collect::<Result<_, _>>()?,
            mcp: self.enabled && self.mcp,
            mcp_targets: self.mcp_targets.clone(),
        })
    }
}

impl Default for DiscoveryPolicy {
    fn default() -> Self {
        let (extra_paths, mcp_targets) = Default::default();
        Self { enabled: true, paths: default_paths(), extra_paths, mcp: true, mcp_targets }
    }
}

/// A [`DiscoveryPolicy`], ready for deciding.
#[derive(Debug)]
pub(crate) struct Open {
    paths: Vec<Pattern>,
    mcp: bool,
    mcp_targets: BTreeSet<String>,
}

impl Open {
    /// Whether `operation` on `target` needs no grant.
    pub(crate) fn includes(&self, target: &str, operation: &Operation) -> bool {
        match operation {
            Operation::Resource { verb, api_group, resource, subresource, namespace, name, .. } => {
                verb == "create"
                    && SELF_REVIEWS.contains(&(api_group.as_str(), resource.as_str()))
                    && [subresource, namespace, name].into_iter().all(String::is_empty)
            }
            Operation::NonResource { verb, path } => {
                matches!(verb.as_str(), "get" | "head")
                    && self.paths(target).iter().any(|pattern| pattern.matches(path))
            }
            Operation::Mcp { method, .. } => self.mcp && is_open_method(method),
        }
    }

    /// The paths that are open on `target`, for reading. What is `/api` to an API server may be anything elsewhere.
    pub(crate) fn paths(&self, target: &str) -> &[Pattern] {
        if self.mcp_targets.contains(target) { &[] } else { &self.paths }
    }
}

/// Whether `method` is open unless the configuration closes it.
pub(crate) fn is_open_method(method: &str) -> bool {
    MCP_PLUMBING.contains(&method) || MCP_LISTS.contains(&method)
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
