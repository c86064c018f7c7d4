//! Which sources of identity a target accepts, and how they go together.
//!
//! `anyOf` asks them in order, and the first that has something to say decides, be it with a refusal: `unix` always has,
//! `oidc` has where there is a login, `bearer` and `eks` have where the client presents a token of their shape. A token
//! of neither shape says nothing, since kubeconfigs hold all kinds of text where a token belongs; it is an error only
//! where no other source names the caller. `allOf` asks all of them: each must name somebody, and all the same person.

use serde::{Deserialize, Serialize};

use crate::IdentityError;

/// A way to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceKind {
    /// The account behind the attested process.
    Unix,
    /// `portcullis login`, bound to the attested uid and login session.
    Oidc,
    /// A JWT that the client sends.
    Bearer,
    /// An EKS token that the client sends.
    Eks,
}

/// Which sources are accepted, and how they go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Acceptance {
    /// The first of these that has something to say names the person.
    AnyOf(Vec<SourceKind>),
    /// All of these must name the same person; the last one's name and groups count.
    AllOf(Vec<SourceKind>),
}

/// What one target accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The sources.
    pub acceptance: Acceptance,
    /// The value of `x-k8s-aws-id` that an EKS token must be signed for.
    pub eks_cluster: Option<String>,
    /// The target's own name as a protected resource, an absolute URI (RFC 8707, section 2). Where it has one, a JWT must
    /// be for exactly this and for nobody else, whatever the issuer's `audiences` say; access tokens (RFC 9068) are
    /// believed then.
    pub audience: Option<String>,
}

impl SourceKind {
    /// As the configuration spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Oidc => "oidc",
            Self::Bearer => "bearer",
            Self::Eks => "eks",
        }
    }

    pub(crate) fn needs_no_request(self) -> bool {
        matches!(self, Self::Unix | Self::Oidc)
    }
}

impl Acceptance {
    /// The sources, in order.
    #[must_use]
    pub fn kinds(&self) -> &[SourceKind] {
        match self {
            Self::AnyOf(kinds) | Self::AllOf(kinds) => kinds,
        }
    }

    /// Whether the list makes sense in itself.
    ///
    /// # Errors
    /// [`IdentityError::Config`] where it is empty, names a source twice, or asks for two tokens in one header.
    pub fn check(&self) -> Result<(), IdentityError> {
        let bad = |why: &str| Err(IdentityError::Config(why.to_owned()));
        let kinds = self.kinds();
        if kinds.is_empty() {
            return bad("an empty list of sources would let nobody in");
        }
        for (index, kind) in kinds.iter().enumerate() {
            if kinds[..index].contains(kind) {
                return bad(&format!("{} is listed twice", kind.name()));
            }
        }
        let both = kinds.contains(&SourceKind::Bearer) && kinds.contains(&SourceKind::Eks);
        if matches!(self, Self::AllOf(_)) && both {
            return bad("allOf: no request carries both a JWT (bearer) and an EKS token (eks)");
        }
        Ok(())
    }
}

impl Default for Acceptance {
    fn default() -> Self {
        Self::AnyOf(vec![SourceKind::Unix])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        for (json, why) in [
            (r#"{"anyOf": []}"#, "empty"),
            (r#"{"allOf": []}"#, "empty"),
            (r#"{"anyOf": ["oidc", "oidc"]}"#, "twice"),
            (r#"{"allOf": ["bearer", "eks"]}"#, "both"),
        ] {
            let error = serde_json::from_str::<Acceptance>(json).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        serde_json::from_str::<Acceptance>(r#"{"anyOf": ["bearer", "eks", "unix"]}"#)
            .unwrap()
            .check()
            .unwrap();
        assert!(serde_json::from_str::<Acceptance>(r#"{"anyOf": ["header"]}"#).is_err());
        assert!(serde_json::from_str::<Acceptance>(r#"{"anyOf": ["unix"], "allOf": ["unix"]}"#).is_err());
    }
}
