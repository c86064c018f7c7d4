//! The decoder of event streams: whatever arrives, it neither panics nor depends on how it was sliced, and what it reads it
//! reads again from what the encoder writes. The first byte is the size of the slices.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_codec::sse::{Decoder, Frame, comment, event};

/// Bytes of an event; small, so that it is reached.
const LIMIT: usize = 64;

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else { return };
    let whole = decode(stream, stream.len().max(1));
    assert_eq!(whole, decode(stream, usize::from(*size).max(1)));
    let mut written = Vec::new();
    for frame in &whole.0 {
        match frame {
            Frame::Comment => comment(&mut written),
            Frame::Event(fields) => event(fields, &mut written),
        }
    }
    let mut decoder = Decoder::new(usize::MAX);
    let mut input = &written[..];
    for frame in whole.0 {
        assert_eq!(decoder.next(&mut input).expect("no limit"), Some(frame));
    }
    assert!(input.is_empty() && decoder.at_boundary());
});

/// The frames up to the error, if any, and whether an event was under way.
fn decode(stream: &[u8], size: usize) -> (Vec<Frame>, Option<String>, bool) {
    let mut decoder = Decoder::new(LIMIT);
    let mut frames = Vec::new();
    for mut slice in stream.chunks(size) {
        loop {
            match decoder.next(&mut slice) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string()), false),
            }
        }
        assert!(slice.is_empty());
    }
    (frames, None, decoder.at_boundary())
}
