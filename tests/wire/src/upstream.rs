//! The API server that a test plays.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::server::SendResponse;
use http::Request;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::{Head, Stream, soon};

/// The server's end of a connection.
pub type ServerStream = TlsStream<TcpStream>;

/// A listening socket with a certificate for its address.
pub struct Upstream {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    address: SocketAddr,
    ca_pem: String,
}

impl Upstream {
    /// Listens on the loopback address.
    ///
    /// # Errors
    /// When there is no port or no key to be had.
    pub async fn listen() -> Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)), address, ca_pem })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who vouches for its certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The next connection.
    ///
    /// # Errors
    /// When none comes.
    pub async fn accept(&self) -> Result<ServerStream> {
        let (tcp, _) = soon("a connection upstream", self.listener.accept()).await??;
        self.greet(tcp).await
    }

    async fn greet(&self, tcp: TcpStream) -> Result<ServerStream> {
        tcp.set_nodelay(true)?;
        Ok(soon("a handshake upstream", self.acceptor.accept(tcp)).await??)
    }

    /// Accepts and reads from now on.
    #[must_use]
    pub fn arrivals(self) -> Arrivals {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = self.listener.accept().await {
                let Ok(io) = self.greet(tcp).await else { continue };
                tokio::spawn(read(io, sender.clone()));
            }
        });
        Arrivals(receiver)
    }
}

/// Requests as they arrive, on whichever connection.
pub struct Arrivals(mpsc::UnboundedReceiver<Arrival>);

/// A request that arrived.
pub enum Arrival {
    /// Over HTTP/1.1.
    Http1(Box<Http1Arrival>),
    /// Over h2.
    Http2(Box<Http2Arrival>),
}

/// A request over HTTP/1.1.
pub struct Http1Arrival {
    /// Its head.
    pub head: Head,
    /// Its connection, with the body still to be read.
    pub stream: Stream<ServerStream>,
    back: oneshot::Sender<Stream<ServerStream>>,
}

/// A request over h2.
pub struct Http2Arrival {
    /// Head and body.
    pub request: Request<h2::RecvStream>,
    /// Where its answer goes.
    pub respond: SendResponse<Bytes>,
}

impl Http1Arrival {
    /// Gives the connection back, for the next request on it.
    pub fn keep(self) {
        self.back.send(self.stream).ok();
    }
}

impl Arrivals {
    /// The next request.
    ///
    /// # Errors
    /// When none arrives.
    pub async fn next(&mut self) -> Result<Arrival> {
        soon("a request to arrive upstream", self.0.recv()).await?.context("nobody listens")
    }

    /// The next request, over HTTP/1.1.
    ///
    /// # Errors
    /// When none arrives, or over h2.
    pub async fn http1(&mut self) -> Result<Http1Arrival> {
        match self.next().await? {
            Arrival::Http1(arrival) => Ok(*arrival),
            Arrival::Http2(arrival) => anyhow::bail!("{:?} arrived over h2", arrival.request),
        }
    }

    /// The next request, over h2.
    ///
    /// # Errors
    /// When none arrives, or over HTTP/1.1.
    pub async fn http2(&mut self) -> Result<Http2Arrival> {
        match self.next().await? {
            Arrival::Http2(arrival) => Ok(*arrival),
            Arrival::Http1(arrival) => anyhow::bail!("{:?} arrived over HTTP/1.1", arrival.head),
        }
    }

    /// How many have arrived that nobody has asked for.
    #[must_use]
    pub fn waiting_len(&self) -> usize {
        self.0.len()
    }

    /// One that has arrived and nobody has asked for, as text.
    pub fn waiting(&mut self) -> Option<String> {
        self.0.try_recv().ok().map(|arrival| match arrival {
            Arrival::Http1(arrival) => format!("{:?}", arrival.head),
            Arrival::Http2(arrival) => format!("{:?}", arrival.request),
        })
    }
}

/// Reads the requests of one connection to its end.
async fn read(io: ServerStream, arrivals: mpsc::UnboundedSender<Arrival>) {
    if io.get_ref().1.alpn_protocol() == Some(b"h2") {
        // Windows for many streams that nobody reads, and heads as long as Go's servers take.
        let mut builder = h2::server::Builder::new();
        builder.initial_connection_window_size(16 << 20).max_header_list_size((1 << 20) + 320);
        let Ok(mut connection) = builder.handshake(io).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            arrivals.send(Arrival::Http2(Box::new(Http2Arrival { request, respond }))).ok();
        }
        return;
    }
    let mut stream = Stream::new(io);
    // An idle connection may wait for longer than any one step of a test.
    while let Ok(head) = stream.idle_head().await {
        let (back, returned) = oneshot::channel();
        arrivals.send(Arrival::Http1(Box::new(Http1Arrival { head, stream, back }))).ok();
        match returned.await {
            Ok(kept) => stream = kept,
            Err(_) => return,
        }
    }
}
