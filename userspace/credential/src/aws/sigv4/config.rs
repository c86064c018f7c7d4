//! Configuration of signed requests, and its check, which calls nobody.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{
    CredentialError,
    aws::terms::{RawTerms, Terms},
};

/// Signature Version 4 on each request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigV4Config {
    /// The service's name in signatures: `execute-api`, `bedrock-agentcore`, `vpc-lattice-svcs`, …
    pub service: String,
    /// Its region.
    pub region: String,
    /// The role to assume for each engineer, where their own role says no other; without, the gate's own keys sign.
    #[serde(default)]
    pub role_arn: Option<String>,
    /// What the role's trust policy demands as `sts:ExternalId`.
    #[serde(default)]
    pub external_id: Option<String>,
    /// A policy that narrows each session, in JSON.
    #[serde(default)]
    pub session_policy_file: Option<PathBuf>,
    /// Managed policies that narrow each session.
    #[serde(default)]
    pub session_policy_arns: Vec<String>,
    /// Whether the person is set as source identity, which the trust policy must allow.
    #[serde(default = "yes")]
    pub source_identity: bool,
    /// Whether the body is signed too. Some services (VPC Lattice) take no signature over it.
    #[serde(default = "yes")]
    pub sign_payload: bool,
    /// Other endpoints than the region's public ones.
    #[serde(default)]
    pub endpoints: SigV4Endpoints,
    /// The CA of AWS' endpoints, instead of the system's roots.
    #[serde(default)]
    pub certificate_authority: Option<PathBuf>,
}

/// `https://host[:port]` of a VPC endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigV4Endpoints {
    /// Where roles are assumed.
    #[serde(default)]
    pub sts: Option<String>,
}

fn yes() -> bool {
    true
}

impl SigV4Config {
    /// Checks everything that can be checked without asking AWS.
    pub(crate) fn check(&self) -> Result<Terms, CredentialError> {
        let terms = RawTerms {
            section: "awsSigV4",
            region: &self.region,
            external_id: self.external_id.as_deref(),
            session_policy_file: self.session_policy_file.as_deref(),
            session_policy_arns: &self.session_policy_arns,
            source_identity: self.source_identity,
            sts: self.endpoints.sts.as_deref(),
            certificate_authority: self.certificate_authority.as_deref(),
        };
        let terms = terms.check()?;
        if let Some(role) = &self.role_arn {
            terms.region.check_role("awsSigV4.roleArn", role)?;
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.service.is_empty() || self.service.len() > 64 || !self.service.chars().all(legal) {
            let problem = format!("{:?} is no service's name such as execute-api", self.service);
            return Err(CredentialError::config("awsSigV4.service", problem));
        }
        // Its signatures are made otherwise: paths as they are, the body's digest always in a header.
        if self.service == "s3" {
            return Err(CredentialError::config("awsSigV4.service", "requests to S3 cannot be signed"));
        }
        Ok(terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str) -> Result<SigV4Config, String> {
        let config: SigV4Config = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn what_is_left_out_has_the_safe_value() {
        let config = check("{service: execute-api, region: eu-central-1}").unwrap();
        assert!(config.sign_payload && config.source_identity && config.role_arn.is_none());
    }

    #[test]
    fn mistakes_name_their_field() {
        for (yaml, field) in [
            ("{service: Execute-API, region: eu-central-1}", "service"),
            ("{service: '', region: eu-central-1}", "service"),
            ("{service: a/b, region: eu-central-1}", "service"),
            ("{service: s3, region: eu-central-1}", "service"),
            ("{service: execute-api, region: Frankfurt}", "region"),
            ("{service: execute-api, region: eu-central-1, roleArn: portcullis}", "roleArn"),
            (
                "{service: execute-api, region: eu-central-1, roleArn: 'arn:aws-cn:iam::111122223333:role/p'}",
                "roleArn",
            ),
            ("{service: execute-api, region: eu-central-1, externalId: a}", "externalId"),
            (
                "{service: execute-api, region: eu-central-1, endpoints: {sts: 'http://sts.example.com'}}",
                "endpoints.sts",
            ),
        ] {
            let said = check(yaml).unwrap_err();
            assert!(said.starts_with(&format!("awsSigV4.{field}: ")), "{yaml}: {said}");
        }
        assert!(check("{service: execute-api, region: eu-central-1, more: 1}").unwrap_err().contains("more"));
    }
}
