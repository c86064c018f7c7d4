//! What a rule allows in one namespace, as a list; and what another takes from it, as far as a list can say so.

use super::resources::{Names, ResourcePattern, ResourceScope};
use super::{Rule, Scope, matches};
use crate::pattern::Pattern;
use crate::permissions::{PathPermission, Permission};
use crate::verbs::{PATH_VERBS, RESOURCE_VERBS};

/// How far a rule that forbids reaches into what another allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    None,
    Part,
    All,
}

impl Rule {
    /// What it is about in `namespace`, its condition aside, by group and resource.
    pub(crate) fn permissions(&self, namespace: &str) -> Vec<Permission> {
        let Scope::Resources(scope) = &self.scope else { return Vec::new() };
        if !scope.lies_in(namespace) {
            return Vec::new();
        }
        let groups = scope.groups.listed();
        let of_group = |group: &String| {
            let of_resource = |resource: &ResourcePattern| Permission {
                verbs: self.verbs,
                api_group: group.clone(),
                resource: resource.to_string(),
                names: scope.names.iter().map(ToString::to_string).collect(),
            };
            scope.resources.iter().map(of_resource).collect::<Vec<_>>()
        };
        groups.iter().flat_map(of_group).collect()
    }

    /// The paths that it is about.
    pub(crate) fn path_permissions(&self) -> Option<PathPermission> {
        let Scope::Paths(paths) = &self.scope else { return None };
        Some(PathPermission { verbs: self.verbs, paths: paths.clone() })
    }

    /// Takes from `permissions` in `namespace` what it forbids. Whether that could be said whole.
    pub(crate) fn take_from(&self, permissions: &mut Vec<Permission>, namespace: &str) -> bool {
        let Scope::Resources(scope) = &self.scope else { return true };
        if !scope.lies_in(namespace) {
            return true;
        }
        let mut whole = true;
        for permission in permissions.iter_mut().filter(|of| of.verbs.include_any(self.verbs)) {
            match scope.reach(permission) {
                Reach::None => {}
                Reach::All if !self.is_conditional() => {
                    permission.verbs = permission.verbs.without(self.verbs, RESOURCE_VERBS);
                }
                Reach::All | Reach::Part => whole = false,
            }
        }
        permissions.retain(|permission| !permission.verbs.is_empty());
        whole
    }

    /// As [`Rule::take_from`], of paths.
    pub(crate) fn take_paths_from(&self, permissions: &mut Vec<PathPermission>) -> bool {
        let Scope::Paths(denied) = &self.scope else { return true };
        let mut whole = true;
        for permission in permissions.iter_mut().filter(|of| of.verbs.include_any(self.verbs)) {
            let every_verb = permission.verbs.without(self.verbs, PATH_VERBS).is_empty();
            permission.paths.retain(|path| {
                let reach = denied.iter().map(|denied| reach_of(denied, path)).max().unwrap_or(Reach::None);
                let taken = reach == Reach::All && every_verb && !self.is_conditional();
                whole &= taken || reach == Reach::None;
                !taken
            });
        }
        permissions.retain(|permission| !permission.paths.is_empty());
        whole
    }
}

impl ResourceScope {
    fn lies_in(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || matches(&self.namespaces, namespace)
    }

    fn reach(&self, of: &Permission) -> Reach {
        let group = match &self.groups {
            Names::All => Reach::All,
            Names::Of(groups) if groups.iter().any(|group| *group == of.api_group) => Reach::All,
            Names::Of(_) if of.api_group == "*" => Reach::Part,
            Names::Of(_) => Reach::None,
        };
        let resource = self.resources.iter().map(|pattern| pattern.reach(&of.resource)).max();
        let names = if self.names.is_empty() {
            Reach::All
        } else if of.names.is_empty() {
            Reach::Part
        } else {
            let has = |name: &&String| self.names.iter().any(|one| one == *name);
            match of.names.iter().filter(has).count() {
                0 => Reach::None,
                some if some == of.names.len() => Reach::All,
                _ => Reach::Part,
            }
        };
        group.min(resource.unwrap_or(Reach::None)).min(names)
    }
}

impl ResourcePattern {
    /// How far it reaches into another, as that is written.
    fn reach(&self, other: &str) -> Reach {
        let (resource, subresource) = other.split_once('/').unwrap_or((other, ""));
        match self {
            ResourcePattern::All => Reach::All,
            _ if other == "*" => Reach::Part,
            ResourcePattern::Sub(sub) if sub == subresource => Reach::All,
            ResourcePattern::One { resource: r, subresource: s } if s == subresource => match resource {
                "*" => Reach::Part,
                _ if r == resource => Reach::All,
                _ => Reach::None,
            },
            _ => Reach::None,
        }
    }
}

impl std::fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ResourcePattern::All => f.write_str("*"),
            ResourcePattern::Sub(subresource) => write!(f, "*/{subresource}"),
            ResourcePattern::One { resource, subresource } if subresource.is_empty() => f.write_str(resource),
            ResourcePattern::One { resource, subresource } => write!(f, "{resource}/{subresource}"),
        }
    }
}

impl Names {
    fn listed(&self) -> Vec<String> {
        match self {
            Names::All => vec!["*".to_owned()],
            Names::Of(names) => names.iter().map(ToString::to_string).collect(),
        }
    }
}

fn reach_of(denied: &Pattern, path: &Pattern) -> Reach {
    match (denied, path) {
        (denied, Pattern::Exact(path)) if denied.matches(path) => Reach::All,
        (Pattern::Prefix(denied), Pattern::Prefix(path)) if path.starts_with(denied.as_str()) => Reach::All,
        (Pattern::Exact(denied) | Pattern::Prefix(denied), path @ Pattern::Prefix(_))
            if path.matches(denied) =>
        {
            Reach::Part
        }
        _ => Reach::None,
    }
}
