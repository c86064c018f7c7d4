//! Connections taken over from HTTP: the 101 answer, and a task for each direction.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::respond::Body;

/// How long a closed connection is still read, so that what the client sends meanwhile does not reset it before it
/// has read the end.
const LINGER: Duration = Duration::from_secs(2);

/// A connection that will be free once its request has been answered with 101.
pub(crate) struct Upgrade {
    /// The connection to come.
    pub ready: OnUpgrade,
    /// Ends it with the server.
    pub shutdown: CancellationToken,
}

/// A connection taken over from HTTP.
pub(crate) struct Connection {
    io: TokioIo<Upgraded>,
    shutdown: CancellationToken,
}

/// The writing direction: a queue, so that answers to pings and output do not wait for each other.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Vec<u8>>,
    end: CancellationToken,
}

/// Answers 101 and hands the connection to `serve` once it is free.
pub(crate) fn switch<F>(
    upgrade: Option<Upgrade>,
    headers: &[(HeaderName, String)],
    serve: impl FnOnce(Connection) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    // HTTP/2 has no upgrades; no client sends their headers there.
    let Some(Upgrade { ready, shutdown }) = upgrade else { return bare(StatusCode::BAD_REQUEST) };
    tokio::spawn(async move {
        match ready.await {
            Ok(upgraded) => serve(Connection { io: TokioIo::new(upgraded), shutdown }).await,
            Err(error) => tracing::debug!("upgrade: {error}"),
        }
    });
    let mut response = bare(StatusCode::SWITCHING_PROTOCOLS);
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_str(value).expect("protocol names are ASCII"));
    }
    response
}

/// An answer without the headers of the API, as x/net/websocket refuses a handshake.
pub(crate) fn bare(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = code;
    response
}

impl Connection {
    /// What arrives, as it arrives, and the way back. Ends with the client, or with the server.
    pub(crate) fn split(self) -> (mpsc::Receiver<Vec<u8>>, Writer) {
        let (read, write) = tokio::io::split(self.io);
        let (queue, waiting) = mpsc::channel(16);
        let end = self.shutdown.child_token();
        tokio::spawn(write_all(write, waiting, end.clone()));
        let (sender, chunks) = mpsc::channel(16);
        tokio::spawn(read_all(read, sender, self.shutdown));
        (chunks, Writer { queue, end })
    }
}

impl Writer {
    /// Queues bytes; whether they still have somebody to go to.
    pub(crate) async fn send(&self, bytes: Vec<u8>) -> bool {
        self.queue.send(bytes).await.is_ok()
    }

    /// Ends the direction once everything queued is written.
    pub(crate) fn close(&self) {
        self.end.cancel();
    }
}

async fn write_all(
    mut half: WriteHalf<TokioIo<Upgraded>>,
    mut waiting: mpsc::Receiver<Vec<u8>>,
    end: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            biased;
            next = waiting.recv() => next,
            () = end.cancelled() => None,
        };
        let Some(bytes) = next else { break };
        if half.write_all(&bytes).await.is_err() || half.flush().await.is_err() {
            return;
        }
    }
    if let Err(error) = half.shutdown().await {
        tracing::debug!("end of connection: {error}");
    }
}

async fn read_all(
    mut half: ReadHalf<TokioIo<Upgraded>>,
    sender: mpsc::Sender<Vec<u8>>,
    shutdown: CancellationToken,
) {
    let mut buffer = vec![0_u8; 32 * 1024];
    loop {
        let read = tokio::select! {
            read = half.read(&mut buffer) => read.unwrap_or(0),
            () = shutdown.cancelled() => 0,
            () = sender.closed() => break,
        };
        if read == 0 {
            return;
        }
        if sender.send(buffer[..read].to_vec()).await.is_err() {
            break;
        }
    }
    let drained = async { while half.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
    if tokio::time::timeout(LINGER, drained).await.is_err() {
        tracing::debug!("the client did not close its side");
    }
}
