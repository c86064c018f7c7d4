//! What the configurations of EKS and of signed requests say alike: where AWS is, and on what terms roles are assumed.

use std::path::Path;

use serde_json::Value;

use crate::{CredentialError, aws::region::Region, file::read_public, tls::read_ca};

/// Longest session policy, in characters.
const LONGEST_POLICY: usize = 2048;
const MOST_POLICY_ARNS: usize = 10;

/// As it is written, in the section that errors name.
pub(crate) struct RawTerms<'a> {
    pub(crate) section: &'static str,
    pub(crate) region: &'a str,
    pub(crate) external_id: Option<&'a str>,
    pub(crate) session_policy_file: Option<&'a Path>,
    pub(crate) session_policy_arns: &'a [String],
    pub(crate) source_identity: bool,
    pub(crate) sts: Option<&'a str>,
    pub(crate) certificate_authority: Option<&'a Path>,
}

/// Checked, its files read.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) region: Region,
    pub(crate) external_id: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) policy_arns: Vec<String>,
    pub(crate) source_identity: bool,
    /// Another endpoint of STS than the region's public one.
    pub(crate) sts: Option<String>,
    /// In PEM.
    pub(crate) ca: Option<Vec<u8>>,
}

impl RawTerms<'_> {
    /// Checks everything that can be checked without asking AWS.
    pub(crate) fn check(&self) -> Result<Terms, CredentialError> {
        let region = Region::parse(&self.field("region"), self.region)?;
        self.external_id.map(|id| self.check_external_id(id)).transpose()?;
        if self.session_policy_arns.len() > MOST_POLICY_ARNS {
            return Err(
                self.bad("sessionPolicyArns", format!("more than {MOST_POLICY_ARNS} are not allowed"))
            );
        }
        if let Some(wrong) = self.session_policy_arns.iter().find(|arn| !is_policy_arn(arn)) {
            return Err(self.bad("sessionPolicyArns", format!("{wrong:?} is no policy's ARN")));
        }
        let sts = self.sts.map(|url| endpoint(&self.field("endpoints.sts"), url)).transpose()?;
        Ok(Terms {
            region,
            external_id: self.external_id.map(str::to_owned),
            policy: self.session_policy()?,
            policy_arns: self.session_policy_arns.to_vec(),
            source_identity: self.source_identity,
            sts,
            ca: self.certificate_authority.map(read_ca).transpose()?,
        })
    }

    /// The policy without the blanks that count against its length.
    fn session_policy(&self) -> Result<Option<String>, CredentialError> {
        let Some(path) = self.session_policy_file else { return Ok(None) };
        let wrong = |why: String| self.bad("sessionPolicyFile", format!("{}: {why}", path.display()));
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

    fn check_external_id(&self, id: &str) -> Result<(), CredentialError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
        if (2..=1224).contains(&id.len()) && id.chars().all(legal) {
            return Ok(());
        }
        Err(self.bad("externalId", "want 2 to 1224 letters, digits and _+=,.@:/-".into()))
    }

    fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.section)
    }

    fn bad(&self, name: &str, problem: String) -> CredentialError {
        CredentialError::config(self.field(name), problem)
    }
}

/// `https://host[:port]`; session tokens go there, so never plain HTTP.
pub(crate) fn endpoint(field: &str, url: &str) -> Result<String, CredentialError> {
    let url = url.strip_suffix('/').unwrap_or(url);
    let authority = url.strip_prefix("https://").and_then(|rest| rest.parse::<http::uri::Authority>().ok());
    match authority {
        Some(authority) if !authority.as_str().contains('@') && !authority.host().is_empty() => {
            Ok(url.to_owned())
        }
        _ => Err(CredentialError::config(field, format!("{url:?} is not https://host[:port]"))),
    }
}

/// `arn:aws:iam::aws:policy/…` or of an account.
fn is_policy_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.split(':').collect();
    matches!(parts.as_slice(), ["arn", _, "iam", "", account, policy]
        if !account.is_empty() && policy.strip_prefix("policy/").is_some_and(|name| !name.is_empty()))
        && arn.bytes().all(|byte| byte.is_ascii_graphic())
}
