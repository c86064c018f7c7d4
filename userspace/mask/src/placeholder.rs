//! What stands in place of a value: `portcullis-masked:` and something that depends on [`How`]; by default 24 hex digits of
//! a keyed digest of the value.
//!
//! Equal values give equal digests under one key, so that people can still see that two secrets are the same or
//! that one changed. 96 bits keep unequal values apart (an accidental pair is to be expected after some 10^14 values).
//! The 18 bytes before the digest encode to whole base64 quanta, so the base64 form has a fixed start as well.

use std::str;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::MaskKey;
use crate::digest::Digest;
use crate::json::escape::escape;

/// How every placeholder begins, but for short ones that keep a length. What says this is a mask of ours, complete or
/// damaged.
pub(crate) const PREFIX: &[u8; 18] = b"portcullis-masked:";
/// What follows where nothing is to be told of the value. With the prefix a multiple of 3: no padding in base64.
const NOTHING: &[u8; 6] = b"hidden";
const DIGEST_BYTES: usize = 12;
/// How every placeholder begins that is long enough to show for one. What says this is a mask of ours, complete or damaged.
pub const PREFIX_TEXT: &str = "portcullis-masked:";
/// How long a placeholder of [`How::Digest`] is.
pub(crate) const DIGEST_LENGTH: usize = PREFIX.len() + 2 * DIGEST_BYTES;
/// Characters that [`How::Partial`] shows, and how long a value must be for that.
const SHOWN: usize = 4;
const LONG_ENOUGH: u64 = 12;
/// A placeholder is at most this long, whatever the length of the value: memory is constant.
const LONGEST: u64 = 64 * 1024;

/// Each byte in two digits.
const HEX: [[u8; 2]; 256] = {
    let (mut hex, mut byte) = ([[0; 2]; 256], 0);
    while byte < hex.len() {
        hex[byte] = [b"0123456789abcdef"[byte >> 4], b"0123456789abcdef"[byte & 15]];
        byte += 1;
    }
    hex
};

/// How a value is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mask {
    pub(crate) form: Form,
    pub(crate) how: How,
}

/// How a placeholder is written where the value stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As base64, for `[]byte` fields in JSON: clients decode them before they show them.
    Base64,
    /// As it is.
    Plain,
}

/// What a placeholder tells of the value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum How {
    /// A keyed digest: whether it is the same as another.
    #[default]
    Digest,
    /// Nothing.
    Fixed,
    /// Its last four characters, if it has at least twelve.
    Partial,
    /// How many characters it has (bytes, if it is no text), up to 65,536.
    Length,
    /// That it is there: the field goes.
    Drop,
}

/// The placeholders of one value after another. A value itself is not kept: its bytes are taken as they come.
#[derive(Clone)]
pub(crate) struct Placeholder {
    how: How,
    digest: Digest,
    characters: u64,
    /// The end of the value, as much of it as may be shown.
    tail: [u8; 4 * SHOWN],
    /// Room for what was decoded, and for a placeholder that is still to be spelled.
    room: Vec<u8>,
}

impl Placeholder {
    pub(crate) fn new(key: &MaskKey) -> Self {
        Self { how: How::Digest, digest: Digest::new(key), characters: 0, tail: [0; _], room: Vec::new() }
    }

    /// Begins a value. Without this the next is replaced as [`How::Digest`] says.
    pub(crate) fn begin(&mut self, how: How) {
        self.how = how;
    }

    /// Takes the next bytes of the value.
    #[inline]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self.how {
            How::Digest => self.digest.update(bytes),
            How::Fixed | How::Drop => {}
            How::Partial | How::Length => self.measure(bytes),
        }
    }

    /// Takes the next bytes of the value, of which `text` is base64 without padding. Takes nothing, and returns false, if
    /// any of it is not.
    pub(crate) fn update_base64(&mut self, text: &[u8]) -> bool {
        let mut decoded = std::mem::take(&mut self.room);
        let is_base64 = base64_simd::STANDARD_NO_PAD.decode_append(text, &mut decoded).is_ok();
        if is_base64 {
            self.update(&decoded);
        }
        decoded.clear();
        self.room = decoded;
        is_base64
    }

    /// Ends the value: appends its placeholder to `out`, as it is. The next value begins.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        match self.how {
            How::Digest => return out.extend_from_slice(&self.digest()),
            How::Fixed | How::Drop => {
                out.extend_from_slice(PREFIX);
                out.extend_from_slice(NOTHING);
            }
            How::Partial => {
                out.extend_from_slice(PREFIX);
                out.extend_from_slice(self.shown().unwrap_or(NOTHING));
            }
            How::Length => {
                let length = self.characters.min(LONGEST) as usize;
                // A shorter one would not show for what it is.
                let prefix: &[u8] = if length > PREFIX.len() { PREFIX } else { b"" };
                out.extend_from_slice(prefix);
                out.resize(out.len() + length - prefix.len(), b'*');
            }
        }
        (self.how, self.characters, self.tail) = (How::Digest, 0, [0; _]);
    }

    /// Ends the value: appends its placeholder to `out` as a JSON string.
    pub(crate) fn write_json(&mut self, form: Form, out: &mut Vec<u8>) {
        out.push(b'"');
        self.spell(out, if form == Form::Plain { escape } else { encode });
        out.push(b'"');
    }

    /// Ends the value: appends its placeholder to `out` as base64.
    pub(crate) fn write_base64(&mut self, out: &mut Vec<u8>) {
        self.spell(out, encode);
    }

    fn spell(&mut self, out: &mut Vec<u8>, spelling: fn(&[u8], &mut Vec<u8>)) {
        if self.how == How::Digest {
            return spelling(&self.digest(), out);
        }
        let mut plain = std::mem::take(&mut self.room);
        self.write(&mut plain);
        spelling(&plain, out);
        plain.clear();
        self.room = plain;
    }

    /// Ends the value: the placeholder of [`How::Digest`].
    fn digest(&mut self) -> [u8; DIGEST_LENGTH] {
        let mut placeholder = [0; DIGEST_LENGTH];
        let (prefix, digits) = placeholder.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        for (digits, byte) in digits.as_chunks_mut().0.iter_mut().zip(self.digest.finish()) {
            *digits = HEX[usize::from(byte)];
        }
        placeholder
    }

    /// Counts, and keeps the end.
    fn measure(&mut self, bytes: &[u8]) {
        // Bytes that begin a character of UTF-8, or are none.
        self.characters += bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u64;
        let kept = bytes.len().min(self.tail.len());
        self.tail.rotate_left(kept);
        let at = self.tail.len() - kept;
        self.tail[at..].copy_from_slice(&bytes[bytes.len() - kept..]);
    }

    /// The last characters of the value, if it is long enough to have secrets left, and its end is text.
    fn shown(&self) -> Option<&[u8]> {
        if self.characters < LONG_ENOUGH {
            return None;
        }
        let is_start = |byte: &u8| *byte & 0xc0 != 0x80;
        let (from, _) =
            self.tail.iter().enumerate().rev().filter(|(_, byte)| is_start(byte)).nth(SHOWN - 1)?;
        let shown = str::from_utf8(&self.tail[from..]).ok()?;
        (!shown.contains(char::is_control)).then_some(shown.as_bytes())
    }
}

/// Appends `plain` to `out` in base64.
pub(crate) fn encode(plain: &[u8], out: &mut Vec<u8>) {
    base64_simd::STANDARD.encode_append(plain, out);
}

/// How much of a placeholder a text is that has the start of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It is one, plain or in base64.
    Whole,
    /// There is more to it.
    Within,
    /// It is too short or was changed.
    Damaged,
}

impl Shape {
    pub(crate) fn of(text: &str) -> Self {
        let decoded = STANDARD.decode(text.trim_ascii()).unwrap_or_default();
        let decoded = String::from_utf8_lossy(&decoded);
        let told = [text, &decoded].into_iter().find_map(|text| text.as_bytes().strip_prefix(PREFIX));
        match told.map(str::from_utf8) {
            Some(Ok(told)) if is_told(told) => Self::Whole,
            Some(told) if told.map_or(0, str::len) <= 2 * DIGEST_BYTES => Self::Damaged,
            Some(_) => Self::Within,
            None if text.len() > (PREFIX.len() + 2 * DIGEST_BYTES) / 3 * 4 => Self::Within,
            None if text.as_bytes().windows(PREFIX.len()).any(|part| part == PREFIX) => Self::Within,
            None => Self::Damaged,
        }
    }
}

/// Whether a text is a placeholder of [`How::Digest`].
pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix(PREFIX_TEXT).is_some_and(are_digits)
}

/// Whether `text` is a placeholder of any kind, or is `going_on` and may become one.
pub(crate) fn is_placeholder(text: &[u8], going_on: bool) -> bool {
    match text.strip_prefix(PREFIX).map(str::from_utf8) {
        Some(Ok(told)) => {
            is_told(told)
                || going_on
                    && (told.len() < 2 * DIGEST_BYTES && is_hex(told) || NOTHING.starts_with(told.as_bytes()))
        }
        Some(Err(_)) => false,
        None => going_on && PREFIX.starts_with(text),
    }
}

fn are_digits(text: &str) -> bool {
    text.len() == 2 * DIGEST_BYTES && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a placeholder tells this of its value.
fn is_told(text: &str) -> bool {
    let length = !text.is_empty() && text.bytes().all(|byte| byte == b'*');
    are_digits(text) || length || text.as_bytes() == NOTHING || text.chars().count() == SHOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(value: &[u8], form: Form, how: How) -> String {
        let mut placeholder = Placeholder::new(&MaskKey::from_bytes([7; 32]));
        placeholder.begin(how);
        value.chunks(3).for_each(|piece| placeholder.update(piece));
        let mut out = Vec::new();
        placeholder.write_json(form, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_form_is_fixed() {
        // By another implementation: AESGCMSIV(b"\7" * 32).encrypt(bytes(12), b"", b"hunter2").hex()[:24] of Python's cryptography
        let plain = masked(b"hunter2", Form::Plain, How::Digest);
        assert_eq!(plain, "\"portcullis-masked:8453d30196626cc7316ae4fe\"");
        let encoded = masked(b"hunter2", Form::Base64, How::Digest);
        assert!(encoded.starts_with("\"cG9ydGN1bGxpcy1tYXNrZWQ6"), "{encoded}");
        let decoded = STANDARD.decode(encoded.trim_matches('"')).unwrap();
        assert_eq!(decoded, plain.trim_matches('"').as_bytes());
    }

    #[test]
    fn each_kind_tells_what_it_says() {
        let plain = |value: &str, how| {
            serde_json::from_str::<String>(&masked(value.as_bytes(), Form::Plain, how)).unwrap()
        };
        assert_eq!(plain("hunter2", How::Fixed), "portcullis-masked:hidden");
        assert_eq!(plain("0123456789ab", How::Partial), "portcullis-masked:89ab");
        assert_eq!(plain("0123456789a", How::Partial), "portcullis-masked:hidden", "too short");
        assert_eq!(plain("0123456789é€😀\"", How::Partial), "portcullis-masked:é€😀\"");
        assert_eq!(
            plain("01234567890123\n", How::Partial),
            "portcullis-masked:hidden",
            "no control characters"
        );
        assert_eq!(plain("hunter2", How::Length), "*******");
        assert_eq!(plain("é€😀", How::Length), "***");
        assert_eq!(plain(&"x".repeat(20), How::Length), "portcullis-masked:**");
        assert_eq!(plain(&"x".repeat(100_000), How::Length).len(), 65_536);
        let binary =
            masked(&[b"0123456789ab"[..].to_vec(), vec![0xff; 4]].concat(), Form::Base64, How::Partial);
        assert_eq!(STANDARD.decode(binary.trim_matches('"')).unwrap(), b"portcullis-masked:hidden");
    }

    #[test]
    fn one_value_leaves_nothing_to_the_next() {
        let mut placeholder = Placeholder::new(&MaskKey::from_bytes([7; 32]));
        for how in [How::Digest, How::Partial, How::Length, How::Digest, How::Partial] {
            placeholder.begin(how);
            placeholder.update(b"0123456789abcdef");
            let mut out = Vec::new();
            placeholder.write_json(Form::Plain, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), masked(b"0123456789abcdef", Form::Plain, how));
        }
    }

    #[test]
    fn another_key_gives_another_placeholder() {
        let mut other = Vec::new();
        Placeholder::new(&MaskKey::from_bytes([8; 32])).write_json(Form::Plain, &mut other);
        assert_ne!(masked(b"", Form::Plain, How::Digest).into_bytes(), other);
    }
}
