//! Connections to the protected server, pooled per credential and never across (Law 8).
//!
//! The address is the one the client dialled; the certificate is verified against the target's own CA for the name
//! the target is configured with. HTTP/1.1 goes up as HTTP/1.1 and h2 as h2, so that flow control, upgrades and
//! trailers mean the same on both sides. For the same reason each h2 connection of a client has one of its own upstream:
//! shared, a client that stops reading would use up the flow-control window of everybody else, and one that holds a
//! hundred watches the streams that the API server allows.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use portcullis_credential::{Credential, CredentialError, CredentialId, OnBehalf, Source, UpstreamTls};

use crate::body::RequestBody;
use crate::conn::MAX_FIELDS;
use crate::forwarded::Forwarded;
use crate::transport::Transport;
use crate::wide::Wide;
use crate::worker::WorkerId;

/// How long a TCP connect and a TLS handshake with the server may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A pooled connection unused for this long is closed (below the 180 s that Go servers commonly allow).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// The same for servers in Python and Node, which wait for five seconds.
const IMPATIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// HTTP/2 flow-control windows, bytes: one stream can fill a fast link without starving the others.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_CONNECTION_WINDOW: u32 = 8 << 20;
/// Header lists of answers on h2, bytes: what Go's clients take is ten times that.
const H2_HEADER_LIST: u32 = 1 << 20;

/// The way to one target: its credential and the pools that present it.
pub struct Upstream {
    source: Box<dyn Source>,
    /// How long a connection that nobody uses is kept.
    idle: Duration,
    /// Nothing where the target is reached by `http://`.
    tls: Option<UpstreamTls>,
    pools: Mutex<HashMap<(CredentialId, ServerName<'static>, WorkerId), Pooled>>,
}

struct Pooled {
    pools: Arc<Pools>,
    used: Instant,
}

impl Upstream {
    /// An upstream that presents what `source` gives and verifies the server by `tls`, where there is to be TLS.
    #[must_use]
    pub fn new(source: Box<dyn Source>, tls: Option<UpstreamTls>) -> Self {
        Self { source, idle: IDLE_TIMEOUT, tls, pools: Mutex::new(HashMap::new()) }
    }

    /// The same to a server that is no Go server: others close connections after five seconds, at times just when they
    /// are used again.
    #[must_use]
    pub fn of_impatient_server(self) -> Self {
        Self { idle: IMPATIENT_IDLE_TIMEOUT, ..self }
    }

    /// The credential to present now, with the pools that belong to it and to `worker`.
    ///
    /// # Errors
    /// When the credential cannot be had: the request is refused.
    pub(crate) async fn credential(
        &self,
        on_behalf: &OnBehalf<'_>,
        server_name: &ServerName<'static>,
        worker: WorkerId,
    ) -> Result<Presenting, CredentialError> {
        let credential = self.source.present(on_behalf).await?;
        let id = credential.id();
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (id, server_name.clone(), worker);
        let now = Instant::now();
        if let Some(found) = pools.get_mut(&key) {
            found.used = now;
            return Ok(Presenting { credential, pools: Arc::clone(&found.pools) });
        }
        // Engineers go and credentials are rotated: what nobody asks for any more has no connection left to keep.
        pools.retain(|_, pooled| now.duration_since(pooled.used) < IDLE_TIMEOUT);
        let fresh = Arc::new(Pools::new(self.tls.as_ref(), &credential, server_name, self.idle)?);
        pools.insert(key, Pooled { pools: Arc::clone(&fresh), used: now });
        Ok(Presenting { credential, pools: fresh })
    }
}

/// A credential about to be presented, and the connections that may carry it.
pub(crate) struct Presenting {
    pub(crate) credential: Credential,
    pub(crate) pools: Arc<Pools>,
}

/// What carries a request up.
pub(crate) enum Up {
    /// A connection of the gate's own.
    Pooled(Arc<Pools>),
    /// The port-forward that its client's connection is in.
    Forwarded(Arc<Forwarded>),
}

/// Why a request was not answered.
pub(crate) type SendError = Box<dyn std::error::Error + Send + Sync>;

impl Up {
    pub(crate) async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        match self {
            Self::Pooled(pools) => pools.send(request).await,
            Self::Forwarded(forwarded) => Box::pin(forwarded.send(request)).await,
        }
    }
}

type Pool = Client<Connector, RequestBody>;

/// The connections of one credential, by protocol.
#[derive(Clone)]
pub(crate) struct Pools {
    credential: CredentialId,
    http1: Pool,
    h2: Pool,
    h2_connector: Connector,
}

impl Pools {
    fn new(
        tls: Option<&UpstreamTls>,
        credential: &Credential,
        server_name: &ServerName<'static>,
        idle: Duration,
    ) -> Result<Self, CredentialError> {
        let connector = |alpn: &[u8]| -> Result<Connector, CredentialError> {
            let config = tls.map(|tls| tls.client_config(credential, &[alpn.to_vec()])).transpose()?;
            Ok(Connector { tls: config.map(TlsConnector::from), server_name: server_name.clone() })
        };
        let http1 = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(idle)
            .http1_preserve_header_case(true)
            .http1_max_headers(MAX_FIELDS)
            .build(connector(b"http/1.1")?);
        let h2_connector = connector(b"h2")?;
        Ok(Self { credential: credential.id(), http1, h2: h2_pool(h2_connector.clone()), h2_connector })
    }

    /// Whether these connections present `credential`.
    pub(crate) fn present(&self, credential: &Credential) -> bool {
        self.credential == credential.id()
    }

    /// The same, with h2 connections that nobody else uses.
    pub(crate) fn of_one_connection(&self) -> Self {
        Self { h2: h2_pool(self.h2_connector.clone()), ..self.clone() }
    }

    /// Sends `request` over the protocol that its version names.
    async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        Ok(match request.version() {
            http::Version::HTTP_2 => self.h2.request(request).await?,
            _ => self.http1.request(request).await?,
        })
    }
}

fn h2_pool(connector: Connector) -> Pool {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .timer(TokioTimer::new())
        .http2_only(true)
        .http2_initial_stream_window_size(H2_STREAM_WINDOW)
        .http2_initial_connection_window_size(H2_CONNECTION_WINDOW)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_max_header_list_size(H2_HEADER_LIST)
        .build(connector)
}

/// Opens connections to the address in a URI's authority.
#[derive(Clone)]
struct Connector {
    tls: Option<TlsConnector>,
    server_name: ServerName<'static>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> std::io::Result<UpstreamIo> {
        let address: SocketAddr =
            uri.authority().and_then(|authority| authority.as_str().parse().ok()).ok_or_else(|| {
                std::io::Error::other(format!("upstream address of {uri} is not an IP address and port"))
            })?;
        let connecting = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let tcp = Wide::new(tcp);
            let Some(tls) = self.tls else { return Ok::<_, std::io::Error>(Transport::Plain(tcp)) };
            let stream = tls.connect(self.server_name, tcp).await?;
            Ok(Transport::Tls(Box::new(TlsStream::Client(stream))))
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| {
            std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no answer from {address} in {CONNECT_TIMEOUT:?}"),
            )
        })??;
        Ok(UpstreamIo(TokioIo::new(stream)))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = UpstreamIo;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<UpstreamIo>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection that tells the pool which protocol it speaks.
pub(crate) struct UpstreamIo(TokioIo<Transport>);

impl Connection for UpstreamIo {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.0.inner().speaks_h2() { connected.negotiated_h2() } else { connected }
    }
}

impl hyper::rt::Read for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for UpstreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
