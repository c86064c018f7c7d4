//! exec and attach over every protocol.

use portcullis_codec::spdy::{Encoder, Frame, Headers, StreamId};
use portcullis_codec::websocket::{self, Kind};
use portcullis_kube::Status;
use portcullis_kube::stream::{
    Protocol, RemoteCommandRewriter, RemoteCommandTap, Session as _, Side, StreamEvent, Version,
};
use proptest::prelude::*;

use crate::maskers;
use crate::support::needle::NEEDLE;
use crate::support::{Transcript, text};

const PROTOCOLS: [Protocol; 6] = [
    Protocol::Spdy(Version::V1),
    Protocol::Spdy(Version::V4),
    Protocol::WebSocket { version: Version::V5, base64: false },
    Protocol::WebSocket { version: Version::V4, base64: false },
    Protocol::WebSocket { version: Version::V4, base64: true },
    Protocol::WebSocket { version: Version::V1, base64: true },
];

/// The server's frames of an exec, one for each of what it says: `(channel, bytes)`.
fn server_says(protocol: Protocol, said: &[(u8, Vec<u8>)]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut opening = Vec::new();
    let spdy = matches!(protocol, Protocol::Spdy(_));
    if spdy {
        let mut encoder = Encoder::default();
        for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
            let headers: Headers = [("streamType", kind)].into_iter().collect();
            let (associated, priority, fin, unidirectional) = (StreamId(0), 0, false, false);
            let stream = StreamId(stream);
            let frame = Frame::SynStream { stream, associated, priority, fin, unidirectional, headers };
            encoder.encode(&frame, &mut opening).unwrap();
        }
    }
    let frames = said.iter().map(|(channel, payload)| {
        let mut out = Vec::new();
        match protocol {
            Protocol::Spdy(_) => {
                let stream = StreamId([3, 5, 7, 1][usize::from(*channel)]);
                Encoder::default().encode(&Frame::Data { stream, payload, fin: false }, &mut out).unwrap();
            }
            Protocol::WebSocket { base64: true, .. } => {
                let coded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, payload);
                websocket::message(&mut out, Kind::Text, None, &[&[b'0' + channel], coded.as_bytes()]);
            }
            Protocol::WebSocket { .. } => {
                websocket::message(&mut out, Kind::Binary, None, &[&[*channel], payload]);
            }
        }
        out
    });
    (opening, frames.collect())
}

/// Everything that a client can make of a server's bytes.
fn read_by_client(protocol: Protocol, opening: &[u8], bytes: &[u8]) -> Vec<String> {
    let mut tap = RemoteCommandTap::new(protocol, false);
    let mut events: Vec<String> = Vec::new();
    tap.feed(Side::Client, opening, &mut |_| {}).unwrap();
    tap.feed(Side::Server, bytes, &mut |event| {
        let (mark, bytes) = match event {
            StreamEvent::Stdout(bytes) => ('>', bytes),
            StreamEvent::Stderr(bytes) => ('!', bytes),
            StreamEvent::Exit { message, .. } => return events.push(format!("exit {message}")),
            _ => return,
        };
        match events.last_mut().filter(|last| last.starts_with(mark)) {
            Some(last) => last.push_str(text(bytes)),
            None => events.push(format!("{mark}{}", text(bytes))),
        }
    })
    .unwrap();
    events
}

proptest! {
    /// A word cut by messages, frames and reads anywhere never reaches the client, and all else does.
    #[test]
    fn what_is_hidden_stays_hidden(
        protocol in prop::sample::select(PROTOCOLS.to_vec()),
        before in "[a-zA-Z\n -]{0,40}",
        after in "[a-zA-Z\n -]{0,40}",
        cuts in prop::collection::vec(1..30_usize, 1..6),
        reads in prop::collection::vec(1..40_usize, 1..6),
    ) {
        let printed = [before.as_bytes(), NEEDLE, after.as_bytes()].concat();
        let mut said: Vec<(u8, Vec<u8>)> = Vec::new();
        let (mut rest, mut cuts) = (&printed[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, left) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            said.push((1, piece.to_vec()));
            // The other output in between changes nothing.
            said.push((2, b"e".to_vec()));
            rest = left;
        }
        let (opening, frames) = server_says(protocol, &said);
        let mut rewriter = RemoteCommandRewriter::new(protocol, false, maskers());
        rewriter.feed(Side::Client, &opening, &mut Vec::new(), &mut |_| {}).unwrap();
        let (mut out, mut told) = (Vec::new(), Transcript::default());
        let (came, mut reads) = (frames.concat(), reads.iter().cycle());
        let mut rest = &came[..];
        while !rest.is_empty() {
            let (read, left) = rest.split_at((*reads.next().unwrap()).min(rest.len()));
            rewriter.feed(Side::Server, read, &mut out, &mut |said| told.hear(said)).unwrap();
            rest = left;
        }
        rewriter.finish(&mut out, &mut |said| told.hear(said)).unwrap();
        let expected = text(&printed).replace(text(NEEDLE), "<<what was hidden here>>");
        prop_assert_eq!(text(&told.stdout), &expected);
        prop_assert_eq!(told.stderr.len(), said.len() / 2);
        let seen = read_by_client(protocol, &opening, &out);
        let stdout: String = seen.iter().filter_map(|event| event.strip_prefix('>')).collect();
        prop_assert_eq!(stdout, expected);
    }

    /// Noise is refused or passed, and never panics; an ending always fits.
    #[test]
    fn noise(noise in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..8)) {
        let status = Status::forbidden("x");
        for protocol in PROTOCOLS {
            let mut rewriter = RemoteCommandRewriter::new(protocol, true, maskers());
            let mut out = Vec::new();
            for (client, bytes) in &noise {
                let side = if *client { Side::Client } else { Side::Server };
                rewriter.feed(side, bytes, &mut out, &mut |_| {}).ok();
            }
            rewriter.ending(&status, &mut out, &mut |_| {}).ok();
        }
    }
}

#[test]
fn held_output_comes_before_the_exit_status_and_every_end() {
    let status = br#"{"status":"Success"}"#;
    for protocol in PROTOCOLS {
        if protocol.version() < Version::V4 {
            continue;
        }
        let said = [(1, b"almost FAKE-hid".to_vec()), (2, b"too FAKE".to_vec()), (3, status.to_vec())];
        let (opening, frames) = server_says(protocol, &said);
        let mut rewriter = RemoteCommandRewriter::new(protocol, false, maskers());
        rewriter.feed(Side::Client, &opening, &mut Vec::new(), &mut |_| {}).unwrap();
        let mut out = Vec::new();
        for frame in &frames {
            rewriter.feed(Side::Server, frame, &mut out, &mut |_| {}).unwrap();
        }
        assert!(rewriter.due().is_none());
        let seen = read_by_client(protocol, &opening, &out);
        assert_eq!(seen.last().unwrap(), "exit ", "{protocol:?}: {seen:?}");
        let said = |mark| seen.iter().filter_map(|event| event.strip_prefix(mark)).collect::<String>();
        assert_eq!((said('>'), said('!')), ("almost FAKE-hid".to_owned(), "too FAKE".to_owned()));
    }
}

#[test]
fn held_output_is_given_when_time_is_up_and_before_last_words() {
    for protocol in PROTOCOLS {
        let (opening, frames) = server_says(protocol, &[(1, b"$ FAKE".to_vec()), (1, b"-h".to_vec())]);
        let mut rewriter = RemoteCommandRewriter::new(protocol, true, maskers());
        rewriter.feed(Side::Client, &opening, &mut Vec::new(), &mut |_| {}).unwrap();
        let (mut out, mut told) = (Vec::new(), Transcript::default());
        rewriter.feed(Side::Server, &frames[0], &mut out, &mut |said| told.hear(said)).unwrap();
        assert_eq!((text(&told.stdout), rewriter.due().is_some()), ("$ ", true), "{protocol:?}");
        rewriter.flush(&mut out, &mut |said| told.hear(said)).unwrap();
        assert_eq!((text(&told.stdout), rewriter.due().is_some()), ("$ FAKE", false), "{protocol:?}");
        rewriter.feed(Side::Server, &frames[1], &mut out, &mut |said| told.hear(said)).unwrap();
        rewriter.feed(Side::Server, &frames[0], &mut out, &mut |said| told.hear(said)).unwrap();
        rewriter.ending(&Status::forbidden("over"), &mut out, &mut |said| told.hear(said)).unwrap();
        let seen = read_by_client(protocol, &opening, &out);
        assert!(seen[0].starts_with(">$ FAKE-h$ FAKE\r\nover"), "{protocol:?}: {seen:?}");
    }
}

/// What a client has reset is not sent to it any more, for nobody would mask it.
#[test]
fn nothing_passes_on_a_stream_that_is_over() {
    let protocol = PROTOCOLS[1];
    let (mut opening, frames) = server_says(protocol, &[(1, NEEDLE.to_vec())]);
    let reset = Frame::RstStream { stream: StreamId(5), status: 5 };
    Encoder::default().encode(&reset, &mut opening).unwrap();
    let mut rewriter = RemoteCommandRewriter::new(protocol, false, maskers());
    rewriter.feed(Side::Client, &opening, &mut Vec::new(), &mut |_| {}).unwrap();
    let mut out = Vec::new();
    rewriter.feed(Side::Server, &frames[0], &mut out, &mut |_| {}).unwrap();
    assert_eq!(out, b"");
}

#[test]
fn what_came_before_a_fault_passes_and_nothing_behind_it() {
    for protocol in PROTOCOLS {
        let (opening, frames) = server_says(protocol, &[(1, b"fine".to_vec()), (1, b"lost".to_vec())]);
        let mut rewriter = RemoteCommandRewriter::new(protocol, false, maskers());
        rewriter.feed(Side::Client, &opening, &mut Vec::new(), &mut |_| {}).unwrap();
        let read = [&frames[0][..], b"\xff\xff\xff\xff\xff\xff\xff\xff", &frames[1]].concat();
        let mut out = Vec::new();
        assert!(rewriter.feed(Side::Server, &read, &mut out, &mut |_| {}).is_err());
        assert_eq!(out, frames[0], "{protocol:?}");
        assert!(
            rewriter.feed(Side::Server, &frames[1], &mut out, &mut |_| {}).is_err(),
            "from then on always"
        );
        rewriter.ending(&Status::forbidden("broken"), &mut out, &mut |_| {}).unwrap();
        let seen = read_by_client(protocol, &opening, &out);
        assert!(seen[0] == ">fine" && seen.concat().contains("broken"), "{protocol:?}: {seen:?}");
    }
}
