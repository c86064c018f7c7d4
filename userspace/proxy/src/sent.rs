//! The body of a request, as a client sends it.
//!
//! A refusal is often told before the body was read. hyper would then close the connection, unannounced: a client that takes
//! it for kept alive would lose its next request, and one that is still sending the answer itself, since a socket that is
//! closed with something unread in it is reset. So the rest of a body that nobody reads is read to its end, if that is near.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;

/// How much of a body is read for its end alone, in bytes, and for how long: API servers take objects of 3 MiB.
const REST: usize = 4 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// A request's body; the rest of it is read and forgotten when this is dropped.
#[derive(Debug)]
pub(crate) struct SentBody {
    /// Nothing once it has ended.
    inner: Option<Incoming>,
    /// Its rest is in the way of the next request.
    in_the_way: bool,
}

impl SentBody {
    /// The same request with such a body.
    pub(crate) fn of(request: Request<Incoming>) -> Request<Self> {
        // A client that waits for a word (RFC 9110, section 10.1.1) sends nothing when it gets the answer instead, and an h2
        // stream is in no other's way.
        let waits = request.headers().contains_key(header::EXPECT);
        let in_the_way = request.version() < Version::HTTP_2 && !waits;
        request.map(|body| Self { inner: Some(body), in_the_way })
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.inner else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.inner = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for SentBody {
    fn drop(&mut self) {
        if self.in_the_way
            && let Some(body) = self.inner.take().filter(|body| !body.is_end_stream())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(TIMEOUT, forget(body)));
        }
    }
}

async fn forget(mut body: Incoming) {
    let mut left = REST;
    while let Some(Ok(frame)) = body.frame().await
        && let Some(less) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len))
    {
        left = less;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A connection on which a request of this length was answered without its body.
    async fn answered(length: usize) -> DuplexStream {
        let (mut client, server) = duplex(64 * 1024);
        let service = service_fn(|request| {
            drop(SentBody::of(request));
            async { Ok::<_, Infallible>(http::Response::new(String::new())) }
        });
        let served =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
        tokio::spawn(served);
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        client
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_a_near_end_is_not_read_to_it() {
        let mut client = answered(100 * REST).await;
        let (piece, mut sent) = (vec![0; 64 * 1024], 0);
        while client.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
        assert!((REST..2 * REST).contains(&sent), "{sent} bytes were taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let mut client = answered(1).await;
        let (began, mut rest) = (tokio::time::Instant::now(), Vec::new());
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), TIMEOUT.as_secs());
    }
}
