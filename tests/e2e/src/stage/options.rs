//! How a stage differs from the usual one.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::people::Person;

/// How a stage differs from the usual one.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// Role manifests.
    pub roles: String,
    /// More arguments for simcluster.
    pub cluster_args: Vec<String>,
    /// Present the engineer upstream by impersonation (with the token of a gateway that may).
    pub impersonate: bool,
    /// Present simcluster's administrator by client certificate instead of by token.
    pub client_certificate: bool,
    /// Where recordings go; else below the stage's folder.
    pub record_dir: Option<PathBuf>,
    /// How many connections a person may have; else the daemon's default.
    pub connections_per_uid: Option<usize>,
    /// Another cluster instead of a simulated one.
    pub upstream: Option<Upstream>,
    /// Changes to the target `demo`, a JSON merge patch (RFC 7396).
    pub target: Value,
    /// More targets, each with a simulated cluster of its own; a context of people's kubeconfigs has the same name.
    pub more_targets: Vec<MoreTarget>,
    /// Targets that are MCP servers.
    pub mcp_targets: Vec<McpTarget>,
    /// Changes to the whole configuration, a JSON merge patch.
    pub config: Value,
    /// The daemon's environment, beside the tests' own.
    pub environment: Vec<(String, String)>,
    /// The daemon's group; see [`Daemon::start`](crate::Daemon::start).
    pub daemon_gid: Option<u32>,
    /// What stands under `user:` in somebody's kubeconfig, for those who have more than a word that means nothing.
    pub users: Vec<(Person, Value)>,
}

/// A target beside `demo`.
#[derive(Debug, Clone)]
pub struct MoreTarget {
    /// What it is called.
    pub name: &'static str,
    /// More arguments for its simcluster.
    pub cluster_args: Vec<String>,
    /// Changes to it, a JSON merge patch.
    pub settings: Value,
}

/// A target that is an MCP server.
#[derive(Debug, Clone)]
pub struct McpTarget {
    /// What it is called.
    pub name: &'static str,
    /// Its endpoint for MCP, `http://127.0.0.1:port/mcp`.
    pub url: String,
    /// Changes to the target, a JSON merge patch: without any, nothing is presented upstream.
    pub settings: Value,
}

/// A real cluster as upstream, from a kubeconfig.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// `https://host:port`
    pub endpoint: String,
    /// Its CA, a PEM file.
    pub certificate_authority: PathBuf,
    /// `credential:` of the target.
    pub credential: Value,
}

impl StageOptions {
    /// A stage with these roles.
    #[must_use]
    pub fn with_roles(roles: &str) -> Self {
        Self {
            roles: roles.to_owned(),
            cluster_args: Vec::new(),
            impersonate: false,
            client_certificate: false,
            record_dir: None,
            connections_per_uid: None,
            upstream: None,
            target: json!({}),
            more_targets: Vec::new(),
            mcp_targets: Vec::new(),
            config: json!({}),
            environment: Vec::new(),
            daemon_gid: None,
            users: Vec::new(),
        }
    }

    /// What stands under `user:` in this person's kubeconfig. (With nothing at all kubectl would prompt for a name; a
    /// token that means nothing never leaves the node.)
    pub(super) fn user_of(&self, person: Person) -> Value {
        let own = self.users.iter().find(|(whose, _)| *whose == person);
        own.map_or_else(|| json!({ "token": "none" }), |(_, user)| user.clone())
    }
}
