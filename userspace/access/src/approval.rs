//! On which terms a role is given: who has to agree, what the reason must look like, when nobody is asked, and who
//! may break the glass.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::Subject;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize, Serializer};

use crate::condition::{self, Condition};
use crate::role::Role;
use crate::rule::{filled, names_only, present};
use crate::{AccessError, RoleName, duration};

/// How much memory a compiled pattern of reasons may take, in bytes.
const MAX_PATTERN: usize = 256 * 1024;

/// Who has to agree to a request, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "RawTerms")]
pub struct ApprovalTerms {
    /// How many people, none of them the requester. With 0, asking is enough.
    pub required: u32,
    /// Members of any of these groups can approve.
    pub groups: BTreeSet<String>,
    /// Whether a reason has to be given.
    pub reason: ReasonTerms,
    /// What a reason has to match somewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_pattern: Option<ReasonPattern>,
    /// Conditions under which nobody is asked; any of them is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auto_approve: Vec<AutoApproval>,
    /// Who may take the role at once when there is no time to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
}

/// Whether a reason has to be given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasonTerms {
    /// It has.
    #[default]
    Required,
    /// It can be left out.
    Optional,
}

/// A regular expression that is looked for in reasons.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct ReasonPattern(Regex);

/// A condition under which a request is granted at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoApproval {
    /// Over `subject`, `request` (`role`, `target`, `duration`) and `time`.
    #[serde(deserialize_with = "condition::of_asking")]
    pub when: Condition,
}

/// Who may take a role without approval, loudly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "RawEmergency")]
pub struct Emergency {
    /// Members of any of these groups, eligible or not.
    pub groups: BTreeSet<String>,
    /// For how long at most.
    #[serde(with = "duration::text")]
    pub max_duration: Duration,
}

/// What someone asks for, as conditions of automatic approval see it.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The role.
    pub role: &'a RoleName,
    /// On which target.
    pub target: &'a str,
    /// For how long.
    pub duration: Duration,
}

impl Role {
    /// The first condition under which `subject` is given it without anybody's approval, counted from 0. An error in
    /// a condition approves nothing.
    #[must_use]
    pub fn auto_approves(&self, subject: &Subject, ask: &Ask<'_>, now: Timestamp) -> Option<usize> {
        let holds = |auto: &AutoApproval| auto.when.holds_for(subject, ask, now) == Ok(true);
        self.approval.auto_approve.iter().position(holds)
    }

    /// For how long at most `subject` may take it in an emergency, if at all.
    #[must_use]
    pub fn may_break_glass(&self, subject: &Subject) -> Option<Duration> {
        let emergency = self.approval.emergency.as_ref()?;
        (!emergency.groups.is_disjoint(&subject.groups)).then_some(emergency.max_duration)
    }

    /// Whether `reason` is what its terms ask for. An emergency has to have one, and no ticket.
    ///
    /// # Errors
    /// [`AccessError::BadText`], [`AccessError::ReasonUnfit`].
    pub fn reason_fits(&self, reason: &str, emergency: bool) -> Result<(), AccessError> {
        let reason = reason.trim();
        if reason.is_empty() {
            return match self.approval.reason {
                ReasonTerms::Optional if !emergency => Ok(()),
                _ => Err(AccessError::BadText { what: "reason" }),
            };
        }
        match &self.approval.reason_pattern {
            Some(pattern) if !emergency && !pattern.0.is_match(reason) => Err(AccessError::ReasonUnfit {
                role: self.name.clone(),
                pattern: pattern.as_str().to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl ReasonPattern {
    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<String> for ReasonPattern {
    type Error = String;

    fn try_from(pattern: String) -> Result<Self, String> {
        let built = RegexBuilder::new(&pattern).size_limit(MAX_PATTERN).build();
        built.map(Self).map_err(|error| {
            let message = error.to_string();
            message.lines().last().unwrap_or("this is no regular expression").to_owned()
        })
    }
}

impl PartialEq for ReasonPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for ReasonPattern {}

impl Serialize for ReasonPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTerms {
    required: u32,
    #[serde(default)]
    groups: BTreeSet<String>,
    #[serde(default)]
    reason: ReasonTerms,
    #[serde(default, deserialize_with = "present")]
    reason_pattern: Option<ReasonPattern>,
    #[serde(default, deserialize_with = "present")]
    auto_approve: Option<Vec<AutoApproval>>,
    #[serde(default, deserialize_with = "present")]
    emergency: Option<Emergency>,
}

impl TryFrom<RawTerms> for ApprovalTerms {
    type Error = String;

    fn try_from(raw: RawTerms) -> Result<Self, String> {
        let RawTerms { required, groups, reason, reason_pattern, auto_approve, emergency } = raw;
        if required > 0 && groups.is_empty() {
            return Err(format!("required is {required}, but no groups say who can approve"));
        }
        names_only("groups", &groups)?;
        let auto_approve = filled("autoApprove", auto_approve)?;
        if required == 0 && !(auto_approve.is_empty() && emergency.is_none()) {
            return Err(
                "required is 0: with that, asking is enough, and autoApprove and emergency change nothing"
                    .to_owned(),
            );
        }
        Ok(Self { required, groups, reason, reason_pattern, auto_approve, emergency })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawEmergency {
    groups: BTreeSet<String>,
    #[serde(with = "duration::text")]
    max_duration: Duration,
}

impl TryFrom<RawEmergency> for Emergency {
    type Error = String;

    fn try_from(raw: RawEmergency) -> Result<Self, String> {
        if raw.groups.is_empty() {
            return Err("groups: the list is empty; name who may break the glass".to_owned());
        }
        names_only("groups", &raw.groups)?;
        Ok(Self { groups: raw.groups, max_duration: raw.max_duration })
    }
}

#[cfg(test)]
mod tests;
