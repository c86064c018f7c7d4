//! HTTP/1.1 heads as they come over the wire, looked at before hyper makes the best of them.
//!
//! hyper resolves what RFC 9112 §6.3 lets a server resolve: it drops `Content-Length` beside `Transfer-Encoding`, folds
//! equal lengths into one, takes a bare line feed for a line's end. What goes upstream is unambiguous either way, but
//! whoever sends such heads means two readers to see two requests, and that is refused, not guessed (Law 6).
//!
//! hyper is given one head at a time, so that what was seen last belongs to the request that it hands out next. Where
//! a chunked body or an upgraded stream ends is not followed: such a request is the last one on its connection.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// hyper gives up on a head long before.
const LONGEST_HEAD: usize = 1 << 20;

/// Why the head of a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    #[error("it has more than one Content-Length")]
    RepeatedLength,
    #[error("its Transfer-Encoding is not just \"chunked\"")]
    Coding,
    #[error("a line of its head does not end with CR LF")]
    LineEnd,
    #[error("a line of its head is folded")]
    Folded,
    #[error("its target has a fragment")]
    Fragment,
    #[error("its head is over {LONGEST_HEAD} bytes")]
    TooLong,
}

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
    /// The head so far.
    head: Vec<u8>,
    /// Read, and not given yet.
    held: Vec<u8>,
}

/// Where in the stream of requests we are.
enum At {
    Head,
    /// This many bytes of a body are to come.
    Body(u64),
    /// Nothing is looked at any more.
    Rest,
}

impl<IO> Heads<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self { io, seen: Arc::default(), at: At::Head, head: Vec::new(), held: Vec::new() }
    }

    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// Looks at the next bytes; returns how many of them may be given before the next look.
    fn look(&mut self, bytes: &[u8]) -> usize {
        match &mut self.at {
            At::Rest => bytes.len(),
            At::Body(left) => {
                let given = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= given as u64;
                if *left == 0 {
                    self.at = At::Head;
                }
                given
            }
            At::Head => {
                let before = self.head.len();
                self.head.extend_from_slice(bytes);
                let Some(end) = end_of_head(&self.head, before) else {
                    if self.head.len() > LONGEST_HEAD {
                        self.stop(Some(Fault::TooLong));
                    }
                    return bytes.len();
                };
                match judge(&self.head[..end]) {
                    Ok(Some(0)) => {}
                    Ok(Some(length)) => self.at = At::Body(length),
                    Ok(None) => self.stop(None),
                    Err(fault) => self.stop(Some(fault)),
                }
                self.head.clear();
                end - before
            }
        }
    }

    fn stop(&mut self, fault: Option<Fault>) {
        self.at = At::Rest;
        self.seen.last.store(true, Ordering::Relaxed);
        if let Some(fault) = fault {
            self.seen.fault.get_or_init(|| fault);
        }
        self.head = Vec::new();
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Heads<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            let mut held = std::mem::take(&mut self.held);
            let room = held.len().min(buf.remaining());
            let given = self.look(&held[..room]);
            buf.put_slice(&held[..given]);
            held.drain(..given);
            self.held = held;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let given = self.look(&buf.filled()[before..]);
        self.held.extend_from_slice(&buf.filled()[before + given..]);
        buf.set_filled(before + given);
        Poll::Ready(Ok(()))
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

/// Where the head ends: after the first empty line that is not before all others. As hyper (httparse) sees it, bare line
/// feeds and all; `before` bytes were looked at already.
fn end_of_head(head: &[u8], before: usize) -> Option<usize> {
    let begin = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let from = before.saturating_sub(2).max(begin);
    (from..head.len()).filter(|at| head[*at] == b'\n').find_map(|at| match &head[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// How long the body behind this head is; `None` when that is not followed.
fn judge(head: &[u8]) -> Result<Option<u64>, Fault> {
    let ends_well = |(at, byte): (usize, &u8)| *byte != b'\n' || at > 0 && head[at - 1] == b'\r';
    if !head.iter().enumerate().all(ends_well) {
        return Err(Fault::LineEnd);
    }
    let mut lines =
        head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).skip_while(|line| line.is_empty());
    let request = lines.next().unwrap_or_default();
    if request.contains(&b'#') {
        return Err(Fault::Fragment);
    }
    let (mut length, mut coding) = (None, None);
    // What an upgrade or a tunnel leads to is no HTTP.
    let mut follows = !request.starts_with(b"CONNECT ");
    for line in lines {
        if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(Fault::Folded);
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(value).is_some() {
                return Err(Fault::RepeatedLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if coding.replace(value).is_some() || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Coding);
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            follows = false;
        }
    }
    match (length, coding) {
        (Some(_), Some(_)) => Err(Fault::TwoLengths),
        // What is no number, hyper refuses.
        (Some(length), None) if follows => Ok(str::from_utf8(length).ok().and_then(|text| text.parse().ok())),
        (None, None) if follows => Ok(Some(0)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn head(rest: &str) -> Vec<u8> {
        format!("POST /x HTTP/1.1\r\nHost: a\r\n{rest}\r\n").into_bytes()
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways() {
        use Fault::*;
        for (bytes, fault) in [
            (head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), TwoLengths),
            (head("transfer-encoding:chunked\r\nCONTENT-LENGTH:5\r\n"), TwoLengths),
            (head("Content-Length: 5\r\nContent-Length: 5\r\n"), RepeatedLength),
            (head("Transfer-Encoding: gzip, chunked\r\n"), Coding),
            (head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Coding),
            (head("X: y\nContent-Length: 5\r\n"), LineEnd),
            (b"GET /x HTTP/1.1\nHost: a\n\n".to_vec(), LineEnd),
            (head("X: y\r\n z\r\n"), Folded),
            (b"GET /x#/../y HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Fragment),
        ] {
            assert_eq!(judge(&bytes), Err(fault), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn how_far_a_request_is_followed() {
        for (rest, length) in [
            ("", Some(0)),
            ("Content-Length: 5\r\n", Some(5)),
            ("Content-Length:\t5 \r\n", Some(5)),
            ("Transfer-Encoding:\tChunked\r\n", None),
            ("Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n", None),
        ] {
            assert_eq!(judge(&head(rest)), Ok(length), "{rest:?}");
        }
        assert_eq!(judge(b"CONNECT a:1 HTTP/1.1\r\n\r\n"), Ok(None));
    }

    /// Whatever the pieces in which bytes arrive: nothing is lost, and no read goes beyond the end of a head.
    #[tokio::test]
    async fn one_head_at_a_time() {
        let first = [head("Content-Length: 3\r\n"), b"abc".to_vec()].concat();
        let second = [b"\r\n".to_vec(), head("")].concat();
        let bad = head("Content-Length: 1\r\nContent-Length: 1\r\n");
        let all = [&first[..], &second, &bad, b"and whatever follows"].concat();
        for piece in 1..all.len() {
            let mut mock = tokio_test_pieces(&all, piece);
            let mut read = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let clean_before = mock.seen.fault().is_none();
                let count = mock.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break;
                }
                read.extend_from_slice(&buffer[..count]);
                let clean = first.len() + second.len();
                assert!(
                    !clean_before || read.len() <= clean + bad.len(),
                    "a head and more, in pieces of {piece}"
                );
                assert_eq!(mock.seen.last(), read.len() >= clean + bad.len(), "in pieces of {piece}");
            }
            assert_eq!(read, all);
            assert_eq!(mock.seen.fault(), Some(Fault::RepeatedLength));
        }
    }

    fn tokio_test_pieces(all: &[u8], piece: usize) -> Heads<Pieces> {
        Heads::new(Pieces(all.chunks(piece).map(<[u8]>::to_vec).collect()))
    }

    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(piece) = self.0.pop_front() {
                buf.put_slice(&piece);
            }
            Poll::Ready(Ok(()))
        }
    }
}
