//! Writing text back into a JSON string, spelled as Go's `encoding/json` spells it: what the API server wrote and the
//! masker did not touch comes out as the very same bytes.

/// Appends `text` to the inside of a JSON string.
pub(super) fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let (escaped, length) = match byte {
            b'"' => ("\\\"", 1),
            b'\\' => ("\\\\", 1),
            b'\n' => ("\\n", 1),
            b'\r' => ("\\r", 1),
            b'\t' => ("\\t", 1),
            0x08 => ("\\b", 1),
            0x0c => ("\\f", 1),
            0..0x20 => ("", 1),
            // Go escapes these for the sake of HTML and of old JavaScript.
            b'<' => ("\\u003c", 1),
            b'>' => ("\\u003e", 1),
            b'&' => ("\\u0026", 1),
            0xe2 if bytes[at..].starts_with("\u{2028}".as_bytes()) => ("\\u2028", 3),
            0xe2 if bytes[at..].starts_with("\u{2029}".as_bytes()) => ("\\u2029", 3),
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..at]);
        if escaped.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escaped.as_bytes());
        }
        written = at + length;
    }
    out.extend_from_slice(&bytes[written..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        escape(text, &mut out);
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
