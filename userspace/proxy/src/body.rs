//! Bodies on their way through: those of requests counted, those of answers masked, recorded, and cut when access ends
//! ([`proxied`]). Nothing is buffered whole, except the body of a write to a masked resource (see [`crate::writeback`]).

mod proxied;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use portcullis_mask::MaskError;
use portcullis_mcp::AnswerFault;
use portcullis_record::RecordError;
use tokio::sync::mpsc;

use crate::headers;
use crate::sent::SentBody;
pub(crate) use proxied::{Ending, ProxiedBody, RunningAccess, Through};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The other side failed.
    #[error("the connection to the API server failed: {0}")]
    Upstream(#[source] hyper::Error),
    /// What came could not be masked, so it was withheld.
    #[error("withheld: {0}")]
    Mask(#[from] MaskError),
    /// What came is no answer of an MCP server, so it was withheld.
    #[error("withheld: {0}")]
    Answer(#[from] AnswerFault),
    /// What came could not be recorded, so it was withheld.
    #[error("not recorded: {0}")]
    Record(#[from] RecordError),
    /// The grant expired or was revoked.
    #[error("{0}")]
    Ended(String),
}

/// The body of a request on its way upstream.
pub(crate) struct RequestBody {
    source: RequestSource,
    counter: Arc<AtomicU64>,
}

enum RequestSource {
    Stream(SentBody),
    Whole(Option<Bytes>),
}

impl RequestBody {
    pub(crate) fn stream(body: SentBody, counter: Arc<AtomicU64>) -> Self {
        Self { source: RequestSource::Stream(body), counter }
    }

    pub(crate) fn whole(body: Bytes, counter: Arc<AtomicU64>) -> Self {
        Self { source: RequestSource::Whole(Some(body).filter(|body| !body.is_empty())), counter }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match &mut self.source {
            RequestSource::Stream(body) => ready!(Pin::new(body).poll_frame(cx)),
            RequestSource::Whole(body) => body.take().map(|body| Ok(Frame::data(body))),
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.counter.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| frame.map(clean)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            RequestSource::Stream(body) => body.is_end_stream(),
            RequestSource::Whole(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            RequestSource::Stream(body) => body.size_hint(),
            RequestSource::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
        }
    }
}

/// Trailers are headers to some readers: what may not pass as one may not pass as the other.
fn clean(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            headers::strip_request(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}

/// The body of an answer: the gate's own, or the API server's on its way to the client.
pub(crate) enum ResponseBody {
    /// An answer that is there as a whole.
    Whole {
        /// What is left of it.
        rest: Option<Bytes>,
        /// Whether its length is announced; one that the API server did not announce is not made up.
        sized: bool,
    },
    /// The server's answer.
    Proxied(Box<ProxiedBody>),
    /// What somebody else makes, piece by piece.
    Channel(mpsc::Receiver<Bytes>),
}

impl ResponseBody {
    /// A body known in full; empty stays empty.
    pub(crate) fn whole(body: Bytes) -> Self {
        Self::Whole { rest: Some(body).filter(|body| !body.is_empty()), sized: true }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Whole { rest, .. } => Poll::Ready(rest.take().map(|body| Ok(Frame::data(body)))),
            Self::Proxied(body) => body.poll_frame(cx),
            Self::Channel(pieces) => {
                pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { rest, .. } => rest.is_none(),
            Self::Proxied(body) => body.is_end_stream(),
            Self::Channel(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { sized: false, .. } | Self::Channel(_) => SizeHint::default(),
            Self::Whole { rest, .. } => SizeHint::with_exact(rest.as_ref().map_or(0, Bytes::len) as u64),
            Self::Proxied(body) => body.size_hint(),
        }
    }
}
