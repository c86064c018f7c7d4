//! Remote commands over WebSocket: the first byte of each message is its channel.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portcullis_codec::websocket::{self, Kind};
use tokio::sync::{mpsc, oneshot};

use super::{Client, Inlet, Input, Outcome, Output, Streams, resize};
use crate::stream;
use crate::upgrade::{Connection, Writer};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the next byte is a channel that the client will send nothing more on.
const CLOSE: u8 = 255;

/// A sub-protocol and what sets it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// No sub-protocol at all: as the first version.
    Unnamed,
    /// `channel.k8s.io`
    V1,
    /// `base64.channel.k8s.io`
    V1Base64,
    /// `v4.channel.k8s.io`
    V4,
    /// `v4.base64.channel.k8s.io`
    V4Base64,
    /// `v5.channel.k8s.io`
    V5,
}

impl Protocol {
    /// The first of the client's that we speak; `None` when it names only others.
    pub(crate) fn choose(offered: &[String]) -> Option<Protocol> {
        if offered.is_empty() {
            return Some(Protocol::Unnamed);
        }
        let known = [Protocol::V1, Protocol::V1Base64, Protocol::V4, Protocol::V4Base64, Protocol::V5];
        offered.iter().find_map(|name| known.into_iter().find(|protocol| protocol.name() == name))
    }

    /// Its name in `Sec-WebSocket-Protocol`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Unnamed => "",
            Protocol::V1 => "channel.k8s.io",
            Protocol::V1Base64 => "base64.channel.k8s.io",
            Protocol::V4 => "v4.channel.k8s.io",
            Protocol::V4Base64 => "v4.base64.channel.k8s.io",
            Protocol::V5 => "v5.channel.k8s.io",
        }
    }

    /// A message on a channel, framed.
    pub(crate) fn message(self, channel: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Protocol::V1Base64 | Protocol::V4Base64 => {
                let text = BASE64.encode(payload);
                websocket::message(&mut out, Kind::Text, None, &[&[b'0' + channel], text.as_bytes()]);
            }
            _ => websocket::message(&mut out, Kind::Binary, None, &[&[channel], payload]),
        }
        out
    }

    /// The channel and payload of a message; `None` when it is none.
    pub(crate) fn parse(self, message: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (channel, payload) = message.split_first()?;
        match self {
            Protocol::V1Base64 | Protocol::V4Base64 => {
                Some((channel.checked_sub(b'0')?, BASE64.decode(payload).ok()?))
            }
            _ => Some((*channel, payload.to_vec())),
        }
    }

    /// Whether the error channel carries a `Status`, also for success.
    fn has_statuses(self) -> bool {
        matches!(self, Protocol::V4 | Protocol::V4Base64 | Protocol::V5)
    }
}

/// Takes the connection over.
pub(super) fn open(
    connection: Connection,
    protocol: Protocol,
    streams: Streams,
) -> (Client, Arc<Mutex<Vec<u8>>>) {
    let (chunks, socket) = connection.split();
    let messages = stream::messages(chunks, socket.clone());
    let (inlet, input) = Inlet::new();
    let seen = inlet.seen.clone();
    let (output, outputs) = mpsc::channel(16);
    let (finish, outcome) = oneshot::channel();
    tokio::spawn(read(messages, protocol, streams, inlet));
    tokio::spawn(write(socket, protocol, streams, outputs, outcome));
    (Client { input, output, finish }, seen)
}

async fn read(mut messages: mpsc::Receiver<Vec<u8>>, protocol: Protocol, streams: Streams, inlet: Inlet) {
    while let Some(message) = messages.recv().await {
        let input = match protocol.parse(&message) {
            Some((STDIN, bytes)) if streams.stdin => Some(Input::Stdin(bytes)),
            Some((RESIZE, bytes)) => resize(&bytes),
            Some((CLOSE, bytes)) if protocol == Protocol::V5 && bytes == [STDIN] => Some(Input::StdinEnd),
            _ => None,
        };
        if let Some(input) = input
            && !inlet.send(input).await
        {
            return;
        }
    }
}

async fn write(
    socket: Writer,
    protocol: Protocol,
    streams: Streams,
    mut outputs: mpsc::Receiver<Output>,
    outcome: oneshot::Receiver<Outcome>,
) {
    // The real server begins with an empty message on the first channel it writes to.
    let first = if streams.stdout { STDOUT } else { STDERR };
    if !socket.send(protocol.message(first, b"")).await {
        return;
    }
    while let Some(output) = outputs.recv().await {
        let message = match output {
            Output::Stdout(bytes) => protocol.message(STDOUT, &bytes),
            Output::Stderr(bytes) => protocol.message(STDERR, &bytes),
        };
        if !socket.send(message).await {
            return;
        }
    }
    let Ok(outcome) = outcome.await else { return };
    let status = outcome.status(|code| format!("command terminated with exit code {code}"));
    let bytes = match status["message"].as_str() {
        _ if protocol.has_statuses() => crate::respond::json_bytes(&status, false),
        message => message.unwrap_or_default().as_bytes().to_vec(),
    };
    let last = if bytes.is_empty() { Vec::new() } else { protocol.message(ERROR, bytes.trim_ascii_end()) };
    stream::close(&socket, last).await;
}
