//! What was asked, for tests to assert on. No secret is in it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One call, answered or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When, by this STS's clock.
    pub at: Timestamp,
    /// `AssumeRole`, `GetCallerIdentity`, …; empty where it could not be read.
    pub action: String,
    /// Whether the signature was in the query.
    pub presigned: bool,
    /// Who signed, once that was verified.
    pub caller: Option<String>,
    /// The name it was called by.
    pub host: String,
    /// The cluster that an EKS token is for.
    pub cluster: Option<String>,
    /// The role to assume.
    pub role_arn: Option<String>,
    /// Under this name.
    pub session_name: Option<String>,
    /// The person behind it.
    pub source_identity: Option<String>,
    /// What the role's owner agreed on.
    pub external_id: Option<String>,
    /// Session tags.
    pub tags: BTreeMap<String, String>,
    /// The session policy, as it was sent.
    pub policy: Option<String>,
    /// Managed policies that narrow the session.
    pub policy_arns: Vec<String>,
    /// How long the session was to last.
    pub duration_seconds: Option<u32>,
    /// The error code, where it was refused.
    pub error: Option<String>,
}

impl Event {
    pub(crate) fn new(at: Timestamp) -> Self {
        Self {
            at,
            action: String::new(),
            presigned: false,
            caller: None,
            host: String::new(),
            cluster: None,
            role_arn: None,
            session_name: None,
            source_identity: None,
            external_id: None,
            tags: BTreeMap::new(),
            policy: None,
            policy_arns: Vec::new(),
            duration_seconds: None,
            error: None,
        }
    }
}
