use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;
use crate::json::grammar::Grammar;

/// Reads `input` in chunks of `size` bytes: how many documents, or which fault where.
fn read(input: &[u8], size: usize) -> Result<u64, (u64, JsonFault)> {
    let mut reader = Reader::new();
    let outcome = input.chunks(size).try_for_each(|chunk| reader.read(chunk, &mut Grammar));
    match outcome.and_then(|()| reader.finish(&mut Grammar)) {
        Ok(()) => Ok(reader.documents()),
        Err(MaskError::Json { offset, fault }) => Err((offset, fault)),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_is_json() {
    for (input, documents) in [
        ("", 0),
        (" \n", 0),
        ("{}", 1),
        (r#"{"a":[1,-0.5e+10,true,false,null,"\u00e9\ud83d\ude00\/"],"":{}}"#, 1),
        ("{}{}\n[]\"a\"\"b\"truefalse null 0 -1 ", 10),
        (r#""\ud800" "\ud800x" "\udc00\ud800\u0041""#, 3),
        ("\"\u{7f}\u{10ffff}\"", 1),
        ("12", 1),
    ] {
        assert_eq!(read(input.as_bytes(), 100), Ok(documents), "{input}");
        assert_eq!(read(input.as_bytes(), 1), Ok(documents), "{input}, byte by byte");
    }
}

#[test]
fn what_is_not_json_is_named_with_its_place() {
    use JsonFault::*;
    for (input, offset, fault) in [
        (&b"{\"a\" 1}"[..], 5, ExpectedColon),
        (b"{\"a\":}", 5, ExpectedValue),
        (b"{\"a\":1,}", 7, ExpectedKey),
        (b"{a:1}", 1, ExpectedKey),
        (b"[1,]", 3, ExpectedValue),
        (b"[1}", 2, ExpectedComma),
        (b"{\"a\":1]", 6, ExpectedComma),
        (b"[01]", 2, ExpectedComma),
        (b"[1.]", 3, BadNumber),
        (b"[-]", 2, BadNumber),
        (b"[+1]", 1, ExpectedValue),
        (b"[1e]", 3, BadNumber),
        (b"[.5]", 1, ExpectedValue),
        (b"NaN", 0, ExpectedValue),
        (b"nul ", 3, BadLiteral),
        (b"True", 0, ExpectedValue),
        (b"'a'", 0, ExpectedValue),
        (b"\xef\xbb\xbf{}", 0, ExpectedValue),
        (b"/* */{}", 0, ExpectedValue),
        (b"\"\\x41\"", 2, BadEscape),
        (b"\"\\u00g0\"", 5, BadEscape),
        (b"\"a\nb\"", 2, ControlCharacter),
        (b"\"\xff\"", 1, InvalidUtf8),
        (b"\"\xc3\"", 1, InvalidUtf8),
        (b"\"\xed\xa0\x80\"", 1, InvalidUtf8),
        (b"{\"a\":1", 6, Truncated),
        (b"\"a", 2, Truncated),
        (b"1.", 2, Truncated),
        (b"tru", 3, Truncated),
        (b"\"\xc3", 2, Truncated),
    ] {
        let shown = String::from_utf8_lossy(input);
        assert_eq!(read(input, 100), Err((offset, fault)), "{shown}");
        // Cut inside a character, the fault shows on the byte after it.
        let (_, bytewise) = read(input, 1).unwrap_err();
        assert_eq!(bytewise, fault, "{shown}, byte by byte");
    }
}

#[test]
fn depth_is_limited() {
    let nested = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    assert_eq!(read(&nested(MAX_DEPTH), 4096), Ok(1));
    assert_eq!(read(&nested(MAX_DEPTH + 1), 4096), Err((MAX_DEPTH as u64, JsonFault::TooDeep)));
}

/// Text that is JSON, or nearly.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        "{", "}", "[", "]", ":", ",", "\"", "\\", "\"a\"", "\"a\":", "\\n", "\\u00e9", "\\ud800", "1", "0",
        "-", ".5", "e3", "true", "nul", "null", "false", " ", "\n", "é", "\u{1}",
    ]);
    let parts = prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat().into_bytes());
    (parts, prop::option::of(any::<(prop::sample::Index, u8)>())).prop_map(|(mut bytes, damage)| {
        if let Some((at, byte)) = damage
            && !bytes.is_empty()
        {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

/// What a visitor is told, one line for each thing.
#[derive(Default)]
struct Told {
    /// Bytes of the chunks before this one.
    before: usize,
    lines: Vec<String>,
    text: Vec<u8>,
    open: usize,
    /// What is open in as many others is not wanted.
    depth: Option<usize>,
}

impl Told {
    fn by(input: &[u8], size: usize) -> Vec<String> {
        Self::down_to(None, input, size)
    }

    fn down_to(depth: Option<usize>, input: &[u8], size: usize) -> Vec<String> {
        let (mut reader, mut told) = (Reader::new(), Self { depth, ..Self::default() });
        for chunk in input.chunks(size) {
            if reader.read(chunk, &mut told).is_err() {
                break;
            }
            told.before += chunk.len();
        }
        told.lines
    }

    fn note(&mut self, what: &str, at: usize) {
        let text = std::mem::take(&mut self.text);
        self.lines.push(format!("{what} {} {}", self.before + at, String::from_utf8_lossy(&text)));
    }
}

impl Visitor for Told {
    fn key_opens(&mut self, at: usize) {
        self.note("key", at);
    }
    fn key_closes(&mut self, at: usize) {
        self.note("called", at);
    }
    fn key_begins(&mut self) -> bool {
        true
    }
    fn key_ends(&mut self) {
        self.note("value", 0);
        self.lines.pop();
    }
    fn scalar_begins(&mut self, scalar: Scalar, at: usize) -> bool {
        self.note(&format!("{scalar:?}"), at);
        true
    }
    fn scalar_ends(&mut self, at: usize) {
        self.note("end", at);
    }
    fn opens(&mut self, container: Container, at: usize) -> bool {
        self.note(&format!("{container:?}"), at);
        self.open += 1;
        self.depth != Some(self.open)
    }
    fn closes(&mut self, at: usize) {
        self.open -= 1;
        self.note("close", at);
    }
    fn text(&mut self, piece: &[u8]) {
        self.text.extend_from_slice(piece);
    }
}

#[test]
fn what_stands_in_a_long_string_is_read_wherever_it_stands() {
    for part in [&b"\xff"[..], b"\xc3\xa9", b"\xe2\x82", b"\n", b"\\\"", b"\\u00e9", b"\\x", b"\"", b"x"] {
        for at in 0..200 {
            let text = [&vec![b'a'; at][..], part, &vec![b'a'; 200 - at]].concat();
            let input = [b"{\"", text.as_slice(), b"\":\"", text.as_slice(), b"\"}"].concat();
            let (whole, bytewise) = (read(&input, input.len()), read(&input, 1));
            let fault = |(_, fault)| fault;
            assert_eq!(whole.map_err(fault), bytewise.map_err(fault), "{part:?} at {at}");
            if whole.is_ok() {
                assert_eq!(Told::by(&input, input.len()), Told::by(&input, 1), "{part:?} at {at}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn any_cut_tells_the_same(input in nearly_json(), size in 1_usize..8) {
        if read(&input, 1000).is_ok() {
            prop_assert_eq!(Told::by(&input, size), Told::by(&input, 1000));
        }
    }

    #[test]
    fn what_is_not_wanted_is_read_all_the_same(input in nearly_json(), depth in 1_usize..4, size in 1_usize..8) {
        let (mut open, mut wanted) = (0, Told::by(&input, 1000));
        wanted.retain(|line| {
            open -= usize::from(line.starts_with("close"));
            let is_wanted = open < depth;
            open += usize::from(line.starts_with("Object") || line.starts_with("Array"));
            is_wanted
        });
        for size in [size, 1000] {
            prop_assert_eq!(&Told::down_to(Some(depth), &input, size), &wanted);
        }
    }

    #[test]
    fn agrees_with_serde_json(input in nearly_json(), wrap in any::<bool>()) {
        let input = if wrap { [b"[\"", input.as_slice(), b"\"]"].concat() } else { input };
        let theirs = std::str::from_utf8(&input).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        prop_assert_eq!(read(&input, 1000) == Ok(1), theirs);
    }

    #[test]
    fn any_cut_gives_the_same(input in nearly_json(), size in 1_usize..8) {
        let whole = read(&input, 1000);
        let cut = read(&input, size);
        prop_assert_eq!(whole.map_err(|(_, fault)| fault), cut.map_err(|(_, fault)| fault));
    }
}
