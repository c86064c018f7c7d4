//! Text for an auditor's terminal. What an engineer typed, or a pod printed, must not move its cursor, retitle it,
//! fill its clipboard, or make one line look like another.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

/// Displays bytes with everything escaped that is not plain text: `\x1b` for a control character, `\xff` for what is
/// no UTF-8, `\u{202e}` for what is invisible or turns the direction of writing. Tabs stay.
#[derive(Debug, Clone, Copy)]
pub struct Safe<'a, T: ?Sized>(pub &'a T);

impl<T: AsRef<[u8]> + ?Sized> fmt::Display for Safe<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_ref().utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '\t' => f.write_char(char)?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    char if !is_unsafe(char) => f.write_char(char)?,
                    char if char.is_ascii() => write!(f, "\\x{:02x}", u32::from(char))?,
                    char => write!(f, "\\u{{{:x}}}", u32::from(char))?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Writes `value` as one line of JSON whose strings are as harmless as [`Safe`] text, and parse to what they were.
pub(crate) fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, SafeJson);
    value.serialize(&mut serializer).map_err(io::Error::from)
}

/// JSON itself escapes C0 only.
struct SafeJson;

impl Formatter for SafeJson {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, char) in fragment.char_indices().filter(|(_, char)| is_unsafe(*char)) {
            out.write_all(&fragment.as_bytes()[plain..at])?;
            write!(out, "\\u{:04x}", u32::from(char))?; // all of them are in the basic plane
            plain = at + char.len_utf8();
        }
        out.write_all(&fragment.as_bytes()[plain..])
    }
}

fn is_unsafe(char: char) -> bool {
    char.is_control() // C0, DEL, C1
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        for (raw, safe) in [
            ("plain ünïcode 漢字\t|", "plain ünïcode 漢字\t|"),
            ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
            ("a\rb\n\x7f", "a\\rb\\n\\x7f"),
            ("\u{9b}2J\u{202e}x\u{feff}", "\\u{9b}2J\\u{202e}x\\u{feff}"),
        ] {
            assert_eq!(Safe(raw).to_string(), safe);
        }
        assert_eq!(Safe(b"ok\xff\xc3").to_string(), "ok\\xff\\xc3");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(bytes: Vec<u8>) {
            prop_assert!(Safe(&bytes).to_string().chars().all(|char| char == '\t' || !is_unsafe(char)));
        }

        #[test]
        fn json_means_the_same(text: String) {
            let mut json = Vec::new();
            write_json(&mut json, &text).unwrap();
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
            prop_assert!(String::from_utf8(json).unwrap().chars().all(|char| !is_unsafe(char)));
        }
    }
}
