//! HTTP/1.1 heads as they come over the wire, looked at before hyper makes the best of them.
//!
//! hyper resolves what RFC 9112 §6.3 lets a server resolve: it drops `Content-Length` beside `Transfer-Encoding`, folds
//! equal lengths into one, takes a bare line feed for a line's end. What goes upstream is unambiguous either way, but
//! whoever sends such heads means two readers to see two requests, and that is refused, not guessed (Law 6).
//!
//! hyper is given one head at a time, when all of it is there, so that what was seen last belongs to the request that it
//! hands out next. In the place of a head with a fault it is given one that says nothing: what is answered is the fault.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

pub(crate) use portcullis_codec::http1::Fault;
use portcullis_codec::http1::{Chunks, Follows, LONGEST_HEAD, end_of_head, read_head};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// In the place of a head that is refused.
const NOTHING: &[u8] = b"GET / HTTP/1.1\r\nHost: refused\r\n\r\n";
/// One read of what does not fit the reader's buffer, bytes.
const READ: usize = 4096;

/// What was seen of a connection's heads so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    fault: OnceLock<Fault>,
    last: AtomicBool,
}

impl Seen {
    /// The first fault, which stays: after it nobody knows where a request begins.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    /// Whether nothing may follow the request at hand.
    pub(crate) fn last(&self) -> bool {
        self.last.load(Ordering::Relaxed)
    }
}

/// A connection whose heads are looked at.
pub(crate) struct Heads<IO> {
    io: IO,
    seen: Arc<Seen>,
    at: At,
    /// Read, and not given yet.
    held: Vec<u8>,
    /// This much of what is held may be given.
    cleared: usize,
}

/// Where in the stream of requests we are.
enum At {
    /// In a head, of which this much was searched for its end.
    Head { searched: usize },
    /// This many bytes of a body are to come.
    Body(u64),
    /// In a chunked body.
    Chunks(Chunks),
    /// Behind an upgrade: nothing is looked at any more.
    Rest,
    /// Behind a fault: nothing is given any more.
    Refused,
}

impl<IO> Heads<IO> {
    pub(crate) fn new(io: IO) -> Self {
        let at = At::Head { searched: 0 };
        Self { io, seen: Arc::default(), at, held: Vec::new(), cleared: 0 }
    }

    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// Looks at the next bytes; returns how many of them may be given before the next look.
    ///
    /// # Errors
    /// The fault of a head, which was not given yet.
    fn look(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match &mut self.at {
            At::Rest => Ok(bytes.len()),
            At::Refused => Ok(0),
            At::Body(left) => {
                let given = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= given as u64;
                if *left == 0 {
                    self.at = At::Head { searched: 0 };
                }
                Ok(given)
            }
            At::Chunks(chunks) => match chunks.follow(bytes) {
                Ok(given) => {
                    if chunks.has_ended() {
                        self.at = At::Head { searched: 0 };
                    }
                    Ok(given)
                }
                // What was good of it first; the fault comes up again right behind.
                Err((good, _)) if good > 0 => Ok(good),
                Err((_, fault)) => Err(fault),
            },
            At::Head { searched } => {
                let Some(end) = end_of_head(bytes, *searched) else {
                    *searched = bytes.len();
                    return if bytes.len() > LONGEST_HEAD { Err(Fault::TooLong) } else { Ok(0) };
                };
                if end > LONGEST_HEAD {
                    return Err(Fault::TooLong);
                }
                self.at = match read_head(&bytes[..end])? {
                    Follows::Length(0) => At::Head { searched: 0 },
                    Follows::Length(length) => At::Body(length),
                    Follows::Chunks => At::Chunks(Chunks::default()),
                    Follows::Unknown => {
                        self.seen.last.store(true, Ordering::Relaxed);
                        At::Rest
                    }
                };
                Ok(end)
            }
        }
    }

    /// Gives nothing any more but what makes hyper ask for an answer, or the error that a body ends with.
    fn refuse(&mut self, fault: Fault) -> io::Result<()> {
        self.seen.last.store(true, Ordering::Relaxed);
        let in_body = matches!(std::mem::replace(&mut self.at, At::Refused), At::Chunks(_));
        if in_body {
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
        }
        self.seen.fault.get_or_init(|| fault);
        (self.held, self.cleared) = (NOTHING.to_vec(), NOTHING.len());
        Ok(())
    }

    /// Looks at all that is held.
    fn look_at_held(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        match self.look(&held) {
            Ok(given) => {
                self.cleared = given;
                if !matches!(self.at, At::Refused) {
                    self.held = held;
                }
                Ok(())
            }
            Err(fault) => self.refuse(fault),
        }
    }

    /// Gives of what may be given as much as there is room for.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let given = self.cleared.min(buf.remaining());
        buf.put_slice(&self.held[..given]);
        self.cleared -= given;
        if given == self.held.len() {
            // An idle connection has no buffer.
            self.held = Vec::new();
        } else {
            self.held.drain(..given);
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Heads<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.cleared == 0 && !this.held.is_empty() {
                this.look_at_held()?;
            }
            if this.cleared > 0 {
                this.give(buf);
                return Poll::Ready(Ok(()));
            }
            if !this.held.is_empty() {
                let mut read = [0; READ];
                let mut read = ReadBuf::new(&mut read);
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                this.held.extend_from_slice(read.filled());
                continue;
            }
            // Most heads and all bodies come this way, and are not copied.
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            let read = &buf.filled()[before..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match this.look(read) {
                Ok(_) if matches!(this.at, At::Refused) => buf.set_filled(before),
                Ok(given) => {
                    this.held.extend_from_slice(&read[given..]);
                    buf.set_filled(before + given);
                    if given > 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(fault) => {
                    buf.set_filled(before);
                    this.refuse(fault)?;
                }
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Heads<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn head(rest: &str) -> Vec<u8> {
        format!("POST /x HTTP/1.1\r\nHost: a\r\n{rest}\r\n").into_bytes()
    }

    /// Everything that is read, and how that ended.
    async fn read(all: &[u8], piece: usize, room: usize) -> (Vec<u8>, io::Result<()>, Arc<Seen>) {
        let mut heads = Heads::new(Pieces(all.chunks(piece).map(<[u8]>::to_vec).collect()));
        let mut read = Vec::new();
        let mut buffer = vec![0; room];
        loop {
            match heads.read(&mut buffer).await {
                Ok(0) => return (read, Ok(()), heads.seen()),
                Ok(count) => read.extend_from_slice(&buffer[..count]),
                Err(error) => return (read, Err(error), heads.seen()),
            }
        }
    }

    /// Whatever the pieces in which bytes arrive: nothing is lost, no read goes beyond the end of a head, and of one that
    /// is refused nothing is seen.
    #[tokio::test]
    async fn one_head_at_a_time() {
        let first = [head("Content-Length: 3\r\n"), b"abc".to_vec()].concat();
        let second =
            [b"\r\n".to_vec(), head("Transfer-Encoding: chunked\r\n"), b"2\r\nhi\r\n0\r\n\r\n".to_vec()]
                .concat();
        let third = head("");
        let good = [&first[..], &second, &third].concat();
        let bad = head("Content-Length: 1\r\nContent-Length: 1\r\n");
        let all = [&good[..], &bad, b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        for piece in 1..all.len() {
            for room in [7, 64, 4096] {
                let (read, ended, seen) = read(&all, piece, room).await;
                assert!(ended.is_ok());
                assert_eq!(read, [&good[..], NOTHING].concat(), "in pieces of {piece}, by {room}");
                assert_eq!(seen.fault(), Some(Fault::RepeatedLength));
                assert!(seen.last());
            }
        }
        let mut heads = Heads::new(Pieces([all.clone()].into()));
        let mut buffer = [0; 4096];
        for expected in
            [&first[..first.len() - 3], b"abc", &second[..second.len() - 12], b"2\r\nhi\r\n0\r\n\r\n", &third]
        {
            let count = heads.read(&mut buffer).await.unwrap();
            assert_eq!(buffer[..count].escape_ascii().to_string(), expected.escape_ascii().to_string());
            assert!(heads.seen.fault().is_none() && !heads.seen.last());
        }
    }

    #[tokio::test]
    async fn a_chunked_body_ends_with_its_fault() {
        let good = [&head("Transfer-Encoding: chunked\r\n")[..], b"2\r\nhi\r\n"].concat();
        let all = [&good[..], b"-1\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        for piece in 1..all.len() {
            let (read, ended, seen) = read(&all, piece, 4096).await;
            assert_eq!(read, good, "in pieces of {piece}");
            assert_eq!(ended.unwrap_err().to_string(), Fault::ChunkSize.to_string());
            assert!(seen.last() && seen.fault().is_none());
        }
    }

    #[tokio::test]
    async fn nothing_is_looked_at_behind_an_upgrade() {
        let all = [&head("Upgrade: SPDY/3.1\r\n")[..], &[0x80, 3, 0, 1, b'\n', b'\n']].concat();
        for piece in 1..all.len() {
            let (read, ended, seen) = read(&all, piece, 4096).await;
            assert!(ended.is_ok() && seen.last() && seen.fault().is_none());
            assert_eq!(read, all);
        }
    }

    #[tokio::test]
    async fn a_head_has_a_longest_length() {
        let of = |length: usize| {
            let bare = head("X: \r\n").len();
            head(&format!("X: {}\r\n", "x".repeat(length - bare)))
        };
        let (longest, longer) = (of(LONGEST_HEAD), of(LONGEST_HEAD + 1));
        assert_eq!(read(&longest, 16 * 1024, 8192).await.0, longest);
        let endless = &of(LONGEST_HEAD + 8)[..LONGEST_HEAD + 4];
        for (bytes, piece) in [(&longer[..], 16 * 1024), (&longer, longer.len()), (endless, 16 * 1024)] {
            let (read, _, seen) = read(bytes, piece, 2 << 20).await;
            assert_eq!((&read[..], seen.fault()), (NOTHING, Some(Fault::TooLong)));
        }
    }

    /// What passes here, hyper does not refuse without a word.
    #[test]
    fn a_target_that_passes_is_one_to_the_library() {
        for byte in 0..=u8::MAX {
            for target in [[b"/a", &[byte][..], b"b"].concat(), [b"/a?c", &[byte][..], b"d"].concat()] {
                let line = [b"GET ", &target[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
                if read_head(&line).is_ok() {
                    assert!(http::Uri::try_from(&target[..]).is_ok(), "{}", target.escape_ascii());
                }
            }
        }
    }

    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(buf.remaining()));
                buf.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }
}
