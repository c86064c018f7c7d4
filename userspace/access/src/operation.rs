//! What is asked of a target, as its API server would read it, and by whom.

use std::fmt;
use std::sync::Arc;

use portcullis_identity::Subject;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::mcp::{self, McpItem};
use crate::verbs::Verbs;

/// One request in the terms of roles. The strings are those of the API server's RequestInfo; what is absent
/// is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Operation {
    /// On an object or a collection.
    Resource {
        /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
        verb: String,
        /// Empty for the core group.
        api_group: String,
        /// For the record; roles do not look at it.
        api_version: String,
        /// Plural, lower case.
        resource: String,
        /// `log`, `exec`, `status`…
        subresource: String,
        /// Empty for cluster-scoped resources and for requests over all namespaces.
        namespace: String,
        /// Empty for collections.
        name: String,
    },
    /// On any other path.
    NonResource {
        /// The method in lower case.
        verb: String,
        /// The decoded path.
        path: String,
    },
    /// To an MCP server.
    Mcp {
        /// `tools/call`, `resources/read`, `tools/list`…
        method: String,
        /// What kind of thing it is about.
        item: McpItem,
        /// The tool's or prompt's name, the resource's URI; empty where it is about no single thing.
        name: String,
    },
}

/// An operation whose verbs were looked up, which is done once a decision.
pub(crate) struct Asked<'a> {
    pub(crate) operation: &'a Operation,
    /// The verb that authorises it.
    pub(crate) authorised_as: Verbs,
    /// That and the verb as it stands in the request.
    pub(crate) verbs: Verbs,
}

impl<'a> Asked<'a> {
    pub(crate) fn of(operation: &'a Operation) -> Self {
        let authorised_as = Verbs::of(operation.authorised_as());
        let verbs = match operation.verb() {
            // Whoever asks whether they may do everything (`kubectl auth can-i '*' pods`).
            "*" => Verbs::All,
            verb => authorised_as.or(Verbs::of(verb)),
        };
        Self { operation, authorised_as, verbs }
    }
}

/// A request and who makes it.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Who asks.
    pub subject: &'a Subject,
    /// Of which target.
    pub target: &'a str,
    /// For what.
    pub operation: &'a Operation,
    /// What else is known, for conditions.
    pub facts: &'a Facts,
}

/// What conditions (`when:`) can look at beside the subject, the target and the operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Facts {
    /// The process that connected; nothing for questions about a policy.
    pub process: Option<Arc<Caller>>,
    /// The request asks for a dry run.
    pub dry_run: bool,
    /// Who says to manage the fields that the request writes (`kubectl-edit`, a controller); the client says so itself.
    pub field_manager: String,
    /// The command of an exec.
    pub command: Vec<String>,
    /// The container of an exec, attach or log.
    pub container: String,
    /// Whether an exec or attach asks for a terminal.
    pub tty: bool,
    /// Whether an exec or attach asks for standard input.
    pub stdin: bool,
    /// The arguments of an MCP request, as JSON; nothing where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Arc<Value>>,
}

/// The attested process, as far as conditions may know it. Its pid and command name are for the record only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Caller {
    /// Its real uid.
    pub uid: u32,
    /// Its real gid.
    pub gid: u32,
    /// The path of its executable. Whoever may make mount namespaces can make one program look like another.
    pub exe: String,
    /// Its command line, redacted. The client wrote it itself: fit for refusing, never for allowing.
    pub argv: Vec<String>,
    /// Its controlling terminal.
    pub tty: Option<String>,
    /// Who logged in to start it.
    pub loginuid: Option<u32>,
}

impl Facts {
    /// Nothing known.
    pub const NONE: &'static Self = &Self {
        process: None,
        dry_run: false,
        field_manager: String::new(),
        command: Vec::new(),
        container: String::new(),
        tty: false,
        stdin: false,
        arguments: None,
    };
}

impl Operation {
    /// The verb as it stands in the request; for MCP the method.
    #[must_use]
    pub fn verb(&self) -> &str {
        match self {
            Operation::Mcp { method, .. } => method,
            Operation::Resource { verb, .. } | Operation::NonResource { verb, .. } => verb,
        }
    }

    /// The verb that authorises it: exec, attach and port-forward over WebSocket arrive as `get`, over SPDY as
    /// `create`, and are one and the same act.
    #[must_use]
    pub fn authorised_as(&self) -> &str {
        match self {
            Operation::Resource { verb, subresource, .. }
                if verb == "get" && matches!(subresource.as_str(), "exec" | "attach" | "portforward") =>
            {
                "create"
            }
            _ => self.verb(),
        }
    }
}

/// `delete pods "web" in namespace "prod"`, `list nodes across the cluster`, `get /metrics`, `call tool "search"`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (api_group, resource, subresource, namespace, name) = match self {
            Operation::Mcp { method, item, name } => return mcp::write(f, method, *item, name),
            Operation::NonResource { verb, path } => {
                return write!(f, "{} {}", verb.escape_debug(), path.escape_debug());
            }
            Operation::Resource { api_group, resource, subresource, namespace, name, .. } => {
                (api_group, resource, subresource, namespace, name)
            }
        };
        write!(f, "{} {}", self.authorised_as().escape_debug(), resource.escape_debug())?;
        if !api_group.is_empty() {
            write!(f, ".{}", api_group.escape_debug())?;
        }
        if !subresource.is_empty() {
            write!(f, "/{}", subresource.escape_debug())?;
        }
        if !name.is_empty() {
            write!(f, " {name:?}")?;
        }
        match (namespace.is_empty(), name.is_empty()) {
            (false, _) => write!(f, " in namespace {namespace:?}"),
            (true, true) => f.write_str(" across the cluster"),
            (true, false) => Ok(()),
        }
    }
}
