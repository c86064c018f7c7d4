//! As much of h2 as the two ends need. Each connection has a runtime on the thread that it would have without: nothing is
//! handed to another.

use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;

use ::http::Request;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, client, server};
use rustls::pki_types::ServerName;
use rustls::server::Accepted;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::{StartHandshake, TlsConnector};

use crate::serve::{Answers, is_watch};
use crate::{hold, load, tls};

/// Streams that an API server allows on a connection (since Kubernetes 1.28).
const MAX_STREAMS: u32 = 100;
/// Flow-control windows of Go's client, and so of kubectl, bytes.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A connection on which one thing is asked for.
pub(crate) struct Client {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
    request: Request<()>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>, path: &str) -> Result<Self> {
        let runtime = runtime()?;
        let requests = runtime.block_on(connect(address, config))?;
        Ok(Self { runtime, requests, request: request(path, address)? })
    }

    /// Asks once, and returns the size of the answer, body only.
    ///
    /// # Errors
    /// For anything but success.
    pub(crate) fn get(&mut self) -> Result<u64> {
        self.runtime.block_on(async {
            let mut body = ask(&mut self.requests, self.request.clone()).await?;
            let mut total = 0;
            while let Some(piece) = body.data().await {
                let length = piece.context("cannot read")?.len();
                body.flow_control().release_capacity(length)?;
                total += length as u64;
            }
            Ok(total)
        })
    }
}

/// Opens watches of `path` and holds them until standard input ends.
pub(crate) fn hold(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    path: &str,
    streams: usize,
    connections: NonZeroUsize,
) -> Result<()> {
    runtime()?.block_on(async {
        let held = watches(address, config, path, streams, connections).await?;
        hold::say_holding(held.len())?;
        tokio::io::stdin().read_to_end(&mut Vec::new()).await.context("standard input")?;
        Ok(())
    })
}

/// Watches that have begun, evenly on all connections.
async fn watches(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    path: &str,
    streams: usize,
    connections: NonZeroUsize,
) -> Result<Vec<RecvStream>> {
    let mut open = Vec::with_capacity(connections.get());
    for _ in 0..connections.get() {
        open.push(connect(address, config).await?);
    }
    let mut held = Vec::with_capacity(streams);
    for number in 0..streams {
        let opened = async {
            let mut body = ask(&mut open[number % connections], request(path, address)?).await?;
            body.data().await.context("the watch ended")??;
            Ok::<_, anyhow::Error>(body)
        };
        held.push(opened.await.with_context(|| format!("stream {} of {streams}", number + 1))?);
    }
    Ok(held)
}

/// Answers as an API server until the client goes.
pub(crate) fn serve(
    accepted: Accepted,
    tcp: TcpStream,
    config: &Arc<ServerConfig>,
    answers: &Answers,
) -> Result<()> {
    runtime()?.block_on(async {
        let tls = StartHandshake::from_parts(accepted, socket(tcp)?).into_stream(Arc::clone(config)).await?;
        let mut connection =
            server::Builder::new().max_concurrent_streams(MAX_STREAMS).handshake(tls).await?;
        let mut watches = Vec::new();
        while let Some(asked) = connection.accept().await {
            let (request, mut respond) = asked?;
            let target = request.uri().path_and_query().context("a request without a target")?.as_str();
            let (answer, endless) = (answers.to(target), is_watch(target));
            let mut stream = respond.send_response(answer.head.clone(), false)?;
            stream.send_data(answer.body.clone(), !endless)?;
            if endless {
                watches.push(stream);
            }
        }
        Ok(())
    })
}

fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_io().build().context("a runtime")
}

fn socket(tcp: TcpStream) -> Result<BufReader<tokio::net::TcpStream>> {
    tcp.set_nodelay(true)?;
    tcp.set_nonblocking(true)?;
    Ok(BufReader::with_capacity(tls::READ, tokio::net::TcpStream::from_std(tcp)?))
}

async fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<SendRequest<Bytes>> {
    let tcp = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    let tls = TlsConnector::from(Arc::clone(config)).connect(ServerName::from(address.ip()), socket(tcp)?);
    let tls = tls.await.context("TLS handshake")?;
    let (requests, connection) = client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(tls)
        .await?;
    // How it ended is told by the streams on it.
    tokio::spawn(connection);
    Ok(requests)
}

fn request(path: &str, host: SocketAddr) -> Result<Request<()>> {
    let request = Request::get(format!("https://{host}{path}"));
    let request = load::HEADERS.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    Ok(request.body(())?)
}

/// The body of an answer, which has to be a success.
async fn ask(requests: &mut SendRequest<Bytes>, request: Request<()>) -> Result<RecvStream> {
    // Waits where the server allows no more streams yet.
    std::future::poll_fn(|cx| requests.poll_ready(cx)).await?;
    let (answer, _) = requests.send_request(request, true).context("cannot send")?;
    let (head, mut body) = answer.await.context("no answer")?.into_parts();
    if !head.status.is_success() {
        let said = body.data().await.transpose()?.unwrap_or_default();
        bail!("the answer was {}: {}", head.status, String::from_utf8_lossy(&said).escape_debug());
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::LazyLock;

    use super::*;
    use crate::http::Wire;
    use crate::serve::{accept, serve_api};

    /// An API server, for all tests since its answers take time to make; and how to speak HTTP/1.1 and h2 to it.
    static UPSTREAM: LazyLock<(SocketAddr, [Arc<ClientConfig>; 2])> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let config = tls::server_config(dir.path()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Answers::make().unwrap();
        std::thread::spawn(move || accept(&listener, move |tcp| serve_api(tcp, &config, &answers)));
        let ca = dir.path().join("ca.crt");
        (address, [tls::HTTP1, tls::H2].map(|protocol| tls::client_config(&ca, protocol).unwrap()))
    });

    #[test]
    fn answers_are_the_same_in_either_protocol() {
        let (address, [http1, h2]) = &*UPSTREAM;
        for (query, least) in [("?limit=4", 4_000), ("", 900_000)] {
            let path = format!("/api/v1/namespaces/shop/secrets{query}");
            let mut wire = Wire::new(tls::connect(*address, http1).unwrap());
            let mut client = Client::connect(*address, h2, &path).unwrap();
            for _ in 0..3 {
                wire.send(&load::request(&path, *address)).unwrap();
                let length = wire.response().unwrap();
                assert!(length > least, "{path}: {length}");
                assert_eq!(client.get().unwrap(), length);
            }
        }
    }

    #[test]
    fn watches_begin_and_go_on() {
        let (address, [_, h2]) = &*UPSTREAM;
        let path = "/api/v1/namespaces/shop/pods?watch=true";
        let held = runtime().unwrap().block_on(watches(*address, h2, path, 5, NonZeroUsize::new(2).unwrap()));
        let held = held.unwrap();
        assert_eq!((held.len(), held.iter().filter(|body| body.is_end_stream()).count()), (5, 0));
    }

    #[test]
    fn what_is_no_success_is_an_error() {
        let (address, [_, h2]) = &*UPSTREAM;
        let mut client = Client::connect(*address, h2, "/api/v1/namespaces/shop/configmaps").unwrap();
        assert!(client.get().unwrap_err().to_string().contains("404"));
    }
}
