//! Streams after a 101: exec, attach and port-forward, passed on byte for byte, decoded in passing for the record, and
//! ended with a reason when access ends.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use portcullis_access::Ended;
use portcullis_kube::RequestInfo;
use portcullis_kube::stream::{Side, StreamError, StreamEvent, StreamTap};
use portcullis_record::{Channel, Event, RecordError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;

use crate::lease::Lease;
use crate::record::RequestRecord;

/// One read of a stream, bytes; two of these are held for each open stream.
const READ_SIZE: usize = 16 * 1024;
/// How long the end of access waits for the server to finish the frame it is in; then the stream breaks off.
const LAST_FRAME: std::time::Duration = std::time::Duration::from_millis(500);

/// Decodes a stream in passing.
pub(crate) struct Tap(StreamTap);

impl Tap {
    /// The decoder for what `headers` of the 101 agreed to.
    pub(crate) fn new(info: &RequestInfo, headers: &HeaderMap) -> Result<Self, StreamError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        StreamTap::new(
            info,
            text("upgrade").unwrap_or(""),
            text("sec-websocket-protocol").or_else(|| text("x-stream-protocol-version")),
        )
        .map(Self)
    }
}

/// Why a tunnel ended before both sides were done.
#[derive(Debug, thiserror::Error)]
enum TunnelError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the stream could not be decoded: {0}")]
    Undecodable(#[from] StreamError),
    #[error("the stream could not be recorded: {0}")]
    Unrecorded(#[from] RecordError),
    #[error("the upgrade failed: {0}")]
    Upgrade(#[from] hyper::Error),
    #[error("{0}")]
    Ended(String),
}

type Reader = ReadHalf<TokioIo<Upgraded>>;
type Writer = WriteHalf<TokioIo<Upgraded>>;

/// What both directions share. The lock is held while a read's worth of bytes is decoded, never across an await.
struct Shared {
    tap: Mutex<Tap>,
    record: Mutex<RequestRecord>,
}

/// Carries an upgraded connection until both sides are done or access ends.
pub(crate) async fn tunnel(client: OnUpgrade, server: OnUpgrade, tap: Tap, record: RequestRecord, lease: Lease) {
    let shared = Arc::new(Shared { tap: Mutex::new(tap), record: Mutex::new(record) });
    let outcome = carry(client, server, &shared, lease).await;
    let mut record = shared.record.lock().unwrap_or_else(PoisonError::into_inner);
    let error = outcome.err().map(|error| error.to_string());
    if let Some(error) = &error {
        tracing::info!(request = record.number(), error, "stream ended early");
    }
    if let Err(error) = record.end(error) {
        tracing::error!(%error, "the end of a stream could not be recorded");
    }
}

async fn carry(
    client: OnUpgrade,
    server: OnUpgrade,
    shared: &Arc<Shared>,
    lease: Lease,
) -> Result<(), TunnelError> {
    let (client, server) = tokio::try_join!(client, server)?;
    let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
    let (server_read, server_write) = tokio::io::split(TokioIo::new(server));
    let (cut, cut_seen) = watch::channel(None::<String>);

    let up = upward(client_read, server_write, Arc::clone(shared));
    let down = downward(server_read, client_write, Arc::clone(shared), cut_seen);
    let end_of_access = async {
        let ended: Ended = lease.ended().await;
        cut.send_replace(Some(format!("portcullis: access ended: {ended}")));
        // The downward half says so and ends; it decides when this stream is over.
        std::future::pending::<()>().await;
    };
    tokio::pin!(up, down, end_of_access);
    let mut up_done = false;
    loop {
        tokio::select! {
            // What the server says ends the stream; what the client still sends after that has no reader.
            ended = &mut down => return ended,
            ended = &mut up, if !up_done => { ended?; up_done = true; }
            () = &mut end_of_access => {}
        }
    }
}

/// Client to server.
async fn upward(mut from: Reader, mut to: Writer, shared: Arc<Shared>) -> Result<(), TunnelError> {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        shared.observe(Side::Client, &buffer[..read])?;
        to.write_all(&buffer[..read]).await?;
    }
}

/// Server to client, with the last words when access ends.
async fn downward(
    mut from: Reader,
    mut to: Writer,
    shared: Arc<Shared>,
    mut cut: watch::Receiver<Option<String>>,
) -> Result<(), TunnelError> {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let read = tokio::select! {
            biased;
            _ = cut.wait_for(Option::is_some) => break,
            read = from.read(&mut buffer) => read?,
        };
        if read == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        shared.observe(Side::Server, &buffer[..read])?;
        to.write_all(&buffer[..read]).await?;
    }
    let reason = cut.borrow().clone().unwrap_or_else(|| "portcullis: access ended".to_owned());
    shared.cut(&reason)?;
    // Last words can only stand between two frames; the server gets a moment to finish the one it is in.
    let finish_frame = async {
        while !shared.server_at_boundary() {
            let rest = shared.server_remaining().min(READ_SIZE);
            let read = from.read(&mut buffer[..rest]).await?;
            if read == 0 {
                break;
            }
            shared.observe(Side::Server, &buffer[..read])?;
            to.write_all(&buffer[..read]).await?;
        }
        Ok::<_, TunnelError>(())
    };
    if let Ok(finished) = tokio::time::timeout(LAST_FRAME, finish_frame).await {
        finished?;
        let words = shared.last_words(&reason)?;
        to.write_all(&words).await?;
    }
    to.shutdown().await?;
    Err(TunnelError::Ended(reason))
}

impl Shared {
    /// Decodes bytes of one side into the record; what cannot be decoded or recorded is not passed on.
    fn observe(&self, side: Side, bytes: &[u8]) -> Result<(), TunnelError> {
        let mut tap = self.tap.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        match side {
            Side::Client => {
                record.received().fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
            }
            Side::Server => record.passed(bytes.len()),
        }
        let mut recorded = Ok(());
        tap.0.feed(side, bytes, &mut |event| {
            if recorded.is_ok() {
                recorded = keep(&record, &event);
            }
        })?;
        Ok(recorded?)
    }

    fn server_at_boundary(&self) -> bool {
        self.tap.lock().unwrap_or_else(PoisonError::into_inner).0.at_boundary(Side::Server)
    }

    fn server_remaining(&self) -> usize {
        self.tap.lock().unwrap_or_else(PoisonError::into_inner).0.remaining(Side::Server).max(1)
    }

    fn cut(&self, reason: &str) -> Result<(), RecordError> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.event(&Event::Cut { request: record.number(), reason: reason.to_owned() })
    }

    fn last_words(&self, reason: &str) -> Result<Vec<u8>, StreamError> {
        self.tap.lock().unwrap_or_else(PoisonError::into_inner).0.end(reason)
    }
}

/// One decoded event into the recording.
fn keep(record: &RequestRecord, event: &StreamEvent<'_>) -> Result<(), RecordError> {
    let request = record.number();
    match event {
        StreamEvent::Stdin(data) => record.data(Channel::Stdin, data),
        StreamEvent::Stdout(data) => record.data(Channel::Stdout, data),
        StreamEvent::Stderr(data) => record.data(Channel::Stderr, data),
        StreamEvent::Resize { width, height } => {
            record.event(&Event::Resize { request, width: *width, height: *height })
        }
        StreamEvent::Exit { code, message } => {
            record.event(&Event::Exit { request, code: *code, message: message.to_string() })
        }
        _ => Ok(()),
    }
}
