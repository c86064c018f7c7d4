//! Remote commands over SPDY: one stream a channel, told apart by the `streamtype` header.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_codec::spdy::StreamId;
use tokio::sync::{mpsc, oneshot};

use super::{Client, Inlet, Input, Outcome, Output, Streams, Work, resize};
use crate::spdy::{Event, Incoming, Outgoing, plain};
use crate::upgrade::Connection;

/// How long the client may take to open its streams, as in the kubelet.
const OPENING: Duration = Duration::from_secs(30);

/// The streams of a session, as the client opened them.
#[derive(Default)]
struct Opened {
    error: Option<StreamId>,
    stdin: Option<StreamId>,
    stdout: Option<StreamId>,
    stderr: Option<StreamId>,
    resize: Option<StreamId>,
    last: u32,
}

/// Waits for the streams that the request announced; `None` when they do not come.
pub(super) async fn open(
    connection: Connection,
    version: &'static str,
    streams: Streams,
    work: &Work,
) -> Option<(Client, Arc<Mutex<Vec<u8>>>)> {
    let (mut incoming, outgoing) = plain(connection);
    // Resizing came with version 3.
    let resizes = streams.tty && matches!(version, "v4.channel.k8s.io" | "v3.channel.k8s.io");
    let wanted = [true, streams.stdin, streams.stdout, streams.stderr && !streams.tty, resizes];
    let wanted = wanted.iter().filter(|wanted| **wanted).count();
    let opened = tokio::time::timeout(OPENING, gather(&mut incoming, wanted)).await.ok().flatten()?;
    let command = match work {
        Work::Process(spec) => spec.argv.join(" "),
        Work::Listen => String::new(),
    };
    let (inlet, input) = Inlet::new();
    let seen = inlet.seen.clone();
    let (output, outputs) = mpsc::channel(16);
    let (finish, outcome) = oneshot::channel();
    let (stdin, size) = (opened.stdin, opened.resize);
    tokio::spawn(read(incoming, stdin, size, inlet));
    let errors_are_statuses = version == "v4.channel.k8s.io";
    tokio::spawn(write(outgoing, opened, outputs, outcome, command, errors_are_statuses));
    Some((Client { input, output, finish }, seen))
}

async fn gather(incoming: &mut Incoming, wanted: usize) -> Option<Opened> {
    let mut opened = Opened::default();
    for _ in 0..wanted {
        let Event::Opened { stream, headers } = incoming.next().await? else { return None };
        opened.last = stream.0;
        let place = match headers.get("streamtype")? {
            "error" => &mut opened.error,
            "stdin" => &mut opened.stdin,
            "stdout" => &mut opened.stdout,
            "stderr" => &mut opened.stderr,
            "resize" => &mut opened.resize,
            _ => return None,
        };
        *place = Some(stream);
    }
    Some(opened)
}

async fn read(mut incoming: Incoming, stdin: Option<StreamId>, size: Option<StreamId>, inlet: Inlet) {
    while let Some(event) = incoming.next().await {
        let going = match event {
            Event::Data { stream, bytes, fin } if Some(stream) == stdin => {
                (bytes.is_empty() || inlet.send(Input::Stdin(bytes)).await)
                    && (!fin || inlet.send(Input::StdinEnd).await)
            }
            Event::Data { stream, bytes, .. } if Some(stream) == size => match resize(&bytes) {
                Some(size) => inlet.send(size).await,
                None => true,
            },
            Event::Reset { stream } if Some(stream) == stdin => inlet.send(Input::StdinEnd).await,
            _ => true,
        };
        if !going {
            return;
        }
    }
}

async fn write(
    outgoing: Outgoing,
    opened: Opened,
    mut outputs: mpsc::Receiver<Output>,
    outcome: oneshot::Receiver<Outcome>,
    command: String,
    errors_are_statuses: bool,
) {
    while let Some(output) = outputs.recv().await {
        let (stream, bytes) = match output {
            Output::Stdout(bytes) => (opened.stdout, bytes),
            Output::Stderr(bytes) => (opened.stderr, bytes),
        };
        if let Some(stream) = stream
            && !outgoing.data(stream, &bytes, false).await
        {
            return;
        }
    }
    for stream in [opened.stdout, opened.stderr].into_iter().flatten() {
        outgoing.data(stream, b"", true).await;
    }
    let (Ok(outcome), Some(error)) = (outcome.await, opened.error) else { return };
    let status = outcome.status(|code| format!("error executing command [{command}], exit code {code}"));
    // Before version 4, the stream carried the message alone, and nothing at all for success.
    let bytes = match status["message"].as_str() {
        _ if errors_are_statuses => crate::respond::json_bytes(&status, false),
        message => message.unwrap_or_default().as_bytes().to_vec(),
    };
    if !bytes.is_empty() {
        outgoing.data(error, bytes.trim_ascii_end(), false).await;
    }
    let still_open: Vec<StreamId> =
        [Some(error), opened.stdin, opened.resize].into_iter().flatten().collect();
    outgoing.end(&still_open, StreamId(opened.last)).await;
}
