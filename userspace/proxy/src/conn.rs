//! The path of a connection, and of each request in it:
//!
//! accept ▶ attest ▶ terminate TLS ▶ identify ▶ classify ▶ decide ▶ open record ▶ credential ▶ forward ▶ mask ▶ record
//!
//! Each stage consumes what the stage before it made: an unattested connection cannot be decided, and nothing is
//! forwarded before its record is open.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use portcullis_identity::{AttestError, Attested};
use portcullis_tls::TlsError;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::body::ResponseBody;
use crate::caller::Caller;
use crate::classify::Classified;
use crate::decide::Decided;
use crate::forward::Credentialed;
use crate::refusal::Refused;
use crate::terminate::{HEADER_TIMEOUT, Secured};
use crate::{Proxy, forward};

/// Why a connection ended before its first request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnError {
    #[error("unattested: {0}")]
    Unattested(#[from] AttestError),
    #[error("bound for {0}, which is no target")]
    NoTarget(portcullis_identity::OriginalDst),
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    #[error("TLS handshake: {0}")]
    Handshake(#[source] std::io::Error),
    #[error("TLS handshake not finished in time")]
    HandshakeTimeout,
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    proxy: Arc<Proxy>,
    tcp: TcpStream,
    drain: CancellationToken,
) -> Result<(), ConnError> {
    let attested = Attested::new(tcp, &*proxy.attestor)?;
    let secured = Secured::terminate(&proxy, attested).await?;
    let h2 = secured.speaks_h2();
    let (io, caller) = Caller::identify(&proxy, secured).await;
    let caller = Arc::new(caller);
    let service = service_fn(|request| {
        let (proxy, caller) = (Arc::clone(&proxy), Arc::clone(&caller));
        async move { Ok::<_, std::convert::Infallible>(answer(&proxy, &caller, request).await) }
    });
    let io = TokioIo::new(io);
    if h2 {
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(std::time::Duration::from_secs(30))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .max_concurrent_streams(1000)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    } else {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(io, service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended?),
            () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }
}

/// Answers one request: what the pipeline gives, or its refusal in the form that the client can show.
async fn answer(
    proxy: &Arc<Proxy>,
    caller: &Arc<Caller>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let discovery = is_discovery(&request);
    let retry_of = crate::denials::key(caller, &request);
    match pipeline(proxy, caller, request).await {
        Ok(response) => response,
        Err(refused) => {
            caller.refused(proxy, &refused, retry_of);
            refused.refusal.response(discovery)
        }
    }
}

async fn pipeline(
    proxy: &Arc<Proxy>,
    caller: &Arc<Caller>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Refused> {
    let person = caller.person()?;
    let classified = Classified::read(person, request)?;
    let decided = Decided::by_grant(proxy, classified)?;
    let recorded = decided.open_record()?;
    let credentialed = Credentialed::new(proxy, recorded).await?;
    forward::send(credentialed).await
}

/// Whether kubectl asks for discovery here: refusals are worded for it even when the request is not read further.
fn is_discovery(request: &Request<Incoming>) -> bool {
    portcullis_kube::classify("GET", request.uri().path()).is_ok_and(|info| info.is_discovery())
}
