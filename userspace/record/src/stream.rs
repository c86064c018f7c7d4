//! The streams of a recording that can be played: what exec, attach and `logs -f` showed.

use serde::Serialize;

use crate::event::{Channel, Event, StreamKind};
use crate::recording::Recording;
use crate::walk::{Body, Found};
use crate::{Entry, RecordError};

/// A stream that can be played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// Its request.
    pub request: u32,
    /// What kind of stream.
    pub kind: StreamKind,
    /// The command of an exec.
    pub command: Vec<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// The first size of the terminal that the client told: columns, rows.
    pub size: Option<(u16, u16)>,
    /// When it was opened, in microseconds since the session began.
    pub opened_us: u64,
}

impl Stream {
    /// Whether this channel is what the engineer saw of it.
    pub(crate) fn shows(&self, channel: Channel) -> bool {
        match self.kind {
            StreamKind::Log => channel == Channel::Body,
            _ => matches!(channel, Channel::Stdout | Channel::Stderr),
        }
    }
}

impl Recording {
    /// The exec, attach and log streams in it, in the order in which they were opened.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn streams(&self) -> Result<Vec<Stream>, RecordError> {
        let mut streams: Vec<Stream> = Vec::new();
        for found in self.entries()? {
            let Found::Entry(Entry { offset_us, body: Body::Event(event), .. }) = found? else { continue };
            match event {
                Event::StreamOpened { request, kind, command, tty, .. }
                    if matches!(kind, StreamKind::Exec | StreamKind::Attach | StreamKind::Log) =>
                {
                    streams.push(Stream { request, kind, command, tty, size: None, opened_us: offset_us });
                }
                Event::Resize { request, width, height } => {
                    if let Some(stream) = streams.iter_mut().find(|stream| stream.request == request) {
                        stream.size.get_or_insert((width, height));
                    }
                }
                _ => {}
            }
        }
        Ok(streams)
    }

    /// The stream of `request`, or the only one there is.
    pub(crate) fn stream(&self, request: Option<u32>) -> Result<Stream, RecordError> {
        let mut streams = self.streams()?;
        let session = || self.id().clone();
        let numbers = |streams: &[Stream]| streams.iter().map(|stream| stream.request).collect();
        match request {
            _ if streams.is_empty() => Err(RecordError::NoStream(session())),
            Some(request) => match streams.iter().position(|stream| stream.request == request) {
                Some(at) => Ok(streams.swap_remove(at)),
                None => {
                    Err(RecordError::NotAStream { session: session(), request, streams: numbers(&streams) })
                }
            },
            None if streams.len() == 1 => Ok(streams.swap_remove(0)),
            None => Err(RecordError::ManyStreams { session: session(), streams: numbers(&streams) }),
        }
    }
}
