//! What stands in place of a secret: `portcullis-masked:` and 24 hex digits of a keyed digest of the value.
//!
//! Equal values give equal placeholders under one key, so that people can still see that two secrets are the same or
//! that one changed. 96 bits keep unequal values apart (an accidental pair is to be expected after some 10^14 values).
//! The 18 bytes before the digest encode to whole base64 quanta, so the base64 form has a fixed start as well.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
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

/// Makes digests under one key.
#[derive(Clone)]
pub(crate) struct Digester(Hmac<Sha256>);

impl Digester {
    pub(crate) fn new(key: &MaskKey) -> Self {
        // HMAC itself pads a short key with zeros to the block of its hash (RFC 2104, section 2).
        let mut block = Zeroizing::new([0; 64]);
        block[..key.bytes().len()].copy_from_slice(key.bytes());
        Self(Hmac::new((&*block).into()))
    }

    /// Begins the digest of a value.
    pub(crate) fn begin(&self) -> Digest {
        Digest(self.0.clone())
    }
}

/// The digest of a value whose bytes are still coming. The value itself is not kept.
#[derive(Clone)]
pub(crate) struct Digest(Hmac<Sha256>);

impl Digest {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Writes the placeholder of the value as a JSON string. It needs no escapes in any form.
    pub(crate) fn write_json(self, form: Form, out: &mut Vec<u8>) {
        let placeholder = self.placeholder();
        out.push(b'"');
        match form {
            Form::Plain => out.extend_from_slice(&placeholder),
            Form::Base64 => out.extend_from_slice(&base64_of(&placeholder)),
        }
        out.push(b'"');
    }

    fn placeholder(self) -> [u8; LENGTH] {
        let digest = self.0.finalize().into_bytes();
        let mut placeholder = [0; LENGTH];
        let (prefix, hex) = placeholder.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        for (digits, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
            *digits =
                [b"0123456789abcdef"[usize::from(byte >> 4)], b"0123456789abcdef"[usize::from(byte & 15)]];
        }
        placeholder
    }
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
        let mut digest = Digester::new(&MaskKey::from_bytes([7; 32])).begin();
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
    fn another_key_gives_another_placeholder() {
        let mut other = Vec::new();
        Digester::new(&MaskKey::from_bytes([8; 32])).begin().write_json(Form::Plain, &mut other);
        assert_ne!(masked(b"", Form::Plain).into_bytes(), other);
    }
}
