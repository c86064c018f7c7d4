//! HTTP/1.1 framing: what is read of a head, another reader reads too; and chunks end at the same byte whatever the
//! pieces in which they come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_codec::http1::{Chunks, Follows, end_of_head, read_head};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    if let Some(end) = end_of_head(bytes, 0) {
        assert_eq!(end_of_head(bytes, end - 1), Some(end));
        assert_eq!(end_of_head(&bytes[..end - 1], 0), None);
        if let Ok(follows) = read_head(&bytes[..end]) {
            let mut fields = [httparse::EMPTY_HEADER; 256];
            let mut request = httparse::Request::new(&mut fields);
            match request.parse(bytes) {
                Ok(status) => assert_eq!(status, httparse::Status::Complete(end)),
                Err(error) => assert_eq!(error, httparse::Error::TooManyHeaders),
            }
            assert!(request.path.is_none_or(|path| path.starts_with('/')));
            let has = |name: &str| request.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name));
            match follows {
                Follows::Chunks => assert!(has("transfer-encoding") && !has("content-length")),
                Follows::Length(1..) => assert!(has("content-length") && !has("transfer-encoding")),
                Follows::Length(0) | Follows::Unknown => {}
            }
        }
        rest = &bytes[end..];
    }
    let mut whole = Chunks::default();
    let outcome = whole.follow(rest);
    let mut pieces = Chunks::default();
    let mut done = 0;
    let outcome_of_pieces = rest.chunks(3).try_for_each(|piece| match pieces.follow(piece) {
        Ok(count) => {
            done += count;
            Ok(())
        }
        Err((count, fault)) => Err((done + count, fault)),
    });
    assert_eq!(outcome_of_pieces.map(|()| done), outcome);
});
