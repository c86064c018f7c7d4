//! The Kubernetes-shaped manifest of a role: the form that people write, checked as it is read.

use std::time::Duration;

use serde::Deserialize;

use crate::approval::ApprovalTerms;
use crate::discovery::DISCOVERY_ROLE;
use crate::duration;
use crate::pattern::Pattern;
use crate::role::{Eligible, Obligations, PresentAs, Role, Source};
use crate::rule::{Action, Rule, names_only, present};
use crate::{RoleName, format_duration};

/// The version that this build reads and writes.
const API_VERSION: &str = "portcullis.dev/v1alpha1";
/// Nobody keeps a just-in-time grant for longer than this.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// One YAML document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Manifest {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: Kind,
    metadata: Metadata,
    spec: Spec,
}

impl Manifest {
    /// The role that it defines, at `source`; or which of its rules, counted from 0, is wrong about its review.
    pub(crate) fn into_role(self, source: Source) -> Result<Role, (usize, String)> {
        let mut spec = self.spec;
        for (number, rule) in spec.rules.iter_mut().enumerate() {
            rule.ask_by_default(&spec.approval.groups).map_err(|error| (number, error))?;
        }
        let allows = spec.rules.iter().filter(|rule| rule.action != Action::Deny);
        Ok(Role {
            name: self.metadata.name.0,
            description: spec.description,
            eligible: spec.eligible.0,
            approval: spec.approval,
            max_duration: spec.max_duration.0,
            breadth: allows.map(Rule::breadth).sum(),
            rules: spec.rules,
            obligations: spec.obligations,
            present_as: spec.present_as,
            source,
            targets: spec.targets.0,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: Name,
}

#[derive(Deserialize)]
#[serde(try_from = "RawSpec")]
struct Spec {
    description: String,
    targets: Targets,
    eligible: SomeoneEligible,
    approval: ApprovalTerms,
    max_duration: MaxDuration,
    rules: Vec<Rule>,
    obligations: Obligations,
    present_as: PresentAs,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSpec {
    #[serde(default, deserialize_with = "present")]
    description: Option<String>,
    targets: Targets,
    eligible: SomeoneEligible,
    approval: ApprovalTerms,
    max_duration: MaxDuration,
    rules: Vec<Rule>,
    #[serde(default, deserialize_with = "present")]
    obligations: Option<Obligations>,
    #[serde(default, deserialize_with = "present")]
    present_as: Option<Presented>,
}

impl TryFrom<RawSpec> for Spec {
    type Error = String;

    fn try_from(raw: RawSpec) -> Result<Self, String> {
        if raw.rules.iter().all(|rule| rule.action == Action::Deny) {
            return Err("rules: no rule allows anything, so nobody needs to ask for this role".to_owned());
        }
        if let Some(emergency) = &raw.approval.emergency
            && emergency.max_duration > raw.max_duration.0
        {
            return Err(format!(
                "approval.emergency.maxDuration: {} is longer than the role's own maxDuration, {}",
                format_duration(emergency.max_duration),
                format_duration(raw.max_duration.0)
            ));
        }
        Ok(Self {
            description: raw.description.unwrap_or_default(), // words for people, decides nothing
            targets: raw.targets,
            eligible: raw.eligible,
            approval: raw.approval,
            max_duration: raw.max_duration,
            rules: raw.rules,
            obligations: raw.obligations.unwrap_or_default(), // masked and fully recorded
            present_as: raw.present_as.map_or(PresentAs::Target, |presented| presented.0),
        })
    }
}

/// A field that must hold one fixed word.
macro_rules! fixed {
    ($name:ident, $value:expr) => {
        #[derive(Deserialize)]
        #[serde(try_from = "String")]
        pub(crate) struct $name;

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                if text == $value { Ok(Self) } else { Err(format!("{text:?} is not {:?}", $value)) }
            }
        }
    };
}

fixed!(ApiVersion, API_VERSION);
fixed!(Kind, "Role");
fixed!(TestKind, "PolicyTest");

#[derive(Deserialize)]
#[serde(try_from = "RoleName")]
struct Name(RoleName);

impl TryFrom<RoleName> for Name {
    type Error = String;

    fn try_from(name: RoleName) -> Result<Self, String> {
        if name.as_str() == DISCOVERY_ROLE {
            return Err(format!(
                "{DISCOVERY_ROLE:?} is the name under which open discovery paths are recorded"
            ));
        }
        Ok(Self(name))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "Vec<Pattern>")]
struct Targets(Vec<Pattern>);

impl TryFrom<Vec<Pattern>> for Targets {
    type Error = String;

    fn try_from(patterns: Vec<Pattern>) -> Result<Self, String> {
        if patterns.is_empty() { Err("the list is empty".to_owned()) } else { Ok(Self(patterns)) }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "Eligible")]
struct SomeoneEligible(Eligible);

impl TryFrom<Eligible> for SomeoneEligible {
    type Error = String;

    fn try_from(eligible: Eligible) -> Result<Self, String> {
        if eligible.groups.is_empty() && eligible.users.is_empty() {
            return Err("name at least one of groups and users, or nobody could ask for the role".to_owned());
        }
        names_only("groups", &eligible.groups)?;
        names_only("users", &eligible.users)?;
        Ok(Self(eligible))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "PresentAs")]
struct Presented(PresentAs);

impl TryFrom<PresentAs> for Presented {
    type Error = String;

    fn try_from(present_as: PresentAs) -> Result<Self, String> {
        match &present_as {
            PresentAs::Target | PresentAs::Impersonate => {}
            PresentAs::ServiceAccount { namespace, name } => {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
                let label = |text: &str| !text.is_empty() && text.len() <= 253 && text.chars().all(plain);
                if !(label(namespace) && label(name)) {
                    return Err(format!("{namespace:?}/{name:?} is no service account of Kubernetes"));
                }
            }
            PresentAs::AwsRole(arn) if is_role_arn(arn) => {}
            PresentAs::AwsRole(arn) => {
                return Err(format!("{arn:?} is no role of AWS: write arn:aws:iam::111122223333:role/NAME"));
            }
        }
        Ok(Self(present_as))
    }
}

/// `arn:PARTITION:iam::ACCOUNT:role/[PATH/]NAME`
fn is_role_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, what] = parts[..] else { return false };
    let name = what.strip_prefix("role/").unwrap_or("");
    let plain = |c: char| c.is_ascii_alphanumeric() || "+=,.@_/-".contains(c);
    partition.starts_with("aws")
        && partition.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && account.len() == 12
        && account.chars().all(|c| c.is_ascii_digit())
        && !name.is_empty()
        && !name.ends_with('/')
        && name.chars().all(plain)
}

#[derive(Deserialize)]
struct MaxDuration(#[serde(deserialize_with = "max_duration")] Duration);

fn max_duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration = duration::text::deserialize(deserializer)?;
    if duration > LONGEST {
        return Err(serde::de::Error::custom(format!(
            "{} is too long to be temporary: at most {}",
            format_duration(duration),
            format_duration(LONGEST)
        )));
    }
    Ok(duration)
}
