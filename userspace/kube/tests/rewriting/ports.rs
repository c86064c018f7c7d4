//! HTTP that is forwarded to ports, and what only looks like it.

use portcullis_codec::spdy::{self, Encoder, Frame, Headers, StreamId};
use portcullis_kube::stream::{PortForwardProtocol, PortForwardRewriter, Session as _, Side};

use crate::support::needle::NEEDLE;
use crate::support::{Forwards, text};
use crate::{has, masking};

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
