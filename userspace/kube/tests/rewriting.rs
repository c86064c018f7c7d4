//! The rewriters: what they give means the same as what they took, and is the same where nothing is masked; what is to
//! be hidden is, wherever frames and reads cut it; nothing that a command printed comes after its exit status.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::path::Path;

use portcullis_codec::spdy::{self, Encoder, Frame, Headers, StreamId};
use portcullis_codec::websocket::{self, Kind};
use portcullis_kube::Status;
use portcullis_kube::stream::{
    Masker, MessageProtocol, MessageStream, PortForwardProtocol, PortForwardRewriter, PortMasking, Protocol,
    RemoteCommandRewriter, RemoteCommandTap, Said, Session as _, Side, StreamError, StreamEvent, Version,
};
use proptest::prelude::*;
use support::needle::{NEEDLE, Needle};
use support::{Forwards, Session, Transcript, fixtures, fuzzed, text};

const KEY: [u8; 4] = [1, 2, 3, 4];
const PROTOCOLS: [Protocol; 6] = [
    Protocol::Spdy(Version::V1),
    Protocol::Spdy(Version::V4),
    Protocol::WebSocket { version: Version::V5, base64: false },
    Protocol::WebSocket { version: Version::V4, base64: false },
    Protocol::WebSocket { version: Version::V4, base64: true },
    Protocol::WebSocket { version: Version::V1, base64: true },
];

/// What came out of a rewriter: the server's side, and what was told of it.
#[derive(Default)]
struct Rewritten {
    out: Vec<u8>,
    told: Transcript,
}

fn command(session: &Session) -> RemoteCommandRewriter {
    let protocol = Protocol::negotiated(&session.upgrade, session.subprotocol.as_deref()).unwrap();
    RemoteCommandRewriter::new(protocol, session.tty(), maskers())
}

fn ports(session: &Session) -> PortForwardRewriter {
    PortForwardRewriter::new(ports_protocol(session), Some(masking()))
}

fn ports_protocol(session: &Session) -> PortForwardProtocol {
    let subprotocol = session.subprotocol.as_deref();
    PortForwardProtocol::negotiated(&session.upgrade, subprotocol, &session.target).unwrap()
}

fn maskers() -> Option<[Box<dyn Masker>; 2]> {
    Some([Needle::longer(), Needle::longer()])
}

fn masking() -> PortMasking {
    PortMasking { make: Box::new(Needle::same), key: || KEY }
}

/// Without maskers nothing changes, however it is sliced.
#[test]
fn without_maskers_bytes_are_the_same() {
    for (name, _, sessions) in fixtures() {
        for session in sessions.iter().filter(|_| !name.contains("fragmented")) {
            for size in [1, 7, 1 << 20] {
                let mut outs = [Vec::new(), Vec::new()];
                if session.is_port_forward() {
                    let mut rewriter = PortForwardRewriter::new(ports_protocol(session), None);
                    for (side, slice) in session.slices(size) {
                        rewriter.feed(side, slice, &mut outs[side as usize], &mut |_| {}).unwrap();
                    }
                } else {
                    let protocol = Protocol::negotiated(&session.upgrade, session.subprotocol.as_deref());
                    let mut rewriter = RemoteCommandRewriter::new(protocol.unwrap(), session.tty(), None);
                    for (side, slice) in session.slices(size) {
                        rewriter.feed(side, slice, &mut outs[side as usize], &mut |_| {}).unwrap();
                    }
                }
                assert_eq!(outs[0], bytes_of(session, Side::Client), "{name}");
                assert_eq!(outs[1], bytes_of(session, Side::Server), "{name}");
            }
        }
    }
}

fn replay(session: &Session, size: usize) -> Result<Rewritten, StreamError> {
    let mut rewriter = command(session);
    let Rewritten { mut out, mut told } = Rewritten::default();
    for (side, slice) in session.slices(size) {
        let mut up = Vec::new();
        let to = if side == Side::Client { &mut up } else { &mut out };
        rewriter.feed(side, slice, to, &mut |said| told.hear(said))?;
        assert_eq!(
            up,
            if side == Side::Client { slice } else { b"" },
            "what the client sends passes as it is"
        );
    }
    rewriter.finish(&mut out, &mut |said| told.hear(said))?;
    Ok(Rewritten { out, told })
}

#[test]
fn captured_commands_stay_what_they_are() {
    let (mut checked, mut identical) = (0, 0);
    for (name, _, sessions) in fixtures() {
        for session in sessions.iter().filter(|s| !s.is_port_forward() && !name.contains("fragmented")) {
            let expected = session.replay(1).unwrap();
            let came: Vec<u8> = bytes_of(session, Side::Server);
            for size in [1, 3, 100, 1 << 20] {
                let Rewritten { out, told } = replay(session, size).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(told, expected, "{name} in slices of {size}");
                // In whole reads frames come whole, but for those of one long answer.
                identical += usize::from(size == 1 << 20 && out == came);
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 64);
    assert_eq!(identical, 63, "byte for byte");
}

#[test]
fn captured_port_forwards_stay_what_they_are() {
    let mut checked = 0;
    for (name, _, sessions) in fixtures() {
        for session in sessions.iter().filter(|s| s.is_port_forward()) {
            let mut expected = session.replay_ports(1).unwrap();
            // Answers are asked for uncompressed; that is all that changes.
            for forward in expected.0.values_mut() {
                forward.sent = text(&forward.sent)
                    .replace("Accept-Encoding: gzip\r\n", "Accept-Encoding: identity\r\n")
                    .into_bytes();
            }
            for size in [1, 2, 7, 100, 1 << 20] {
                let mut rewriter = ports(session);
                let (mut told, mut outs) = (Forwards::default(), [Vec::new(), Vec::new()]);
                for (side, slice) in session.slices(size) {
                    let out = &mut outs[side as usize];
                    rewriter.feed(side, slice, out, &mut |said| told.hear(said)).unwrap();
                }
                assert_eq!(told, expected, "{name} in slices of {size}");
                // What went out can be read by itself.
                let mut tap = session.port_tap();
                tap.feed(Side::Client, &outs[0], &mut |_| {}).unwrap();
                tap.feed(Side::Server, &outs[1], &mut |_| {}).unwrap();
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 14);
}

/// The seeds of the fuzz targets, without a fuzzer.
#[test]
fn fuzzed_seeds() {
    for (target, check) in
        [("rewrite_command", fuzzed::command as fn(&[u8])), ("rewrite_ports", fuzzed::ports)]
    {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
        let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|seed| seed.unwrap().path()).collect();
        assert!(seeds.len() >= 6, "{target}");
        for seed in seeds {
            let seed = std::fs::read(seed).unwrap();
            (0..seed.len()).step_by(7).chain([seed.len()]).for_each(|end| check(&seed[..end]));
        }
    }
}

fn bytes_of(session: &Session, of: Side) -> Vec<u8> {
    session.reads.iter().filter(|(side, _)| *side == of).flat_map(|(_, bytes)| bytes.clone()).collect()
}

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

fn has(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
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
        assert!(!rewriter.holds());
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
        assert_eq!((text(&told.stdout), rewriter.holds()), ("$ ", true), "{protocol:?}");
        rewriter.flush(&mut out, &mut |said| told.hear(said)).unwrap();
        assert_eq!((text(&told.stdout), rewriter.holds()), ("$ FAKE", false), "{protocol:?}");
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

/// A SPDY port-forward with one connection to port 8080.
struct Forward {
    rewriter: PortForwardRewriter,
    client: Vec<u8>,
    told: Forwards,
}

impl Forward {
    fn open() -> Self {
        let mut rewriter = PortForwardRewriter::new(PortForwardProtocol::Spdy, Some(masking()));
        let (mut encoder, mut opening) = (Encoder::default(), Vec::new());
        for (stream, kind) in [(1, "error"), (3, "data")] {
            let headers: Headers =
                [("streamType", kind), ("port", "8080"), ("requestID", "0")].into_iter().collect();
            let (associated, priority, fin, unidirectional) = (StreamId(0), 0, false, false);
            let stream = StreamId(stream);
            let frame = Frame::SynStream { stream, associated, priority, fin, unidirectional, headers };
            encoder.encode(&frame, &mut opening).unwrap();
        }
        let (mut client, mut told) = (Vec::new(), Forwards::default());
        rewriter.feed(Side::Client, &opening, &mut client, &mut |said| told.hear(said)).unwrap();
        Self { rewriter, client, told }
    }

    fn say(&mut self, side: Side, payload: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for payload in payload.chunks(size) {
            let mut frame = Vec::new();
            let data = Frame::Data { stream: StreamId(3), payload, fin: false };
            Encoder::default().encode(&data, &mut frame).unwrap();
            self.rewriter.feed(side, &frame, &mut out, &mut |said| self.told.hear(said)).unwrap();
        }
        payloads(&out)
    }
}

/// What DATA frames carry.
fn payloads(mut frames: &[u8]) -> Vec<u8> {
    let (mut decoder, mut all) = (spdy::Decoder::default(), Vec::new());
    while let Some(frame) = decoder.next(&mut frames).unwrap() {
        if let Frame::Data { payload, .. } = frame {
            all.extend_from_slice(payload);
        }
    }
    all
}

#[test]
fn text_in_forwarded_answers_is_masked() {
    let needle = text(NEEDLE);
    let masked = "*".repeat(NEEDLE.len());
    let get = "GET /a HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, br\r\nAccept-Encoding: zstd\r\n\r\n";
    let asked = "GET /a HTTP/1.1\r\nHost: a\r\nAccept-Encoding: identity\r\n\r\n";
    let body = format!("{{\"word\":\"{needle}\"}}");
    let length = body.len();
    let plain = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let open = format!("HTTP/1.0 200 OK\r\n\r\n{body}\n");
    let image =
        format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n\r\n{body}");
    let binary_chunks = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for size in [1, 2, 5, 1000] {
        let mut forward = Forward::open();
        for round in 0..2 {
            assert_eq!(text(&forward.say(Side::Client, get.as_bytes(), size)), asked, "{round}");
            assert_eq!(
                text(&forward.say(Side::Server, plain.as_bytes(), size)),
                plain.replace(needle, &masked),
                "in slices of {size}"
            );
        }
        // HEAD has a length and no body; a 100 comes before the answer; an empty line is skipped.
        forward.say(Side::Client, b"\r\nHEAD / HTTP/1.1\r\n\r\n", size);
        forward.say(Side::Client, b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /", size);
        let upload =
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nGET /\r\n0\r\nA: b\r\n\r\n";
        assert_eq!(forward.say(Side::Client, upload, size), upload);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\n";
        let cont = "HTTP/1.1 100 Continue\r\n\r\n";
        let none = "HTTP/1.1 204 No Content\r\n\r\n";
        for answer in [head, cont, none, &image, binary_chunks] {
            assert_eq!(text(&forward.say(Side::Server, answer.as_bytes(), size)), answer);
        }
        forward.say(Side::Client, get.as_bytes(), size);
        let answered = forward.say(Side::Server, open.as_bytes(), size);
        assert_eq!(text(&answered), open.replace(needle, &masked));
        let recorded = &forward.told.0[&0];
        assert!(!has(&recorded.received, format!("\"{needle}\"}}\r\n").as_bytes()));
    }
}

#[test]
fn chunks_are_cut_anew_and_still_add_up() {
    let (start, end) = NEEDLE.split_at(6);
    let (start, end) = (text(start), text(end));
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n9;ext\r\nab {start}\r\n\
         {:x}\r\n{end}cd\r\n0\r\nTrailer: x\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        end.len() + 2
    );
    for size in [1, 2, 3, 1000] {
        let mut forward = Forward::open();
        forward.say(Side::Client, b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", size);
        let out = forward.say(Side::Server, answer.as_bytes(), size);
        let out = text(&out);
        let (_, body) = out.split_once("\r\n\r\n").unwrap();
        let mut content = String::new();
        let mut rest = body;
        loop {
            let (count, left) = rest.split_once("\r\n").unwrap();
            let count = usize::from_str_radix(count, 16).unwrap();
            if count == 0 {
                rest = left;
                break;
            }
            content.push_str(&left[..count]);
            rest = left[count..].strip_prefix("\r\n").unwrap();
        }
        assert_eq!(content, format!("ab {}cd", "*".repeat(NEEDLE.len())), "in slices of {size}");
        assert_eq!(rest, "Trailer: x\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
    }
}

#[test]
fn what_is_not_http_passes_and_what_is_half_http_is_masked_as_text() {
    let needle = text(NEEDLE);
    let masked = "*".repeat(NEEDLE.len());
    let tls = [0x16, 3, 1, 2, 0, 1, b'\n'];
    for (client, server, expected) in [
        // A database, TLS, a server that speaks first.
        (&b"PING\r\nGET key\r\n"[..], format!("+{needle}\r\n"), format!("+{needle}\r\n")),
        (&tls, needle.to_owned(), needle.to_owned()),
        (b"", format!("220 {needle}\r\n"), format!("220 {needle}\r\n")),
        // What some server may take for a request, though it cannot be followed as one.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", needle.to_owned(), masked.clone()),
        (b"GET  /x HTTP/1.1\r\n\r\n", needle.to_owned(), masked.clone()),
        (b"GET /x HTTP/1.2\r\n\r\n", needle.to_owned(), masked.clone()),
        (b"GET /x\r\n", needle.to_owned(), masked.clone()),
        // Servers skip empty lines before a request.
        (
            b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{needle}", needle.len()),
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{masked}", needle.len()),
        ),
        // Requests that two readers read differently, and answers that are none.
        (
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            needle.to_owned(),
            masked.clone(),
        ),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", needle.to_owned(), masked.clone()),
        (b"GET / HTTP/1.1\r\n\r\n", format!("-ERR {needle}\r\n"), format!("-ERR {masked}\r\n")),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz {needle}\r\n"),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz {masked}\r\n"),
        ),
        // What the connection is said to become, the pod need not mean.
        (
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            format!("HTTP/1.1 101 Switching\r\n\r\n{needle}"),
            format!("HTTP/1.1 101 Switching\r\n\r\n{masked}"),
        ),
        (
            b"CONNECT a:1 HTTP/1.1\r\n\r\n",
            format!("HTTP/1.1 200 OK\r\n\r\n{needle}"),
            format!("HTTP/1.1 200 OK\r\n\r\n{masked}"),
        ),
    ] {
        for size in [1, 4, 1000] {
            let mut forward = Forward::open();
            assert_eq!(forward.say(Side::Client, client, size), client);
            let out = forward.say(Side::Server, server.as_bytes(), size);
            assert_eq!(text(&out), expected, "{:?} in slices of {size}", String::from_utf8_lossy(client));
        }
    }
    assert!(!Forward::open().client.is_empty());
    // That an answer may be compressed there, which nobody can look into, is told.
    let mut forward = Forward::open();
    forward.say(Side::Client, b"GET / HTTP/1.1\r\nHost : x\r\nAccept-Encoding: gzip\r\n\r\n", 1000);
    forward.say(Side::Server, b"\x1f\x8b", 1000);
    assert_eq!(forward.told.0[&0].coded, ["unknown"]);
}

#[test]
fn what_is_held_of_an_answer_never_goes_to_the_pod() {
    let mut forward = Forward::open();
    forward.say(Side::Client, b"GET / HTTP/1.1\r\n\r\n", 1000);
    let (start, end) = NEEDLE.split_at(5);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", NEEDLE.len());
    let mut seen = forward.say(Side::Server, &[head.as_bytes(), start].concat(), 1000);
    let (mut empty, mut up) = (Vec::new(), Vec::new());
    let data = Frame::Data { stream: StreamId(1), payload: b"", fin: false };
    Encoder::default().encode(&data, &mut empty).unwrap();
    forward.rewriter.feed(Side::Client, &empty, &mut up, &mut |said| forward.told.hear(said)).unwrap();
    assert_eq!(up, empty, "on the error stream the client has nothing to say, and learns nothing by it");
    seen.extend(forward.say(Side::Server, end, 1000));
    assert_eq!(text(&seen), format!("{head}{}", "*".repeat(NEEDLE.len())));
}

#[test]
fn a_client_has_nothing_to_say_in_a_watch() {
    let mut said = Vec::new();
    websocket::message(&mut said, Kind::Binary, Some([1, 2, 3, 4]), &[b"hello"]);
    let mut stream = MessageStream::new(MessageProtocol::Watch, None);
    let (mut out, mut tell) = (Vec::new(), |said: Said<'_>| panic!("{said:?}"));
    let refused = stream.feed(Side::Client, &said, &mut out, &mut tell);
    assert!(matches!(refused, Err(StreamError::WrongWay { .. })) && out.is_empty());
}

fn body(said: Said<'_>) -> Vec<u8> {
    let Said::Body(bytes) = said else { panic!("{said:?}") };
    bytes.to_vec()
}

fn watch_event(word: &str) -> Vec<u8> {
    format!("{{\"type\":\"ADDED\",\"object\":{{\"word\":\"{word}\"}}}}\n").into_bytes()
}

#[test]
fn a_message_of_a_watch_stays_one_event() {
    let mut came = Vec::new();
    for word in [text(NEEDLE), "other"] {
        websocket::message(&mut came, Kind::Text, None, &[&watch_event(word)]);
    }
    websocket::ping(&mut came, None, b"p");
    let mut expected = Vec::new();
    for word in ["<<what was hidden here>>", "other"] {
        websocket::message(&mut expected, Kind::Text, None, &[&watch_event(word)]);
    }
    websocket::ping(&mut expected, None, b"p");
    for size in [1, 10, 1000] {
        let mut stream = MessageStream::new(MessageProtocol::Watch, Some(Needle::longer()));
        let (mut out, mut told) = (Vec::new(), Vec::new());
        for slice in came.chunks(size) {
            stream.feed(Side::Server, slice, &mut out, &mut |said| told.extend(body(said))).unwrap();
        }
        assert_eq!(out, expected);
        stream.ending(&Status::forbidden("over"), &mut out, &mut |_| {}).unwrap();
        assert!(has(&out, b"\"type\":\"ERROR\"") && has(&out, b"over"));
        assert_eq!(told.iter().filter(|byte| **byte == b'\n').count(), 2);
    }
    let mut binary = Vec::new();
    websocket::message(&mut binary, Kind::Binary, None, &[b"k8s\0"]);
    let mut stream = MessageStream::new(MessageProtocol::Watch, Some(Needle::longer()));
    assert!(matches!(
        stream.feed(Side::Server, &binary, &mut Vec::new(), &mut |_| {}),
        Err(StreamError::Unmaskable(_))
    ));
}

#[test]
fn a_log_is_masked_across_its_messages() {
    for base64 in [false, true] {
        let (start, end) = NEEDLE.split_at(5);
        let mut came = Vec::new();
        let message = |payload: &[u8], out: &mut Vec<u8>| match base64 {
            false => websocket::message(out, Kind::Binary, None, &[payload]),
            true => {
                let coded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, payload);
                websocket::message(out, Kind::Text, None, &[coded.as_bytes()]);
            }
        };
        for payload in [&b""[..], &[b"one ", start].concat(), &[end, b" two\n"].concat(), b"FAKE-"] {
            message(payload, &mut came);
        }
        for size in [1, 10, 1000] {
            let mut stream = MessageStream::new(MessageProtocol::Log { base64 }, Some(Needle::longer()));
            let (mut out, mut told) = (Vec::new(), Vec::new());
            let mut emit = |said: Said<'_>| told.extend(body(said));
            for slice in came.chunks(size) {
                stream.feed(Side::Server, slice, &mut out, &mut emit).unwrap();
            }
            assert!(stream.holds());
            stream.flush(&mut out, &mut emit).unwrap();
            stream.ending(&Status::forbidden("over"), &mut out, &mut emit).unwrap();
            assert_eq!(text(&told), "one <<what was hidden here>> two\nFAKE-\nover\n");
        }
        // Without a masker the bytes are the same, and can be ended between messages only.
        let mut stream = MessageStream::new(MessageProtocol::Log { base64 }, None);
        let (mut out, mut told) = (Vec::new(), Vec::new());
        for slice in came.chunks(3) {
            stream.feed(Side::Server, slice, &mut out, &mut |said| told.extend(body(said))).unwrap();
            let fits = stream.ending(&Status::forbidden("over"), &mut Vec::new(), &mut |_| {}).is_ok();
            assert_eq!(fits, stream.remaining() == 0);
        }
        assert_eq!(out, came);
        assert_eq!(told, [b"one ", NEEDLE, b" two\nFAKE-"].concat());
    }
}
