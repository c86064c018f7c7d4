//! Names of roles, requests and grants.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use crate::AccessError;
use crate::discovery::DISCOVERY_ROLE;

/// The name of a role: lower-case letters, digits, `-` and `.`, at most 63 of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(SmolStr);

impl RoleName {
    /// The name under which open discovery paths are decided; no role can have it.
    pub(crate) fn discovery() -> Self {
        Self(SmolStr::new_static(DISCOVERY_ROLE))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoleName {
    type Error = AccessError;

    fn try_from(name: String) -> Result<Self, AccessError> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if name.len() <= 63 && name.starts_with(edge) && name.ends_with(edge) && name.chars().all(inner) {
            Ok(Self(name.into()))
        } else {
            Err(AccessError::BadRoleName(name))
        }
    }
}

impl FromStr for RoleName {
    type Err = AccessError;

    fn from_str(name: &str) -> Result<Self, AccessError> {
        Self::try_from(name.to_owned())
    }
}

impl From<RoleName> for String {
    fn from(name: RoleName) -> String {
        name.0.into()
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for RoleName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

macro_rules! short_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $bad:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(SmolStr);

        impl $name {
            /// A new one. Short enough to be typed, so two can collide: the store refuses the second and the
            /// caller draws again.
            pub(crate) fn random() -> Self {
                Self(format_smolstr!(concat!($prefix, "-{:06x}"), rand::random::<u32>() & 0xff_ffff))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = AccessError;

            fn try_from(id: String) -> Result<Self, AccessError> {
                match id.strip_prefix(concat!($prefix, "-")) {
                    Some(hex) if hex.len() == 6 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                        Ok(Self(id.into()))
                    }
                    _ => Err(AccessError::$bad(id)),
                }
            }
        }

        impl FromStr for $name {
            type Err = AccessError;

            fn from_str(id: &str) -> Result<Self, AccessError> {
                Self::try_from(id.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

short_id! {
    /// Names a request: `r-7f3a9c`.
    RequestId, "r", BadRequestId
}
short_id! {
    /// Names a grant: `g-41d0e2`.
    GrantId, "g", BadGrantId
}
short_id! {
    /// Names a held request: `h-7f3a9c`.
    HoldId, "h", BadHoldId
}
/// What an approver decides about, by its id: `r-7f3a9c` or `h-7f3a9c`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Decidable {
    /// A request for a role.
    Request(RequestId),
    /// One request to a target that waits.
    Hold(HoldId),
}

impl TryFrom<String> for Decidable {
    type Error = AccessError;

    fn try_from(id: String) -> Result<Self, AccessError> {
        id.parse()
    }
}

impl FromStr for Decidable {
    type Err = AccessError;

    fn from_str(id: &str) -> Result<Self, AccessError> {
        let request = id.parse().map(Decidable::Request);
        let hold = || id.parse().map(Decidable::Hold);
        request.or_else(|_| hold()).map_err(|_: AccessError| AccessError::BadDecidable(id.to_owned()))
    }
}

impl From<Decidable> for String {
    fn from(what: Decidable) -> String {
        what.to_string()
    }
}

impl From<RequestId> for Decidable {
    fn from(id: RequestId) -> Self {
        Decidable::Request(id)
    }
}

impl From<HoldId> for Decidable {
    fn from(id: HoldId) -> Self {
        Decidable::Hold(id)
    }
}

impl fmt::Display for Decidable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decidable::Request(id) => id.fmt(f),
            Decidable::Hold(id) => id.fmt(f),
        }
    }
}

short_id! {
    /// Names a denial that can be asked from: `d-7f3a9c`.
    DenialId, "d", BadDenialId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_and_nothing_else_is() {
        let id = RequestId::random();
        assert_eq!(id.as_str().parse::<RequestId>().unwrap(), id);
        for bad in ["", "r-", "r-12345", "r-1234567", "r-12345G", "g-123456", "r-12345 "] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_decided_about_is_told_by_its_id() {
        assert!(matches!("r-7f3a9c".parse(), Ok(Decidable::Request(_))));
        assert!(matches!("h-7f3a9c".parse(), Ok(Decidable::Hold(_))));
        assert_eq!("h-7f3a9c".parse::<Decidable>().unwrap().to_string(), "h-7f3a9c");
        let error = "g-7f3a9c".parse::<Decidable>().unwrap_err().to_string();
        assert!(error.starts_with("\"g-7f3a9c\" is neither a request nor"), "{error}");
    }

    #[test]
    fn role_names_fit_a_command_line() {
        for good in ["pod-admin", "a", "k8s.read", "9-lives"] {
            assert!(good.parse::<RoleName>().is_ok(), "{good:?}");
        }
        for bad in ["", "Pod", "-a", "a-", "a b", "a/b", "ä", "a$(x)", &"a".repeat(64)] {
            assert!(bad.parse::<RoleName>().is_err(), "{bad:?}");
        }
    }
}
