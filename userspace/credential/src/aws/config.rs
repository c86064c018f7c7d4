//! Configuration of an EKS cluster's credential, and its check, which calls nobody.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{
    CredentialError,
    aws::terms::{RawTerms, Terms, endpoint},
};

/// Tokens for an EKS cluster, from a role that is assumed for each engineer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EksConfig {
    /// The cluster's name.
    pub cluster: String,
    /// Its region.
    pub region: String,
    /// The role to assume, where the engineer's own role says no other.
    pub role_arn: String,
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
    /// Other endpoints than the region's public ones.
    #[serde(default)]
    pub endpoints: EksEndpoints,
    /// The CA of AWS' endpoints, instead of the system's roots.
    #[serde(default)]
    pub certificate_authority: Option<PathBuf>,
}

/// `https://host[:port]` of a VPC endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EksEndpoints {
    /// Where roles are assumed. Tokens are always signed for the region's public STS host: EKS takes no other.
    #[serde(default)]
    pub sts: Option<String>,
    /// Where the cluster is looked up.
    #[serde(default)]
    pub eks: Option<String>,
}

fn yes() -> bool {
    true
}

/// A checked configuration, its files read.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) cluster: String,
    pub(crate) role_arn: String,
    /// Where the cluster is looked up.
    pub(crate) eks: String,
    pub(crate) terms: Terms,
}

impl EksConfig {
    /// Checks everything that can be checked without asking AWS.
    pub(crate) fn check(&self) -> Result<Settings, CredentialError> {
        let terms = RawTerms {
            section: "eks",
            region: &self.region,
            external_id: self.external_id.as_deref(),
            session_policy_file: self.session_policy_file.as_deref(),
            session_policy_arns: &self.session_policy_arns,
            source_identity: self.source_identity,
            sts: self.endpoints.sts.as_deref(),
            certificate_authority: self.certificate_authority.as_deref(),
        };
        let terms = terms.check()?;
        terms.region.check_role("eks.roleArn", &self.role_arn)?;
        check_cluster(&self.cluster)?;
        let eks = self.endpoints.eks.as_deref().map(|url| endpoint("eks.endpoints.eks", url)).transpose()?;
        Ok(Settings {
            cluster: self.cluster.clone(),
            role_arn: self.role_arn.clone(),
            eks: eks.unwrap_or_else(|| format!("https://{}", terms.region.host("eks"))),
            terms,
        })
    }
}

fn check_cluster(name: &str) -> Result<(), CredentialError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 100 && name.chars().all(legal) {
        return Ok(());
    }
    Err(CredentialError::config("eks.cluster", format!("{name:?} is no cluster's name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> Result<Settings, String> {
        let yaml = format!(
            "cluster: prod-eu\nregion: eu-central-1\nroleArn: arn:aws:iam::111122223333:role/p\n{more}"
        );
        let config: EksConfig = serde_saphyr::from_str(&yaml).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }

    fn replaced(field: &str, value: &str) -> String {
        let config = EksConfig {
            cluster: "prod-eu".into(),
            region: "eu-central-1".into(),
            role_arn: "arn:aws:iam::111122223333:role/p".into(),
            external_id: None,
            session_policy_file: None,
            session_policy_arns: Vec::new(),
            source_identity: true,
            endpoints: EksEndpoints::default(),
            certificate_authority: None,
        };
        let value = value.to_owned();
        let config = match field {
            "cluster" => EksConfig { cluster: value, ..config },
            "region" => EksConfig { region: value, ..config },
            "roleArn" => EksConfig { role_arn: value, ..config },
            "externalId" => EksConfig { external_id: Some(value), ..config },
            "sessionPolicyArns" => EksConfig { session_policy_arns: vec![value], ..config },
            other => panic!("{other}"),
        };
        config.check().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_left_out_has_the_safe_value() {
        let settings = read("").unwrap();
        assert!(
            settings.terms.source_identity && settings.terms.policy.is_none() && settings.terms.ca.is_none()
        );
        assert_eq!(settings.eks, "https://eks.eu-central-1.amazonaws.com");
        let settings =
            read("endpoints: {sts: \"https://vpce-1.sts.eu-central-1.vpce.amazonaws.com/\"}").unwrap();
        assert_eq!(settings.terms.sts.unwrap(), "https://vpce-1.sts.eu-central-1.vpce.amazonaws.com");
    }

    #[test]
    fn mistakes_name_their_field() {
        for (field, value) in [
            ("cluster", ""),
            ("cluster", "prod/../x"),
            ("region", "Frankfurt"),
            ("roleArn", "portcullis"),
            ("roleArn", "arn:aws-cn:iam::111122223333:role/p"),
            ("externalId", "a"),
            ("externalId", "a b"),
            ("sessionPolicyArns", "ReadOnlyAccess"),
        ] {
            let said = replaced(field, value);
            assert!(said.starts_with(&format!("eks.{field}: ")), "{field} {value:?}: {said}");
        }
        for wrong in ["http://sts.example.com", "https://", "https://a/b", "https://u:p@a", "sts.example.com"]
        {
            let said = read(&format!("endpoints: {{sts: \"{wrong}\"}}")).err().unwrap();
            assert!(said.starts_with("eks.endpoints.sts: "), "{wrong}: {said}");
        }
        assert!(read("unknown: 1").err().unwrap().contains("unknown"));
        assert!(read("certificateAuthority: /gone").err().unwrap().contains("/gone"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let said = read(&format!("certificateAuthority: {}", path.display())).err().unwrap();
        assert!(said.starts_with("certificate 1 in "), "{said}");
    }

    #[test]
    fn a_session_policy_is_json_of_a_policys_shape() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        let policy = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&format!("sessionPolicyFile: {}", path.display()))
        };
        let good = "{ \"Version\": \"2012-10-17\",\n \"Statement\": [] }";
        assert_eq!(policy(good).unwrap().terms.policy.unwrap(), r#"{"Version":"2012-10-17","Statement":[]}"#);
        assert!(policy("{").err().unwrap().contains("not JSON"));
        assert!(policy("[]").err().unwrap().contains("Version and Statement"));
        let long = format!(r#"{{"Version":"{}","Statement":[]}}"#, "x".repeat(2048));
        assert!(policy(&long).err().unwrap().contains("2048"));
    }
}
