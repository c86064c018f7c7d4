//! What is malformed or out of bounds is refused, by a typed error, and the decoder stays failed.

use portcullis_codec::{Error, spdy, websocket};

fn spdy_error(bytes: &[u8]) -> Error {
    let mut decoder = spdy::Decoder::default();
    let mut input = bytes;
    loop {
        match decoder.next(&mut input) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("accepted {bytes:x?}"),
            Err(error) => {
                assert!(matches!(decoder.next(&mut &b"\x80\x03"[..]), Err(Error::Poisoned)));
                assert!(!decoder.at_boundary());
                return error;
            }
        }
    }
}

fn websocket_error(mut decoder: websocket::Decoder, bytes: &[u8]) -> Error {
    let mut input = bytes;
    loop {
        match decoder.next(&mut input) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("accepted {bytes:x?}"),
            Err(error) => {
                assert!(matches!(decoder.next(&mut &b"\x82"[..]), Err(Error::Poisoned)));
                assert!(!decoder.at_boundary());
                return error;
            }
        }
    }
}

#[test]
fn spdy() {
    assert!(matches!(spdy_error(b"\x80\x02\0\x06\0\0\0\x04\0\0\0\x01"), Error::SpdyVersion(2)));
    assert!(matches!(spdy_error(b"\x80\x03\0\x05\0\0\0\0"), Error::SpdyFrameType(5)));
    assert!(matches!(spdy_error(b"\x80\x03\0\x0a\0\0\0\0"), Error::SpdyFrameType(10)));
    assert!(matches!(spdy_error(b"\x80\x03\0\x01\0\xff\xff\xff"), Error::SpdyControlTooLong { .. }));
    assert!(matches!(
        spdy_error(b"\x80\x03\0\x06\0\0\0\x05\0\0\0\x01\0"),
        Error::SpdyControlLength { kind: 6, .. }
    ));
    assert!(matches!(spdy_error(b"\x80\x03\0\x01\0\0\0\x02\0\0"), Error::SpdyControlLength { kind: 1, .. }));
    assert!(matches!(
        spdy_error(b"\x80\x03\0\x04\0\0\0\x04\xff\xff\xff\xff"),
        Error::SpdyControlLength { kind: 4, .. }
    ));
    assert!(matches!(spdy_error(b"\0\0\0\0\0\0\0\0"), Error::SpdyStreamZero(0)));
    assert!(matches!(spdy_error(b"\x80\x03\0\x03\0\0\0\x08\0\0\0\0\0\0\0\x01"), Error::SpdyStreamZero(3)));
    assert!(matches!(spdy_error(b"\x80\x03\0\x02\0\0\0\x08\0\0\0\x01abcd"), Error::SpdyInflate(_)));
    let mut encoder = spdy::Encoder::default();
    let big = vec![0; spdy::MAX_PAYLOAD + 1];
    let frame = spdy::Frame::Data { stream: spdy::StreamId(1), payload: &big, fin: false };
    assert!(matches!(encoder.encode(&frame, &mut Vec::new()), Err(Error::SpdyPayloadTooLong(_, _))));
}

#[test]
fn websocket() {
    use websocket::Decoder;
    let server = |bytes: &[u8]| websocket_error(Decoder::server(), bytes);
    assert!(matches!(server(b"\xc2\x00"), Error::WebSocketReservedBits));
    assert!(matches!(server(b"\x83\x00"), Error::WebSocketOpcode(3)));
    assert!(matches!(server(b"\x82\x80\0\0\0\0"), Error::WebSocketMask(true)));
    assert!(matches!(websocket_error(Decoder::client(), b"\x82\x00"), Error::WebSocketMask(false)));
    assert!(matches!(server(b"\x82\x7e\0\x10"), Error::WebSocketLength));
    assert!(matches!(server(b"\x82\x7f\0\0\0\0\0\0\xff\xff"), Error::WebSocketLength));
    assert!(matches!(server(b"\x82\x7f\x80\0\0\0\0\0\0\0"), Error::WebSocketLength));
    // As long as may be, and one byte more.
    assert!(matches!(Decoder::server().next(&mut &b"\x82\x7f\0\0\0\0\x02\0\0\0"[..]), Ok(None)));
    assert!(matches!(server(b"\x82\x7f\0\0\0\0\x02\0\0\x01"), Error::WebSocketTooLong { .. }));
    assert!(matches!(server(b"\x09\x00"), Error::WebSocketControl));
    assert!(matches!(server(b"\x89\x7e\0\x7e"), Error::WebSocketControl));
    assert!(matches!(server(b"\x80\x00"), Error::WebSocketFragments));
    assert!(matches!(server(b"\x02\x01a\x82\x01b"), Error::WebSocketFragments));
    assert!(matches!(server(b"\x88\x01a"), Error::WebSocketClose));
    assert!(matches!(server(b"\x88\x03\x03\xe8\xff"), Error::WebSocketClose));
    assert!(matches!(server(b"\x88\x00\x82\x00"), Error::WebSocketAfterClose));
    assert_eq!(Error::WebSocketMask(true).to_string(), "WebSocket frame from a server is masked");
}
