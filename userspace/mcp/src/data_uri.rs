//! `data:` URIs (RFC 2397) in text of any kind: where they are, what they carry, and how they are spelled with other content.

use std::ops::Range;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};

const SCHEME: &str = "data:";
/// The longest that may stand between scheme and comma.
const HEADER_LIMIT: usize = 256;
/// What media types begin with. Without base64, text like `data:x/y,z` is common and no URI.
const KINDS: [&str; 9] =
    ["application", "audio", "font", "image", "message", "model", "multipart", "text", "video"];

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
static ALPHABETS: [GeneralPurpose; 2] =
    [GeneralPurpose::new(&STANDARD, LENIENT), GeneralPurpose::new(&URL_SAFE, LENIENT)];

/// A `data:` URI in a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DataUri {
    /// Its media type with parameters.
    pub(crate) media: String,
    /// Where in the text its content is.
    pub(crate) content: Range<usize>,
    is_base64: bool,
}

impl DataUri {
    /// The next one from `from` on.
    pub(crate) fn find(text: &str, from: usize) -> Option<Self> {
        let bytes = text.as_bytes();
        // Colons are rarer than letters.
        bytes.iter().enumerate().skip(from).filter(|(_, byte)| **byte == b':').find_map(|(colon, _)| {
            let end = colon + 1;
            let at = end.checked_sub(SCHEME.len()).filter(|at| *at >= from)?;
            let inside_word =
                at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || b"-_".contains(&bytes[at - 1]));
            let begins = bytes[at..end].eq_ignore_ascii_case(SCHEME.as_bytes()) && !inside_word;
            begins.then(|| Self::at(text, end)).flatten()
        })
    }

    /// What it carries; nothing where that is not what it says it is.
    pub(crate) fn decode(&self, text: &str) -> Option<Vec<u8>> {
        let content = percent_decoded(&text[self.content.clone()].replace("\\/", "/"));
        if self.is_base64 { decode(&content) } else { Some(content) }
    }

    /// `content` as it is spelled in a URI like this.
    pub(crate) fn encode(&self, content: &[u8]) -> String {
        if self.is_base64 { encode(content) } else { percent_encoded(content) }
    }

    /// Reads it from behind the scheme.
    fn at(text: &str, from: usize) -> Option<Self> {
        let header = &text.as_bytes()[from..text.len().min(from + HEADER_LIMIT)];
        let length = header.iter().position(|&byte| byte == b',')?;
        let header = text.get(from..from + length)?.replace("\\/", "/");
        let is_header = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-/;= \t".contains(&byte);
        if !header.bytes().all(is_header) {
            return None;
        }
        let (media, last) = header.rsplit_once(';').unwrap_or((&header, ""));
        let is_base64 = last.trim().eq_ignore_ascii_case("base64");
        let media = if is_base64 { media } else { &header }.trim();
        let kind = media.split(['/', ';']).next().unwrap_or_default();
        if !is_base64 && !kind.is_empty() && !KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            return None;
        }
        let media = match media {
            "" => "text/plain".to_owned(),
            parameters if parameters.starts_with(';') => format!("text/plain{parameters}"),
            media => media.to_owned(),
        };
        let start = from + length + 1;
        let content = start..start + content_length(&text.as_bytes()[start..], is_base64);
        Some(Self { media, content, is_base64 })
    }
}

/// Base64 of either alphabet, padded or not, over lines or not; nothing for what any reader could take for something else.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().filter(|byte| !byte.is_ascii_whitespace()).copied().collect();
    ALPHABETS.iter().find_map(|alphabet| alphabet.decode(&text).ok())
}

/// Base64 as the protocol has it.
pub(crate) fn encode(content: &[u8]) -> String {
    general_purpose::STANDARD.encode(content)
}

/// How long the content is that `rest` begins with. A slash may be escaped, as in JSON in a text.
fn content_length(rest: &[u8], is_base64: bool) -> usize {
    let mut at = 0;
    while let Some(&byte) = rest.get(at) {
        at += match byte {
            b'\\' if rest.get(at + 1) == Some(&b'/') => 2,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=' | b'-' | b'_' | b'%' => 1,
            b'\\' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'(' | b')' | ..=b' ' => break,
            _ if is_base64 => break,
            _ => 1,
        };
    }
    at
}

/// What a text says once percent-encoding is undone, where there is any.
pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [byte, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded
}

fn percent_encoded(content: &[u8]) -> String {
    let spelled = |&byte: &u8| match byte {
        // Unreserved (RFC 3986, section 2.3), and the colon of a placeholder.
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    content.iter().map(spelled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Media types and contents of all in a text.
    fn all(text: &str) -> Vec<(String, Option<Vec<u8>>)> {
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(uri) = DataUri::find(text, from) {
            from = uri.content.end;
            let content = uri.decode(text);
            found.push((uri.media, content));
        }
        found
    }

    #[test]
    fn they_are_found_in_text() {
        for (text, media, content) in [
            ("data:text/plain;base64,aHVudGVyMg==", "text/plain", "hunter2"),
            ("![x](DATA:image/png;BASE64,aGk).", "image/png", "hi"),
            ("see data:;base64,aGk=.", "text/plain", "hi"),
            ("url('data:text/html;charset=utf-8,a%20b')", "text/html;charset=utf-8", "a b"),
            ("data:;charset=utf-7,x y", "text/plain;charset=utf-7", "x"),
            ("data:,é z", "text/plain", "é"),
            (r#""src":"data:image\/png;base64,Pz8\/""#, "image/png", "???"),
            ("data:text/plain;base64,aGk%3D", "text/plain", "hi"),
        ] {
            assert_eq!(all(text), [(media.to_owned(), Some(content.as_bytes().to_vec()))], "{text}");
        }
        assert_eq!(all("data:x/y;base64,a data:,").len(), 2);
        assert_eq!(all("data:x/y;base64,a"), [("x/y".to_owned(), None)], "no base64");
        for text in [
            "metadata:text/plain,x",
            "data: {\"a\": 1, \"b\": 2}",
            "data:users/list,x",
            "data:",
            "data",
            "data:a b\"c,",
        ] {
            assert_eq!(all(text), [], "{text}");
        }
    }

    #[test]
    fn content_is_spelled_as_it_was() {
        for text in ["data:text/plain;base64,aHVudGVyMg==", "data:text/plain,a%20b%C3%A9"] {
            let uri = DataUri::find(text, 0).unwrap();
            assert_eq!(uri.encode(&uri.decode(text).unwrap()), text[uri.content.clone()]);
        }
    }

    #[test]
    fn base64_is_read_in_every_common_spelling_and_no_other() {
        for text in ["+/+/aA==", "-_-_aA==", "+/+/aA", "+/+/\r\naA==\n"] {
            assert_eq!(decode(text.as_bytes()).unwrap(), [251, 255, 191, 104], "{text}");
        }
        for text in ["aA==aA==", "a", "aGk=x", "+/-_", "aGk*"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
