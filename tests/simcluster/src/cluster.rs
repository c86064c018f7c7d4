//! What all requests share, and what one request carries through the server.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::auth::User;
use crate::authn::Authenticator;
use crate::journal::Journal;
use crate::object;
use crate::openapi::Documents;
use crate::request::{Query, RequestInfo};
use crate::store::Store;
use crate::upgrade::Upgrade;

/// The simulated cluster.
pub(crate) struct Cluster {
    /// Objects.
    pub store: Store,
    /// Who is who.
    pub authenticator: Authenticator,
    /// What reached the server.
    pub journal: Journal,
    /// OpenAPI documents.
    pub openapi: Documents,
    /// Where pods keep their files.
    pub pods_dir: PathBuf,
    /// What listens on their ports, if it is real.
    pub behind_ports: Option<SocketAddr>,
    /// Ends every stream when the server stops.
    pub shutdown: CancellationToken,
}

/// A request that has been authenticated, logged and authorised.
pub(crate) struct Call {
    /// Number in the journal.
    pub id: u64,
    /// HTTP method.
    pub method: Method,
    /// Headers.
    pub headers: HeaderMap,
    /// Query.
    pub query: Query,
    /// What it asks for.
    pub info: RequestInfo,
    /// Who asks, impersonation applied.
    pub user: User,
    /// The whole body.
    pub body: Bytes,
    /// The connection, when the client asked to upgrade it.
    pub upgrade: Option<Upgrade>,
}

impl Cluster {
    /// Where a pod keeps its files.
    pub(crate) fn pod_dir(&self, pod: &Value) -> PathBuf {
        self.pods_dir.join(object::meta(pod, "uid"))
    }
}

impl Call {
    /// Whether nothing may be stored.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.query.all("dryRun").any(|value| value == "All")
    }

    /// The field manager: as named, else the start of the user agent, as the API server takes it.
    pub(crate) fn manager(&self) -> String {
        let agent = self.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok());
        let from_agent = || agent.unwrap_or("unknown").split('/').next().unwrap_or_default().to_owned();
        self.query.filled("fieldManager").map_or_else(from_agent, str::to_owned)
    }
}
