//! What stands in place of a secret: `portcullis-masked:` and 24 hex digits of a keyed digest of the value.
//!
//! Equal values give equal placeholders under one key, so that people can still see that two secrets are the same or
//! that one changed. 96 bits keep unequal values apart (an accidental pair is to be expected after some 10^14 values).
//! The 18 bytes before the digest encode to whole base64 quanta, so the base64 form has a fixed start as well.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{HmacReset, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::MaskKey;

/// How every placeholder begins. What says this is a mask of ours, complete or damaged.
pub(crate) const PREFIX: &[u8; 18] = b"portcullis-masked:";
const DIGEST_BYTES: usize = 12;
const LENGTH: usize = PREFIX.len() + 2 * DIGEST_BYTES;
/// `LENGTH` is a multiple of 3: no padding.
const BASE64_LENGTH: usize = LENGTH / 3 * 4;

/// How a placeholder is written where the value stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As base64, for `[]byte` fields: clients decode them before they show them.
    Base64,
    /// As it is.
    Plain,
}

/// The keyed digest of one value after another. A value itself is not kept: its bytes are taken as they come.
#[derive(Clone)]
pub(crate) struct Digest(HmacReset<Sha256>);

impl Digest {
    pub(crate) fn new(key: &MaskKey) -> Self {
        // HMAC itself pads a short key with zeros to the block of its hash (RFC 2104, section 2).
        let mut block = Zeroizing::new([0; 64]);
        block[..key.bytes().len()].copy_from_slice(key.bytes());
        Self(HmacReset::new((&*block).into()))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Ends the value: writes its placeholder as a JSON string (it needs no escapes in any form). The next value begins.
    pub(crate) fn write_json(&mut self, form: Form, out: &mut Vec<u8>) {
        let placeholder = self.placeholder();
        out.push(b'"');
        match form {
            Form::Plain => out.extend_from_slice(&placeholder),
            Form::Base64 => out.extend_from_slice(&base64_of(&placeholder)),
        }
        out.push(b'"');
    }

    fn placeholder(&mut self) -> [u8; LENGTH] {
        let digest = self.0.finalize_reset().into_bytes();
        let mut placeholder = [0; LENGTH];
        let (prefix, hex) = placeholder.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        for (digits, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
            *digits = [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
        }
        placeholder
    }
}

/// How much of a placeholder a text is that has the start of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It is one, plain or in base64.
    Whole,
    /// There is more to it.
    Within,
    /// There is none that is complete.
    Damaged,
}

impl Shape {
    pub(crate) fn of(text: &str) -> Self {
        let decoded = STANDARD.decode(text.trim_ascii()).unwrap_or_default();
        if is_whole(text.as_bytes()) || is_whole(&decoded) {
            Self::Whole
        } else if text.len() > BASE64_LENGTH || text.as_bytes().windows(LENGTH).any(is_whole) {
            Self::Within
        } else {
            Self::Damaged
        }
    }
}

fn is_whole(text: &[u8]) -> bool {
    let digits = text.strip_prefix(PREFIX);
    digits.is_some_and(|digits| {
        digits.len() == 2 * DIGEST_BYTES
            && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn base64_of(placeholder: &[u8; LENGTH]) -> [u8; BASE64_LENGTH] {
    let mut encoded = [0; BASE64_LENGTH];
    let written = STANDARD.encode_slice(placeholder, &mut encoded);
    debug_assert_eq!(written, Ok(BASE64_LENGTH));
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(value: &[u8], form: Form) -> String {
        let mut digest = Digest::new(&MaskKey::from_bytes([7; 32]));
        digest.update(value);
        let mut out = Vec::new();
        digest.write_json(form, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_form_is_fixed() {
        // HMAC-SHA-256 by another implementation: python3 -c 'import hmac; print(hmac.new(b"\7"*32, b"hunter2", "sha256").hexdigest()[:24])'
        assert_eq!(masked(b"hunter2", Form::Plain), "\"portcullis-masked:326eb4f6783e519f198c3292\"");
        let encoded = masked(b"hunter2", Form::Base64);
        assert!(encoded.starts_with("\"cG9ydGN1bGxpcy1tYXNrZWQ6"), "{encoded}");
        let decoded = STANDARD.decode(encoded.trim_matches('"')).unwrap();
        assert_eq!(decoded, masked(b"hunter2", Form::Plain).trim_matches('"').as_bytes());
    }

    #[test]
    fn one_value_leaves_nothing_to_the_next() {
        let mut digest = Digest::new(&MaskKey::from_bytes([7; 32]));
        let mut out = Vec::new();
        for _ in 0..2 {
            digest.update(b"hunter2");
            digest.write_json(Form::Plain, &mut out);
        }
        assert_eq!(out, masked(b"hunter2", Form::Plain).repeat(2).into_bytes());
    }

    #[test]
    fn another_key_gives_another_placeholder() {
        let mut other = Vec::new();
        Digest::new(&MaskKey::from_bytes([8; 32])).write_json(Form::Plain, &mut other);
        assert_ne!(masked(b"", Form::Plain).into_bytes(), other);
    }
}
