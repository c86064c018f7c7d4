//! What becomes of bytes that a message carries in base64, by their media type: text is masked, what is allowed passes, all
//! else is withheld.
//!
//! A media type is the server's word only. What passes by it has to begin as its format does, and nothing that a detector
//! knows may be in it; what is inside of a picture or a compressed format is not looked at.

use serde::Deserialize;

use crate::format;

/// The media types whose bytes pass.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct BlobPolicy {
    /// Media types, or all of a kind that are known by how they begin: `image/*`.
    pub pass: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    pass: Vec<String>,
}

/// What becomes of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It passes, if detectors find nothing in it.
    Passes,
    /// It is text, to be masked.
    Text,
    /// It is withheld, for this reason.
    Withheld(&'static str),
}

impl BlobPolicy {
    /// What becomes of `bytes` that are said to be of a media type (RFC 9110, section 8.3.1).
    pub(crate) fn fate(&self, media: Option<&str>, bytes: &[u8]) -> Fate {
        let Some(media) = media else { return Fate::Withheld("it has no media type") };
        let (essence, parameters) = media.split_once(';').unwrap_or((media, ""));
        let essence = essence.trim().to_ascii_lowercase();
        if format::is_text(&essence) {
            // Text in another encoding shows a detector nothing.
            return match str::from_utf8(bytes) {
                Ok(text) if is_utf8(parameters) && !text.contains('\0') => Fate::Text,
                _ => Fate::Withheld("it is no UTF-8"),
            };
        }
        let passes = |allowed: &String| match allowed.strip_suffix("/*") {
            Some(kind) => essence.split_once('/').is_some_and(|(of, _)| of.eq_ignore_ascii_case(kind)),
            None => allowed.eq_ignore_ascii_case(&essence),
        };
        if !self.pass.iter().any(passes) {
            Fate::Withheld("its media type does not pass")
        } else if !format::begins(&essence, bytes) {
            Fate::Withheld("it does not begin as its media type does")
        } else {
            Fate::Passes
        }
    }
}

impl Default for BlobPolicy {
    fn default() -> Self {
        Self { pass: vec!["image/*".to_owned(), "audio/*".to_owned()] }
    }
}

impl TryFrom<Raw> for BlobPolicy {
    type Error = String;

    fn try_from(Raw { pass }: Raw) -> Result<Self, String> {
        for allowed in &pass {
            let known = allowed.to_ascii_lowercase();
            if format::is_text(&known) {
                return Err(format!("pass: {allowed:?} is text: it is masked, and need not be listed"));
            }
            if !format::is_known(&known) {
                return Err(format!(
                    "pass: {allowed:?} is no media type whose bytes can be told from others; there are {}",
                    format::known().join(", ")
                ));
            }
        }
        Ok(Self { pass })
    }
}

/// Whether the parameters of a media type leave it at UTF-8, or the ASCII in it.
fn is_utf8(parameters: &str) -> bool {
    parameters.split(';').filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        let value = value.trim().trim_matches('"');
        !name.trim().eq_ignore_ascii_case("charset")
            || ["utf-8", "utf8", "us-ascii", "ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    #[test]
    fn a_type_has_to_be_what_it_says() {
        let policy = BlobPolicy::default();
        for (media, bytes, fate) in [
            ("image/png", PNG, Fate::Passes),
            ("Image/PNG; q=1", PNG, Fate::Passes),
            ("image/jpeg", b"\xff\xd8\xff\xe0", Fate::Passes),
            ("image/gif", b"GIF89a..", Fate::Passes),
            ("image/webp", b"RIFF\x10\0\0\0WEBPVP8 ", Fate::Passes),
            ("audio/wav", b"RIFF\x10\0\0\0WAVEfmt ", Fate::Passes),
            ("audio/mpeg", b"ID3\x04", Fate::Passes),
            ("audio/mpeg", b"\xff\xfb\x90", Fate::Passes),
            ("audio/ogg", b"OggS\0", Fate::Passes),
            ("audio/flac", b"fLaC\0", Fate::Passes),
            ("text/plain", b"abc", Fate::Text),
            ("text/plain; charset=\"UTF-8\"", b"abc", Fate::Text),
            ("image/svg+xml", b"<svg/>", Fate::Text),
            ("application/json", b"{}", Fate::Text),
            ("application/x-www-form-urlencoded", b"a=b", Fate::Text),
        ] {
            assert_eq!(policy.fate(Some(media), bytes), fate, "{media} {bytes:?}");
        }
        for (media, bytes) in [
            ("image/jpeg", PNG),
            ("image/png", b"AKIAIOSFODNN7EXAMPLE"),
            ("image/webp", b"RIFF\x10\0\0\0WAVEfmt "),
            ("image/unheard-of", PNG),
            ("audio/mpeg", b"text"),
            ("application/pdf", b"%PDF-1.7"),
            ("application/octet-stream", b"abc"),
            ("text/plain", b"\xff\xfea\0b\0"),
            ("text/plain", b"a\0b\0"),
            ("text/plain; charset=utf-7", b"abc"),
            ("", b"abc"),
        ] {
            assert!(matches!(policy.fate(Some(media), bytes), Fate::Withheld(_)), "{media} {bytes:?}");
        }
        assert!(matches!(policy.fate(None, PNG), Fate::Withheld(_)));
    }

    #[test]
    fn a_policy_says_what_passes() {
        let policy: BlobPolicy =
            serde_json::from_str(r#"{"pass": ["application/pdf", "image/png"]}"#).unwrap();
        assert_eq!(policy.fate(Some("application/pdf"), b"%PDF-1.7"), Fate::Passes);
        assert_eq!(policy.fate(Some("image/png"), PNG), Fate::Passes);
        assert!(matches!(policy.fate(Some("image/gif"), b"GIF89a"), Fate::Withheld(_)));
        for (json, fault) in [
            (r#"{"pass": ["text/*"]}"#, "\"text/*\" is text"),
            (r#"{"pass": ["image/svg+xml"]}"#, "is text"),
            (r#"{"pass": ["application/x-unheard-of"]}"#, "x-unheard-of\" is no media type"),
            (r#"{"pass": ["*/*"]}"#, "is no media type"),
            (r#"{"pass": [], "block": []}"#, "block"),
            (r"{}", "pass"),
        ] {
            let error = serde_json::from_str::<BlobPolicy>(json).unwrap_err().to_string();
            assert!(error.contains(fault), "{json}: {error}");
        }
    }
}
