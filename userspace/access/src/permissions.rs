//! What somebody may do in a namespace, as a list: `kubectl auth can-i --list`.
//!
//! A list says less than rules do. What it cannot say (conditions, commands, a deny of one name among all) is named beside
//! it, so that nobody takes the list for the whole truth.

use jiff::Timestamp;
use portcullis_identity::Subject;

use crate::pattern::Pattern;
use crate::rule::{Action, Rule};
use crate::verbs::{PATH_VERBS, RESOURCE_VERBS, Verbs};
use crate::{Grant, Role, Snapshot};

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
    pub(crate) verbs: Verbs,
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
    pub(crate) verbs: Verbs,
    pub(crate) paths: Vec<Pattern>,
}

impl Permission {
    /// What may be done: at least one verb.
    #[must_use]
    pub fn verbs(&self) -> Vec<String> {
        self.verbs.names(RESOURCE_VERBS)
    }
}

impl PathPermission {
    /// What may be done: methods in lower case.
    #[must_use]
    pub fn verbs(&self) -> Vec<String> {
        self.verbs.names(PATH_VERBS)
    }

    /// The paths, or `prefix*`.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        self.paths.iter().map(ToString::to_string)
    }
}

impl Snapshot {
    /// What `subject` may do in `namespace` of `target` at `now`, by the grants that are live.
    #[must_use]
    pub fn permissions(
        &self,
        subject: &Subject,
        target: &str,
        namespace: &str,
        now: Timestamp,
    ) -> Permissions {
        let mut found = Permissions::default();
        if let Some(age) = self.stale(now) {
            found.unsaid.push(format!("the grant store has not answered for {} seconds", age.as_secs()));
            return found;
        }
        let roles: Vec<&Role> = self.live(subject, target, now).map(|(role, _)| role).collect();
        let rules = || roles.iter().copied().flat_map(numbered);
        let open = self.open.paths(target);
        if !open.is_empty() {
            let verbs = Verbs::of("get").or(Verbs::of("head"));
            found.paths.push(PathPermission { verbs, paths: open.to_vec() });
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

    /// The grants of `subject` on `target` that are live at `now`.
    pub fn live_grants(
        &self,
        subject: &Subject,
        target: &str,
        now: Timestamp,
    ) -> impl Iterator<Item = &Grant> {
        self.live(subject, target, now).map(|(_, grant)| grant)
    }

    /// The roles that `subject` holds on `target` at `now`, each with its grant.
    pub(crate) fn live(
        &self,
        subject: &Subject,
        target: &str,
        now: Timestamp,
    ) -> impl Iterator<Item = (&Role, &Grant)> {
        let target = self.target(target);
        let held = self.dossier(subject).into_iter().flat_map(|dossier| &dossier.held);
        held.filter(move |held| held.target.is_some() && held.target == target && held.is_live(now))
            .filter_map(|held| Some((self.roles.at(held.role?), held.grant.as_ref())))
    }
}

fn numbered(role: &Role) -> impl Iterator<Item = (&Role, usize, &Rule)> {
    role.rules.iter().enumerate().map(move |(number, rule)| (role, number, rule))
}

/// `rule 2 of role pods`
fn called(role: &Role, rule: usize) -> String {
    format!("rule {} of role {}", rule + 1, role.name)
}
