//! Protected targets, and which one an intercepted connection was bound for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_identity::OriginalDst;
use portcullis_tls::TargetNames;
use rustls_pki_types::ServerName;

use crate::upstream::Upstream;

/// A Kubernetes API server behind the gate.
pub struct Target {
    /// The name that roles, requests and recordings use.
    pub name: String,
    /// The names and addresses that a client may dial, and so that a leaf may be made for.
    pub names: TargetNames,
    /// The way to the real server.
    pub upstream: Upstream,
    /// Present the engineer by impersonation on top of the credential.
    pub impersonate: bool,
}

/// Where one intercepted address leads.
#[derive(Clone)]
pub struct Route {
    /// The target that the address belongs to.
    pub target: Arc<Target>,
    /// The name that the server's certificate must carry.
    pub server_name: ServerName<'static>,
}

/// All intercepted addresses; replaced as a whole when names resolve anew or the configuration changes.
#[derive(Default)]
pub struct Routes(ArcSwap<HashMap<SocketAddr, Route>>);

impl Routes {
    /// Replaces the table.
    pub fn replace(&self, table: HashMap<SocketAddr, Route>) {
        self.0.store(Arc::new(table));
    }

    /// The route of an original destination, if it is a target's.
    #[must_use]
    pub fn get(&self, destination: OriginalDst) -> Option<Route> {
        self.0.load().get(&destination.0).cloned()
    }
}
