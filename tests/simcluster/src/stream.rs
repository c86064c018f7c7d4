//! Answers that go on: bodies fed by a task, and the same over a WebSocket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::stream;
use http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame as BodyFrame;
use http_body_util::{BodyExt as _, StreamBody};
use portcullis_codec::websocket::{self, Frame, Kind};
use sha1::{Digest as _, Sha1};
use tokio::sync::mpsc;

use crate::cluster::Call;
use crate::respond::Body;
use crate::upgrade::{Connection, Writer, bare, switch};

/// How the frames of a watch or a log travel in a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Text messages, as watches are sent whatever the sub-protocol.
    Text,
    /// Binary messages.
    Binary,
    /// Text messages of base64.
    Base64,
}

/// A body that consists of what the task at the other end sends.
pub(crate) fn body(frames: mpsc::Receiver<Bytes>) -> Body {
    let next = |mut frames: mpsc::Receiver<Bytes>| async move {
        let frame = frames.recv().await?;
        Some((Ok(BodyFrame::data(frame)), frames))
    };
    StreamBody::new(stream::unfold(frames, next)).boxed_unsync()
}

/// Whether the client asks to upgrade the connection to a WebSocket.
pub(crate) fn wants_websocket(headers: &HeaderMap) -> bool {
    wants_upgrade(headers).is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// The protocol that the client asks to upgrade the connection to.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> Option<&str> {
    let connection = headers.get(CONNECTION)?.to_str().ok()?.to_ascii_lowercase();
    connection.contains("upgrade").then(|| headers.get(UPGRADE)?.to_str().ok()).flatten()
}

/// The sub-protocols that the client offers.
pub(crate) fn offered(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// A watch over WebSocket: only for clients that name their origin, and always as text.
pub(crate) fn serve_watch(call: Call, frames: mpsc::Receiver<Bytes>) -> Response<Body> {
    if !call.headers.contains_key(ORIGIN) {
        return bare(StatusCode::FORBIDDEN);
    }
    let offered = offered(&call.headers);
    let protocol = if let [only] = offered[..] { Some(only.to_owned()) } else { None };
    accept(call, protocol.as_deref(), move |connection| pump(connection, frames, Framing::Text, false))
}

/// A pod's log over WebSocket.
pub(crate) fn serve_log(call: Call, frames: mpsc::Receiver<Bytes>) -> Response<Body> {
    let chosen = offered(&call.headers).into_iter().find_map(|name| match name {
        "binary.k8s.io" => Some((name, Framing::Binary)),
        "base64.binary.k8s.io" => Some((name, Framing::Base64)),
        _ => None,
    });
    let (protocol, framing) = match chosen {
        Some((name, framing)) => (name.to_owned(), framing),
        None if offered(&call.headers).is_empty() => (String::new(), Framing::Binary),
        None => return bare(StatusCode::FORBIDDEN),
    };
    accept(call, Some(&protocol), move |connection| pump(connection, frames, framing, true))
}

/// Switches the connection to a WebSocket and hands it to `serve`.
pub(crate) fn accept<F>(
    call: Call,
    protocol: Option<&str>,
    serve: impl FnOnce(Connection) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    let key = call.headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    // RFC 6455, section 4.2.2.
    let digest =
        Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let mut headers = vec![
        (UPGRADE, "websocket".to_owned()),
        (CONNECTION, "Upgrade".to_owned()),
        (SEC_WEBSOCKET_ACCEPT, BASE64.encode(digest)),
    ];
    headers.extend(protocol.map(|name| (SEC_WEBSOCKET_PROTOCOL, name.to_owned())));
    switch(call.upgrade, &headers, serve)
}

/// The messages a WebSocket client sends; a frame is a message, for the real server loses continuations too.
/// Pings are answered on `replies`. Ends when the client closes.
pub(crate) fn messages(mut chunks: mpsc::Receiver<Vec<u8>>, replies: Writer) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut decoder = websocket::Decoder::client();
        let mut message = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            let mut input = &chunk[..];
            loop {
                let sent = match decoder.next(&mut input) {
                    Ok(None) => break,
                    Ok(Some(Frame::Data(slice))) => {
                        message.extend_from_slice(slice.payload);
                        !slice.last || sender.send(std::mem::take(&mut message)).await.is_ok()
                    }
                    Ok(Some(Frame::Ping(payload))) => {
                        let mut pong = Vec::new();
                        websocket::pong(&mut pong, None, payload);
                        replies.send(pong).await
                    }
                    Ok(Some(Frame::Pong(_))) => true,
                    Ok(Some(Frame::Close { .. })) => false,
                    Err(error) => {
                        tracing::debug!("WebSocket: {error}");
                        false
                    }
                };
                if !sent {
                    return;
                }
            }
        }
    });
    receiver
}

/// Sends frames as messages until either side ends.
async fn pump(connection: Connection, mut frames: mpsc::Receiver<Bytes>, framing: Framing, greet: bool) {
    let (chunks, writer) = connection.split();
    let mut incoming = messages(chunks, writer.clone());
    if greet && !writer.send(framing.message(b"")).await {
        return;
    }
    loop {
        tokio::select! {
            frame = frames.recv() => {
                let Some(frame) = frame else { break };
                if !writer.send(framing.message(&frame)).await {
                    return;
                }
            }
            message = incoming.recv() => if message.is_none() { return },
        }
    }
    close(&writer, Vec::new()).await;
}

/// Sends what is left and a close frame, then ends the connection.
pub(crate) async fn close(writer: &Writer, mut last: Vec<u8>) {
    websocket::close(&mut last, None, 1000, "");
    writer.send(last).await;
    writer.close();
}

impl Framing {
    fn message(self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Framing::Text => websocket::message(&mut out, Kind::Text, None, &[payload]),
            Framing::Binary => websocket::message(&mut out, Kind::Binary, None, &[payload]),
            Framing::Base64 => {
                websocket::message(&mut out, Kind::Text, None, &[BASE64.encode(payload).as_bytes()]);
            }
        }
        out
    }
}
