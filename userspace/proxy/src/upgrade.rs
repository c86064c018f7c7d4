//! Streams after a 101: exec, attach, port-forward, and watches and logs over WebSocket. Decoded, masked, recorded, and
//! ended with a reason when access ends.

mod masking;
mod served;
mod stream;
mod typed;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use portcullis_kube::stream::{Side, StreamError};
use portcullis_record::{Event, RecordError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub(crate) use self::masking::Masking;
pub(crate) use self::served::Served;
use self::served::{Put, Taken};
pub(crate) use self::stream::Stream;
use crate::lease::Lease;
use crate::record::RequestRecord;

/// One read of a stream, bytes; two of these are held for each open stream.
const READ_SIZE: usize = 16 * 1024;
/// How long the end of access waits for the server to finish the frame it is in, and for the client to read up to there;
/// then the stream breaks off.
const LAST_FRAME: Duration = Duration::from_millis(500);
/// How long a client may take to hang up once all has been said.
const LINGER: Duration = Duration::from_millis(500);

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

/// What both directions share. The lock is held while a read's worth of bytes is decoded, never across an await.
struct Shared(Mutex<(Stream, RequestRecord)>);

/// Carries an upgraded connection until both sides are done or access ends.
pub(crate) async fn tunnel(
    client: OnUpgrade,
    server: OnUpgrade,
    stream: Stream,
    record: RequestRecord,
    lease: Lease,
) {
    let shared = Shared(Mutex::new((stream, record)));
    let outcome = match tokio::try_join!(client, server) {
        Ok((client, server)) => carry(TokioIo::new(client), TokioIo::new(server), &shared, &lease).await,
        Err(error) => Err(error.into()),
    };
    let (stream, record) = &mut *shared.lock();
    let error = outcome.err().map(|error| error.to_string());
    if let Some(error) = &error {
        tracing::info!(request = record.number(), error, "stream ended early");
    }
    if let Err(error) = stream.end(record).and_then(|()| record.end(error)) {
        tracing::error!(%error, "the end of a stream could not be recorded");
    }
}

async fn carry(
    client: impl AsyncRead + AsyncWrite,
    server: impl AsyncRead + AsyncWrite,
    shared: &Shared,
    lease: &Lease,
) -> Result<(), TunnelError> {
    let (mut client_read, client_write) = tokio::io::split(client);
    let outcome = until_the_end(&mut client_read, client_write, server, shared, lease).await;
    // A connection that is closed while its client still sends is reset, and what it was told last may be lost.
    let mut unheard = vec![0; READ_SIZE];
    let drained = async { while client_read.read(&mut unheard).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(LINGER, drained).await.ok();
    outcome
}

async fn until_the_end(
    client_read: &mut (impl AsyncRead + Unpin),
    client_write: impl AsyncWrite + Unpin,
    server: impl AsyncRead + AsyncWrite,
    shared: &Shared,
    lease: &Lease,
) -> Result<(), TunnelError> {
    let (server_read, server_write) = tokio::io::split(server);
    let (cut, cut_seen) = watch::channel(None::<String>);
    let [puts_up, puts_down] = shared.lock().0.puts();

    let up = upward(client_read, server_write, shared, puts_up);
    let down = downward(server_read, client_write, shared, puts_down, cut_seen);
    tokio::pin!(down);
    let both = async {
        tokio::select! {
            // What the server says ends the stream; what the client still sends after that has no reader.
            ended = &mut down => Ok(ended),
            ended = up => match ended {
                Ok(()) => Ok((&mut down).await),
                Err(error) => Err(error),
            },
        }
    };
    let (reason, error) = match lease.within(both).await {
        Ok(Ok(ended)) => return ended,
        Ok(Err(error @ TunnelError::Undecodable(_))) => (format!("portcullis: {error}"), error),
        Ok(Err(error)) => return Err(error),
        Err(ended) => {
            let reason = format!("portcullis: access ended: {ended}");
            shared.cut(&reason)?;
            (reason.clone(), TunnelError::Ended(reason))
        }
    };
    // From here on nothing that the client sends goes up, whether or not it reads what it is told.
    cut.send_replace(Some(reason));
    if let Ok(said) = tokio::time::timeout(LAST_FRAME, down).await {
        said?;
    }
    Err(error)
}

/// Client to server.
async fn upward(
    from: &mut (impl AsyncRead + Unpin),
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    mut puts: mpsc::Receiver<Put>,
) -> Result<(), TunnelError> {
    let (mut buffer, mut out, mut taken) = (vec![0; READ_SIZE], Vec::new(), Taken::default());
    loop {
        out.clear();
        tokio::select! {
            () = taken.deliver(), if !taken.is_empty() => continue,
            Some(put) = puts.recv() => shared.put(&put, &mut out)?,
            read = from.read(&mut buffer), if taken.is_empty() => match read? {
                0 => {
                    shared.lock().0.ended(Side::Client);
                    to.shutdown().await?;
                    return Ok(());
                }
                read => {
                    shared.pass(Side::Client, &buffer[..read], &mut out)?;
                    taken = shared.lock().0.taken(Side::Client);
                }
            },
        }
        to.write_all(&out).await?;
    }
}

/// What the server's end is to say next to the client.
enum Next {
    Read(usize),
    Put(Put),
    Due,
}

/// Server to client, with last words once there is a reason in `cut`.
async fn downward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    mut puts: mpsc::Receiver<Put>,
    mut cut: watch::Receiver<Option<String>>,
) -> Result<(), TunnelError> {
    let (mut buffer, mut out, mut taken) = (vec![0; READ_SIZE], Vec::new(), Taken::default());
    let reason = loop {
        // Until when what is held back may be.
        let due = shared.due();
        let next = tokio::select! {
            biased;
            reason = cut.wait_for(Option::is_some) => break reason.ok().and_then(|reason| reason.clone()),
            () = taken.deliver(), if !taken.is_empty() => continue,
            Some(put) = puts.recv() => Next::Put(put),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Next::Due,
            read = from.read(&mut buffer), if taken.is_empty() => Next::Read(read?),
        };
        out.clear();
        let passed = match &next {
            Next::Due => shared.give(&mut out, Stream::flush),
            Next::Put(put) => {
                shared.give(&mut out, |stream, record, out| stream.put(Side::Server, put, record, out))
            }
            Next::Read(0) => {
                last_puts(&mut to, shared, &mut taken, &mut puts).await?;
                shared.give(&mut out, Stream::finish)
            }
            Next::Read(read) => {
                let passed = shared.pass(Side::Server, &buffer[..*read], &mut out);
                taken = shared.lock().0.taken(Side::Server);
                passed
            }
        };
        match passed {
            Ok(()) => to.write_all(&out).await?,
            // What cannot be decoded is not passed, but what came before it is; its client is told, where that fits.
            Err(error @ TunnelError::Undecodable(_)) => {
                to.write_all(&out).await?;
                last_words(&mut to, shared, &format!("portcullis: {error}")).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        if matches!(next, Next::Read(0)) {
            to.shutdown().await?;
            return Ok(());
        }
        if shared.lock().0.is_closing() {
            last_puts(&mut to, shared, &mut taken, &mut puts).await?;
            out.clear();
            shared.give(&mut out, Stream::finish)?;
            to.write_all(&out).await?;
        }
    };
    let Some(reason) = reason else { return Ok(()) };
    // Last words can only stand between two frames; the server gets a moment to finish the one it is in.
    while let Some(missing) = shared.remaining() {
        let missing = usize::try_from(missing).unwrap_or(READ_SIZE).clamp(1, READ_SIZE);
        let read = from.read(&mut buffer[..missing]).await?;
        if read == 0 {
            break;
        }
        out.clear();
        shared.pass(Side::Server, &buffer[..read], &mut out)?;
        to.write_all(&out).await?;
    }
    last_words(&mut to, shared, &reason).await
}

/// Gives the client what is still under way of connections that are served here, now that the server has ended its side.
async fn last_puts(
    to: &mut (impl AsyncWrite + Unpin),
    shared: &Shared,
    taken: &mut Taken,
    puts: &mut mpsc::Receiver<Put>,
) -> Result<(), TunnelError> {
    shared.lock().0.ended(Side::Server);
    let mut out = Vec::new();
    loop {
        let put = tokio::select! {
            () = taken.deliver(), if !taken.is_empty() => continue,
            put = tokio::time::timeout(LAST_FRAME, puts.recv()) => put,
        };
        let Ok(Some(put)) = put else { return Ok(()) };
        out.clear();
        shared.give(&mut out, |stream, record, out| stream.put(Side::Server, &put, record, out))?;
        to.write_all(&out).await?;
    }
}

/// Tells the client why the stream ends, if that fits in, and closes its side.
async fn last_words(
    to: &mut (impl AsyncWrite + Unpin),
    shared: &Shared,
    reason: &str,
) -> Result<(), TunnelError> {
    let mut out = Vec::new();
    let ended = shared.give(&mut out, |stream, record, out| stream.ending(reason, record, out));
    if !matches!(ended, Err(TunnelError::Unrecorded(_))) {
        to.write_all(&out).await?;
    }
    to.shutdown().await?;
    ended
}

impl Shared {
    /// Decodes bytes of one side into the record, and gives what is to be passed on of them.
    fn pass(&self, side: Side, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TunnelError> {
        let (stream, record) = &mut *self.lock();
        if side == Side::Client {
            record.received().fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        let outcome = stream.feed(side, bytes, record, out);
        if side == Side::Server {
            record.passed(out.len());
        }
        outcome
    }

    /// Gives the server what is to be put in.
    fn put(&self, put: &Put, out: &mut Vec<u8>) -> Result<(), TunnelError> {
        let (stream, record) = &mut *self.lock();
        stream.put(Side::Client, put, record, out)
    }

    /// Gives the client what `act` has for it.
    fn give(
        &self,
        out: &mut Vec<u8>,
        act: impl FnOnce(&mut Stream, &RequestRecord, &mut Vec<u8>) -> Result<(), TunnelError>,
    ) -> Result<(), TunnelError> {
        let (stream, record) = &mut *self.lock();
        let outcome = act(stream, record, out);
        record.passed(out.len());
        outcome
    }

    fn due(&self) -> Option<Instant> {
        self.lock().0.due()
    }

    fn remaining(&self) -> Option<u64> {
        self.lock().0.remaining()
    }

    fn cut(&self, reason: &str) -> Result<(), RecordError> {
        let (_, record) = &*self.lock();
        record.event(&Event::Cut { request: record.number(), reason: reason.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, (Stream, RequestRecord)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
