//! The Kubernetes-shaped manifest of a role: the form that people write, checked as it is read.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use crate::discovery::DISCOVERY_ROLE;
use crate::duration;
use crate::pattern::Pattern;
use crate::role::{ApprovalTerms, Eligible, Obligations, PresentAs, Role, Source};
use crate::rule::{Action, Rule, present};
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
    /// The role that it defines, at `source`.
    pub(crate) fn into_role(self, source: Source) -> Role {
        let spec = self.spec;
        let allows = spec.rules.iter().filter(|rule| rule.action == Action::Allow);
        Role {
            name: self.metadata.name.0,
            description: spec.description,
            eligible: spec.eligible.0,
            approval: spec.approval.0,
            max_duration: spec.max_duration.0,
            breadth: allows.map(Rule::breadth).sum(),
            rules: spec.rules,
            obligations: spec.obligations,
            present_as: PresentAs::default(),
            source,
            targets: spec.targets.0,
        }
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
    approval: Approvable,
    max_duration: MaxDuration,
    rules: Vec<Rule>,
    obligations: Obligations,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSpec {
    #[serde(default, deserialize_with = "present")]
    description: Option<String>,
    targets: Targets,
    eligible: SomeoneEligible,
    approval: Approvable,
    max_duration: MaxDuration,
    rules: Vec<Rule>,
    #[serde(default, deserialize_with = "present")]
    obligations: Option<Obligations>,
}

impl TryFrom<RawSpec> for Spec {
    type Error = String;

    fn try_from(raw: RawSpec) -> Result<Self, String> {
        if !raw.rules.iter().any(|rule| rule.action == Action::Allow) {
            return Err("rules: no rule allows anything, so nobody needs to ask for this role".to_owned());
        }
        Ok(Self {
            description: raw.description.unwrap_or_default(), // words for people, decides nothing
            targets: raw.targets,
            eligible: raw.eligible,
            approval: raw.approval,
            max_duration: raw.max_duration,
            rules: raw.rules,
            obligations: raw.obligations.unwrap_or_default(), // masked and fully recorded
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
#[serde(try_from = "ApprovalTerms")]
struct Approvable(ApprovalTerms);

impl TryFrom<ApprovalTerms> for Approvable {
    type Error = String;

    fn try_from(terms: ApprovalTerms) -> Result<Self, String> {
        if terms.required > 0 && terms.groups.is_empty() {
            return Err(format!("required is {}, but no groups say who can approve", terms.required));
        }
        names_only("groups", &terms.groups)?;
        Ok(Self(terms))
    }
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

/// `*` is no wildcard here, so a name that has one is a mistake.
fn names_only(field: &str, names: &BTreeSet<String>) -> Result<(), String> {
    match names.iter().find(|name| name.is_empty() || name.contains('*')) {
        Some(name) => Err(format!("{field}: {name:?} is not a name; there are no patterns here")),
        None => Ok(()),
    }
}
