//! Names of sessions: readable, and in order of time when sorted as text.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::RecordError;

/// A session's name, such as `s-20261123T170102Z-7f3a9c`: when it began (UTC), and six random digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

impl SessionId {
    /// The length of every id, in bytes.
    pub(crate) const LEN: usize = 25;

    /// A new id for a session that begins `at`. Two of the same second differ by chance only.
    pub(crate) fn generate(at: Timestamp) -> Self {
        let random = rand::random::<u32>() & 0xff_ffff;
        Self(format!("s-{}-{random:06x}", at.strftime("%Y%m%dT%H%M%SZ")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The day (UTC) as the recordings' directories are named: `2026-11-23`.
    pub(crate) fn day(&self) -> String {
        format!("{}-{}-{}", &self.0[2..6], &self.0[6..8], &self.0[8..10])
    }

    /// Whether a person may mean this id by `prefix`: its beginning, or that of its random digits.
    pub(crate) fn is_meant_by(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix) || (!prefix.is_empty() && self.0[19..].starts_with(prefix))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for SessionId {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let fits = text.len() == Self::LEN
            && text.bytes().zip("s-ddddddddTddddddZ-xxxxxx".bytes()).all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                b'x' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                other => byte == other,
            });
        if fits { Ok(Self(text.to_owned())) } else { Err(RecordError::BadId(text.to_owned())) }
    }
}

impl TryFrom<String> for SessionId {
    type Error = RecordError;

    fn try_from(text: String) -> Result<Self, RecordError> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_readable_and_sorts_by_time() {
        let earlier = SessionId::generate("2026-11-23T17:01:02Z".parse().unwrap());
        let later = SessionId::generate("2026-11-23T17:01:03Z".parse().unwrap());
        assert!(earlier.as_str().starts_with("s-20261123T170102Z-"), "{earlier}");
        assert!(earlier < later);
        assert_eq!(earlier.day(), "2026-11-23");
        assert_eq!(earlier.as_str().parse::<SessionId>().unwrap(), earlier);
    }

    #[test]
    fn is_found_by_its_beginning_or_by_its_digits() {
        let id: SessionId = "s-20261123T170102Z-7f3a9c".parse().unwrap();
        for prefix in ["", "s-2026", "s-20261123T170102Z-7f3a9c", "7f3", "7f3a9c"] {
            assert!(id.is_meant_by(prefix), "{prefix}");
        }
        for other in ["2026", "s-2027", "f3a", "-7f3a9c", "7f3a9c0"] {
            assert!(!id.is_meant_by(other), "{other}");
        }
    }

    #[test]
    fn refuses_anything_else() {
        for text in
            ["", "..", "s-20261123T170102Z-7F3A9C", "s-20261123T170102Z-7f3a9", "s-2026112éT170102Z-7f3a9"]
        {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
    }
}
