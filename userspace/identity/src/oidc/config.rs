//! One issuer's section of the configuration, checked once.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::SignedDuration;
use openidconnect::core::CoreJwsSigningAlgorithm;
use serde::{Deserialize, Serialize};

use super::Provider;
use super::claims::ClaimPath;
use crate::secret::Secret;
use crate::web::{Web, is_loopback, secure_url};
use crate::{Clock, IdentityError, duration};

/// An OpenID Connect provider whose people may log in and whose tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcConfig {
    /// What `portcullis login --issuer` calls it.
    pub name: String,
    /// Its issuer identifier, letter for letter as its tokens have it in `iss`.
    pub issuer: String,
    /// Who we are to it.
    pub client_id: String,
    /// A file that holds the client's secret; without, the client is a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// Whom a token may be meant for. Every audience of a token must be among these. Default: the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audiences: Option<Vec<String>>,
    /// What a login asks for beside `openid`. Default: `profile` and `email`.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// With which algorithms its tokens may be signed. Default: RS256.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// By how much its clock and ours may differ. Default: one minute.
    #[serde(default = "default_clock_skew", with = "duration")]
    pub clock_skew: SignedDuration,
    /// The claim that people are called by: a top-level name, or a JSON pointer. Default: `email`.
    #[serde(default = "default_username_claim")]
    pub username_claim: String,
    /// The claim that lists their groups: a top-level name, or a JSON pointer such as `/realm_access/roles`.
    /// Default: `groups`.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// PEM certificates that are trusted to vouch for it, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
    /// Whose login or token a local account may use. Default: its own person's.
    #[serde(default)]
    pub account: AccountRule,
    /// What a login is bound to. Default: the login session.
    #[serde(default)]
    pub bind_to: BindTo,
    /// When its keys are fetched, and for how long they are good.
    #[serde(default)]
    pub keys: KeysConfig,
}

/// Whose login or token a local account may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AccountRule {
    /// That of the person whose account it is: by `people`, or by equal user names. A device code that somebody was
    /// talked into confirming is worth nothing on another account.
    #[default]
    Match,
    /// Anybody's. For accounts that people share.
    Any,
}

/// What a login is bound to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BindTo {
    /// The uid and the kernel's audit session: one `ssh` or console login. Other sessions log in by themselves.
    #[default]
    Session,
    /// The uid alone. For hosts without audit sessions (containers, kernels without `CONFIG_AUDIT`).
    Uid,
}

/// When keys are fetched, and for how long they are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeysConfig {
    /// The provider is asked at most this often, however many tokens name a key that is not known.
    #[serde(with = "duration")]
    pub refresh_at_most_every: SignedDuration,
    /// For how long keys that should have been fetched again stay good while the provider cannot be reached.
    #[serde(with = "duration")]
    pub stale_for: SignedDuration,
}

/// How a token may be signed. Shared secrets (HS256 and so on) and `none` are not among these: whoever can check such
/// a token could have made it. RFC 7518, section 3.1; RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// A checked issuer.
pub(crate) struct Issuer {
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Secret>,
    pub(crate) audiences: Vec<String>,
    pub(crate) scopes: String,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) clock_skew: SignedDuration,
    pub(crate) username: ClaimPath,
    pub(crate) groups: ClaimPath,
    pub(crate) account: AccountRule,
    pub(crate) bind_to: BindTo,
    pub(crate) provider: Provider,
    pub(crate) clock: Clock,
}

impl Issuer {
    pub(crate) fn new(config: &OidcConfig, clock: &Clock) -> Result<Arc<Self>, IdentityError> {
        let bad = |field: &str, why: &str| {
            IdentityError::Config(format!("oidc issuer {:?}: {field}: {why}", config.name))
        };
        if config.name.is_empty() {
            return Err(bad("name", "it is empty"));
        }
        let url = match secure_url(&config.issuer) {
            Ok(url) if url.query().is_some() => return Err(bad("issuer", "an issuer has no query")),
            Ok(url) => url,
            Err(why) => return Err(bad("issuer", &why)),
        };
        if config.client_id.is_empty() {
            return Err(bad("clientId", "it is empty"));
        }
        let audiences = config.audiences.clone().unwrap_or_else(|| vec![config.client_id.clone()]);
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            return Err(bad(
                "audiences",
                "an empty list, or an empty audience, would let nobody in: leave it out",
            ));
        }
        if config.algorithms.is_empty() {
            return Err(bad("algorithms", "no token could be believed"));
        }
        if config.scopes.iter().any(|scope| scope.is_empty() || scope.contains(char::is_whitespace)) {
            return Err(bad("scopes", "one is empty or has white space in it: write a list"));
        }
        if config.clock_skew > SignedDuration::from_mins(10) {
            return Err(bad("clockSkew", "more than 10m; set the clocks instead"));
        }
        if config.keys.refresh_at_most_every.is_zero() {
            return Err(bad("keys.refreshAtMostEvery", "0s is no limit"));
        }
        if config.keys.stale_for > SignedDuration::from_hours(24) {
            return Err(bad("keys.staleFor", "more than 24h; a key that was withdrawn would live as long"));
        }
        let path = |field, claim| {
            ClaimPath::new(claim).ok_or_else(|| bad(field, "neither a claim's name nor a JSON pointer"))
        };
        let mut scopes = vec!["openid"];
        scopes.extend(config.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
        let web = Web::new(config.certificate_authority.as_deref(), is_loopback(&url))?;
        Ok(Arc::new(Self {
            name: config.name.clone(),
            issuer: config.issuer.clone(),
            client_id: config.client_id.clone(),
            client_secret: config.client_secret_file.as_deref().map(Secret::read).transpose()?,
            audiences,
            scopes: scopes.join(" "),
            algorithms: config.algorithms.clone(),
            clock_skew: config.clock_skew,
            username: path("usernameClaim", &config.username_claim)?,
            groups: path("groupsClaim", &config.groups_claim)?,
            account: config.account,
            bind_to: config.bind_to,
            provider: Provider::new(config.issuer.clone(), web, config.keys, Arc::clone(clock)),
            clock: Arc::clone(clock),
        }))
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl Algorithm {
    pub(crate) fn named(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }

    pub(crate) fn signing(self) -> CoreJwsSigningAlgorithm {
        match self {
            Self::RS256 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
            Self::RS384 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
            Self::RS512 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
            Self::PS256 => CoreJwsSigningAlgorithm::RsaSsaPssSha256,
            Self::PS384 => CoreJwsSigningAlgorithm::RsaSsaPssSha384,
            Self::PS512 => CoreJwsSigningAlgorithm::RsaSsaPssSha512,
            Self::ES256 => CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            Self::ES384 => CoreJwsSigningAlgorithm::EcdsaP384Sha384,
            Self::EdDSA => CoreJwsSigningAlgorithm::EdDsa,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f) // the variants are spelled as RFC 7518 does
    }
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            refresh_at_most_every: SignedDuration::from_secs(30),
            stale_for: SignedDuration::from_hours(1),
        }
    }
}

fn default_scopes() -> Vec<String> {
    vec!["profile".to_owned(), "email".to_owned()]
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256]
}

fn default_clock_skew() -> SignedDuration {
    SignedDuration::from_mins(1)
}

fn default_username_claim() -> String {
    "email".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}
