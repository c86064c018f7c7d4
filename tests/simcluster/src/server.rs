//! Listeners: TCP, TLS, HTTP/1.1 and HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::cluster::Cluster;
use crate::{handler, pki};

/// Serves the cluster on a listener until it shuts down.
pub(crate) async fn serve(cluster: Arc<Cluster>, listener: TcpListener, tls: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cluster.shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::spawn(connection(cluster.clone(), acceptor.clone(), stream, peer));
            }
            Err(error) => tracing::warn!("accept: {error}"),
        }
    }
}

async fn connection(cluster: Arc<Cluster>, acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr) {
    // Without this, the last small frame of an answer waits for the client's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, "nodelay: {error}");
    }
    let stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%peer, "TLS: {error}"),
    };
    let certificates = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let user = certificates.and_then(pki::user_of).map(Arc::new);
    let shutdown = cluster.shutdown.clone();
    let service = service_fn(move |request| {
        let answer = handler::handle(cluster.clone(), user.clone(), request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let mut builder = Builder::new(TokioExecutor::new()).title_case_headers(true);
    builder.http1().half_close(true);
    builder.http2().max_concurrent_streams(250);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::debug!(%peer, "connection: {error}");
        },
        () = shutdown.cancelled() => {}
    }
}
