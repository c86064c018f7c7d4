//! Writing text back into a JSON string, spelled as Go's `encoding/json` spells it: what the API server wrote and the
//! masker did not touch comes out as the very same bytes.

/// Appends `text` (UTF-8, cut between characters) to the inside of a JSON string.
pub(crate) fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| IS_SPECIAL[usize::from(byte)]) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let length = match rest {
            [0xe2, 0x80, last @ (0xa8 | 0xa9), ..] => {
                out.extend_from_slice(format!("\\u20{:02x}", last - 0x80).as_bytes());
                3
            }
            [byte, ..] => {
                match byte {
                    b'"' => out.extend_from_slice(b"\\\""),
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    b'\t' => out.extend_from_slice(b"\\t"),
                    0x08 => out.extend_from_slice(b"\\b"),
                    0x0c => out.extend_from_slice(b"\\f"),
                    0xe2 => out.push(0xe2),
                    _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                }
                1
            }
            [] => 0,
        };
        rest = &rest[length..];
    }
    out.extend_from_slice(rest);
}

/// The bytes that are, or may begin, a character that Go escapes: what JSON wants escaped, and for the sake of HTML and
/// of old JavaScript `<`, `>`, `&`, U+2028 and U+2029.
const IS_SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        special[control] = true;
        control += 1;
    }
    let mut others: &[u8] = b"\"\\<>&\xe2";
    while let [byte, rest @ ..] = others {
        special[*byte as usize] = true;
        others = rest;
    }
    special
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        escape(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn spells_as_go_does() {
        assert_eq!(escaped("a\"\\/\n\r\t\u{8}\u{c}\u{1}\u{7f}"), "a\\\"\\\\/\\n\\r\\t\\b\\f\\u0001\u{7f}");
        assert_eq!(escaped("<a>&é\u{2028}\u{2029}\u{2030}"), "\\u003ca\\u003e\\u0026é\\u2028\\u2029\u{2030}");
    }

    proptest! {
        #[test]
        fn reads_back_as_it_was(text in any::<String>()) {
            let read: String = serde_json::from_str(&format!("\"{}\"", escaped(&text))).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}
