//! A secret in memory: never shown, wiped when dropped.

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{IdentityError, REDACTED};

/// A token, code or password.
#[derive(Clone, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// 256 random bits, in the alphabet that RFC 7636 gives code verifiers.
    pub(crate) fn random() -> Self {
        let bits = Zeroizing::new(rand::random::<[u8; 32]>());
        Self(BASE64_URL_SAFE_NO_PAD.encode(bits.as_slice()))
    }

    /// The text of a file without the newline that editors leave at its end.
    pub(crate) fn read(path: &Path) -> Result<Self, IdentityError> {
        let bad = |why: String| IdentityError::Config(format!("the secret in {}: {why}", path.display()));
        let mut text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        let secret = Self(text);
        if secret.0.is_empty() {
            return Err(bad("the file is empty".to_owned()));
        }
        Ok(secret)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is `other`, in a time that tells nothing of where they differ.
    pub(crate) fn is(&self, other: &str) -> bool {
        Sha256::digest(self.0.as_bytes()) == Sha256::digest(other.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// What stands for a token as the key of a cache.
pub(crate) fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        let secret = Secret::new("hunter2".into());
        assert_eq!(format!("{secret:?}"), REDACTED);
        assert!(secret.is("hunter2") && !secret.is("hunter3"));
        assert_ne!(Secret::random().reveal(), Secret::random().reveal());
        assert_eq!(Secret::random().reveal().len(), 43);
    }

    #[test]
    fn a_file_is_read_without_its_last_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret \r\n").unwrap();
        assert_eq!(Secret::read(file.path()).unwrap().reveal(), "s3cret ");
        std::fs::write(file.path(), "\n").unwrap();
        assert!(Secret::read(file.path()).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn a_digest_knows_where_its_parts_end() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
