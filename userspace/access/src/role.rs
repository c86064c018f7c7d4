//! Roles: what may be asked for, by whom, with whose approval, for how long, under which obligations.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use portcullis_identity::Subject;
use serde::{Deserialize, Serialize};

use crate::operation::Operation;
use crate::pattern::Pattern;
use crate::rule::{Action, Fit, Rule};
use crate::{AccessError, RoleName};

/// A role, as its file defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Unique among all files.
    pub name: RoleName,
    /// For people.
    pub description: String,
    /// Who may ask for it.
    pub eligible: Eligible,
    /// Who has to agree.
    pub approval: ApprovalTerms,
    /// The longest grant.
    pub max_duration: Duration,
    /// What a grant of it covers, in the order of the file.
    pub rules: Vec<Rule>,
    /// What an allowed request carries.
    pub obligations: Obligations,
    /// `file:line` of its definition.
    pub(crate) source: String,
    pub(crate) targets: Vec<Pattern>,
    pub(crate) breadth: u64,
}

/// Who may ask for a role: members of any of the groups, and the users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Eligible {
    /// Group names.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// Subject names.
    #[serde(default)]
    pub users: BTreeSet<String>,
}

/// Who has to agree to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalTerms {
    /// How many people, none of them the requester. With 0, asking is enough.
    pub required: u32,
    /// Members of any of these groups can approve.
    #[serde(default)]
    pub groups: BTreeSet<String>,
}

/// What an allowed request carries with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Obligations {
    /// How answers are masked.
    #[serde(default)]
    pub mask: MaskLevel,
    /// How much of the session is kept.
    #[serde(default)]
    pub record: RecordLevel,
}

/// How answers are masked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskLevel {
    /// Not at all.
    None,
    /// By the mask profile in force.
    #[default]
    Default,
}

/// How much of a session is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordLevel {
    /// Events and streams.
    #[default]
    Full,
    /// Events alone.
    Metadata,
}

impl Role {
    /// Whether the role is about `target` at all.
    #[must_use]
    pub fn covers_target(&self, target: &str) -> bool {
        self.targets.iter().any(|pattern| pattern.matches(target))
    }

    /// Whether `subject` may ask for it.
    #[must_use]
    pub fn is_eligible(&self, subject: &Subject) -> bool {
        self.eligible.users.contains(&subject.name) || !self.eligible.groups.is_disjoint(&subject.groups)
    }

    /// Whether `subject` is in an approver group. That it is someone else's request is checked elsewhere.
    #[must_use]
    pub fn is_approver(&self, subject: &Subject) -> bool {
        !self.approval.groups.is_disjoint(&subject.groups)
    }

    /// The first allow rule that covers `operation`.
    pub(crate) fn allowing(&self, operation: &Operation) -> Option<usize> {
        self.rules.iter().position(|rule| rule.action == Action::Allow && rule.fit(operation) == Fit::Yes)
    }

    /// The first deny rule that touches `operation`.
    pub(crate) fn denying(&self, operation: &Operation) -> Option<usize> {
        self.rules.iter().position(|rule| rule.action == Action::Deny && rule.touches(operation))
    }

    /// Namespaces in which a rule would cover `operation`, were it limited to one of them.
    pub(crate) fn namespaces_for(&self, operation: &Operation) -> impl Iterator<Item = &Pattern> {
        let fits = |rule: &&Rule| rule.action == Action::Allow && rule.fit(operation) == Fit::InANamespace;
        self.rules.iter().filter(fits).flat_map(Rule::namespaces)
    }
}

/// All roles, by name, with an index of who may ask for which.
#[derive(Debug, Default)]
pub struct RoleSet {
    roles: Vec<Role>,
    by_group: HashMap<String, Vec<usize>>,
    by_user: HashMap<String, Vec<usize>>,
}

impl RoleSet {
    /// Collects roles.
    ///
    /// # Errors
    /// [`AccessError::DuplicateRole`].
    pub fn new(mut roles: Vec<Role>) -> Result<Self, AccessError> {
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some([first, second]) = roles.array_windows().find(|[a, b]| a.name == b.name) {
            return Err(AccessError::DuplicateRole {
                name: first.name.clone(),
                first: first.source.clone(),
                second: second.source.clone(),
            });
        }
        let mut set = Self::default();
        for (index, role) in roles.iter().enumerate() {
            for group in &role.eligible.groups {
                set.by_group.entry(group.clone()).or_default().push(index);
            }
            for user in &role.eligible.users {
                set.by_user.entry(user.clone()).or_default().push(index);
            }
        }
        Ok(Self { roles, ..set })
    }

    /// The role of this name.
    #[must_use]
    pub fn get(&self, name: &RoleName) -> Option<&Role> {
        self.index_of(name).map(|index| &self.roles[index])
    }

    /// All roles, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Role> {
        self.roles.iter()
    }

    /// The roles that `subject` may ask for, each once.
    pub fn eligible_for(&self, subject: &Subject) -> impl Iterator<Item = &Role> {
        let by_group = subject.groups.iter().filter_map(|group| self.by_group.get(group));
        let mut found: Vec<usize> =
            by_group.chain(self.by_user.get(&subject.name)).flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|index| &self.roles[index])
    }

    pub(crate) fn index_of(&self, name: &RoleName) -> Option<usize> {
        self.roles.binary_search_by(|role| role.name.cmp(name)).ok()
    }

    pub(crate) fn at(&self, index: usize) -> &Role {
        &self.roles[index]
    }
}
