//! The SPDY decoder: whatever arrives, it neither panics nor depends on how it was sliced. The first byte is the size
//! of the slices.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_codec::spdy::{Decoder, Frame};

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else { return };
    assert_eq!(decode(stream, stream.len().max(1)), decode(stream, usize::from(*size).max(1)));
});

/// The frames, DATA payloads joined per run on one stream, and the error if any.
fn decode(stream: &[u8], size: usize) -> (Vec<String>, Option<String>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    let mut run: Option<(u32, Vec<u8>)> = None;
    for mut slice in stream.chunks(size) {
        loop {
            match decoder.next(&mut slice) {
                Ok(Some(Frame::Data { stream, payload, fin })) => {
                    run.get_or_insert((stream.0, Vec::new())).1.extend(payload);
                    if decoder.at_boundary() {
                        frames.push(format!("{:?} {fin}", run.take()));
                    }
                }
                Ok(Some(frame)) => frames.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
        assert!(slice.is_empty());
    }
    frames.push(format!("{run:?} {}", decoder.remaining()));
    (frames, None)
}
