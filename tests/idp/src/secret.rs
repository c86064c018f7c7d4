//! Codes and tokens: drawn at random, given out once, and kept as digests, so that what is kept is worth nothing to
//! whoever reads it, and looking one up takes no time that tells.

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::Error;

/// What is kept of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

/// No vowels, so no words; no digits, so none that look like letters (RFC 8628, section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

impl Digest {
    pub(crate) fn of(secret: &str) -> Self {
        let mut kept = [0; 32];
        kept.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        Self(kept)
    }
}

/// 256 random bits that can stand in URLs.
pub(crate) fn random() -> Result<String, Error> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes::<32>()?))
}

/// `BCDF-GHJK`: what people type.
pub(crate) fn user_code() -> Result<String, Error> {
    let mut letters = String::new();
    while letters.len() < 8 {
        // 240 is the largest multiple of 20 in a byte: above it, some letters would come more often.
        let even = bytes::<16>()?.into_iter().filter(|byte| *byte < 240);
        letters.extend(even.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()])));
    }
    Ok(format!("{}-{}", &letters[..4], &letters[4..8]))
}

/// A user code however it was typed: case, hyphens and spaces do not count.
pub(crate) fn typed(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// What S256 makes of a code verifier (RFC 7636, section 4.6).
pub(crate) fn challenge(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Digest::of(verifier).0)
}

/// What an ID token says of the access token beside it (OpenID Connect Core, section 3.1.3.6).
pub(crate) fn at_hash(access_token: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&Digest::of(access_token).0[..16])
}

pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::Crypto("draw random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        // RFC 7636, appendix B.
        let made = challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(made, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn user_codes_read_the_same_however_they_are_typed() {
        let code = user_code().unwrap();
        assert_eq!((code.len(), code.find('-')), (9, Some(4)));
        assert!(code.bytes().all(|byte| byte == b'-' || LETTERS.contains(&byte)));
        assert_eq!(typed(&format!(" {} ", code.to_lowercase().replace('-', " "))), typed(&code));
        assert_ne!(user_code().unwrap(), code);
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
