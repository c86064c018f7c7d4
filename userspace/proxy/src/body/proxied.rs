//! The server's answer on its way to the client: filtered, masked and recorded as it comes. What the masker holds back is
//! given once nothing has come for a while; when access ends, the stream is [`cut`].

mod cut;

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use portcullis_mask::{BodyMasker, ListFilter, MaskError};
use portcullis_record::RecordError;
use tokio::time::Sleep;

use super::{BodyError, ResponseBody};
use crate::mcp::answer::Messages;
use crate::record::RequestRecord;
pub(crate) use cut::{Ending, RunningAccess};

/// How long bytes that may turn out to be part of a secret wait for more.
const PATIENCE: Duration = Duration::from_millis(50);

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

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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

    fn finish(&mut self, error: Option<String>) {
        self.done = true;
        if let Err(error) = self.record.end(error) {
            tracing::error!(%error, request = self.record.number(), "the end of a request could not be recorded");
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        // Not before the record is closed, which the last poll does.
        self.done && self.first.is_none() && self.trailers.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
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
