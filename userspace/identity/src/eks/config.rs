//! The `identity.eks` section of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Whose EKS tokens are believed, and whom they name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EksConfig {
    /// STS endpoints beside the public ones: those of VPC endpoints, as `https://host[:port]`.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// PEM certificates that are trusted to vouch for these endpoints, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
    /// Who is whom. Nobody else gets in.
    pub mapping: Vec<ArnMapping>,
}

/// Whom the credentials of one role or user name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArnMapping {
    /// The ARN of a role or user.
    pub arn: String,
    /// What people are called who come with it. `{{SessionName}}` stands for the session name of an assumed role, which
    /// whoever assumes it can choose, unless the role's trust policy says otherwise (`sts:RoleSessionName`).
    pub name: String,
    /// Their groups.
    #[serde(default)]
    pub groups: Vec<String>,
}
