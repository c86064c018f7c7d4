//! Configuration of service-account tokens.

use std::path::PathBuf;

use jiff::SignedDuration;
use serde::Deserialize;

use crate::{ClientCertificateFiles, CredentialError, clock::span};

/// The API server gives no token for less, and none for more than 2^32 seconds; a day is long enough here.
const SHORTEST: SignedDuration = SignedDuration::from_mins(10);
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// Longest DNS label, and longest name of an object that is a DNS subdomain.
const LABEL: usize = 63;
const SUBDOMAIN: usize = 253;

/// Tokens of a service account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequestConfig {
    /// What asks for them.
    pub using: Using,
    /// Whose they are, where the engineer's role says no other.
    pub service_account: ServiceAccount,
    /// Who is to take them; the API server itself when empty.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// How long each is good for.
    #[serde(default = "shortest", deserialize_with = "span")]
    pub lifetime: SignedDuration,
}

/// A lasting credential that may create `serviceaccounts/token`, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Using {
    /// A file with a bearer token; read again when it changes.
    BearerTokenFile(PathBuf),
    /// A client certificate and its key; read again when either changes.
    ClientCertificate(ClientCertificateFiles),
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccount {
    /// Where it lives.
    pub namespace: String,
    /// What it is called.
    pub name: String,
}

fn shortest() -> SignedDuration {
    SHORTEST
}

impl TokenRequestConfig {
    pub(crate) fn check(&self) -> Result<(), CredentialError> {
        self.service_account.check("tokenRequest.serviceAccount")?;
        if self.audiences.iter().any(String::is_empty) {
            return Err(CredentialError::config("tokenRequest.audiences", "an audience is empty"));
        }
        if !(SHORTEST..=LONGEST).contains(&self.lifetime) {
            let problem = "want 10m to 24h: the API server gives no token for less";
            return Err(CredentialError::config("tokenRequest.lifetime", problem));
        }
        Ok(())
    }
}

impl ServiceAccount {
    /// These names go into a path.
    pub(crate) fn check(&self, field: &'static str) -> Result<(), CredentialError> {
        let label = |text: &str| {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !text.is_empty() && text.chars().all(legal) && !text.starts_with('-') && !text.ends_with('-')
        };
        let Self { namespace, name } = self;
        let good = label(namespace)
            && namespace.len() <= LABEL
            && name.split('.').all(label)
            && name.len() <= SUBDOMAIN;
        if good {
            return Ok(());
        }
        let problem = format!("{namespace:?}/{name:?} is no service account's namespace and name");
        Err(CredentialError::config(field, problem))
    }
}
