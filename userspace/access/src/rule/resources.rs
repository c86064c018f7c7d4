//! The resources that a rule speaks of.

use serde::Deserialize;
use smol_str::SmolStr;

use super::Topic;
use super::raw::filled;
use crate::pattern::Pattern;

/// Empty `namespaces` and `names` mean: not limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResourceScope {
    pub(super) groups: Names,
    pub(super) resources: Vec<ResourcePattern>,
    pub(super) namespaces: Vec<Pattern>,
    pub(super) names: Vec<SmolStr>,
}

impl ResourceScope {
    pub(super) fn new(
        groups: Vec<String>,
        resources: Vec<ResourcePattern>,
        namespaces: Option<Vec<Pattern>>,
        names: Option<Vec<String>>,
    ) -> Result<Self, String> {
        let groups = Names::new("apiGroups", groups)?;
        if let Names::Of(names) = &groups
            && let Some(name) = names.iter().find(|name| name.contains('/'))
        {
            return Err(format!("apiGroups: {name:?} has a version; write the group alone"));
        }
        let namespaces = filled("namespaces", namespaces)?;
        let scope = Self {
            groups,
            resources: filled("resources", Some(resources))?,
            namespaces: if namespaces.iter().any(Pattern::is_any) { Vec::new() } else { namespaces },
            names: filled("resourceNames", names)?.into_iter().map(SmolStr::from).collect(),
        };
        if scope.names.iter().any(|name| name.contains('*')) {
            return Err("resourceNames are whole names, without `*`".to_owned());
        }
        Ok(scope)
    }
}

/// `pods`, `pods/log`, `*`, `*/scale`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum ResourcePattern {
    /// Every resource and subresource.
    All,
    /// One resource itself, or one of its subresources.
    One { resource: SmolStr, subresource: SmolStr },
    /// One subresource of every resource.
    Sub(SmolStr),
}

impl ResourcePattern {
    pub(super) fn matches(&self, resource: &str, subresource: &str) -> bool {
        match self {
            ResourcePattern::All => true,
            ResourcePattern::One { resource: r, subresource: s } => r == resource && s == subresource,
            ResourcePattern::Sub(s) => s == subresource,
        }
    }

    /// As [`Self::matches`], of a question in which `*` means all of them.
    pub(super) fn touches(&self, resource: &str, subresource: &str) -> bool {
        let any_of = |asked: &str, own: &str| asked == own || asked == "*";
        match self {
            ResourcePattern::All => true,
            // Subresources are among all resources.
            _ if resource == "*" && subresource.is_empty() => true,
            ResourcePattern::One { resource: r, subresource: s } => {
                any_of(resource, r) && any_of(subresource, s)
            }
            ResourcePattern::Sub(s) => any_of(subresource, s),
        }
    }

    /// As [`Self::matches`], but `*` does not hand out the proxy subresources: through them a node's or pod's
    /// own endpoints answer, whatever the other rules say.
    pub(super) fn allows(&self, resource: &str, subresource: &str) -> bool {
        self.matches(resource, subresource) && (subresource != "proxy" || *self != ResourcePattern::All)
    }

    /// The one that it is about, if it is about one.
    pub(super) fn subresource(&self) -> Option<&str> {
        match self {
            ResourcePattern::All => None,
            ResourcePattern::One { subresource, .. } | ResourcePattern::Sub(subresource) => Some(subresource),
        }
    }

    pub(super) fn topic(&self) -> Topic<'_> {
        match self {
            ResourcePattern::One { resource, .. } => Topic::Resource(resource),
            ResourcePattern::All | ResourcePattern::Sub(_) => Topic::AnyResource,
        }
    }

    pub(super) fn breadth(&self) -> u64 {
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
            ("*", sub) if !sub.is_empty() && plain(sub) => Ok(ResourcePattern::Sub(sub.into())),
            (one, sub) if !one.is_empty() && plain(one) && plain(sub) && !text.ends_with('/') => {
                Ok(ResourcePattern::One { resource: one.into(), subresource: sub.into() })
            }
            _ => Err(format!(
                "{text:?} is no resource: write a lower-case plural (pods), a subresource (pods/log), * or */log"
            )),
        }
    }
}

/// `*`, or any of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    All,
    Of(Vec<SmolStr>),
}

impl Names {
    pub(super) fn new(field: &str, values: Vec<String>) -> Result<Self, String> {
        if values.is_empty() {
            return Err(format!("{field}: the list is empty"));
        }
        match values.iter().find(|value| value.contains('*')) {
            None => Ok(Names::Of(values.into_iter().map(SmolStr::from).collect())),
            Some(star) if star == "*" => Ok(Names::All),
            Some(other) => Err(format!("{field}: {other:?}: `*` stands alone here")),
        }
    }

    pub(super) fn includes(&self, value: &str) -> bool {
        match self {
            Names::All => true,
            Names::Of(values) => values.iter().any(|one| one == value),
        }
    }

    pub(super) fn breadth(&self) -> u64 {
        match self {
            Names::All => 20,
            Names::Of(values) => values.len() as u64,
        }
    }
}
