//! Streams after a 101: exec, attach and port-forward, passed on byte for byte, decoded in passing for the record, and
//! ended with a reason when access ends.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use portcullis_kube::stream::{
    PortEvent, PortForwardProtocol, PortForwardTap, Protocol, RemoteCommandTap, Side, StreamError,
    StreamEvent,
};
use portcullis_kube::{RequestInfo, Status, query_flag, query_values};
use portcullis_record::{Channel, Event, RecordError, StreamKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;

use crate::lease::Lease;
use crate::record::RequestRecord;

/// One read of a stream, bytes; two of these are held for each open stream.
const READ_SIZE: usize = 16 * 1024;
/// How long the end of access waits for the server to finish the frame it is in, and for the client to read up to there;
/// then the stream breaks off.
const LAST_FRAME: std::time::Duration = std::time::Duration::from_millis(500);

/// Decodes a stream in passing.
pub(crate) enum Tap {
    Command { tap: RemoteCommandTap, opened: Opened },
    Ports { tap: PortForwardTap, opened: Opened },
}

/// What a stream is, for its record.
pub(crate) struct Opened {
    kind: StreamKind,
    protocol: String,
    command: Vec<String>,
    container: Option<String>,
    tty: bool,
}

impl Tap {
    /// The decoder for what `headers` of the 101 agreed to; `target` is the request target.
    pub(crate) fn new(info: &RequestInfo, target: &str, headers: &HeaderMap) -> Result<Self, StreamError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let upgrade = text("upgrade").unwrap_or_default();
        let subprotocol = text("sec-websocket-protocol").or_else(|| text("x-stream-protocol-version"));
        let tty = query_flag(target, "tty");
        let opened = |kind| Opened {
            kind,
            protocol: subprotocol.unwrap_or(upgrade).to_owned(),
            command: query_values(target, "command"),
            container: query_values(target, "container").into_iter().next(),
            tty,
        };
        Ok(match info.subresource.as_str() {
            "portforward" => Self::Ports {
                tap: PortForwardTap::new(PortForwardProtocol::negotiated(upgrade, subprotocol, target)?),
                opened: opened(StreamKind::PortForward),
            },
            subresource => Self::Command {
                tap: RemoteCommandTap::new(Protocol::negotiated(upgrade, subprotocol)?, tty),
                opened: opened(if subresource == "exec" { StreamKind::Exec } else { StreamKind::Attach }),
            },
        })
    }

    /// The event with which the stream begins.
    pub(crate) fn opened(&self, request: u32) -> Event {
        let (Self::Command { opened, .. } | Self::Ports { opened, .. }) = self;
        Event::StreamOpened {
            request,
            kind: opened.kind,
            protocol: opened.protocol.clone(),
            command: opened.command.clone(),
            container: opened.container.clone(),
            tty: opened.tty,
        }
    }

    /// Decodes bytes of one side into `record`.
    fn feed(&mut self, side: Side, bytes: &[u8], record: &RequestRecord) -> Result<(), TunnelError> {
        let mut recorded = Ok(());
        let mut note = |outcome: Result<(), RecordError>| {
            if recorded.is_ok() {
                recorded = outcome;
            }
        };
        match self {
            Self::Command { tap, .. } => tap.feed(side, bytes, &mut |event| note(keep(record, &event)))?,
            Self::Ports { tap, .. } => tap.feed(side, bytes, &mut |event| note(keep_port(record, &event)))?,
        }
        Ok(recorded?)
    }

    fn server_at_boundary(&self) -> bool {
        match self {
            Self::Command { tap, .. } => tap.at_boundary(Side::Server),
            Self::Ports { tap, .. } => tap.at_boundary(Side::Server),
        }
    }

    fn server_remaining(&self) -> u64 {
        match self {
            Self::Command { tap, .. } => tap.remaining(Side::Server),
            Self::Ports { tap, .. } => tap.remaining(Side::Server),
        }
    }

    /// The bytes that end the session with a reason.
    fn ending(&self, reason: &str) -> Result<Vec<u8>, StreamError> {
        let status = Status::forbidden(reason);
        match self {
            Self::Command { tap, .. } => tap.ending(&status),
            Self::Ports { tap, .. } => tap.ending(&status),
        }
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
pub(crate) async fn tunnel(
    client: OnUpgrade,
    server: OnUpgrade,
    tap: Tap,
    record: RequestRecord,
    lease: Lease,
) {
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
    tokio::pin!(down);
    let both = async {
        tokio::select! {
            // What the server says ends the stream; what the client still sends after that has no reader.
            ended = &mut down => ended,
            ended = up => match ended {
                Ok(()) => (&mut down).await,
                Err(error) => Err(error),
            },
        }
    };
    let ended = match lease.within(both).await {
        Ok(ended) => return ended,
        Err(ended) => ended,
    };
    // From here on nothing that the client sends goes up, whether or not it reads what it is told.
    let reason = format!("portcullis: access ended: {ended}");
    shared.cut(&reason)?;
    cut.send_replace(Some(reason.clone()));
    if let Ok(said) = tokio::time::timeout(LAST_FRAME, down).await {
        said?;
    }
    Err(TunnelError::Ended(reason))
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

/// Server to client, with last words once there is a reason in `cut`.
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
    let Some(reason) = cut.borrow().clone() else { return Ok(()) };
    // Last words can only stand between two frames; the server gets a moment to finish the one it is in.
    while !shared.server_at_boundary() {
        let rest = shared.server_remaining();
        let read = from.read(&mut buffer[..rest]).await?;
        if read == 0 {
            break;
        }
        shared.observe(Side::Server, &buffer[..read])?;
        to.write_all(&buffer[..read]).await?;
    }
    to.write_all(&shared.last_words(&reason)?).await?;
    Ok(to.shutdown().await?)
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
        tap.feed(side, bytes, &record)
    }

    fn server_at_boundary(&self) -> bool {
        self.tap.lock().unwrap_or_else(PoisonError::into_inner).server_at_boundary()
    }

    /// How much of the server's frame is missing, at least 1 and at most a read's worth.
    fn server_remaining(&self) -> usize {
        let missing = self.tap.lock().unwrap_or_else(PoisonError::into_inner).server_remaining();
        usize::try_from(missing).unwrap_or(READ_SIZE).clamp(1, READ_SIZE)
    }

    fn cut(&self, reason: &str) -> Result<(), RecordError> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.event(&Event::Cut { request: record.number(), reason: reason.to_owned() })
    }

    fn last_words(&self, reason: &str) -> Result<Vec<u8>, StreamError> {
        self.tap.lock().unwrap_or_else(PoisonError::into_inner).ending(reason)
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
            record.event(&Event::Exit { request, code: *code, message: (*message).to_owned() })
        }
        _ => Ok(()),
    }
}

/// One forwarded connection's event into the recording.
fn keep_port(record: &RequestRecord, event: &PortEvent<'_>) -> Result<(), RecordError> {
    match event {
        PortEvent::Opened { port, request } => {
            record.event(&Event::Note { text: format!("connection {request} forwarded to port {port}") })
        }
        PortEvent::Data { from: Side::Client, bytes, .. } => record.data(Channel::Stdin, bytes),
        PortEvent::Data { from: Side::Server, bytes, .. } => record.data(Channel::Stdout, bytes),
        PortEvent::Error { text, .. } => record.data(Channel::Error, text),
        _ => Ok(()),
    }
}
