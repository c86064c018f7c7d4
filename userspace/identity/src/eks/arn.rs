//! ARNs, and whom they name.
//!
//! STS names the *session* (`arn:aws:sts::111122223333:assumed-role/Dev/alice`); people configure the *role*
//! (`arn:aws:iam::111122223333:role/Dev`). A session's ARN has no role path, so paths of configured roles are left out,
//! too. IAM forbids two roles of one name in an account, whatever their paths.

use std::collections::HashMap;

use super::{ArnMapping, EksRefusal};
use crate::IdentityError;
use crate::oidc::{check_label, is_system};

const SESSION_NAME: &str = "{{SessionName}}";

/// An ARN of IAM or STS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arn {
    partition: String,
    account: String,
    resource: Resource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Resource {
    Role {
        name: String,
        session: Option<String>,
    },
    /// `user/…`, `federated-user/…` or `root`, as it stands.
    Other {
        service: String,
        resource: String,
    },
}

/// Who is whom.
#[derive(Debug)]
pub(super) struct Mapping {
    by_arn: HashMap<String, ArnMapping>,
}

impl Arn {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next();
        let ("arn", partition, service, "", account, resource) =
            (next()?, next()?, next()?, next()?, next()?, next()?)
        else {
            return None;
        };
        let partition_ok = partition == "aws"
            || partition.strip_prefix("aws-").is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
            });
        if !partition_ok || account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let other = || Resource::Other { service: service.to_owned(), resource: resource.to_owned() };
        let resource = match (service, resource.split_once('/')) {
            ("iam", None) if resource == "root" => other(),
            ("iam", Some(("user", path))) if path.split('/').all(is_name) => other(),
            ("sts", Some(("federated-user", name))) if is_name(name) => other(),
            ("iam", Some(("role", path))) if path.split('/').all(is_name) => {
                let name = path.rsplit('/').next()?.to_owned();
                Resource::Role { name, session: None }
            }
            ("sts", Some(("assumed-role", rest))) => {
                let (role, session) = rest.split_once('/')?;
                if !is_name(role) || !is_name(session) {
                    return None;
                }
                Resource::Role { name: role.to_owned(), session: Some(session.to_owned()) }
            }
            _ => return None,
        };
        Some(Self { partition: partition.to_owned(), account: account.to_owned(), resource })
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    /// The same for a role and all its sessions.
    fn canonical(&self) -> String {
        let (service, resource) = match &self.resource {
            Resource::Role { name, .. } => ("iam", format!("role/{name}")),
            Resource::Other { service, resource } => (service.as_str(), resource.clone()),
        };
        format!("arn:{}:{service}::{}:{resource}", self.partition, self.account)
    }

    fn session(&self) -> Option<&str> {
        match &self.resource {
            Resource::Role { session, .. } => session.as_deref(),
            Resource::Other { .. } => None,
        }
    }

    fn is_role(&self) -> bool {
        matches!(self.resource, Resource::Role { .. })
    }
}

impl Mapping {
    pub(super) fn new(entries: &[ArnMapping]) -> Result<Self, IdentityError> {
        let mut by_arn = HashMap::new();
        for entry in entries {
            let bad = |why: &str| IdentityError::Config(format!("eks.mapping: {:?}: {why}", entry.arn));
            let arn = Arn::parse(&entry.arn).ok_or_else(|| bad("not the ARN of a role or user"))?;
            if arn.session().is_some() {
                return Err(bad("name the role (arn:…:iam::…:role/…), not a session of it"));
            }
            let fixed = entry.name.replace(SESSION_NAME, "");
            if fixed.contains("{{") || fixed.contains("}}") {
                return Err(bad("name: {{SessionName}} is the one thing that can be filled in"));
            }
            if entry.name.contains(SESSION_NAME) && !arn.is_role() {
                return Err(bad("name: only roles have sessions"));
            }
            for label in entry.groups.iter().chain([&entry.name]) {
                check_label(label).map_err(|problem| bad(&format!("{label:?} {problem}")))?;
                if is_system(label) {
                    return Err(bad(&format!(
                        "{label:?}: names and groups that begin with system: are Kubernetes' own"
                    )));
                }
            }
            if by_arn.insert(arn.canonical(), entry.clone()).is_some() {
                return Err(bad("it is there twice (paths of roles do not count)"));
            }
        }
        if by_arn.is_empty() {
            return Err(IdentityError::Config(
                "eks.mapping: it is empty, so that nobody could get in".to_owned(),
            ));
        }
        Ok(Self { by_arn })
    }

    /// Name and groups of whoever has these credentials.
    pub(super) fn person(&self, arn: &Arn) -> Result<(String, &[String]), EksRefusal> {
        let canonical = arn.canonical();
        let Some(entry) = self.by_arn.get(&canonical) else {
            return Err(EksRefusal::Unmapped(canonical));
        };
        let name = match arn.session() {
            Some(session) => entry.name.replace(SESSION_NAME, session),
            None if entry.name.contains(SESSION_NAME) => return Err(EksRefusal::SessionName(canonical)),
            None => entry.name.clone(),
        };
        if check_label(&name).is_err() || is_system(&name) {
            return Err(EksRefusal::SessionName(canonical));
        }
        Ok((name, &entry.groups))
    }
}

/// What IAM allows in names of users, roles and sessions.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::111122223333:role/Dev";

    fn entry(arn: &str, name: &str) -> ArnMapping {
        ArnMapping { arn: arn.into(), name: name.into(), groups: vec!["dev".into()] }
    }

    fn named(mapping: &Mapping, arn: &str) -> Result<String, EksRefusal> {
        mapping.person(&Arn::parse(arn).unwrap()).map(|(name, _)| name)
    }

    #[test]
    fn sessions_are_their_role_s() {
        let mapping = Mapping::new(&[
            entry("arn:aws:iam::111122223333:role/teams/eu/Dev", "{{SessionName}}"),
            entry("arn:aws:iam::111122223333:user/staff/bob", "bob"),
        ])
        .unwrap();
        let session = "arn:aws:sts::111122223333:assumed-role/Dev/alice@example.com";
        assert_eq!(named(&mapping, session).unwrap(), "alice@example.com");
        assert_eq!(named(&mapping, "arn:aws:iam::111122223333:user/staff/bob").unwrap(), "bob");
        for other in [
            "arn:aws:sts::111122223333:assumed-role/Ops/alice",
            "arn:aws:sts::444455556666:assumed-role/Dev/alice",
            "arn:aws-cn:sts::111122223333:assumed-role/Dev/alice",
            "arn:aws:iam::111122223333:user/bob",
            "arn:aws:sts::111122223333:federated-user/bob",
            "arn:aws:iam::111122223333:root",
        ] {
            let refusal = named(&mapping, other).unwrap_err();
            assert!(matches!(refusal, EksRefusal::Unmapped(_)), "{refusal}");
        }
        assert_eq!(
            named(&mapping, "arn:aws:sts::111122223333:assumed-role/Ops/alice").unwrap_err().to_string(),
            "arn:aws:iam::111122223333:role/Ops is nobody's in identity.eks.mapping"
        );
    }

    #[test]
    fn what_is_no_arn_is_none() {
        for text in [
            "",
            "arn:aws:iam::111122223333",
            "arn:aws:iam:eu-west-1:111122223333:role/Dev",
            "arn:aws:iam::11112222333:role/Dev",
            "arn:evil:iam::111122223333:role/Dev",
            "arn:aws:s3::111122223333:role/Dev",
            "arn:aws:sts::111122223333:assumed-role/Dev",
            "arn:aws:sts::111122223333:assumed-role/Dev/a/b",
            "arn:aws:sts::111122223333:assumed-role/Dev/system:admin",
            "arn:aws:sts::111122223333:assumed-role/Dev/a b",
            "arn:aws:iam::111122223333:role/",
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_mapping_is_checked() {
        for (entries, why) in [
            (vec![], "empty"),
            (vec![entry("Dev", "x")], "not the ARN"),
            (vec![entry("arn:aws:sts::111122223333:assumed-role/Dev/alice", "x")], "not a session"),
            (vec![entry(ROLE, "{{AccountID}}")], "one thing"),
            (vec![entry("arn:aws:iam::111122223333:user/bob", "{{SessionName}}")], "only roles"),
            (vec![entry(ROLE, "system:{{SessionName}}")], "Kubernetes' own"),
            (vec![entry(ROLE, "x"), entry("arn:aws:iam::111122223333:role/path/Dev", "y")], "twice"),
            (
                vec![ArnMapping { groups: vec!["system:masters".into()], ..entry(ROLE, "x") }],
                "Kubernetes' own",
            ),
        ] {
            let error = Mapping::new(&entries).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
