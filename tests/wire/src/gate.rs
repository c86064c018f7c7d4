//! The proxy in this process, with one engineer to whom everything is allowed.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use portcullis_access::{
    Access, AccessConfig, DiscoveryPolicy, GrantFilter, NewRequest, Pattern, RoleSet, SystemClock,
    parse_roles,
};
use portcullis_credential::{TargetPlace, UpstreamConfig, UpstreamTls};
use portcullis_identity::{
    Accepted, AttestError, Attestation, Attestor, CgroupId, Gid, Identities, LoginuidTrust, MappedUser,
    NetnsCookie, Nss, OriginalDst, Pid, Process, Subject, Uid, UnixConfig, UnixSource,
};
use portcullis_mask::{MaskKey, Profile};
use portcullis_mcp::BlobPolicy;
use portcullis_proxy::{
    Counts, Denials, HoldPage, Holds, Limits, McpMemory, McpPods, McpServer, McpService, Proxy, Routing,
    Scheme, Target, Workers,
};
use portcullis_record::{RecordConfig, Recorder};
use portcullis_tls::{Constraints, InterceptionCa, LeafIssuer, Name, TargetNames};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Stream, Upstream, soon};

const TARGET: &str = "demo";
/// An MCP server that is a service behind the API server.
const SERVICE: &str = "tools";
const ALICE: u32 = 61001;
const BOB: u32 = 61002;
/// What the gate presents upstream.
const TOKEN: &str = "the-gates-own-token";
/// What is allowed, and masked.
const ROLE: &str = "
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: everything}
spec:
  targets: [demo]
  eligible: {groups: [dev]}
  approval: {required: 0}
  maxDuration: 8h
  rules:
  - {apiGroups: ['*'], resources: ['*'], verbs: ['*']}
  # Which a star does not reach.
  - {apiGroups: ['*'], resources: ['*/proxy'], verbs: ['*']}
  - {nonResourceURLs: ['*'], verbs: ['*']}
";

/// What is allowed of the service: one tool, one that is held, and one page.
const TOOLS: &str = "
---
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: readers}
spec:
  targets: [tools]
  eligible: {groups: [dev]}
  approval: {required: 0}
  maxDuration: 8h
  rules:
  - mcp: {methods: [tools/call], tools: [read]}
  - {action: review, mcp: {methods: [tools/call], tools: [restart]}, review: {groups: [leads], wait: 10m}}
  - {nonResourceURLs: [/health], verbs: [get]}
";

/// The proxy before one upstream.
pub struct Gate {
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    drain: CancellationToken,
    turns: mpsc::UnboundedSender<Turn>,
    access: Arc<Access>,
    alice: Subject,
    bob: Subject,
    _dir: TempDir,
}

impl Gate {
    /// Starts it before `upstream`. Nothing is masked.
    ///
    /// # Errors
    /// When a part of it cannot be made.
    pub async fn before(upstream: &Upstream) -> Result<Self> {
        let unmasked = ROLE.replacen("  rules:", "  obligations: {mask: none}\n  rules:", 1);
        Self::start(upstream, &unmasked, None).await
    }

    /// The same, where what is secret is masked.
    ///
    /// # Errors
    /// As [`Gate::before`].
    pub async fn masking(upstream: &Upstream) -> Result<Self> {
        Self::start(upstream, ROLE, None).await
    }

    /// The same before an API server behind which the service `http:mcp:8080` in namespace `tools` is an MCP server, as is
    /// port 8080 of its pods `mcp-*`.
    ///
    /// # Errors
    /// As [`Gate::before`].
    pub async fn before_service(upstream: &Upstream) -> Result<Self> {
        Self::start(upstream, &format!("{ROLE}{TOOLS}"), None).await
    }

    /// The same, with an address where people can look where a held call stands: `https://gate.test/`, and its id.
    ///
    /// # Errors
    /// As [`Gate::before`].
    pub async fn with_pages(upstream: &Upstream) -> Result<Self> {
        let page: HoldPage = Arc::new(|hold| format!("https://gate.test/{}", hold.id));
        Self::start(upstream, &format!("{ROLE}{TOOLS}"), Some(page)).await
    }

    async fn start(upstream: &Upstream, role: &str, hold_page: Option<HoldPage>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let names: TargetNames = std::iter::once(Name::ip(upstream.address().ip())).collect();
        let (ca, _) =
            InterceptionCa::load_or_create(dir.path(), &Constraints::of([&names])?, Timestamp::now())?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes())?)?;
        let unix = unix()?;
        let [alice, bob] = [ALICE, BOB].map(|uid| unix.subject_of_uid(Uid(uid)));
        let (alice, bob) = (alice?, bob?);
        let access = access(dir.path(), role, &alice)?;
        let (turns, turning) = mpsc::unbounded_channel();
        let attestor = Everybody { bound_for: upstream.address(), turning: Mutex::new(Some(turning)) };
        let proxy = Proxy {
            attestor: Arc::new(attestor),
            identities: Arc::new(Identities::new(Arc::new(unix))),
            routing: Arc::new(One(Arc::new(target(dir.path(), upstream, names)?))),
            leaves: LeafIssuer::new(ca, Arc::new(Timestamp::now))?,
            snapshots: access.subscribe(),
            holds: Holds::new(Arc::clone(&access), "here".to_owned()),
            hold_page,
            clock: Arc::new(SystemClock),
            recorder: Recorder::open(&RecordConfig {
                min_free_bytes: 0,
                ..RecordConfig::new(dir.path().join("recordings"))
            })?,
            profile: watch::channel(Arc::new(Profile::default())).1,
            mask_key: MaskKey::generate()?,
            limits: Limits::new(1000),
            remembered: Arc::default(),
            denials: Denials::default(),
            counts: Counts::default(),
            mcp: McpMemory::new(None),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let drain = CancellationToken::new();
        let until = drain.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || runtime.block_on(serve(proxy, listener, until)));
        Ok(Self { address, roots: Arc::new(roots), drain, turns, access, alice, bob, _dir: dir })
    }

    /// The grants and holds behind it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Lets this much time pass at once for the connections of the gate, of which there must have been one.
    ///
    /// # Errors
    /// When nobody turns its clock.
    pub async fn turn_clock(&self, by: Duration) -> Result<()> {
        let (done, turned) = oneshot::channel();
        self.turns.send(Turn { by, done })?;
        Ok(soon("the clock to turn", turned).await??)
    }

    /// Ends Alice's grant of a role.
    ///
    /// # Errors
    /// When there is none.
    pub fn revoke(&self, role: &str) -> Result<()> {
        let live = self.access.grants(&GrantFilter { live: true, subject: None })?;
        let grant = live.iter().find(|grant| grant.role.as_str() == role).context("no grant of this role")?;
        self.access.revoke(&self.alice, &grant.id, "a test")?;
        Ok(())
    }

    /// Has Bob agree to the one request that is held, once there is one.
    ///
    /// # Errors
    /// When he may not.
    pub async fn agree(&self) -> Result<()> {
        let mut snapshots = self.access.subscribe();
        let hold = loop {
            if let Some(hold) = self.access.holds(false)?.pop() {
                break hold;
            }
            soon("a request to be held", snapshots.changed()).await??;
        };
        self.access.approve_hold(&self.bob, &hold.id, "a test")?;
        Ok(())
    }

    /// A TLS connection to the upstream's address that comes out here, offering these protocols.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn connect(&self, alpn: &[&str]) -> Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        Ok(soon("a handshake with the gate", connecting).await??)
    }

    /// A connection for HTTP/1.1.
    ///
    /// # Errors
    /// As [`Gate::connect`].
    pub async fn http1(&self) -> Result<Stream<TlsStream<TcpStream>>> {
        Ok(Stream::new(self.connect(&["http/1.1"]).await?))
    }
}

/// Accepts until the end, on threads that a test's own clock and schedule do not concern.
async fn serve(
    proxy: Proxy,
    listener: std::net::TcpListener,
    until: CancellationToken,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let workers = Workers::start(NonZeroUsize::MIN)?;
    let accept = async || listener.accept().await;
    portcullis_proxy::listen(Arc::new(proxy), accept, &workers, TaskTracker::new(), until).await;
    Ok(())
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.drain.cancel();
    }
}

fn unix() -> Result<UnixSource> {
    let user = |uid, name: &str, group: &str| MappedUser {
        uid: Uid(uid),
        name: name.to_owned(),
        groups: vec![group.to_owned()],
    };
    let users = vec![user(ALICE, "alice", "dev"), user(BOB, "bob", "leads")];
    let config = UnixConfig { users, nss: false, loginuid: LoginuidTrust::Never };
    Ok(UnixSource::new(config, Arc::new(Nss))?)
}

/// Grants: Alice has one of each role.
fn access(dir: &Path, role: &str, alice: &Subject) -> Result<Arc<Access>> {
    let config = AccessConfig {
        max_snapshot_age: Duration::from_secs(3600),
        discovery: DiscoveryPolicy { mcp_targets: [SERVICE.to_owned()].into(), ..DiscoveryPolicy::default() },
        ..AccessConfig::new(dir.join("access.db"), [TARGET.to_owned(), SERVICE.to_owned()].into())
    };
    let roles = RoleSet::new(parse_roles("roles.yaml", role)?)?;
    let names: Vec<_> = roles.iter().map(|role| role.name.clone()).collect();
    let access = Access::open(config, roles, Arc::new(SystemClock))?;
    let wanted = |role| NewRequest {
        role,
        target: None,
        duration: Duration::from_secs(3600),
        starts_at: None,
        reason: "a test".to_owned(),
        denied: None,
        emergency: false,
    };
    for role in names {
        access.request(alice, &wanted(role))?;
    }
    Ok(Arc::new(access))
}

fn target(dir: &Path, upstream: &Upstream, names: TargetNames) -> Result<Target> {
    let token = dir.join("token");
    std::fs::write(&token, TOKEN)?;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    let tls = UpstreamTls::from_pem(Path::new("the test"), upstream.ca_pem().as_bytes())?;
    let address = upstream.address();
    let place = TargetPlace {
        endpoints: vec![(address.ip().to_string(), address.port())],
        server_name: None,
        tls: tls.clone(),
    };
    let source = UpstreamConfig::BearerTokenFile(token).open(Some(&place))?;
    Ok(Target {
        name: TARGET.to_owned(),
        scheme: Scheme::Https,
        names,
        server_name: None,
        upstream: portcullis_proxy::Upstream::new(source, Some(tls)),
        impersonate: false,
        accepted: Accepted::default(),
        mcp: None,
        mcp_services: vec![service()?],
    })
}

fn service() -> Result<McpService> {
    let (resource, authorization_servers, origins) = Default::default();
    let (name, path, blobs) = (SERVICE.to_owned(), "/mcp".to_owned(), BlobPolicy::default());
    let server = McpServer { name, path, resource, authorization_servers, origins, blobs };
    Ok(McpService {
        namespace: "tools".to_owned(),
        service: "http:mcp:8080".to_owned(),
        port_forward: Some(McpPods {
            pods: vec![Pattern::try_from("mcp-*".to_owned()).map_err(anyhow::Error::msg)?],
            ports: [8080].into(),
        }),
        server: Arc::new(server),
    })
}

/// Where every connection leads.
struct One(Arc<Target>);

impl Routing for One {
    fn target(&self, _: OriginalDst) -> Option<Arc<Target>> {
        Some(Arc::clone(&self.0))
    }
}

/// How far a clock is to be turned.
struct Turn {
    by: Duration,
    done: oneshot::Sender<()>,
}

/// Vouches for everybody, as Alice. Being asked by the gate's one worker, it is there that the clock can be turned.
struct Everybody {
    bound_for: SocketAddr,
    turning: Mutex<Option<mpsc::UnboundedReceiver<Turn>>>,
}

async fn turn(mut turns: mpsc::UnboundedReceiver<Turn>) {
    while let Some(Turn { by, done }) = turns.recv().await {
        // For no longer than that: a clock that stands still is turned by tokio whenever nothing else is to be done.
        tokio::time::pause();
        tokio::time::advance(by).await;
        tokio::time::resume();
        done.send(()).ok();
    }
}

impl Attestor for Everybody {
    fn attest(&self, _: BorrowedFd<'_>) -> Result<Attestation, AttestError> {
        if let Some(turning) = self.turning.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tokio::spawn(turn(turning));
        }
        Ok(Attestation {
            uid: Uid(ALICE),
            gid: Gid(ALICE),
            pid: Pid(1),
            cgroup: CgroupId(1),
            netns: NetnsCookie(1),
            comm: "kubectl".to_owned(),
            original_dst: OriginalDst(self.bound_for),
            peer: self.bound_for,
            process: process(),
        })
    }
}

fn process() -> Process {
    Process {
        start_time: 1,
        exe: "/usr/bin/kubectl".into(),
        argv: vec!["kubectl".to_owned()],
        loginuid: None,
        session_id: None,
        tty: None,
        cwd: None,
    }
}
