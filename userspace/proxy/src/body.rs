//! Bodies on their way through: counted, masked, recorded, and cut when access ends. Nothing is buffered whole, except
//! the body of a write to a masked resource (see [`crate::writeback`]).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use portcullis_access::Ended;
use portcullis_kube::{Status, watch_error_event, watch_error_frame};
use portcullis_mask::{BodyMasker, ListFilter, MaskError};
use portcullis_mcp::{AnswerFault, Id};
use portcullis_record::{Event, RecordError};

use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::headers;
use crate::lease::Lease;
use crate::mcp::answer::Messages;
use crate::record::RequestRecord;

/// How long a client may take to read its last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long bytes that may turn out to be part of a secret wait for more.
const PATIENCE: Duration = Duration::from_millis(50);

/// The JSON-RPC code of what is not allowed any more: the HTTP status, as in all refusals.
const FORBIDDEN: i64 = 403;

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
    Stream(Incoming),
    Whole(Option<Bytes>),
}

impl RequestBody {
    pub(crate) fn stream(body: Incoming, counter: Arc<AtomicU64>) -> Self {
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

/// What the bytes of an answer go through on their way.
pub(crate) enum Through {
    /// A masker.
    Mask(BodyMasker),
    /// The messages of an MCP server, one by one.
    Messages(Box<Messages>),
}

impl Through {
    fn push(&mut self, data: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), BodyError> {
        match self {
            Self::Mask(masker) => {
                masker.push(data, out)?;
                if last {
                    masker.finish(out)?;
                }
            }
            Self::Messages(messages) => messages.push(data, last, out)?,
        }
        Ok(())
    }
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

/// How the end of access is told inside a stream that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A watch in JSON: an `ERROR` event, where one event has ended.
    WatchEvent,
    /// A masked watch in protobuf: an `ERROR` event. The masker gives whole events.
    WatchFrame,
    /// A log in plain text: a line of its own.
    LogLine,
    /// The events of an MCP server: an error in answer to this request, or a comment where there is none.
    Message(Option<Id>),
    /// Nothing can be said inside: the stream breaks off, and the log and the record have the reason.
    Silent,
}

/// The access behind an answer that is under way.
pub(crate) struct RunningAccess {
    lease: Lease,
    ended: Pin<Box<dyn Future<Output = Ended> + Send>>,
    ending: Ending,
    hang_up: CancellationToken,
    /// Runs once a second frame is to be expected.
    guard: Option<AbortOnDropHandle<()>>,
}

impl RunningAccess {
    /// `hang_up` closes the connection.
    pub(crate) fn new(lease: Lease, ending: Ending, hang_up: CancellationToken) -> Self {
        let ended = Box::pin(lease.clone().ended());
        Self { lease, ended, ending, hang_up, guard: None }
    }

    /// Nobody polls a body whose client has stopped reading. Sees to it that its connection is closed when access ends.
    fn guard(&mut self) {
        if self.guard.is_none() {
            let (lease, hang_up) = (self.lease.clone(), self.hang_up.clone());
            self.guard = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                lease.ended().await;
                tokio::time::sleep(LAST_WORDS).await;
                hang_up.cancel();
            })));
        }
    }
}

/// An answer of the API server, passing through.
pub(crate) struct ProxiedBody {
    inner: Incoming,
    filter: Option<ListFilter>,
    through: Option<Through>,
    record: RequestRecord,
    access: RunningAccess,
    /// The last byte that went out was a newline (or nothing went out yet).
    at_line_start: bool,
    /// What had come when the answer began.
    first: Option<Bytes>,
    trailers: Option<HeaderMap>,
    pause: Pause,
    done: bool,
}

/// Measures how long nothing has come while the masker holds something back.
#[derive(Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    /// Something came.
    fn over(&mut self) {
        self.0 = None;
    }

    /// Ready when nothing has come for [`PATIENCE`].
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        ready!(sleep.as_mut().poll(cx));
        self.over();
        Poll::Ready(())
    }
}

impl ProxiedBody {
    pub(crate) fn new(
        inner: Incoming,
        filter: Option<ListFilter>,
        through: Option<Through>,
        record: RequestRecord,
        access: RunningAccess,
    ) -> Self {
        Self {
            inner,
            filter,
            through,
            record,
            access,
            at_line_start: true,
            first: None,
            trailers: None,
            pause: Pause::default(),
            done: false,
        }
    }

    /// Takes what has come together with the head. Most answers are whole then: one write records them, and one that
    /// cannot be masked or recorded can still be refused in words.
    pub(crate) fn begin(mut self) -> Result<ResponseBody, BodyError> {
        let first = match self.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => None,
            Poll::Ready(Ok(first)) => first,
            Poll::Ready(Err(error)) => {
                self.finish(Some(error.to_string()));
                return Err(error);
            }
        };
        match first.map(Frame::into_data) {
            Some(Ok(data)) => self.first = Some(data),
            Some(Err(frame)) => self.trailers = frame.into_trailers().ok(),
            None => {}
        }
        if self.done && self.trailers.is_none() {
            let sized = self.inner.size_hint().exact().is_some();
            return Ok(ResponseBody::Whole { rest: self.first.take(), sized });
        }
        self.record.tell_begun()?;
        if self.first.is_some() {
            self.access.guard();
        }
        Ok(ResponseBody::Proxied(Box::new(self)))
    }

    /// Closes the record of an answer without a body: nobody will poll it.
    pub(crate) fn finish_empty(&mut self) -> Result<(), RecordError> {
        self.done = true;
        self.record.end(None)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.done {
            return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if let Poll::Ready(ended) = self.access.ended.as_mut().poll(cx) {
            return Poll::Ready(self.cut(&ended));
        }
        let outcome = ready!(self.poll_next(cx));
        match &outcome {
            Err(error) => self.finish(Some(error.to_string())),
            Ok(_) if !self.done => self.access.guard(),
            Ok(_) => {}
        }
        Poll::Ready(outcome.transpose())
    }

    /// The next frame for the client, after masking and recording.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
                return self.poll_held(cx);
            };
            self.pause.over();
            let (data, last) = match frame {
                Some(Err(error)) => return Poll::Ready(Err(BodyError::Upstream(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => (data, self.inner.is_end_stream()),
                    Err(frame) => {
                        // Of a filtered or masked answer only what was read of it is passed on.
                        self.trailers = frame.into_trailers().ok().filter(|_| self.passes_as_it_is());
                        continue;
                    }
                },
                None => (Bytes::new(), true),
            };
            // What has ended is closed now: a client that reads exactly Content-Length bytes never polls again.
            self.done = last;
            let data = self.filter(data)?;
            let data = self.mask(data)?;
            if !data.is_empty() {
                self.record.sent(&data, self.done)?;
                self.at_line_start = data.last() == Some(&b'\n');
                return Poll::Ready(Ok(Some(Frame::data(data))));
            }
            if self.done {
                self.record.end(None)?;
                return Poll::Ready(Ok(self.trailers.take().map(Frame::trailers)));
            }
            // The masker may keep a chunk back until it knows more.
        }
    }

    /// What the masker holds back, once nothing has come for a while.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        let Some(Through::Mask(masker)) = &mut self.through else { return Poll::Pending };
        if !masker.holds() {
            return Poll::Pending;
        }
        ready!(self.pause.poll(cx));
        let mut held = Vec::new();
        masker.flush(&mut held)?;
        if held.is_empty() {
            return Poll::Pending;
        }
        self.record.sent(&held, false)?;
        self.at_line_start = held.last() == Some(&b'\n');
        Poll::Ready(Ok(Some(Frame::data(held.into()))))
    }

    fn passes_as_it_is(&self) -> bool {
        self.filter.is_none() && self.through.is_none()
    }

    fn filter(&mut self, data: Bytes) -> Result<Bytes, MaskError> {
        let Some(filter) = &mut self.filter else { return Ok(data) };
        let mut out = Vec::with_capacity(data.len());
        filter.push(&data, &mut out)?;
        if self.done {
            filter.finish()?;
        }
        self.record.left_out(filter.withheld());
        Ok(out.into())
    }

    fn mask(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        let Some(through) = &mut self.through else { return Ok(data) };
        let mut out = Vec::with_capacity(data.len() + 64);
        through.push(&data, self.done, &mut out)?;
        if let Through::Messages(messages) = through {
            self.record.left_out(messages.left_out());
        }
        Ok(out.into())
    }

    /// Ends the stream because access ended; says so inside the stream where its format allows it.
    fn cut(&mut self, ended: &Ended) -> Option<Result<Frame<Bytes>, BodyError>> {
        let reason = format!("portcullis: access ended: {ended}");
        self.done = true;
        self.trailers = None;
        tracing::info!(%reason, "stream cut");
        let last_words = match &self.access.ending {
            Ending::WatchEvent if self.at_line_start => {
                Some(watch_error_event(&Status::forbidden(reason.clone())))
            }
            Ending::WatchFrame => Some(watch_error_frame(&Status::forbidden(reason.clone()))),
            Ending::LogLine if self.at_line_start => Some(format!("{reason}\n").into_bytes()),
            Ending::LogLine => Some(format!("\n{reason}\n").into_bytes()),
            Ending::Message(None) => Some(format!(": {reason}\n\n").into_bytes()),
            Ending::Message(Some(id)) => {
                let error = portcullis_mcp::error(Some(id), FORBIDDEN, &reason, None);
                Some([b"data: ", &*error, b"\n\n"].concat())
            }
            Ending::WatchEvent | Ending::Silent => None,
        };
        let recorded =
            self.record.event(&Event::Cut { request: self.record.number(), reason: reason.clone() });
        let outcome = recorded.and_then(|()| match &last_words {
            Some(words) => self.record.sent(words, false),
            None => Ok(()),
        });
        self.finish(Some(reason.clone()));
        Some(match (outcome, last_words) {
            (Ok(()), Some(words)) => Ok(Frame::data(words.into())),
            (Ok(()), None) => Err(BodyError::Ended(reason)),
            (Err(error), _) => Err(error.into()),
        })
    }

    fn finish(&mut self, error: Option<String>) {
        self.done = true;
        if let Err(error) = self.record.end(error) {
            tracing::error!(%error, request = self.record.number(), "the end of a request could not be recorded");
        }
    }

    fn is_end_stream(&self) -> bool {
        // Not before the record is closed, which the last poll does.
        self.done && self.first.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // Last words are no part of what the server announced.
        if !self.passes_as_it_is() || self.access.ending != Ending::Silent {
            return SizeHint::default();
        }
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        match self.inner.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(first + rest),
            None => SizeHint::default(),
        }
    }
}

impl Drop for ProxiedBody {
    fn drop(&mut self) {
        if !self.done
            && let Some(ended) = self.access.lease.over()
        {
            // Its client did not read on, and was hung up on.
            self.cut(&ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_begins_anew_with_each_byte_that_comes() {
        let (start, mut pause) = (Instant::now(), Pause::default());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pause.poll(&mut cx).is_pending());
        tokio::time::advance(PATIENCE / 2).await;
        assert!(pause.poll(&mut cx).is_pending());
        pause.over();
        poll_fn(|cx| pause.poll(cx)).await;
        assert_eq!(start.elapsed().as_millis(), (PATIENCE / 2 + PATIENCE).as_millis());
        assert!(pause.poll(&mut cx).is_pending(), "the next one is another");
    }
}
