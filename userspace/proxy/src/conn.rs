//! The path of a connection, and of each request in it:
//!
//! accept ▶ attest ▶ terminate TLS ▶ identify ▶ classify ▶ decide ▶ [hold] ▶ open record ▶ credential ▶ forward ▶ mask
//! ▶ record
//!
//! Each stage consumes what the stage before it made: an unattested connection cannot be decided, and nothing is
//! forwarded before its record is open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use portcullis_identity::{AttestError, Attested, Uid};
use portcullis_kube::SelfReview;
use portcullis_tls::TlsError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::body::ResponseBody;
use crate::caller::{Caller, Person};
use crate::classify::Classified;
use crate::decide::Decided;
use crate::forward::Credentialed;
use crate::hold::{Cleared, Waited};
use crate::refusal::{Refusal, Refused, Wording};
use crate::sent::SentBody;
use crate::terminate::{HEADER_TIMEOUT, Secured};
use crate::transport::Transport;
use crate::wire::{Fault, Heads};
use crate::worker::WorkerId;
use crate::{Proxy, forward, mcp, reviews};

/// Requests under way on one h2 connection. No more than what API servers allow (100 since Kubernetes 1.28), since each
/// client connection has one of its own upstream; clients open another when they need more.
const MAX_STREAMS: u32 = 100;

/// Header lists on h2, bytes as RFC 9113 §6.5.2 counts them: the longest path, and as much beside it. API servers take
/// 1 MiB, and a hundred streams are open at once on each connection.
const MAX_HEADER_LIST: u32 = 128 << 10;
/// Fields of one head on HTTP/1.1. Go's servers only count bytes; hyper, unasked, takes a hundred.
pub(crate) const MAX_FIELDS: usize = 2000;

/// Why a connection ended before its first request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnError {
    #[error("unattested: {0}")]
    Unattested(#[from] AttestError),
    #[error("uid {0} has too many connections")]
    TooMany(Uid),
    #[error("bound for {0}, which is no target")]
    NoTarget(portcullis_identity::OriginalDst),
    #[error("socket: {0}")]
    Socket(#[source] std::io::Error),
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
    tcp: std::net::TcpStream,
    worker: WorkerId,
    drain: CancellationToken,
) -> Result<(), ConnError> {
    let tcp = TcpStream::from_std(tcp).map_err(ConnError::Socket)?;
    let attested = Attested::new(tcp, &*proxy.attestor)?;
    let uid = attested.attestation().uid;
    let place = proxy.limits.place(uid).ok_or(ConnError::TooMany(uid))?;
    let secured = Secured::terminate(&proxy, attested).await?;
    let h2 = secured.speaks_h2();
    let (io, caller) = Caller::new(&proxy, secured, place, worker);
    let caller = Arc::new(caller);
    let hung_up = Arc::clone(&caller);
    tokio::select! {
        ended = speak(proxy, io, h2, caller, drain) => Ok(ended?),
        () = hung_up.hung_up() => Ok(()),
    }
}

async fn speak(
    proxy: Arc<Proxy>,
    io: Transport,
    h2: bool,
    caller: Arc<Caller>,
    drain: CancellationToken,
) -> hyper::Result<()> {
    if h2 {
        let service = service_fn(|request| {
            let (proxy, caller) = (Arc::clone(&proxy), Arc::clone(&caller));
            async move { Ok::<_, Infallible>(answer(&proxy, &caller, SentBody::of(request)).await) }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(io), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    } else {
        http1(proxy, io, caller, drain).await
    }
}

/// Serves HTTP/1.1 to its end.
pub(crate) async fn http1(
    proxy: Arc<Proxy>,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    caller: Arc<Caller>,
    drain: CancellationToken,
) -> hyper::Result<()> {
    let io = Heads::new(io);
    let seen = io.seen();
    let service = service_fn(|mut request: Request<Incoming>| {
        // Looked at here, and not when the answer is awaited: by then the next head may have been read.
        if let Some(fault) = seen.fault() {
            request.extensions_mut().insert(fault);
        }
        let (proxy, caller, last) = (Arc::clone(&proxy), Arc::clone(&caller), seen.last());
        // hyper keeps room for this beside the connection, busy or not, and moves it in there.
        Box::pin(async move {
            let mut response = answer(&proxy, &caller, SentBody::of(request)).await;
            if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        })
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .preserve_header_case(true)
        .auto_date_header(false)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Answers one request: what the pipeline gives, or its refusal in the form that the client can show.
async fn answer(
    proxy: &Arc<Proxy>,
    caller: &Arc<Caller>,
    request: Request<SentBody>,
) -> Response<ResponseBody> {
    let uri = request.uri().clone();
    if let Some(metadata) =
        caller.mcp().and_then(|server| mcp::oauth::answer(server, request.method(), uri.path()))
    {
        return metadata;
    }
    let retry_of = crate::denials::key(caller, &request);
    let fault = request.extensions().get::<Fault>().copied();
    let (person, answered) = match caller.person(request.headers()).await {
        Ok(person) => (Some(Arc::clone(&person)), pipeline(proxy, caller, person, request).await),
        // Of a head that is not read, nothing was presented that could name anybody.
        Err(refusal) => (None, Err(fault.map_or(refusal, Refusal::Framing).into())),
    };
    answered.unwrap_or_else(|refused| {
        caller.refused(person.as_deref(), &refused, retry_of);
        match (caller.mcp(), refused.wording) {
            (Some(server), None) if person.is_none() => mcp::oauth::unidentified(server, &refused.refusal),
            (Some(_), None) => refused.refusal.response(&Wording::Rpc(None)),
            (_, Some(worded)) => refused.refusal.response(&worded),
            (None, None) => refused.refusal.response(&wording(&uri)),
        }
    })
}

async fn pipeline(
    proxy: &Arc<Proxy>,
    caller: &Arc<Caller>,
    person: Arc<Person>,
    request: Request<SentBody>,
) -> Result<Response<ResponseBody>, Refused> {
    let classified = Classified::read(proxy, person, request).await?;
    let wording = classified.wording();
    let worded = |refused: Refused| Refused { wording: wording.clone(), ..refused };
    let decided = Decided::by_policy(proxy, classified).map_err(|refusal| worded(refusal.into()))?;
    if let Some(review) = SelfReview::of(&decided.classified.info) {
        return reviews::answer(proxy, decided, review).await;
    }
    if mcp::wait::tells(proxy, &decided) {
        return Ok(mcp::wait::answer(proxy, caller, decided));
    }
    proceed(proxy, decided).await.map_err(worded)
}

/// From the decision to the answer.
pub(crate) async fn proceed(proxy: &Arc<Proxy>, decided: Decided) -> Result<Response<ResponseBody>, Refused> {
    let recorded = match Cleared::wait(proxy, decided).await? {
        Waited::Continue(cleared) => cleared.open_record()?,
        Waited::Break(answer) => return Ok(answer),
    };
    let credentialed = Credentialed::new(proxy, recorded).await?;
    forward::send(credentialed).await
}

/// How a refusal is to be worded here, even when the request was not read further.
fn wording(uri: &Uri) -> Wording {
    let target = uri.path_and_query().map_or_else(|| uri.path(), |target| target.as_str());
    match portcullis_kube::classify("GET", target) {
        Ok(info) if info.is_discovery() => Wording::Discovery,
        Ok(info) if info.verb == "watch" => Wording::Text,
        _ => Wording::Status,
    }
}
