//! Regions and ARNs: which partition they are of, and the public names of services there.

use crate::CredentialError;

/// A region whose name has the right form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) name: String,
}

/// Prefix of the regions, partition, DNS suffix. What is in none of them is in the first.
const PARTITIONS: &[(&str, &str, &str)] = &[
    ("", "aws", "amazonaws.com"),
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
];

impl Region {
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self, CredentialError> {
        let legal = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let shaped = text.split('-').count() >= 3
            && text.split('-').all(|part| !part.is_empty())
            && text.ends_with(|c: char| c.is_ascii_digit());
        if legal && shaped {
            return Ok(Self { name: text.to_owned() });
        }
        let problem = format!("{text:?} is no region such as eu-central-1");
        Err(CredentialError::config(field, problem))
    }

    /// `aws`, `aws-cn`, …
    pub(crate) fn partition(&self) -> &'static str {
        self.row().1
    }

    /// Whether `arn` is a role's, and of this partition.
    pub(crate) fn check_role(&self, field: &str, arn: &str) -> Result<(), CredentialError> {
        if role_arn(field, arn)? == self.partition() {
            return Ok(());
        }
        Err(CredentialError::config(field, format!("{arn} is not of the partition of {}", self.name)))
    }

    /// The public name of a service's regional endpoint.
    pub(crate) fn host(&self, service: &str) -> String {
        format!("{service}.{}.{}", self.name, self.row().2)
    }

    fn row(&self) -> &'static (&'static str, &'static str, &'static str) {
        let found = PARTITIONS.iter().skip(1).find(|(prefix, ..)| self.name.starts_with(prefix));
        found.unwrap_or(&PARTITIONS[0])
    }
}

/// Whether `text` is the ARN of an IAM role, for whoever reads roles that name one.
///
/// # Errors
/// What is wrong with it.
pub fn check_role_arn(text: &str) -> Result<(), CredentialError> {
    role_arn("awsRole", text).map(drop)
}

/// The partition of a role's ARN.
pub(crate) fn role_arn<'a>(field: &str, text: &'a str) -> Result<&'a str, CredentialError> {
    let problem = || {
        let problem = format!("{text:?} is no role's ARN such as arn:aws:iam::111122223333:role/portcullis");
        CredentialError::config(field, problem)
    };
    let parts: Vec<&str> = text.split(':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else { return Err(problem()) };
    let name = resource.strip_prefix("role/").ok_or_else(problem)?;
    let known = PARTITIONS.iter().any(|(_, known, _)| known == partition);
    let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c);
    if known
        && digits
        && !name.is_empty()
        && !name.ends_with('/')
        && name.chars().all(legal)
        && name.len() <= 576
    {
        Ok(partition)
    } else {
        Err(problem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_the_partition() {
        for (region, partition, host) in [
            ("eu-central-1", "aws", "sts.eu-central-1.amazonaws.com"),
            ("cn-north-1", "aws-cn", "sts.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", "aws-us-gov", "sts.us-gov-west-1.amazonaws.com"),
            ("us-iso-east-1", "aws-iso", "sts.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "aws-iso-b", "sts.us-isob-east-1.sc2s.sgov.gov"),
        ] {
            let region = Region::parse("x", region).unwrap();
            assert_eq!((region.partition(), region.host("sts").as_str()), (partition, host));
        }
        for wrong in ["", "eu", "eu-central", "EU-central-1", "eu-central-1.evil.example", "eu--1", "a/b-c-1"]
        {
            assert!(Region::parse("x", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn role_arns_are_checked() {
        assert_eq!(role_arn("x", "arn:aws-cn:iam::111122223333:role/path/Name").unwrap(), "aws-cn");
        for wrong in [
            "",
            "portcullis",
            "arn:aws:iam::111122223333:user/bob",
            "arn:aws:iam::11112222333:role/x",
            "arn:aws:sts::111122223333:assumed-role/x/y",
            "arn:aws:iam:eu:111122223333:role/x",
            "arn:other:iam::111122223333:role/x",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:iam::111122223333:role/x y",
            "arn:aws:iam::111122223333:role/x:y",
        ] {
            assert!(check_role_arn(wrong).is_err(), "{wrong}");
        }
    }
}
