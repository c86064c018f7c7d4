//! Connections that are taken out of a port-forward, and what is put in on them.

use portcullis_codec::spdy::{self, Encoder, Frame, Headers, StreamId};
use portcullis_codec::websocket::{self, Decoder, Kind};
use portcullis_kube::Status;
use portcullis_kube::stream::{
    PortEvent, PortForwardProtocol, PortForwardRewriter, PortPiece, PortRewriting, Said, Session as _, Side,
    StreamError,
};

use crate::has;
use crate::support::text;

/// The port whose connections are taken out, and one whose are not.
const TAKEN: u16 = 8080;
const OTHER: u16 = 9090;
const MASK: [u8; 4] = [1, 2, 3, 4];

struct Forward {
    rewriter: PortForwardRewriter,
    /// What either side said on connections that are taken out.
    taken: [String; 2],
    ended: Vec<Side>,
    closed: Vec<Side>,
}

impl Forward {
    fn new(protocol: PortForwardProtocol) -> Self {
        let rewriting = PortRewriting { make: None, key: || MASK, taken: [TAKEN].into() };
        let rewriter = PortForwardRewriter::new(protocol, Some(rewriting));
        let (taken, ended, closed) = Default::default();
        Self { rewriter, taken, ended, closed }
    }

    /// What goes to the other side of `bytes`, which come in slices.
    fn feed(&mut self, side: Side, bytes: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let Self { rewriter, taken, ended, closed } = self;
        for slice in bytes.chunks(size) {
            let mut tell = |said: Said<'_>| match said {
                Said::Port(PortEvent::Taken { port, request, from, bytes, last }) => {
                    assert_eq!((port, request), (TAKEN, 0));
                    taken[from as usize].push_str(text(bytes));
                    ended.extend(last.then_some(from));
                }
                Said::Port(PortEvent::Closed { side, .. }) => closed.push(side),
                _ => {}
            };
            rewriter.feed(side, slice, &mut out, &mut tell).unwrap();
        }
        out
    }

    fn put(&mut self, from: Side, piece: PortPiece<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let Self { rewriter, closed, .. } = self;
        let mut tell = |said: Said<'_>| {
            if let Said::Port(PortEvent::Closed { side, .. }) = said {
                closed.push(side);
            }
        };
        rewriter.put(from, (TAKEN, 0), piece, &mut out, &mut tell).unwrap();
        out
    }
}

/// Two connections of SPDY: streams 1 and 3 to the port that is taken out, 5 and 7 to the other.
fn opening() -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::default(), Vec::new());
    for (stream, kind, port) in
        [(1, "error", TAKEN), (3, "data", TAKEN), (5, "error", OTHER), (7, "data", OTHER)]
    {
        let (port, request) = (port.to_string(), u32::from(port == OTHER).to_string());
        let headers: Headers =
            [("streamtype", kind), ("port", &port), ("requestid", &request)].into_iter().collect();
        let (associated, priority, fin, unidirectional) = (StreamId(0), 0, false, false);
        let stream = StreamId(stream);
        let syn = Frame::SynStream { stream, associated, priority, fin, unidirectional, headers };
        encoder.encode(&syn, &mut out).unwrap();
    }
    out
}

fn data(stream: u32, payload: &str, fin: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let frame = Frame::Data { stream: StreamId(stream), payload: payload.as_bytes(), fin };
    Encoder::default().encode(&frame, &mut out).unwrap();
    out
}

fn frame(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::default().encode(frame, &mut out).unwrap();
    out
}

/// What DATA frames say: stream, text, and whether it is the last.
fn said(mut frames: &[u8]) -> Vec<(u32, String, bool)> {
    let (mut decoder, mut said) = (spdy::Decoder::default(), Vec::new());
    while let Some(frame) = decoder.next(&mut frames).unwrap() {
        if let Frame::Data { stream, payload, fin } = frame {
            said.push((stream.0, text(payload).to_owned(), fin));
        }
    }
    assert!(decoder.at_boundary(), "whole frames only");
    said
}

#[test]
fn nothing_is_put_where_nothing_was_taken_out() {
    let mut rewriter = PortForwardRewriter::new(PortForwardProtocol::Spdy, None);
    let (mut out, piece) = (Vec::new(), PortPiece::Data(b"put in"));
    let put = rewriter.put(Side::Client, (TAKEN, 0), piece, &mut out, &mut |_| {});
    assert!(matches!(put, Err(StreamError::NothingTaken)) && out.is_empty());
}

#[test]
fn what_is_said_there_goes_nowhere_and_what_is_put_in_goes_on() {
    for size in [1, 3, 1000] {
        let mut forward = Forward::new(PortForwardProtocol::Spdy);
        assert_eq!(forward.feed(Side::Client, &opening(), size), opening(), "streams stay the client's");
        let from_client = [data(3, "GET /", false), data(7, "other", false), data(3, " HTTP", true)].concat();
        let up = forward.feed(Side::Client, &from_client, size);
        assert!(said(&up).iter().all(|(stream, ..)| *stream == 7), "{up:?}");
        let from_server = [data(3, "HTTP/1.1", false), data(7, "too", false), data(3, "", true)].concat();
        let down = forward.feed(Side::Server, &from_server, size);
        assert!(said(&down).iter().all(|(stream, ..)| *stream == 7), "{down:?}");
        assert_eq!(forward.taken, ["GET / HTTP", "HTTP/1.1"]);
        assert_eq!(forward.ended, [Side::Client, Side::Server]);
        assert_eq!(forward.closed, [], "neither has been told of an end");

        for from in [Side::Client, Side::Server] {
            let put = forward.put(from, PortPiece::Data(b"put in"));
            assert_eq!(said(&put), [(3, "put in".to_owned(), false)]);
            assert_eq!(said(&forward.put(from, PortPiece::End)), [(3, String::new(), true)]);
            assert_eq!(forward.put(from, PortPiece::Data(b"more")), b"", "after the end");
        }
        assert_eq!(forward.closed, [Side::Client, Side::Server]);
        assert_eq!(forward.feed(Side::Client, &data(3, "late", false), size), b"");
        assert_eq!(forward.taken[0], "GET / HTTP", "nobody serves it any more");
    }
}

#[test]
fn a_refusal_ends_both_streams_and_the_server_has_no_other_last_word() {
    let mut forward = Forward::new(PortForwardProtocol::Spdy);
    forward.feed(Side::Client, &opening(), 1000);
    let put = forward.put(Side::Server, PortPiece::Refused("no"));
    assert_eq!(said(&put), [(1, "no".to_owned(), true), (3, String::new(), true)]);
    assert_eq!(forward.feed(Side::Server, &data(1, "refused", true), 1000), b"");
    assert_eq!(forward.feed(Side::Server, &data(5, "refused", true), 1000), data(5, "refused", true));
    let ending = forward.rewriter.ending(&Status::forbidden("over"), &mut Vec::new(), &mut |_| {});
    ending.unwrap();
}

#[test]
fn the_servers_own_errors_and_resets_of_either_side_pass() {
    let mut forward = Forward::new(PortForwardProtocol::Spdy);
    forward.feed(Side::Client, &opening(), 1000);
    let refused = data(1, "connection refused", true);
    assert_eq!(forward.feed(Side::Server, &refused, 1000), refused);
    let reset = frame(&Frame::RstStream { stream: StreamId(3), status: 5 });
    assert_eq!(forward.feed(Side::Client, &reset, 1000), reset);
    assert_eq!(forward.closed, [Side::Client, Side::Server]);
    assert_eq!(forward.put(Side::Server, PortPiece::Data(b"late")), b"");
}

#[test]
fn in_websocket_too_and_its_end_waits_for_what_is_put_in() {
    let mut close = Vec::new();
    websocket::close(&mut close, None, 1000, "");
    let message = |mask, payload: &[&[u8]]| {
        let mut out = Vec::new();
        websocket::message(&mut out, Kind::Binary, mask, payload);
        out
    };
    let ports = vec![TAKEN, OTHER];
    for (protocol, opened, spoken) in [
        (
            PortForwardProtocol::SpdyInWebSocket,
            message(Some(MASK), &[&opening()]),
            [message(Some(MASK), &[&data(3, "GET", false)]), message(None, &[&data(3, "HTTP", false)])],
        ),
        (
            PortForwardProtocol::Channels { base64: false, ports },
            Vec::new(),
            [message(Some(MASK), &[b"\0GET"]), message(None, &[b"\0HTTP"])],
        ),
    ] {
        for size in [1, 1000] {
            let mut forward = Forward::new(protocol.clone());
            forward.feed(Side::Client, &opened, size);
            if opened.is_empty() {
                for (channel, port) in [(0_u8, TAKEN), (1, TAKEN), (2, OTHER), (3, OTHER)] {
                    let announced = message(None, &[&[channel], &port.to_le_bytes()]);
                    assert_eq!(forward.feed(Side::Server, &announced, size), announced);
                }
            }
            assert_eq!(forward.feed(Side::Client, &spoken[0], size), b"");
            let both = [&spoken[1][..], &close].concat();
            assert_eq!(forward.feed(Side::Server, &both, size), b"");
            assert_eq!(forward.taken, ["GET", "HTTP"]);
            assert!(forward.rewriter.is_closing());
            let put = forward.put(Side::Client, PortPiece::Data(b"up"));
            let mut decoder = Decoder::client();
            assert!(decoder.next(&mut &put[..]).unwrap().is_some(), "masked as a client's");
            let mut down = forward.put(Side::Server, PortPiece::Data(b"down"));
            assert!(has(&down, b"down"));
            forward.rewriter.finish(&mut down, &mut |_| {}).unwrap();
            assert!(down.ends_with(&close), "{down:?}");
            assert!(!forward.rewriter.is_closing());
        }
    }
}
