//! Configuration of an EKS cluster's credential, and its check, which calls nobody.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    CredentialError, UpstreamTls,
    aws::region::{Region, role_arn},
    file::read_public,
};

/// Longest session policy, in characters.
const LONGEST_POLICY: usize = 2048;
const MOST_POLICY_ARNS: usize = 10;

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
    pub(crate) region: Region,
    pub(crate) role_arn: String,
    pub(crate) external_id: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) policy_arns: Vec<String>,
    pub(crate) source_identity: bool,
    pub(crate) sts: Option<String>,
    pub(crate) eks: String,
    /// In PEM.
    pub(crate) ca: Option<Vec<u8>>,
}

impl EksConfig {
    /// Checks everything that can be checked without asking AWS.
    pub(crate) fn check(&self) -> Result<Settings, CredentialError> {
        let region = Region::parse(&self.region)?;
        let partition = role_arn("eks.roleArn", &self.role_arn)?;
        if partition != region.partition() {
            let problem = format!("{} is not of the partition of {}", self.role_arn, self.region);
            return Err(CredentialError::Config { field: "eks.roleArn", problem });
        }
        check_cluster(&self.cluster)?;
        self.external_id.as_deref().map(check_external_id).transpose()?;
        if self.session_policy_arns.len() > MOST_POLICY_ARNS {
            return Err(bad(
                "eks.sessionPolicyArns",
                format!("more than {MOST_POLICY_ARNS} are not allowed"),
            ));
        }
        if let Some(wrong) = self.session_policy_arns.iter().find(|arn| !is_policy_arn(arn)) {
            return Err(bad("eks.sessionPolicyArns", format!("{wrong:?} is no policy's ARN")));
        }
        let endpoints = &self.endpoints;
        let sts = endpoints.sts.as_deref().map(|url| endpoint("eks.endpoints.sts", url)).transpose()?;
        let eks = endpoints.eks.as_deref().map(|url| endpoint("eks.endpoints.eks", url)).transpose()?;
        Ok(Settings {
            cluster: self.cluster.clone(),
            role_arn: self.role_arn.clone(),
            external_id: self.external_id.clone(),
            policy: self.session_policy()?,
            policy_arns: self.session_policy_arns.clone(),
            source_identity: self.source_identity,
            sts,
            eks: eks.unwrap_or_else(|| format!("https://{}", region.host("eks"))),
            ca: self.ca()?,
            region,
        })
    }

    /// The policy without the blanks that count against its length.
    fn session_policy(&self) -> Result<Option<String>, CredentialError> {
        let Some(path) = &self.session_policy_file else { return Ok(None) };
        let wrong = |why: String| bad("eks.sessionPolicyFile", format!("{}: {why}", path.display()));
        let policy: Value = serde_json::from_slice(&read_public(path)?)
            .map_err(|error| wrong(format!("not JSON: {error}")))?;
        if policy.get("Version").is_none() || policy.get("Statement").is_none() {
            return Err(wrong("a policy has Version and Statement".into()));
        }
        let text = policy.to_string();
        if text.chars().count() > LONGEST_POLICY {
            return Err(wrong(format!("longer than {LONGEST_POLICY} characters, which STS does not take")));
        }
        Ok(Some(text))
    }

    fn ca(&self) -> Result<Option<Vec<u8>>, CredentialError> {
        let Some(path) = &self.certificate_authority else { return Ok(None) };
        let pem = read_public(path)?;
        // As strict as for a target's CA; the SDK's client would panic at what is none.
        UpstreamTls::from_pem(path, &pem)?;
        Ok(Some(pem.to_vec()))
    }
}

fn bad(field: &'static str, problem: String) -> CredentialError {
    CredentialError::Config { field, problem }
}

fn check_cluster(name: &str) -> Result<(), CredentialError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 100 && name.chars().all(legal) {
        return Ok(());
    }
    Err(bad("eks.cluster", format!("{name:?} is no cluster's name")))
}

fn check_external_id(id: &str) -> Result<(), CredentialError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    if (2..=1224).contains(&id.len()) && id.chars().all(legal) {
        return Ok(());
    }
    Err(bad("eks.externalId", "want 2 to 1224 letters, digits and _+=,.@:/-".into()))
}

/// `arn:aws:iam::aws:policy/…` or of an account.
fn is_policy_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.split(':').collect();
    matches!(parts.as_slice(), ["arn", _, "iam", "", account, policy]
        if !account.is_empty() && policy.strip_prefix("policy/").is_some_and(|name| !name.is_empty()))
        && arn.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `https://host[:port]`; session tokens go there, so never plain HTTP.
fn endpoint(field: &'static str, url: &str) -> Result<String, CredentialError> {
    let url = url.strip_suffix('/').unwrap_or(url);
    let authority = url.strip_prefix("https://").and_then(|rest| rest.parse::<http::uri::Authority>().ok());
    match authority {
        Some(authority) if !authority.as_str().contains('@') && !authority.host().is_empty() => {
            Ok(url.to_owned())
        }
        _ => Err(bad(field, format!("{url:?} is not https://host[:port]"))),
    }
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
        assert!(settings.source_identity && settings.policy.is_none() && settings.ca.is_none());
        assert_eq!(settings.eks, "https://eks.eu-central-1.amazonaws.com");
        let settings =
            read("endpoints: {sts: \"https://vpce-1.sts.eu-central-1.vpce.amazonaws.com/\"}").unwrap();
        assert_eq!(settings.sts.unwrap(), "https://vpce-1.sts.eu-central-1.vpce.amazonaws.com");
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
        assert_eq!(policy(good).unwrap().policy.unwrap(), r#"{"Version":"2012-10-17","Statement":[]}"#);
        assert!(policy("{").err().unwrap().contains("not JSON"));
        assert!(policy("[]").err().unwrap().contains("Version and Statement"));
        let long = format!(r#"{{"Version":"{}","Statement":[]}}"#, "x".repeat(2048));
        assert!(policy(&long).err().unwrap().contains("2048"));
    }
}
