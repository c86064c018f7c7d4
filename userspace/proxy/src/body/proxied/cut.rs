//! The end of access while an answer is under way: its stream is cut, with last words where its format has room for them.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use portcullis_access::Ended;
use portcullis_kube::{Status, watch_error_event, watch_error_frame};
use portcullis_mcp::Id;
use portcullis_record::Event;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::ProxiedBody;
use crate::body::BodyError;
use crate::lease::Lease;

/// How long a client may take to read its last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The JSON-RPC code of what is not allowed any more: the HTTP status, as in all refusals.
const FORBIDDEN: i64 = 403;

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
    pub(super) ended: Pin<Box<dyn Future<Output = Ended> + Send>>,
    pub(super) ending: Ending,
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
    pub(super) fn guard(&mut self) {
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

impl ProxiedBody {
    /// Ends the stream because access ended; says so inside the stream where its format allows it.
    pub(super) fn cut(&mut self, ended: &Ended) -> Option<Result<Frame<Bytes>, BodyError>> {
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
