//! Reads from a socket in large pieces. rustls asks for 4 KiB at a time, which is a system call each.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one system call may bring: some TLS records.
const READ: usize = 64 * 1024;

thread_local! {
    /// One for each thread, so that idle connections have none.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// Keeps what was read and not yet asked for; nothing when idle.
pub(crate) struct Wide<IO> {
    io: IO,
    rest: Vec<u8>,
    /// How much of `rest` was given away.
    given: usize,
}

impl<IO> Wide<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self { io, rest: Vec::new(), given: 0 }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Wide<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            return BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
                let (now, later) = read.filled().split_at(read.filled().len().min(out.remaining()));
                out.put_slice(now);
                this.rest.extend_from_slice(later);
                Poll::Ready(Ok(()))
            });
        }
        let rest = &this.rest[this.given..];
        let now = &rest[..rest.len().min(out.remaining())];
        out.put_slice(now);
        this.given += now.len();
        if this.given == this.rest.len() {
            (this.rest, this.given) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Wide<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn gives_every_byte_once_and_holds_nothing_when_idle() {
        let (mut near, far) = tokio::io::duplex(READ * 2);
        let sent: Vec<u8> = (0..READ + 5000).map(|at| at as u8).collect();
        near.write_all(&sent).await.unwrap();
        let mut wide = Wide::new(far);
        let mut read = Vec::new();
        let mut piece = [0; 4096];
        while read.len() < sent.len() {
            let length = wide.read(&mut piece).await.unwrap();
            read.extend_from_slice(&piece[..length]);
        }
        assert!(read == sent);
        assert_eq!(wide.rest.capacity(), 0);
        drop(near);
        assert_eq!(wide.read(&mut piece).await.unwrap(), 0);
    }
}
