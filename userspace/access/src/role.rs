//! Roles: what may be asked for, by whom, with whose approval, for how long, under which obligations.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use portcullis_identity::Subject;
use portcullis_mask::FieldPath;
use serde::{Deserialize, Serialize};

use crate::approval::ApprovalTerms;
use crate::bits::Bits;
use crate::condition::{Case, Condition};
use crate::filter::Filter;
use crate::operation::{Asked, Operation};
use crate::pattern::Pattern;
use crate::rule::{Action, Fit, Rule, SessionTerms, Topic, USUAL_WAIT};
use crate::unmask::Unmask;
use crate::{AccessError, RoleName, RuleRef};

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
    /// As whom its requests go to the target.
    pub present_as: PresentAs,
    /// Where it is defined.
    pub(crate) source: Source,
    pub(crate) targets: Vec<Pattern>,
    pub(crate) breadth: u64,
}

/// Where a role stands in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) file: String,
    /// Counted from 1; so are those of the rules.
    pub(crate) line: u64,
    pub(crate) rules: Vec<u64>,
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

/// Who has to agree to one held request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReviewTerms {
    /// How many people, none of them the requester; at least one.
    pub required: u32,
    /// Members of any of these groups can agree.
    pub groups: BTreeSet<String>,
    /// How long the request waits.
    #[serde(with = "crate::duration::text")]
    pub wait: Duration,
}

impl Role {
    /// Who is asked where a request is held although no rule says so: one of those who approve the role.
    fn usual_review(&self) -> ReviewTerms {
        ReviewTerms { required: 1, groups: self.approval.groups.clone(), wait: USUAL_WAIT }
    }
}

/// As whom an allowed request goes to the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PresentAs {
    /// As the target's own configuration says.
    #[default]
    Target,
    /// With the target's credential, as the engineer by impersonation.
    Impersonate,
    /// As this account in the cluster, by a short-lived token of its own.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// By a session of this AWS role (an ARN).
    AwsRole(String),
}

/// What an allowed request carries with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Obligations {
    /// How answers are masked.
    #[serde(default)]
    pub mask: MaskLevel,
    /// How much of the session is kept.
    #[serde(default)]
    pub record: RecordLevel,
    /// What is shown although the profile masks it.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub unmask: Arc<[Unmask]>,
}

impl Obligations {
    /// What approvers are told: all that is shown because of it which is masked for others.
    #[must_use]
    pub(crate) fn unmasks(&self) -> Vec<String> {
        match self.mask {
            MaskLevel::None => vec!["everything: nothing at all is masked".to_owned()],
            MaskLevel::Default => self.unmask.iter().map(ToString::to_string).collect(),
        }
    }

    /// The fields of a resource that are shown although the profile masks them.
    #[must_use]
    pub fn unmasked(&self, operation: &Operation) -> Vec<FieldPath> {
        let Operation::Resource { api_group, resource, .. } = operation else { return Vec::new() };
        let about = self.unmask.iter().filter(|unmask| unmask.is_about(api_group, resource));
        about.flat_map(|unmask| unmask.paths.iter().cloned()).collect()
    }
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

/// What a role says of one request: the first of its rules that deny it, of those that cover it, and of those that cover
/// a part of its answer.
pub(crate) struct Said {
    pub(crate) denied: Option<usize>,
    pub(crate) allowed: Option<usize>,
    pub(crate) filtered: Option<usize>,
}

impl Role {
    /// `file:line` of its definition.
    #[must_use]
    pub fn defined_at(&self) -> String {
        format!("{}:{}", self.source.file, self.source.line)
    }

    /// `file:line` of its rule number `rule`, counted from 0.
    #[must_use]
    pub fn rule_at(&self, rule: usize) -> String {
        let line = self.source.rules.get(rule).unwrap_or(&self.source.line);
        format!("{}:{line}", self.source.file)
    }

    /// Its rule number `rule`, as decisions name it.
    pub(crate) fn rule_ref(&self, rule: usize) -> RuleRef {
        RuleRef { role: self.name.clone(), rule, reason: self.rules[rule].reason.clone() }
    }

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

    /// What its rules say of what is asked for, in one pass over them; those that hold it are added to `holding`.
    pub(crate) fn say<'a>(
        &'a self,
        case: &Case<'_>,
        holding: &mut Vec<(&'a Role, usize, &'a ReviewTerms)>,
    ) -> Said {
        let mut said = Said { denied: None, allowed: None, filtered: None };
        for (number, rule) in self.rules.iter().enumerate() {
            match rule.action {
                Action::Deny if said.denied.is_none() && rule.denies(case) => said.denied = Some(number),
                Action::Allow if said.allowed.is_none() && rule.covers(case) => said.allowed = Some(number),
                Action::Allow if said.filtered.is_none() && rule.filters(case) => {
                    said.filtered = Some(number);
                }
                Action::Review => {
                    let Some(terms) = rule.holds(case) else { continue };
                    holding.push((self, number, terms));
                    // What it covers it touches too, and its condition has just let it count.
                    if said.allowed.is_none() && rule.fit(&case.asked) == Fit::Yes {
                        said.allowed = Some(number);
                    }
                }
                _ => {}
            }
        }
        said
    }

    /// Whether a grant of it alone would allow what is asked for, be it after a review, be it a part of the answer.
    pub(crate) fn allows(&self, case: &Case<'_>) -> bool {
        let said = self.say(case, &mut Vec::new());
        said.allowed.or(said.filtered).is_some() && said.denied.is_none()
    }

    /// To what its rules filter the answer.
    pub(crate) fn filter(&self, case: &Case<'_>) -> Filter {
        let scopes = self.rules.iter().filter(|rule| rule.filters(case)).filter_map(Rule::filter_scope);
        Filter::of(case.query.operation, scopes.collect())
    }

    /// Whether a grant of it could allow `operation` under some conditions.
    pub(crate) fn covers(&self, operation: &Operation) -> bool {
        let asked = Asked::of(operation);
        let could =
            |rule: &Rule| rule.action != Action::Deny && matches!(rule.fit(&asked), Fit::Yes | Fit::Filtered);
        let must_not =
            |rule: &Rule| rule.action == Action::Deny && !rule.is_conditional() && rule.touches(&asked);
        self.rules.iter().any(could) && !self.rules.iter().any(must_not)
    }

    /// Namespaces in which a rule would cover what is asked for, were it limited to one of them.
    pub(crate) fn namespaces_for(&self, asked: &Asked<'_>) -> impl Iterator<Item = &Pattern> {
        let fits = |rule: &&Rule| rule.action != Action::Deny && rule.fit(asked) == Fit::InANamespace;
        self.rules.iter().filter(fits).flat_map(Rule::namespaces)
    }

    /// What a session would have to be like for a rule to cover what is asked for.
    pub(crate) fn sessions_for(&self, asked: &Asked<'_>) -> impl Iterator<Item = &SessionTerms> {
        let fits = |rule: &&Rule| rule.action != Action::Deny && rule.fit(asked) == Fit::Yes;
        self.rules.iter().filter(fits).filter_map(Rule::session)
    }
}

/// All roles, by name, with indexes of who may ask for which and of which are about what.
#[derive(Debug, Default)]
pub struct RoleSet {
    roles: Vec<Role>,
    by_group: HashMap<String, Bits>,
    by_user: HashMap<String, Bits>,
    /// Roles with a rule that names the resource, and all of `any_resource`.
    by_resource: HashMap<String, Bits>,
    /// Roles with a rule for every resource, or for a subresource of every one.
    any_resource: Bits,
    /// Roles with a rule about any resource at all.
    resources: Bits,
    /// Roles with a rule about other paths.
    paths: Bits,
    /// Roles with a rule about MCP.
    mcp: Bits,
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
                first: first.defined_at(),
                second: second.defined_at(),
            });
        }
        share_conditions(&mut roles);
        let mut set = Self::default();
        for (number, role) in (0..).zip(&roles) {
            for group in &role.eligible.groups {
                set.by_group.entry(group.clone()).or_default().insert(number);
            }
            for user in &role.eligible.users {
                set.by_user.entry(user.clone()).or_default().insert(number);
            }
            for topic in role.rules.iter().flat_map(Rule::topics) {
                if matches!(topic, Topic::Resource(_) | Topic::AnyResource) {
                    set.resources.insert(number);
                }
                match topic {
                    Topic::Resource(name) => {
                        set.by_resource.entry(name.to_owned()).or_default().insert(number);
                    }
                    Topic::AnyResource => set.any_resource.insert(number),
                    Topic::Paths => set.paths.insert(number),
                    Topic::Mcp => set.mcp.insert(number),
                }
            }
        }
        set.by_resource.values_mut().for_each(|about| about.add(&set.any_resource));
        Ok(Self { roles, ..set })
    }

    /// The role of this name.
    #[must_use]
    pub fn get(&self, name: &RoleName) -> Option<&Role> {
        self.number_of(name).map(|number| self.at(number))
    }

    /// Who is asked where a request under a role is held although no rule of it says so: one of those who approve the role.
    /// Nobody can be asked under a role that is not there or has no approvers.
    #[must_use]
    pub fn usual_review(&self, name: &RoleName) -> ReviewTerms {
        let nobody = || ReviewTerms { required: 1, groups: BTreeSet::new(), wait: USUAL_WAIT };
        self.get(name).map_or_else(nobody, Role::usual_review)
    }

    /// All roles, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Role> {
        self.roles.iter()
    }

    /// The roles that `subject` may ask for and that have a rule about the kind of thing that `operation` is.
    pub(crate) fn eligible_for(
        &self,
        subject: &Subject,
        operation: &Operation,
    ) -> impl Iterator<Item = &Role> {
        let mut eligible = self.by_user.get(&subject.name).cloned().unwrap_or_default();
        for role in subject.groups.iter().filter_map(|group| self.by_group.get(group)) {
            eligible.add(role);
        }
        let found: Vec<u32> = eligible.both(self.about(operation)).collect();
        found.into_iter().map(|number| self.at(number))
    }

    /// The numbers of all roles with a rule that could match or touch `operation`, going by its resource alone.
    pub(crate) fn about(&self, operation: &Operation) -> &Bits {
        match operation {
            // A question about all of them.
            Operation::Resource { resource, .. } if resource == "*" => &self.resources,
            Operation::Resource { resource, .. } => {
                self.by_resource.get(resource).unwrap_or(&self.any_resource)
            }
            Operation::NonResource { .. } => &self.paths,
            Operation::Mcp { .. } => &self.mcp,
        }
    }

    pub(crate) fn number_of(&self, name: &RoleName) -> Option<u32> {
        let at = self.roles.binary_search_by(|role| role.name.cmp(name)).ok()?;
        u32::try_from(at).ok()
    }

    pub(crate) fn at(&self, number: u32) -> &Role {
        &self.roles[number as usize]
    }
}

/// Teams repeat themselves: conditions that read the same become one, which is smaller and sooner at hand.
fn share_conditions(roles: &mut [Role]) {
    let mut known: HashMap<String, Condition> = HashMap::new();
    for when in roles.iter_mut().flat_map(|role| &mut role.rules).filter_map(|rule| rule.when.as_mut()) {
        match known.get(when.source()) {
            Some(same) => *when = same.clone(),
            None => {
                known.insert(when.source().to_owned(), when.clone());
            }
        }
    }
}
