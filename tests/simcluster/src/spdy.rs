//! A SPDY/3.1 session as the server sees it, over an upgraded connection or inside a WebSocket.

use std::collections::VecDeque;
use std::sync::Arc;

use portcullis_codec::spdy::{Decoder, Encoder, Frame, Headers, Limits, StreamId};
use portcullis_codec::websocket::{self, Kind};
use tokio::sync::{Mutex, mpsc};

use crate::stream;
use crate::upgrade::{Connection, Writer};

/// `RST_STREAM` status "cancel", with which the kubelet ends what is still open.
const CANCEL: u32 = 5;

/// What the client did.
pub(crate) enum Event {
    /// It opened a stream; the reply has been sent.
    Opened {
        /// The stream.
        stream: StreamId,
        /// Its headers.
        headers: Headers,
    },
    /// It sent data.
    Data {
        /// The stream.
        stream: StreamId,
        /// The bytes.
        bytes: Vec<u8>,
        /// It will send no more.
        fin: bool,
    },
    /// It ended a stream at once.
    Reset {
        /// The stream.
        stream: StreamId,
    },
}

/// The client's side of the session.
pub(crate) struct Incoming {
    chunks: mpsc::Receiver<Vec<u8>>,
    decoder: Decoder,
    events: VecDeque<Event>,
    replies: Outgoing,
}

/// Our side of the session. Header blocks depend on each other, so frames are encoded in the order they are sent.
#[derive(Clone)]
pub(crate) struct Outgoing(Arc<Mutex<(Encoder, Wire)>>);

/// What the bytes of the session travel in.
enum Wire {
    Plain(Writer),
    Messages(Writer),
}

/// A session on a connection that speaks SPDY.
pub(crate) fn plain(connection: Connection) -> (Incoming, Outgoing) {
    let (chunks, writer) = connection.split();
    session(chunks, Wire::Plain(writer))
}

/// A session inside binary WebSocket messages, whose boundaries mean nothing.
pub(crate) fn tunnelled(connection: Connection) -> (Incoming, Outgoing) {
    let (chunks, writer) = connection.split();
    session(stream::messages(chunks, writer.clone()), Wire::Messages(writer))
}

fn session(chunks: mpsc::Receiver<Vec<u8>>, wire: Wire) -> (Incoming, Outgoing) {
    let outgoing = Outgoing(Arc::new(Mutex::new((Encoder::default(), wire))));
    let decoder = Decoder::new(Limits::default());
    let incoming = Incoming { chunks, decoder, events: VecDeque::new(), replies: outgoing.clone() };
    (incoming, outgoing)
}

impl Incoming {
    /// What the client does next; `None` when the session is over.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let chunk = self.chunks.recv().await?;
            self.decode(&chunk).await?;
        }
    }

    async fn decode(&mut self, chunk: &[u8]) -> Option<()> {
        let mut input = chunk;
        loop {
            let reply = match self.decoder.next(&mut input) {
                Ok(None) => return Some(()),
                Ok(Some(Frame::SynStream { stream, headers, .. })) => {
                    self.events.push_back(Event::Opened { stream, headers });
                    Frame::SynReply { stream, fin: false, headers: Headers::default() }
                }
                Ok(Some(Frame::Data { stream, payload, fin })) => {
                    self.events.push_back(Event::Data { stream, bytes: payload.to_vec(), fin });
                    continue;
                }
                Ok(Some(Frame::RstStream { stream, .. })) => {
                    self.events.push_back(Event::Reset { stream });
                    continue;
                }
                Ok(Some(Frame::Ping { id })) => Frame::Ping { id },
                Ok(Some(Frame::GoAway { .. })) => return None,
                Ok(Some(_)) => continue,
                Err(error) => {
                    tracing::debug!("SPDY: {error}");
                    return None;
                }
            };
            if !self.replies.send(&[reply]).await {
                return None;
            }
        }
    }
}

impl Outgoing {
    /// Sends data on a stream; whether the client still listens.
    pub(crate) async fn data(&self, stream: StreamId, payload: &[u8], fin: bool) -> bool {
        self.send(&[Frame::Data { stream, payload, fin }]).await
    }

    /// Resets the streams that are still open and says good-bye, as the kubelet ends an exec.
    pub(crate) async fn end(&self, open: &[StreamId], last_good: StreamId) {
        let mut frames: Vec<Frame<'_>> =
            open.iter().map(|stream| Frame::RstStream { stream: *stream, status: CANCEL }).collect();
        frames.push(Frame::GoAway { last_good, status: 0 });
        self.send(&frames).await;
        let (Wire::Plain(writer) | Wire::Messages(writer)) = &self.0.lock().await.1;
        writer.close();
    }

    async fn send(&self, frames: &[Frame<'_>]) -> bool {
        let mut guard = self.0.lock().await;
        let (encoder, wire) = &mut *guard;
        let mut out = Vec::new();
        for frame in frames {
            if let Err(error) = encoder.encode(frame, &mut out) {
                tracing::debug!("SPDY: {error}");
                return false;
            }
        }
        match wire {
            Wire::Plain(writer) => writer.send(out).await,
            Wire::Messages(writer) => {
                let mut message = Vec::with_capacity(out.len() + 10);
                websocket::message(&mut message, Kind::Binary, None, &[&out]);
                writer.send(message).await
            }
        }
    }
}
