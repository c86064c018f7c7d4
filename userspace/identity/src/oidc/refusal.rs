//! Why a token is not believed, each reason in its own words and none with the token in them.

use jiff::Timestamp;

use crate::web::WebError;

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRefusal {
    /// It is not a JWT in compact form (RFC 7519).
    #[error("it is not a well-formed JWT: {0}")]
    Malformed(&'static str),
    /// `alg: none`.
    #[error("it is not signed (alg none)")]
    Unsigned,
    /// HS256 and its like: whoever can check such a token could have made it.
    #[error("it is signed with a shared secret ({0}), which anybody who can check it could have done")]
    SharedSecret(String),
    /// Another algorithm than the configured ones.
    #[error("it is signed with {found:?}; accepted are {accepted}")]
    Algorithm {
        /// The header's `alg`.
        found: String,
        /// The configured ones.
        accepted: String,
    },
    /// A `typ`, `cty` or `crit` header that says that this is another kind of token.
    #[error("its header says that it is no ID token ({0})")]
    Kind(String),
    /// `iss` is no configured issuer.
    #[error("it is from {0:?}, which is no configured issuer")]
    UnknownIssuer(String),
    /// `iss` is another issuer than the one that was asked.
    #[error("it is from {found:?}, not from {expected:?}")]
    Issuer {
        /// The claim.
        found: String,
        /// Who was asked.
        expected: String,
    },
    /// The keys could not be fetched.
    #[error("the keys that would prove it are not known: {0}")]
    Keys(#[from] KeysError),
    /// No key of this id, also not after asking the issuer.
    #[error("its issuer has no key {kid} for it")]
    UnknownKey {
        /// The header's `kid`, quoted, or what stands for its absence.
        kid: String,
    },
    /// No key of this id, and the issuer was asked a moment ago.
    #[error("its issuer had no key {kid} for it a moment ago, and is asked again at {again} at the earliest")]
    UnknownKeyTooSoon {
        /// As above.
        kid: String,
        /// When the issuer may be asked again.
        again: Timestamp,
    },
    /// Several keys could be meant.
    #[error("several keys of its issuer could be meant (kid {kid})")]
    AmbiguousKey {
        /// As above.
        kid: String,
    },
    /// The signature is not the key's.
    #[error("its signature is not good")]
    Signature,
    /// A claim that must be there is missing or of another type.
    #[error("its claim {claim:?} {problem}")]
    Claim {
        /// Which.
        claim: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It is meant for somebody else.
    #[error("it is for {found}, not for {expected}")]
    Audience {
        /// The claim.
        found: String,
        /// The configured ones.
        expected: String,
    },
    /// It is not meant for the resource that it was presented to, or for others too.
    #[error("it is for {found}; here it must be for {expected} and for nobody else")]
    Resource {
        /// The claim.
        found: String,
        /// The target.
        expected: String,
    },
    /// It is meant for others too, who could pass it on.
    #[error("it is also for {0:?}, which is not among the configured audiences and could pass it on")]
    ForeignAudience(String),
    /// `azp` is missing beside several audiences, or somebody else.
    #[error("it was given to {0}, not to this client")]
    AuthorizedParty(String),
    /// `exp` has passed.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// `nbf` is in the future.
    #[error("it is not valid before {0}")]
    NotYet(Timestamp),
    /// `iat` is in the future.
    #[error("it claims to have been issued in the future, at {0}")]
    IssuedInFuture(Timestamp),
    /// The nonce is not that of the login.
    #[error("it belongs to another login (its nonce is not ours)")]
    Nonce,
    /// The issuer says that the e-mail address is not verified.
    #[error("its e-mail address is not verified by its issuer, so that it names nobody")]
    EmailUnverified,
    /// A name or group that only Kubernetes itself gives out.
    #[error("it claims {0:?}; names and groups that begin with system: are Kubernetes' own")]
    SystemName(String),
    /// The groups are too many to be in the token.
    #[error(
        "its groups are too many to be in it (group overage): have the provider put only the groups assigned to this \
         application into tokens, or application roles"
    )]
    GroupOverage,
}

impl TokenRefusal {
    /// Whether it is the token that is wrong. Otherwise its issuer cannot say at the moment, and another token of it
    /// would fare no better.
    pub(crate) fn is_verdict(&self) -> bool {
        !matches!(self, Self::Keys(_) | Self::UnknownKeyTooSoon { .. })
    }
}

/// Why an issuer's keys or endpoints are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// It could not be asked.
    #[error(transparent)]
    Web(#[from] WebError),
    /// Its discovery document speaks for another issuer.
    #[error("the discovery document of {expected:?} is that of {found:?}")]
    OtherIssuer {
        /// The configured one.
        expected: String,
        /// What it says.
        found: String,
    },
    /// Its discovery document names an endpoint that must not be asked.
    #[error("the discovery document of {issuer:?}: {field}: {why}")]
    Endpoint {
        /// Whose.
        issuer: String,
        /// Which.
        field: &'static str,
        /// Why not.
        why: String,
    },
    /// Its key set holds no key that we can use.
    #[error("the key set of {0:?} holds no key to check signatures with")]
    NoKeys(String),
    /// What was fetched is too old, and cannot be fetched again.
    #[error("those of {issuer:?} were last fetched at {fetched}, too long ago to be believed: {why}")]
    Stale {
        /// Whose.
        issuer: String,
        /// When.
        fetched: Timestamp,
        /// Why they could not be fetched again.
        why: String,
    },
    /// The last try failed, and it is too early for another.
    #[error("{why}; the next try is at {again} at the earliest")]
    Waiting {
        /// Why the last try failed.
        why: String,
        /// When the issuer may be asked again.
        again: Timestamp,
    },
}
