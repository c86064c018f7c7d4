//! HTTP/1.1 framing beside another reader's: what is not refused is read in the same way by both.

use portcullis_codec::http1::{Chunks, Fault, Follows, end_of_head, read_head};
use proptest::prelude::*;

/// The seeds of the fuzz target `http_head`.
const CORPUS: &[&[u8]] = &[
    include_bytes!("../../../tests/fuzz/corpus/http_head/chunked"),
    include_bytes!("../../../tests/fuzz/corpus/http_head/chunks"),
    include_bytes!("../../../tests/fuzz/corpus/http_head/get"),
    include_bytes!("../../../tests/fuzz/corpus/http_head/old"),
    include_bytes!("../../../tests/fuzz/corpus/http_head/sized"),
    include_bytes!("../../../tests/fuzz/corpus/http_head/smuggled"),
    include_bytes!("../../../tests/fuzz/corpus/http_head/upgrade"),
];

/// Pieces that requests, honest and not, are made of.
const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "POST /x HTTP/1.1\r\n",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "Content-Length",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding",
    "chunked",
    "Upgrade: x\r\n",
    ":",
    ": ",
    " ",
    "\t",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\0",
    ",",
    "3",
    "3\r\nabc\r\n",
    "0\r\n",
    "0\r\n\r\n",
    ";x",
    "+",
    "-",
    "a",
    "ffffffffffffffff",
    "\u{fc}",
];

#[test]
fn the_corpus_is_read_alike() {
    for seed in CORPUS {
        check(seed);
    }
}

proptest! {
    #[test]
    fn requests_are_read_alike(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..14)) {
        check(pieces.concat().as_bytes());
    }

    #[test]
    fn honest_heads_are_read_alike(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..6)) {
        check(format!("PUT /x HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", pieces.concat()).as_bytes());
    }
}

fn check(bytes: &[u8]) {
    let Some(end) = end_of_head(bytes, 0) else { return chunks(bytes) };
    for looked in 0..end {
        assert_eq!(end_of_head(bytes, looked), Some(end), "after {looked}");
        assert_eq!(end_of_head(&bytes[..looked], 0), None, "in {looked}");
    }
    if let Ok(follows) = read_head(&bytes[..end]) {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        assert_eq!(request.parse(bytes), Ok(httparse::Status::Complete(end)));
        let values = |name: &str| -> Vec<&[u8]> {
            let found = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            found.map(|field| field.value).collect()
        };
        let length = match values("content-length")[..] {
            [] => None,
            [one] => str::from_utf8(one).ok().and_then(|text| text.trim().parse::<u64>().ok()),
            _ => panic!("two lengths"),
        };
        let chunked = !values("transfer-encoding").is_empty();
        assert!(!(chunked && length.is_some()), "two framings");
        match follows {
            Follows::Length(follows) => assert_eq!((length.unwrap_or_default(), chunked), (follows, false)),
            Follows::Chunks => assert!(chunked),
            Follows::Unknown => assert!(!values("upgrade").is_empty()),
        }
    }
    chunks(&bytes[end..]);
}

/// Chunks end at the same byte, or with the same fault, whatever the pieces in which they come.
fn chunks(bytes: &[u8]) {
    let whole = Chunks::default().follow(bytes);
    for cut in 0..bytes.len() {
        let mut chunks = Chunks::default();
        let (first, second) = bytes.split_at(cut);
        let pieced: Result<usize, (usize, Fault)> = chunks.follow(first).and_then(|done| {
            let rest = chunks.follow(second).map_err(|(count, fault)| (done + count, fault))?;
            Ok(done + rest)
        });
        assert_eq!(pieced, whole, "cut at {cut}: {}", bytes.escape_ascii());
    }
}
