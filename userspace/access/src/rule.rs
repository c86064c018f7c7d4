//! One rule of a role: which requests it speaks of.
//!
//! Matching follows RBAC (`k8s.io/component-helpers/auth/rbac/validation`) with these differences, all on the
//! careful side: an allow of resource `*` leaves `*/proxy` out; a deny also matches a collection request that
//! might include what it denies; exec, attach and port-forward are `create` however they arrive.

use serde::{Deserialize, Deserializer, Serialize};

use crate::operation::Operation;
use crate::pattern::Pattern;

/// What RequestInfo can hold as a verb, for resources and for other paths. Any other would never match.
pub(crate) const RESOURCE_VERBS: &[&str] =
    &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy"];
pub(crate) const PATH_VERBS: &[&str] = &["get", "head", "post", "put", "patch", "delete", "options"];

/// What a rule does to the requests that it matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A live grant of the role allows them.
    #[default]
    Allow,
    /// While a grant of the role is live, they are denied whatever else its holder was granted.
    Deny,
    /// As allow, but each such request waits until a person has agreed to it.
    Review,
}

/// A rule, checked and ready to match.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawRule")]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Said to whoever is denied by it.
    pub reason: Option<String>,
    verbs: Names,
    scope: Scope,
}

/// How an allow rule fits an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Yes,
    /// It would, were the request limited to one of the rule's namespaces.
    InANamespace,
    No,
}

impl Rule {
    /// Whether an allow rule covers all of `operation`.
    pub(crate) fn fit(&self, operation: &Operation) -> Fit {
        if !self.verbs.includes(operation.authorised_as()) {
            return Fit::No;
        }
        match (&self.scope, operation) {
            (Scope::Paths(patterns), Operation::NonResource { path, .. }) if matches(patterns, path) => {
                Fit::Yes
            }
            (
                Scope::Resources(scope),
                Operation::Resource { api_group, resource, subresource, namespace, name, .. },
            ) if scope.groups.includes(api_group)
                && scope.resources.iter().any(|pattern| pattern.allows(resource, subresource))
                && (scope.names.is_empty() || scope.names.contains(name)) =>
            {
                if scope.namespaces.is_empty() || matches(&scope.namespaces, namespace) {
                    Fit::Yes
                } else if namespace.is_empty() && is_collection(operation.verb()) {
                    Fit::InANamespace
                } else {
                    Fit::No
                }
            }
            _ => Fit::No,
        }
    }

    /// Whether a deny rule forbids `operation`, or something that its answer may include.
    pub(crate) fn touches(&self, operation: &Operation) -> bool {
        if !self.verbs.includes(operation.authorised_as()) && !self.verbs.includes(operation.verb()) {
            return false;
        }
        match (&self.scope, operation) {
            (Scope::Paths(patterns), Operation::NonResource { path, .. }) => matches(patterns, path),
            (
                Scope::Resources(scope),
                Operation::Resource { api_group, resource, subresource, namespace, name, .. },
            ) => {
                let collection = is_collection(operation.verb());
                scope.groups.includes(api_group)
                    && scope.resources.iter().any(|pattern| pattern.matches(resource, subresource))
                    && (scope.names.is_empty() || scope.names.contains(name) || name.is_empty() && collection)
                    && (scope.namespaces.is_empty()
                        || matches(&scope.namespaces, namespace)
                        || namespace.is_empty() && collection)
            }
            _ => false,
        }
    }

    /// The resources that it can be about, for the index; `None` for paths.
    pub(crate) fn resources(&self) -> Option<impl Iterator<Item = Option<&str>>> {
        match &self.scope {
            Scope::Paths(_) => None,
            Scope::Resources(scope) => Some(scope.resources.iter().map(|pattern| match pattern {
                ResourcePattern::One { resource, .. } => Some(resource.as_str()),
                ResourcePattern::All | ResourcePattern::Sub(_) => None,
            })),
        }
    }

    /// The namespaces it is limited to; empty when it is not.
    pub(crate) fn namespaces(&self) -> &[Pattern] {
        match &self.scope {
            Scope::Resources(scope) => &scope.namespaces,
            Scope::Paths(_) => &[],
        }
    }

    /// How much it may match, for putting narrow roles first. Only comparisons mean anything.
    pub(crate) fn breadth(&self) -> u64 {
        let sum = |patterns: &[Pattern]| patterns.iter().map(Pattern::breadth).sum::<u64>();
        let scope = match &self.scope {
            Scope::Paths(patterns) => sum(patterns),
            Scope::Resources(scope) => {
                let namespaces = if scope.namespaces.is_empty() { 1000 } else { sum(&scope.namespaces) };
                let names = if scope.names.is_empty() { 100 } else { scope.names.len() as u64 };
                let resources = scope.resources.iter().map(ResourcePattern::breadth).sum::<u64>();
                scope.groups.breadth() * resources * namespaces * names
            }
        };
        self.verbs.breadth() * scope
    }
}

impl TryFrom<RawRule> for Rule {
    type Error = String;

    fn try_from(raw: RawRule) -> Result<Self, String> {
        let (scope, known) = match (raw.api_groups, raw.resources, raw.non_resource_urls) {
            (Some(groups), Some(resources), None) => {
                let groups = Names::new("apiGroups", groups)?;
                if let Names::Of(names) = &groups
                    && let Some(name) = names.iter().find(|name| name.contains('/'))
                {
                    return Err(format!("apiGroups: {name:?} has a version; write the group alone"));
                }
                let namespaces = filled("namespaces", raw.namespaces)?;
                let scope = ResourceScope {
                    groups,
                    resources: filled("resources", Some(resources))?,
                    namespaces: if namespaces.iter().any(Pattern::is_any) { Vec::new() } else { namespaces },
                    names: filled("resourceNames", raw.resource_names)?,
                };
                if scope.names.iter().any(|name| name.contains('*')) {
                    return Err("resourceNames are whole names, without `*`".to_owned());
                }
                (Scope::Resources(scope), RESOURCE_VERBS)
            }
            (None, None, Some(urls)) if raw.namespaces.is_none() && raw.resource_names.is_none() => {
                let urls = filled("nonResourceURLs", Some(urls))?;
                (Scope::Paths(urls), PATH_VERBS)
            }
            _ => {
                return Err("a rule has either apiGroups and resources (with optional namespaces and \
                            resourceNames) or nonResourceURLs"
                    .to_owned());
            }
        };
        let verbs = Names::new("verbs", raw.verbs)?;
        if let Names::Of(names) = &verbs
            && let Some(unknown) = names.iter().find(|verb| !known.contains(&verb.as_str()))
        {
            return Err(format!("verbs: {unknown:?} is never requested; known are {}, *", known.join(", ")));
        }
        Ok(Self { action: raw.action, reason: raw.reason, verbs, scope })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Resources(ResourceScope),
    Paths(Vec<Pattern>),
}

/// Empty `namespaces` and `names` mean: not limited.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ResourceScope {
    groups: Names,
    resources: Vec<ResourcePattern>,
    namespaces: Vec<Pattern>,
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    action: Action,
    #[serde(default, deserialize_with = "present")]
    api_groups: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    resources: Option<Vec<ResourcePattern>>,
    verbs: Vec<String>,
    #[serde(default, deserialize_with = "present")]
    namespaces: Option<Vec<Pattern>>,
    #[serde(default, deserialize_with = "present")]
    resource_names: Option<Vec<String>>,
    #[serde(default, rename = "nonResourceURLs", deserialize_with = "present")]
    non_resource_urls: Option<Vec<Pattern>>,
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
}

/// `pods`, `pods/log`, `*`, `*/scale`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum ResourcePattern {
    /// Every resource and subresource.
    All,
    /// One resource itself, or one of its subresources.
    One { resource: String, subresource: String },
    /// One subresource of every resource.
    Sub(String),
}

impl ResourcePattern {
    fn matches(&self, resource: &str, subresource: &str) -> bool {
        match self {
            ResourcePattern::All => true,
            ResourcePattern::One { resource: r, subresource: s } => r == resource && s == subresource,
            ResourcePattern::Sub(s) => s == subresource,
        }
    }

    /// As [`Self::matches`], but `*` does not hand out the proxy subresources: through them a node's or pod's
    /// own endpoints answer, whatever the other rules say.
    fn allows(&self, resource: &str, subresource: &str) -> bool {
        self.matches(resource, subresource) && (subresource != "proxy" || *self != ResourcePattern::All)
    }

    fn breadth(&self) -> u64 {
        match self {
            ResourcePattern::All => 1000,
            ResourcePattern::One { .. } => 1,
            ResourcePattern::Sub(_) => 100,
        }
    }
}

impl TryFrom<String> for ResourcePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (resource, subresource) = text.split_once('/').unwrap_or((&text, ""));
        let plain = |part: &str| {
            part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
        };
        match (resource, subresource) {
            ("*", "") if text == "*" => Ok(ResourcePattern::All),
            ("*", sub) if !sub.is_empty() && plain(sub) => Ok(ResourcePattern::Sub(sub.to_owned())),
            (one, sub) if !one.is_empty() && plain(one) && plain(sub) && !text.ends_with('/') => {
                Ok(ResourcePattern::One { resource: one.to_owned(), subresource: sub.to_owned() })
            }
            _ => Err(format!(
                "{text:?} is no resource: write a lower-case plural (pods), a subresource (pods/log), * or */log"
            )),
        }
    }
}

/// `*`, or any of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    All,
    Of(Vec<String>),
}

impl Names {
    fn new(field: &str, values: Vec<String>) -> Result<Self, String> {
        if values.is_empty() {
            return Err(format!("{field}: the list is empty"));
        }
        match values.iter().find(|value| value.contains('*')) {
            None => Ok(Names::Of(values)),
            Some(star) if star == "*" => Ok(Names::All),
            Some(other) => Err(format!("{field}: {other:?}: `*` stands alone here")),
        }
    }

    fn includes(&self, value: &str) -> bool {
        match self {
            Names::All => true,
            Names::Of(values) => values.iter().any(|one| one == value),
        }
    }

    fn breadth(&self) -> u64 {
        match self {
            Names::All => 20,
            Names::Of(values) => values.len() as u64,
        }
    }
}

/// Requests whose answer is made of many objects.
fn is_collection(verb: &str) -> bool {
    matches!(verb, "list" | "watch" | "deletecollection")
}

fn matches(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// A list that is either absent or says something: an empty one would read as "none" and match as "all".
fn filled<T>(field: &str, list: Option<Vec<T>>) -> Result<Vec<T>, String> {
    match list {
        None => Ok(Vec::new()),
        Some(list) if list.is_empty() => Err(format!("{field}: the list is empty; leave it out to mean all")),
        Some(list) => Ok(list),
    }
}

/// An optional field that, once written, has a value: `namespaces:` with nothing after it is a mistake.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(de: D) -> Result<Option<T>, D::Error> {
    T::deserialize(de).map(Some)
}

#[cfg(test)]
mod tests;
