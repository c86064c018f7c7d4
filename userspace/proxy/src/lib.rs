//! The pipeline between the kernel's gate and the protected server: attests, identifies, decides, records, presents a
//! credential of its own, forwards, masks. [`conn`] reads like that line.
//!
//! Everything that touches the world is handed in: the attestor, the identity sources, the clock, the snapshot of
//! grants, the recorder, the targets.

mod accept;
mod body;
mod caller;
mod classify;
mod conn;
mod decide;
mod denials;
mod forward;
mod forwarded;
mod headers;
mod hold;
mod inquiry;
mod lease;
mod limits;
mod listen;
mod mcp;
mod patch;
mod present;
mod preview;
mod record;
mod refusal;
mod reviews;
mod sent;
mod target;
mod terminate;
mod transport;
mod upgrade;
mod upstream;
mod whole;
mod wide;
mod wire;
mod worker;
mod writeback;

use std::sync::Arc;

use portcullis_access::{Clock, Snapshot};
use portcullis_identity::{Attestor, Identities};
use portcullis_mask::{MaskKey, Profile};
use portcullis_record::Recorder;
use portcullis_tls::LeafIssuer;
use tokio::sync::watch;

pub use hold::{HoldPage, Holds};
pub use limits::Limits;
pub use listen::{Counts, listen};
pub use mcp::{McpMemory, McpPods, McpServer, McpService};
pub use target::{Routing, Scheme, Target};
pub use upstream::Upstream;
pub use worker::Workers;

/// All that the pipeline needs, made by the daemon and shared by every connection.
pub struct Proxy {
    /// Asks the kernel who connected.
    pub attestor: Arc<dyn Attestor>,
    /// Asked who the person is.
    pub identities: Arc<Identities>,
    /// Where intercepted addresses lead.
    pub routing: Arc<dyn Routing>,
    /// Leaves for the client's side of TLS.
    pub leaves: LeafIssuer,
    /// Roles and live grants; the request path reads nothing else (Law 7).
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Where a request waits for a person's word.
    pub holds: Holds,
    /// Where people can look where one stands, if anywhere.
    pub hold_page: Option<HoldPage>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where evidence goes.
    pub recorder: Recorder,
    /// What is masked.
    pub profile: watch::Receiver<Arc<Profile>>,
    /// Makes masked values comparable and nothing more.
    pub mask_key: MaskKey,
    /// What one uid may have open at once.
    pub limits: Limits,
    /// What was denied lately, for those who ask from a denial.
    pub remembered: Arc<portcullis_access::Denials>,
    /// Refusals just given, to tell a retry from a new attempt.
    pub denials: Denials,
    /// What is remembered of MCP servers.
    pub mcp: McpMemory,
    /// Connections by fate.
    pub counts: Counts,
}

pub use denials::Denials;
