//! What somebody may do in a namespace, as a list: `kubectl auth can-i --list`.
//!
//! A list says less than rules do. What it cannot say (conditions, commands, a deny of one name among all) is named beside
//! it, so that nobody takes the list for the whole truth.

use jiff::Timestamp;
use portcullis_identity::Subject;

use crate::pattern::Pattern;
use crate::rule::Action;
use crate::{Role, Snapshot};

/// What somebody may do in one namespace of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// To objects.
    pub resources: Vec<Permission>,
    /// With other paths.
    pub paths: Vec<PathPermission>,
    /// What the lists do not say, a sentence each.
    pub unsaid: Vec<String>,
}

/// What may be done to one resource. `*` means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// At least one.
    pub verbs: Vec<String>,
    /// Empty for the core group.
    pub api_group: String,
    /// `pods`, `pods/log`, `*/scale`.
    pub resource: String,
    /// Empty for all names.
    pub names: Vec<String>,
}

/// What may be done with paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPermission {
    /// Methods in lower case.
    pub verbs: Vec<String>,
    pub(crate) paths: Vec<Pattern>,
}

impl PathPermission {
    /// The paths, or `prefix*`.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        self.paths.iter().map(ToString::to_string)
    }
}

impl Snapshot {
    /// What `subject` may do in `namespace` of `target` at `now`, by the grants that are live.
    #[must_use]
    pub fn permissions(&self, subject: &Subject, target: &str, namespace: &str, now: Timestamp) -> Permissions {
        let mut found = Permissions::default();
        if let Some(age) = self.stale(now) {
            found.unsaid.push(format!("the grant store has not answered for {} seconds", age.as_secs()));
            return found;
        }
        let roles = self.live_roles(subject, target, now);
        let rules = || roles.iter().flat_map(|role| role.rules.iter().enumerate().map(move |(n, rule)| (*role, n, rule)));
        if !self.open_paths.is_empty() {
            let verbs = ["get", "head"].map(String::from).into();
            found.paths.push(PathPermission { verbs, paths: self.open_paths.to_vec() });
        }
        for (role, number, rule) in rules().filter(|(_, _, rule)| rule.action != Action::Deny) {
            let (resources, paths) = (rule.permissions(namespace), rule.path_permissions());
            if resources.is_empty() && paths.is_none() {
                continue;
            }
            let mut say = |what: &str| found.unsaid.push(format!("{} {what}", called(role, number)));
            if rule.is_conditional() {
                say("counts under a condition only");
            }
            if rule.action == Action::Review {
                say("holds what it is about until somebody has agreed");
            }
            if resources.iter().any(|permission| permission.resource == "*") {
                say("leaves */proxy out of *");
            }
            found.resources.extend(resources);
            found.paths.extend(paths);
        }
        for (role, number, rule) in rules().filter(|(_, _, rule)| rule.action == Action::Deny) {
            let whole = rule.take_from(&mut found.resources, namespace);
            if !(rule.take_paths_from(&mut found.paths) && whole) {
                found.unsaid.push(format!("{} forbids a part of it", called(role, number)));
            }
        }
        found
    }
}

/// `rule 2 of role pods`
fn called(role: &Role, rule: usize) -> String {
    format!("rule {} of role {}", rule + 1, role.name)
}
