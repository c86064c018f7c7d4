//! Protected targets, and which one an intercepted connection was bound for.

use std::sync::Arc;

use portcullis_identity::{Accepted, OriginalDst};
use portcullis_tls::{Name, TargetNames};
use rustls_pki_types::ServerName;

use crate::mcp::{McpServer, McpService};
use crate::upstream::Upstream;

/// Whether there is TLS around a target's HTTP, on both sides alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheme {
    /// There is.
    #[default]
    Https,
    /// There is none: an MCP server inside of a network that is trusted.
    Http,
}

/// A server behind the gate.
pub struct Target {
    /// The name that roles, requests and recordings use.
    pub name: String,
    /// How it is reached.
    pub scheme: Scheme,
    /// The names and addresses that a client may dial, and so that a leaf may be made for.
    pub names: TargetNames,
    /// What the server's certificate must say, where that is not what was dialled.
    pub server_name: Option<Name>,
    /// The way to the real server.
    pub upstream: Upstream,
    /// Present the engineer by impersonation on top of the credential.
    pub impersonate: bool,
    /// How engineers have to be identified here.
    pub accepted: Accepted,
    /// What makes it an MCP server; nothing for an API server.
    pub mcp: Option<Arc<McpServer>>,
    /// The MCP servers behind an API server.
    pub mcp_services: Vec<McpService>,
}

impl Target {
    /// The name that the certificate of the server at `destination` must carry: the configured one, else the address
    /// where the target is configured by it, else the DNS name that resolved to it.
    #[must_use]
    pub fn server_name(&self, destination: OriginalDst) -> Option<ServerName<'static>> {
        let dialled = Name::ip(destination.0.ip());
        let by_address = || self.names.contains(&dialled).then_some(&dialled);
        let by_name = || self.names.iter().find(|name| matches!(name, Name::Dns(_)));
        self.server_name.as_ref().or_else(by_address).or_else(by_name).map(Name::to_server_name)
    }
}

/// Knows whose address an intercepted destination is.
pub trait Routing: Send + Sync {
    /// The target at `destination`; `None` when it is nobody's, or nobody's any more.
    fn target(&self, destination: OriginalDst) -> Option<Arc<Target>>;
}

/// Where one connection leads.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) target: Arc<Target>,
    pub(crate) server_name: ServerName<'static>,
}

impl Route {
    pub(crate) fn find(routing: &dyn Routing, destination: OriginalDst) -> Option<Self> {
        let target = routing.target(destination)?;
        let server_name = target.server_name(destination)?;
        Some(Self { target, server_name })
    }
}
