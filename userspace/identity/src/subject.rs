//! The authenticated person, and the sources that can name one.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::{Attestation, IdentityError};

/// A person. Two subjects are the same person when issuer and id agree; name and groups are attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Who vouches for the id: `unix` for this host's accounts, an issuer URL for OIDC.
    pub issuer: String,
    /// Stable and never reassigned within the issuer: the uid as a string, an OIDC `sub`.
    pub id: String,
    /// What people call them.
    pub name: String,
    /// What roles refer to.
    pub groups: BTreeSet<String>,
    /// How we know.
    pub method: Method,
    /// The account that was authenticated, where the configuration's `people` say whose it is: issuer and id
    /// above are the person's then, the same whichever of their accounts they come with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
}

/// One account at one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccountId {
    /// As in [`Subject::issuer`].
    pub issuer: String,
    /// As in [`Subject::id`].
    pub id: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// How a subject was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Method {
    /// The kernel's attestation of the process.
    Unix,
    /// An OIDC login bound to the attested process.
    Oidc,
    /// A JWT that the client sent.
    BearerJwt,
    /// An EKS token that the client sent, verified with STS.
    EksToken,
    /// A signed link made out to this person.
    Link,
    /// A message that whoever signed it vouches for, such as a button pressed in a chat.
    Webhook,
}

/// What the client itself presented. It is a claim to verify, never an identity in itself.
#[derive(Clone, Copy, Default)]
pub struct Presented<'a> {
    /// The bearer token of the `Authorization` header or of the WebSocket subprotocol.
    pub bearer: Option<&'a str>,
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("bearer", &self.bearer.map(|_| crate::REDACTED)).finish()
    }
}

/// The answer of [`Source::identify`], boxed so that sources can be chosen at run time.
pub type Identifying<'a> = Pin<Box<dyn Future<Output = Result<Option<Subject>, IdentityError>> + Send + 'a>>;

/// A way to tell who is calling. `Ok(None)` means that this source has nothing to say and the next one may
/// be asked; an error means that the caller is refused.
pub trait Source: Send + Sync {
    /// The person behind the attested process, given what the client presented.
    fn identify<'a>(&'a self, attestation: &'a Attestation, presented: &'a Presented<'a>) -> Identifying<'a>;
}
