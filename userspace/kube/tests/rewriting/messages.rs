//! Watches and logs over WebSocket.

use portcullis_codec::websocket::{self, Kind};
use portcullis_kube::Status;
use portcullis_kube::stream::{MessageProtocol, MessageStream, Said, Session as _, Side, StreamError};

use crate::has;
use crate::support::needle::{NEEDLE, Needle};
use crate::support::text;

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
    came.extend(b"\x89\x01p");
    let mut expected = Vec::new();
    for word in ["<<what was hidden here>>", "other"] {
        websocket::message(&mut expected, Kind::Text, None, &[&watch_event(word)]);
    }
    expected.extend(b"\x89\x01p");
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
            assert!(stream.due().is_some());
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
