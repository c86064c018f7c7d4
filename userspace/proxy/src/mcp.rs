//! MCP servers: what a client's message asks for ([`read`]), what becomes of the server's messages ([`answer`]), and
//! calls that wait for a person while their client hears that they do ([`wait`]), or comes back for them ([`ask`]).
//!
//! Between these the path is that of any request: decided, held, recorded, given a credential, forwarded, cut when
//! access ends.

pub(crate) mod answer;
pub(crate) mod ask;
pub(crate) mod oauth;
pub(crate) mod read;
pub(crate) mod wait;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use portcullis_access::{Allowed, McpItem, Pattern, Snapshot};
use portcullis_kube::RequestInfo;
use portcullis_mcp::{
    About, BlobPolicy, Definition, Era, Fault, Id, Issued, Kind, Message, Owner, PinError, Pins,
};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::caller::{Connection, Person};
use crate::classify::{Classified, Shape};
use crate::target::Target;
use ask::Returned;

/// Sessions and request states that are remembered at once, and for how long. Who comes back with one that is not known
/// any more begins anew.
const ISSUED: usize = 100_000;
const ISSUED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// An MCP server: a target of its own, or a service behind an API server.
#[derive(Debug, Clone)]
pub struct McpServer {
    /// The name that roles, requests and grants use.
    pub name: String,
    /// Where messages are posted to: `/mcp`.
    pub path: String,
    /// The canonical URI of the server as a protected resource (RFC 8707): the audience of tokens for it.
    pub resource: String,
    /// Who gives out tokens for it.
    pub authorization_servers: Vec<String>,
    /// Web pages that may call it beside its own.
    pub origins: Vec<String>,
    /// Which binary contents pass.
    pub blobs: BlobPolicy,
}

/// A service that is an MCP server and is reached through an API server: by its proxy, or by a port-forward to its pods.
#[derive(Debug, Clone)]
pub struct McpService {
    /// Its namespace.
    pub namespace: String,
    /// The service as the proxy's path has it: `name:port` or `scheme:name:port`.
    pub service: String,
    /// The pods behind it, where port-forwards to them are read too, and other ways to them are closed.
    pub port_forward: Option<McpPods>,
    /// What it is.
    pub server: Arc<McpServer>,
}

/// Pods that are an MCP server.
#[derive(Debug, Clone)]
pub struct McpPods {
    /// Their names.
    pub pods: Vec<Pattern>,
    /// The ports on which it is spoken to.
    pub ports: BTreeSet<u16>,
}

impl McpPods {
    fn include(&self, pod: &str) -> bool {
        self.pods.iter().any(|pods| pods.matches(pod))
    }
}

impl McpService {
    /// Whether `info` is about this service or one of its pods, however it spells scheme and port.
    fn is_meant(&self, info: &RequestInfo) -> bool {
        let (name, port) = name_and_port(&info.name);
        let about = match &*info.resource {
            "services" => name == name_and_port(&self.service).0,
            // A port that is not said, or has a name, may be any.
            "pods" => self.port_forward.as_ref().is_some_and(|at| {
                let port = port.and_then(|port| port.parse().ok());
                at.include(name) && port.is_none_or(|port| at.ports.contains(&port))
            }),
            _ => false,
        };
        info.is_proxy() && about && info.namespace == self.namespace
    }

    /// The path of its endpoint at the API server.
    pub(crate) fn path(&self) -> String {
        let Self { namespace, service, server, .. } = self;
        format!("/api/v1/namespaces/{namespace}/services/{service}/proxy{}", server.path)
    }
}

/// Name and port in `name`, `name:port` and `scheme:name:port` (apiserver, `SplitSchemeNamePort`).
fn name_and_port(text: &str) -> (&str, Option<&str>) {
    let mut parts = text.split(':');
    match (parts.next(), parts.next(), parts.next()) {
        (_, Some(name), port @ Some(_)) => (name, port),
        (Some(name), port, _) => (name, port),
        (None, ..) => (text, None),
    }
}

/// The MCP servers on ports of the pod to which `info` forwards ports.
pub(crate) fn forwarded_to(target: &Target, info: &RequestInfo) -> BTreeMap<u16, Arc<McpServer>> {
    let services = target.mcp_services.iter().filter(|service| service.namespace == info.namespace);
    let ports = services.flat_map(|service| {
        let here = service.port_forward.iter().filter(|at| at.include(&info.name));
        here.flat_map(|at| &at.ports).map(|port| (*port, Arc::clone(&service.server)))
    });
    ports.collect()
}

/// The MCP server whose endpoint a request on `connection` is for, with the path at which it is; or every path of a target
/// that is one.
///
/// # Errors
/// [`McpFault::Spelling`] for a service that is one in another spelling, and for its pods: nothing in it would be read.
pub(crate) fn asked_for(connection: &Connection, info: &RequestInfo) -> Result<Option<Asked>, McpFault> {
    if let Some(server) = connection.mcp() {
        return Ok(Some(Asked { server: Arc::clone(server), path: server.path.clone(), behind: false }));
    }
    let Some(service) = connection.route.target.mcp_services.iter().find(|service| service.is_meant(info))
    else {
        return Ok(None);
    };
    let path = service.path();
    if info.name != service.service || info.verb == "proxy" {
        return Err(McpFault::Spelling(path));
    }
    if !read::is_endpoint(&info.path, &path)? {
        return Ok(None);
    }
    Ok(Some(Asked { server: Arc::clone(&service.server), path, behind: true }))
}

/// An MCP server that a request is for.
pub(crate) struct Asked {
    pub(crate) server: Arc<McpServer>,
    /// The path of its endpoint, as requests have it.
    pub(crate) path: String,
    /// It is behind an API server, whose host and paths are not its own.
    pub(crate) behind: bool,
}

/// What the gate has to remember of MCP servers, across connections and reloads.
pub struct McpMemory {
    /// Sessions and request states, and whose they are.
    pub(crate) issued: Issued,
    /// Where tool definitions are kept; in memory alone if nowhere.
    dir: Option<PathBuf>,
    pins: Mutex<HashMap<String, Arc<Pins>>>,
    /// The calls that wait for a person, by whose they are and their ids.
    waiting: Mutex<HashMap<Owner, CancellationToken>>,
}

impl McpMemory {
    /// Keeps tool definitions in `dir`, a file for each target.
    #[must_use]
    pub fn new(dir: Option<PathBuf>) -> Self {
        let (pins, waiting) = Default::default();
        Self { issued: Issued::new(ISSUED, ISSUED_FOR), dir, pins, waiting }
    }

    /// The tool definitions of `target`.
    ///
    /// # Errors
    /// When they cannot be read: nothing is known of the tools then, and nothing is to be called.
    pub(crate) fn pins(&self, target: &str) -> Result<Arc<Pins>, PinError> {
        let mut open = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pins) = open.get(target) {
            return Ok(Arc::clone(pins));
        }
        let file = self.dir.as_ref().map(|dir| dir.join(format!("{target}.json")));
        let pins = Arc::new(Pins::open(file)?);
        open.insert(target.to_owned(), Arc::clone(&pins));
        Ok(pins)
    }
}

/// A call that waits, for as long as this is kept.
pub(crate) struct Waiting<'a> {
    memory: &'a McpMemory,
    key: Owner,
    pub(crate) withdrawn: CancellationToken,
}

impl McpMemory {
    /// A call that begins to wait.
    pub(crate) fn wait(&self, person: &Person, call: &Call, id: &Id) -> Waiting<'_> {
        let (key, withdrawn) = (waiting_key(person, call, id), CancellationToken::new());
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(key, withdrawn.clone());
        Waiting { memory: self, key, withdrawn }
    }

    /// A client says that it does not want the answer to `id` any more.
    pub(crate) fn withdraw(&self, person: &Person, call: &Call, id: &Id) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(withdrawn) = waiting.get(&waiting_key(person, call, id)) {
            withdrawn.cancel();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.memory.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Ids are a client's own, in a session; without sessions, two clients of one person are told apart by their processes.
fn waiting_key(person: &Person, call: &Call, id: &Id) -> Owner {
    let attestation = &person.connection.attestation;
    let process = format!("{}/{}", attestation.pid, attestation.process.start_time);
    owner(person, &call.server, format!("{process} {:?} {id:?}", call.session).as_bytes())
}

/// What a request to an MCP endpoint is.
pub(crate) struct Call {
    pub(crate) server: Arc<McpServer>,
    /// What was posted; nothing for the stream of a session and for its end.
    pub(crate) message: Option<Message>,
    pub(crate) era: Era,
    /// The session that it is in.
    pub(crate) session: Option<String>,
    /// It ends that session.
    pub(crate) ends: bool,
    /// The tool's definition where it is not the one that was pinned.
    pub(crate) changed: Option<Changed>,
    /// It comes back for what was held.
    pub(crate) returned: Option<Returned>,
}

/// A tool that is not any more what it was.
pub(crate) struct Changed {
    pub(crate) tool: String,
    pub(crate) pinned: Definition,
    pub(crate) now: Definition,
}

impl Call {
    /// The request's id, if it wants an answer.
    pub(crate) fn id(&self) -> Option<&Id> {
        wants_answer(self.message.as_ref()?)
    }

    /// What an agreement is about, beside the operation: the message, and the definition that the tool has now.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        let message = self.message.as_ref().map(Message::fingerprint);
        let definition = self.changed.as_ref().map(|changed| changed.now.digest());
        message.into_iter().chain(definition).flatten().collect()
    }
}

/// The id of a message that wants an answer.
fn wants_answer(message: &Message) -> Option<&Id> {
    match message.kind() {
        Kind::Request(id) => Some(id),
        Kind::Notification | Kind::Response(_) => None,
    }
}

/// What allows a stream on which a server speaks unasked: it is open to all, and so it is held by the grant of theirs that
/// ends last, and ends with it.
///
/// # Errors
/// [`McpFault::NoStream`] for whoever has none: nothing is said to them unasked.
pub(crate) fn under_a_grant(
    snapshot: &Snapshot,
    classified: &Classified,
    allowed: Allowed,
    now: Timestamp,
) -> Result<Allowed, McpFault> {
    let Shape::Call(call) = &classified.shape else { return Ok(allowed) };
    if allowed.grant.is_some() || call.message.is_some() || call.ends {
        return Ok(allowed);
    }
    let subject = &classified.person.subject;
    let held = snapshot.live_grants(subject, classified.target_name(), now);
    let longest = held.max_by_key(|grant| grant.expires_at).ok_or(McpFault::NoStream)?;
    Ok(Allowed { grant: Some(longest.id.clone()), expires: Some(longest.expires_at), ..allowed })
}

/// Who may bring something back that was issued: the same person at the same server, for the same request.
pub(crate) fn owner(person: &Person, server: &McpServer, fingerprint: &[u8]) -> Owner {
    let subject = &person.subject;
    Owner {
        person: digest([subject.issuer.as_bytes(), subject.id.as_bytes()]),
        purpose: digest([server.name.as_bytes(), fingerprint]),
    }
}

fn digest(parts: [&[u8]; 2]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// What a message is about, in the terms of roles.
pub(crate) fn item(about: About<'_>) -> (McpItem, &str) {
    match about {
        About::Nothing => (McpItem::None, ""),
        About::Tool(name) => (McpItem::Tool, name),
        About::Resource(uri) | About::ResourcesUnder(uri) => (McpItem::Resource, uri),
        About::Prompt(name) => (McpItem::Prompt, name),
    }
}

/// What is wrong with a request to an MCP server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum McpFault {
    #[error(transparent)]
    Message(#[from] Fault),
    #[error("the request is for host {0:?}, which is not what this server is called")]
    Host(String),
    #[error("the web page {0:?} may not call this server")]
    Origin(String),
    #[error("{method} is no way to speak to {path}; POST is, and GET and DELETE in a session")]
    Method { method: String, path: String },
    #[error("this leads to an MCP server, which is reached as {0} instead")]
    Spelling(String),
    #[error("the path {0:?} is that of the MCP endpoint to some readers only")]
    Path(String),
    #[error("a message is application/json and not compressed; this is {0:?}")]
    Type(String),
    #[error("{0} is there more than once, or cannot be read")]
    Header(&'static str),
    #[error("Mcp-Param headers cannot be checked for a tool that no list has shown: list the tools first")]
    Unlisted,
    #[error("a stream of events is there for those who have a grant")]
    NoStream,
    #[error("the session is not known here, or is somebody else's: initialize anew")]
    Session,
    #[error("events are read again within a session only: Last-Event-ID came without Mcp-Session-Id")]
    Resumed,
    #[error("requestState was not given to this person for this request: begin anew")]
    RequestState,
    #[error("the arguments bring a masked value back ({0}), and the server would take it for the real one")]
    Placeholder(String),
    #[error(
        "the definition of tool {tool:?} is not the one that was agreed to, and role {role} has no approvers who could \
         agree to the new one"
    )]
    Changed { tool: String, role: String },
    #[error("the message is over {0} bytes")]
    TooLarge(usize),
    #[error("the tool definitions that were agreed to cannot be read: {0}")]
    Pins(#[from] PinError),
}

impl McpFault {
    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Message(fault) => fault.status(),
            Self::Host(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin(_) | Self::RequestState | Self::Placeholder(_) | Self::Changed { .. } => {
                StatusCode::FORBIDDEN
            }
            // What servers without such streams answer, which clients take for an answer.
            Self::Method { .. } | Self::NoStream => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path(_) | Self::Spelling(_) | Self::Unlisted | Self::Header(_) | Self::Resumed => {
                StatusCode::BAD_REQUEST
            }
            Self::Type(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            // What makes clients initialize anew (2025-11-25, transports, session management).
            Self::Session => StatusCode::NOT_FOUND,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Pins(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What tells a client how to go on.
    pub(crate) fn data(&self) -> Option<serde_json::Value> {
        match self {
            Self::Message(fault) => fault.data(),
            _ => None,
        }
    }

    /// The JSON-RPC code: those of the specification where it has one, else the HTTP status, which lies outside of the
    /// range that JSON-RPC keeps for itself.
    pub(crate) fn code(&self) -> i64 {
        match self {
            Self::Message(fault) => fault.code(),
            other => i64::from(other.status().as_u16()),
        }
    }
}
