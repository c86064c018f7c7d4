//! The WebSocket decoder: whatever arrives, it neither panics nor depends on how it was sliced. The first byte is the
//! size of the slices; its lowest bit, whose frames they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_codec::websocket::{Decoder, Frame};

fuzz_target!(|data: &[u8]| {
    let Some((first, stream)) = data.split_first() else { return };
    let (client, size) = (first & 1 == 1, usize::from(first >> 1).max(1));
    assert_eq!(decode(stream, client, stream.len().max(1)), decode(stream, client, size));
});

/// The frames, payloads joined, and the error if any.
fn decode(stream: &[u8], client: bool, size: usize) -> (Vec<String>, Option<String>) {
    let mut decoder = if client { Decoder::client() } else { Decoder::server() };
    let mut frames = Vec::new();
    let mut payload: Vec<u8> = Vec::new();
    for mut slice in stream.chunks(size) {
        loop {
            match decoder.next(&mut slice) {
                Ok(Some(Frame::Data(slice))) => {
                    assert_eq!(slice.first, payload.is_empty());
                    payload.extend(slice.payload);
                    if slice.last {
                        frames.push(format!("{:?} {} {payload:?}", slice.kind, slice.fin));
                        payload.clear();
                    }
                }
                Ok(Some(frame)) => frames.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
        assert!(slice.is_empty());
    }
    frames.push(format!("{payload:?} {}", decoder.remaining()));
    (frames, None)
}
