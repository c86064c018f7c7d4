//! Sessions made by hand: what is refused, what must not matter, and that slices never do.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use portcullis_codec::spdy::{Encoder, Frame, Headers, StreamId};
use portcullis_codec::websocket::{self, Kind};
use portcullis_kube::stream::{
    Channel, PortEvent, PortForwardProtocol, PortForwardTap, Protocol, RemoteCommandTap, Side, StreamError,
    StreamEvent, Version,
};
use proptest::prelude::*;

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// Both directions of a SPDY connection.
#[derive(Default)]
struct Spdy {
    client: Encoder,
    server: Encoder,
}

impl Spdy {
    fn client(&mut self, frame: &Frame<'_>) -> (Side, Vec<u8>) {
        let mut out = Vec::new();
        self.client.encode(frame, &mut out).unwrap();
        (Side::Client, out)
    }

    fn server(&mut self, frame: &Frame<'_>) -> (Side, Vec<u8>) {
        let mut out = Vec::new();
        self.server.encode(frame, &mut out).unwrap();
        (Side::Server, out)
    }

    fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> (Side, Vec<u8>) {
        let headers: Headers = headers.iter().copied().collect();
        let (associated, priority, fin, unidirectional) = (StreamId(0), 0, false, false);
        let stream = StreamId(stream);
        self.client(&Frame::SynStream { stream, associated, priority, fin, unidirectional, headers })
    }

    fn open_for(&mut self, stream: u32, channel: &str) -> (Side, Vec<u8>) {
        self.open(stream, &[("streamType", channel)])
    }
}

fn data(stream: u32, payload: &[u8], fin: bool) -> Frame<'_> {
    Frame::Data { stream: StreamId(stream), payload, fin }
}

fn reset(stream: u32) -> Frame<'static> {
    Frame::RstStream { stream: StreamId(stream), status: 5 }
}

fn exec(protocol: Protocol, sent: &[(Side, Vec<u8>)]) -> Result<Vec<String>, StreamError> {
    let mut tap = RemoteCommandTap::new(protocol, false);
    let mut events = Vec::new();
    for (side, bytes) in sent {
        let outcome = tap.feed(*side, bytes, &mut |event| events.push(show(event)));
        if outcome.is_err() {
            assert!(tap.feed(*side, b"", &mut |_| {}).is_err(), "a failed tap stays failed");
            assert!(!tap.at_boundary(*side));
        }
        outcome?;
    }
    Ok(events)
}

fn show(event: StreamEvent<'_>) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match event {
        StreamEvent::Stdin(bytes) => format!("< {}", text(bytes)),
        StreamEvent::Stdout(bytes) => format!("> {}", text(bytes)),
        StreamEvent::Stderr(bytes) => format!("! {}", text(bytes)),
        other => format!("{other:?}"),
    }
}

const SPDY: Protocol = Protocol::Spdy(Version::V4);

#[test]
fn spdy_in_order() {
    let mut s = Spdy::default();
    let sent = [
        s.open_for(1, "error"),
        s.open_for(3, "stdin"),
        s.open_for(5, "stdout"),
        s.server(&Frame::SynReply { stream: StreamId(1), fin: false, headers: Headers::default() }),
        s.client(&Frame::Ping { id: 1 }),
        s.server(&Frame::Ping { id: 1 }),
        s.client(&data(3, b"ls", false)),
        s.client(&data(3, b"", true)),
        s.server(&Frame::WindowUpdate { stream: StreamId(3), delta: 2 }),
        s.server(&data(5, b"a b", false)),
        s.server(&Frame::Headers { stream: StreamId(5), fin: true, headers: Headers::default() }),
        s.server(&data(1, br#"{"status":"Fail"#, false)),
        s.server(&data(1, br#"ure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#, false)),
        s.server(&reset(3)),
        s.client(&data(3, b"", false)),
        s.server(&Frame::GoAway { last_good: StreamId(5), status: 0 }),
    ];
    assert_eq!(
        exec(SPDY, &sent).unwrap(),
        ["< ls", "Closed(Stdin)", "> a b", "Closed(Stdout)", "Exit { code: Some(7), message: \"\" }",]
    );
}

#[test]
fn old_versions_tell_errors_as_text() {
    let exits = |version, payload: &'static [u8]| {
        let mut s = Spdy::default();
        let sent = [s.open_for(1, "error"), s.server(&data(1, payload, true))];
        exec(Protocol::Spdy(version), &sent)
    };
    let failed = ["Exit { code: None, message: \"no such container\" }", "Closed(Error)"];
    assert_eq!(exits(Version::V3, b"no such container").unwrap(), failed);
    assert_eq!(exits(Version::V1, b"").unwrap(), ["Exit { code: Some(0), message: \"\" }", "Closed(Error)"]);
    assert_eq!(exits(Version::V4, b"").unwrap(), ["Closed(Error)"], "nothing said, nothing known");
    assert!(matches!(exits(Version::V4, b"no such container"), Err(StreamError::ExitStatus)));
    assert!(matches!(exits(Version::V2, b"\xff"), Err(StreamError::ExitStatus)));
}

#[test]
fn spdy_streams_that_make_no_sense() {
    type Make = fn(&mut Spdy) -> Vec<(Side, Vec<u8>)>;
    let cases: &[(Make, &str)] = &[
        (|s| vec![s.open(1, &[])], "SPDY stream 1: no streamType"),
        (|s| vec![s.open_for(1, "stdlog")], "SPDY stream 1: unknown streamType"),
        (|s| vec![s.open_for(1, "stdin\0stdout")], "SPDY stream 1: unknown streamType"),
        (
            |s| vec![s.open_for(1, "stdin"), s.open_for(3, "stdin")],
            "SPDY stream 3: another stream is open for the same",
        ),
        (|s| vec![s.open_for(1, "stdin"), s.open_for(1, "stdout")], "SPDY stream 1 must not be opened here"),
        (|s| vec![s.open_for(3, "stdin"), s.open_for(1, "stdout")], "SPDY stream 1 must not be opened here"),
        (|s| vec![s.open_for(2, "stdin")], "SPDY stream 2 must not be opened here"),
        (
            |s| vec![s.server(&Frame::GoAway { last_good: StreamId(0), status: 0 }), s.open_for(1, "stdin")],
            "SPDY stream 1 must not be opened here",
        ),
        (|s| vec![(Side::Server, s.open_for(1, "stdin").1)], "SPDY stream 1 must not be opened here"),
        (|s| vec![s.client(&data(1, b"x", false))], "SPDY frame for stream 1, which was never opened"),
        (|s| vec![s.server(&reset(1))], "SPDY frame for stream 1, which was never opened"),
        (
            |s| vec![s.open_for(1, "stdin"), s.client(&data(1, b"", true)), s.client(&data(1, b"x", false))],
            "data on SPDY stream 1 after its end",
        ),
        (
            |s| vec![s.open_for(1, "stdout"), s.client(&data(1, b"x", false))],
            "the client sent data on stdout",
        ),
        (|s| vec![s.open_for(1, "stdin"), s.server(&data(1, b"x", false))], "the server sent data on stdin"),
        (
            |s| vec![s.open_for(1, "resize"), s.client(&data(1, b"{\"Width\":-1,\"Height\":2}", false))],
            "malformed terminal size",
        ),
        (
            |s| vec![s.open_for(1, "resize"), s.client(&data(1, &[b' '; 2000], false))],
            "malformed terminal size",
        ),
        (
            |s| vec![s.open_for(1, "error"), s.server(&data(1, &[b'{'; 70000], false))],
            "malformed exit status on the error channel",
        ),
    ];
    for (make, why) in cases {
        let sent = make(&mut Spdy::default());
        assert_eq!(exec(SPDY, &sent).unwrap_err().to_string(), *why);
    }
}

#[test]
fn a_reset_stream_may_still_be_spoken_on() {
    let mut s = Spdy::default();
    let sent = [
        s.open_for(1, "stdout"),
        s.server(&data(1, b"a", false)),
        s.client(&reset(1)),
        s.server(&data(1, b"b", false)),
        s.server(&data(1, b"", true)),
        s.client(&reset(1)),
    ];
    assert_eq!(
        exec(SPDY, &sent).unwrap(),
        ["> a", "Closed(Stdout)"],
        "what comes late is dropped by the client"
    );
}

fn ws(version: Version) -> Protocol {
    Protocol::WebSocket { version, base64: false }
}

/// A message from the client, or the server.
fn message(side: Side, payload: &[u8]) -> (Side, Vec<u8>) {
    let mut out = Vec::new();
    websocket::message(&mut out, Kind::Binary, if side == Side::Client { MASK } else { None }, &[payload]);
    (side, out)
}

#[test]
fn websocket_channels() {
    use Side::{Client, Server};
    // A message in two fragments, with a ping in between.
    let fragmented = b"\x02\x03\x01he\x89\x01?\x80\x03llo".to_vec();
    let sent = [
        message(Server, b"\x01"),
        message(Client, b""),
        message(Client, b"\x00ls"),
        message(Client, b"\x04{\"Width\":80,"),
        message(Client, b"\x04\"Height\":24}\n{\"Width\":81,\"Height\":25}"),
        (Server, fragmented),
        message(Server, b"\x02err"),
        message(Client, b"\xff\x00"),
        message(Server, b"\x03{\"metadata\":{},\"status\":\"Success\"}"),
    ];
    assert_eq!(
        exec(ws(Version::V5), &sent).unwrap(),
        [
            "< ls",
            "Resize { width: 80, height: 24 }",
            "Resize { width: 81, height: 25 }",
            "> he",
            "> llo",
            "! err",
            "Closed(Stdin)",
            "Exit { code: Some(0), message: \"\" }",
        ]
    );
    let refused = |version, (side, bytes)| exec(ws(version), &[(side, bytes)]).unwrap_err().to_string();
    assert_eq!(
        refused(Version::V4, message(Client, b"\xff\x00")),
        "WebSocket message on unknown channel 255"
    );
    assert_eq!(
        refused(Version::V5, message(Server, b"\xff\x00")),
        "WebSocket message on unknown channel 255"
    );
    assert_eq!(refused(Version::V5, message(Client, b"\xff\x07")), "WebSocket message on unknown channel 7");
    assert_eq!(
        refused(Version::V5, message(Client, b"\xff\x00\x00")),
        "WebSocket message on unknown channel 255"
    );
    assert_eq!(refused(Version::V5, message(Client, b"\x01x")), "the client sent data on stdout");
    assert_eq!(refused(Version::V5, message(Server, b"\x05x")), "WebSocket message on unknown channel 5");
    assert_eq!(refused(Version::V5, message(Server, b"\x03{")), "malformed exit status on the error channel");
    let (_, mut first) = message(Client, b"\x00a");
    first[0] &= 0x7f;
    assert!(matches!(exec(ws(Version::V5), &[(Client, first)]), Err(StreamError::Fragmented)));
}

#[test]
fn where_an_ending_fits() {
    let mut tap = RemoteCommandTap::new(ws(Version::V5), true);
    let status = portcullis_kube::Status::forbidden("revoked");
    assert!(tap.at_boundary(Side::Server));
    tap.feed(Side::Server, b"\x82\x05\x01ab", &mut |_| {}).unwrap();
    assert_eq!((tap.at_boundary(Side::Server), tap.remaining(Side::Server)), (false, 2));
    assert!(matches!(tap.ending(&status), Err(StreamError::InsideFrame)));
    tap.feed(Side::Server, b"cd", &mut |_| {}).unwrap();
    let mut events = Vec::new();
    let ending = tap.ending(&status).unwrap();
    tap.feed(Side::Server, &ending, &mut |event| events.push(show(event))).unwrap();
    assert_eq!(events, ["> \r\nrevoked\r\n", "Exit { code: None, message: \"revoked\" }"]);
    assert!(!tap.at_boundary(Side::Server), "nothing fits behind the close frame");
}

fn ports(protocol: PortForwardProtocol, sent: &[(Side, Vec<u8>)]) -> Result<Vec<String>, StreamError> {
    let mut tap = PortForwardTap::new(protocol);
    let mut events = Vec::new();
    for (side, bytes) in sent {
        tap.feed(*side, bytes, &mut |event: PortEvent<'_>| events.push(format!("{event:?}")))?;
    }
    Ok(events)
}

#[test]
fn port_forward_streams() {
    let mut s = Spdy::default();
    let lane = |kind, port| [("streamType", kind), ("port", port), ("requestID", "0")];
    let unnumbered = |kind| [("streamType", kind), ("port", "80")];
    let sent = [
        s.open(1, &lane("error", "80")),
        s.open(3, &lane("data", "80")),
        s.client(&data(3, b"hi", true)),
        s.server(&data(1, b"no", true)),
        s.client(&data(1, b"", true)),
        s.server(&reset(3)),
        s.open(5, &unnumbered("error")),
        s.open(7, &unnumbered("data")),
    ];
    assert_eq!(
        ports(PortForwardProtocol::Spdy, &sent).unwrap(),
        [
            "Opened { port: 80, request: 0 }",
            "Data { port: 80, request: 0, from: Client, bytes: [104, 105] }",
            "Closed { port: 80, request: 0, side: Client }",
            "Error { port: 80, request: 0, text: [110, 111] }",
            "Closed { port: 80, request: 0, side: Server }",
            "Opened { port: 80, request: 5 }",
        ]
    );
    for (headers, why) in [
        (&lane("data", "0")[..], "no valid port"),
        (&lane("data", "65536"), "no valid port"),
        (&lane("stdin", "80"), "streamType is neither data nor error"),
        (&[("streamType", "data"), ("port", "80"), ("requestID", "x")], "requestID is not a number"),
    ] {
        let sent = [Spdy::default().open(1, headers)];
        let error = ports(PortForwardProtocol::Spdy, &sent).unwrap_err();
        assert_eq!(error.to_string(), format!("SPDY stream 1: {why}"));
    }
    let mut s = Spdy::default();
    let sent: Vec<_> = (0..2049_u32)
        .flat_map(|n| {
            let request = n.to_string();
            ["error", "data"].map(|kind| (kind, request.clone()))
        })
        .enumerate()
        .map(|(n, (kind, request))| {
            s.open(2 * n as u32 + 1, &[("streamType", kind), ("port", "80"), ("requestID", &request)])
        })
        .collect();
    assert!(matches!(ports(PortForwardProtocol::Spdy, &sent), Err(StreamError::TooManyStreams(4096))));
}

#[test]
fn port_forward_channels() {
    use Side::{Client, Server};
    let protocol = || PortForwardProtocol::Channels { base64: false, ports: vec![8080, 443] };
    let sent = [
        message(Client, b"\x00early"),
        message(Server, b"\x00\x90\x1f"),
        message(Server, b"\x02\xbb\x01"),
        message(Server, b"\x03\xbb\x01"),
        message(Server, b"\x02bytes"),
        message(Server, b"\x03no"),
    ];
    assert_eq!(
        ports(protocol(), &sent).unwrap(),
        [
            "Data { port: 8080, request: 0, from: Client, bytes: [101, 97, 114, 108, 121] }",
            "Opened { port: 8080, request: 0 }",
            "Opened { port: 443, request: 1 }",
            "Data { port: 443, request: 1, from: Server, bytes: [98, 121, 116, 101, 115] }",
            "Error { port: 443, request: 1, text: [110, 111] }",
        ]
    );
    for (sent, why) in [
        (message(Server, b"\x00\x91\x1f"), "WebSocket channel 0 did not announce its port"),
        (message(Server, b"\x00\x90"), "WebSocket channel 0 did not announce its port"),
        (message(Server, b"\x00\x90\x1f\x00"), "WebSocket channel 0 did not announce its port"),
        (message(Server, b"\x04\x90\x1f"), "WebSocket message on unknown channel 4"),
        (message(Client, b"\x01x"), "the client sent data on the error stream of port 8080"),
    ] {
        assert_eq!(ports(protocol(), &[sent]).unwrap_err().to_string(), why);
    }
    let mut text = Vec::new();
    websocket::message(&mut text, Kind::Text, MASK, &[b"x"]);
    let sent = [(Client, text)];
    assert!(matches!(ports(PortForwardProtocol::SpdyInWebSocket, &sent), Err(StreamError::TextInTunnel)));
}

/// Joins what consecutive events of one channel say.
fn joined(events: &[String]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for event in events {
        match joined.last_mut() {
            Some(last) if last[..2] == event[..2] && !event.starts_with(char::is_alphabetic) => {
                last.push_str(&event[2..]);
            }
            _ => joined.push(event.clone()),
        }
    }
    joined
}

proptest! {
    #[test]
    fn slices_do_not_matter(
        messages in prop::collection::vec((prop::sample::select(vec![0, 1, 2, 4, 255]), "[a-z]{1,40}"), 1..20),
        base64 in any::<bool>(),
        cuts in prop::collection::vec(1..30_usize, 1..6),
    ) {
        let version = if base64 { Version::V4 } else { Version::V5 };
        let mut sent = Vec::new();
        for (channel, text) in &messages {
            let (side, payload) = match channel {
                1 | 2 => (Side::Server, text.clone().into_bytes()),
                4 => (Side::Client, format!("{{\"Width\":{},\"Height\":24}}\n", text.len()).into_bytes()),
                255 if base64 => continue,
                255 => (Side::Client, vec![Channel::Stdin as u8]),
                _ => (Side::Client, text.clone().into_bytes()),
            };
            let mask = if side == Side::Client { MASK } else { None };
            let mut bytes = Vec::new();
            if base64 {
                let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, payload);
                websocket::message(&mut bytes, Kind::Text, mask, &[&[b'0' + channel], text.as_bytes()]);
            } else {
                websocket::message(&mut bytes, Kind::Binary, mask, &[&[*channel], &payload]);
            }
            sent.push((side, bytes));
        }
        let protocol = Protocol::WebSocket { version, base64 };
        let whole = joined(&exec(protocol, &sent).unwrap());
        let mut cuts = cuts.iter().cycle();
        let mut sliced = Vec::new();
        for (side, bytes) in &sent {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (slice, left) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                sliced.push((*side, slice.to_vec()));
                rest = left;
            }
        }
        prop_assert_eq!(joined(&exec(protocol, &sliced).unwrap()), whole);
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..8)) {
        let sides = noise.iter().map(|(client, bytes)| (if *client { Side::Client } else { Side::Server }, bytes.clone()));
        let sent: Vec<_> = sides.collect();
        let status = portcullis_kube::Status::forbidden("x");
        for protocol in [SPDY, ws(Version::V5), Protocol::WebSocket { version: Version::V1, base64: true }] {
            let mut tap = RemoteCommandTap::new(protocol, true);
            for (side, bytes) in &sent {
                if tap.feed(*side, bytes, &mut |_| {}).is_ok() && tap.at_boundary(Side::Server) {
                    prop_assert!(tap.ending(&status).is_ok());
                }
            }
        }
    }
}
