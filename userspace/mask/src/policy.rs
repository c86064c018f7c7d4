//! The mask policy: a file that says what is masked beyond the defaults, how, and what is not.
//!
//! ```yaml
//! apiVersion: portcullis.dev/v1alpha1
//! kind: MaskPolicy
//! defaults:
//!   how: digest
//!   addNames: ["*_dsn"]
//!   leaveOut: [certificateRequests]
//! detectors:
//!   off: [sendgrid]
//!   personal: [card, iban]
//!   patterns:
//!   - {name: badge, prefix: "BADGE-", charset: "A-F0-9", least: 8}
//! rules:
//! - groups: [example.test]
//!   resources: [widgets]
//!   mask: ["spec.connection.*", "spec.users[*].pin"]
//!   how: partial
//! - resources: [secrets]
//!   keep: [data.username]
//! ```

use serde::Deserialize;

use crate::placeholder::How;
use crate::{DetectorConfig, DetectorError, FieldPath};

/// What a policy file says. Read it with a deserializer that tells where an error is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaskPolicy {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: Kind,
    #[serde(default)]
    pub(crate) defaults: Defaults,
    /// Which detectors look at text that rules keep, at logs and at streams.
    #[serde(default)]
    pub(crate) detectors: DetectorConfig,
    #[serde(default)]
    pub(crate) rules: Vec<PolicyRule>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum ApiVersion {
    #[default]
    #[serde(rename = "portcullis.dev/v1alpha1")]
    V1Alpha1,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum Kind {
    #[default]
    MaskPolicy,
}

/// What becomes of the defaults.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Defaults {
    /// How they mask.
    pub(crate) how: How,
    /// Globs instead of the built-in ones, for the names of annotations, of environment variables and of keys in ConfigMaps.
    pub(crate) names: Option<Vec<Glob>>,
    /// Globs beside them.
    pub(crate) add_names: Vec<Glob>,
    /// Globs for names that only look like those of secrets.
    pub(crate) except_names: Vec<Glob>,
    pub(crate) leave_out: Vec<Part>,
    pub(crate) helm_releases: HelmReleases,
}

/// A part of the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Part {
    /// Secrets and all that repeats them.
    Secrets,
    /// Annotations with the name of a secret.
    Annotations,
    /// Environment variables with the name of a secret.
    Environment,
    /// Keys in ConfigMaps with the name of a secret, and Helm releases there.
    ConfigMaps,
    /// What TokenRequests and TokenReviews carry.
    Tokens,
    /// CertificateSigningRequests and what they get.
    CertificateRequests,
    /// What error messages quote.
    Errors,
}

/// What becomes of Helm releases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum HelmReleases {
    /// They are masked whole.
    #[default]
    Mask,
    /// They are opened, and their values and manifests masked.
    Open,
}

/// What is masked in some resources.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PolicyRule {
    /// API groups; `""` is the core group, `"*"` any.
    #[serde(default = "core")]
    pub(crate) groups: Vec<String>,
    /// In plural and lower case: `widgets`, `widgets/status`, `"*"`.
    pub(crate) resources: Vec<Resource>,
    #[serde(default)]
    pub(crate) mask: Vec<FieldPath>,
    /// What is never masked, whatever later rules and the defaults say.
    #[serde(default)]
    pub(crate) keep: Vec<FieldPath>,
    #[serde(default)]
    pub(crate) how: How,
}

/// A resource, perhaps with a subresource, or `*`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Resource(pub(crate) String);

/// A glob for names.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Glob(pub(crate) String);

/// A policy that cannot be put into force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A rule does nothing.
    #[error("rules[{0}]: neither mask nor keep: it does nothing")]
    Idle(usize),
    /// Detectors that cannot be.
    #[error("detectors: {0}")]
    Detectors(#[from] DetectorError),
    /// The rules for some resource do not go together.
    #[error("the rules for {resource}: {source}")]
    Rules {
        /// The group and resource.
        resource: String,
        /// What is wrong.
        source: crate::RulesError,
    },
}

fn core() -> Vec<String> {
    vec![String::new()]
}

impl TryFrom<String> for Resource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let named = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
                })
        };
        let fits = text == "*" || text.split('/').all(named) && text.split('/').count() <= 2;
        if fits {
            Ok(Self(text))
        } else {
            Err(format!("{text:?} is no resource: write widgets, widgets/status or \"*\""))
        }
    }
}

impl TryFrom<String> for Glob {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > 253 {
            return Err(format!("{text:?} is no pattern for a name"));
        }
        Ok(Self(text))
    }
}
