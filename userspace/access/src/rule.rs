//! One rule of a role: which requests it speaks of.
//!
//! Matching follows RBAC (`k8s.io/component-helpers/auth/rbac/validation`) with these differences, all on the
//! careful side: an allow of resource `*` leaves `*/proxy` out; a deny also matches a collection request that
//! might include what it denies; exec, attach and port-forward are `create` however they arrive.
//!
//! A review rule is both: it covers as an allow does, and as a brake on other grants it reaches as far as a deny.
//!
//! What is asked for may be a question (`kubectl auth can-i`), in which `*` and no name mean all: an allow has to cover all
//! of it, and a deny of any of it matches.

mod listing;
mod session;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use smol_str::SmolStr;

pub(crate) use self::session::SessionTerms;
use crate::command::CommandPattern;
use crate::condition::{self, Case, Condition};
use crate::discovery::is_usually_open;
use crate::duration;
use crate::filter::FilterScope;
use crate::format_duration;
use crate::mcp::McpScope;
use crate::operation::{Asked, Operation};
use crate::pattern::Pattern;
use crate::role::ReviewTerms;
use crate::verbs::{PATH_VERBS, RESOURCE_VERBS, Verbs};

/// How long a held request waits where its rule does not say, and the longest that one can say. kubectl waits for
/// answers without end; people do not.
const USUAL_WAIT: Duration = Duration::from_secs(5 * 60);
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

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
    /// Said to whoever is denied by it, and to those who are asked to agree.
    pub reason: Option<String>,
    /// The condition under which it counts.
    pub when: Option<Condition>,
    /// Who has to agree, for a review rule.
    review: Option<ReviewTerms>,
    /// What a session has to be like, for rules about those.
    session: Option<Box<SessionTerms>>,
    /// A list of more than it covers is allowed, without the rest.
    filter: bool,
    verbs: Verbs,
    scope: Scope,
}

/// How an allow rule fits an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Yes,
    /// It covers a part of the list that is asked for, and says that this part may be shown.
    Filtered,
    /// It would, were the request limited to one of the rule's namespaces.
    InANamespace,
    No,
}

impl Rule {
    /// Whether it allows all of what is asked for, be it after a review.
    pub(crate) fn covers(&self, case: &Case<'_>) -> bool {
        self.action != Action::Deny && self.fit(&case.asked) == Fit::Yes && self.applies(case)
    }

    /// As [`Rule::covers`], of a part of what the answer would hold: what an answer is filtered to then.
    pub(crate) fn filters(&self, case: &Case<'_>) -> bool {
        self.filter && self.fit(&case.asked) == Fit::Filtered && self.applies(case)
    }

    /// What it is limited to, for a filter.
    pub(crate) fn filter_scope(&self) -> Option<FilterScope> {
        let Scope::Resources(scope) = &self.scope else { return None };
        Some(FilterScope {
            namespaces: scope.namespaces.clone(),
            resource_names: scope.names.iter().map(ToString::to_string).collect(),
        })
    }

    /// Whether it denies what is asked for.
    pub(crate) fn denies(&self, case: &Case<'_>) -> bool {
        self.action == Action::Deny && self.touches(&case.asked) && self.applies(case)
    }

    /// Who has to agree first, if it holds what is asked for, under whichever grant.
    pub(crate) fn holds(&self, case: &Case<'_>) -> Option<&ReviewTerms> {
        self.review.as_ref().filter(|_| self.touches(&case.asked) && self.applies(case))
    }

    /// Whether it would count for what is asked for, if its condition held.
    pub(crate) fn is_about(&self, asked: &Asked<'_>) -> bool {
        match self.action {
            Action::Allow => matches!(self.fit(asked), Fit::Yes | Fit::Filtered),
            Action::Deny | Action::Review => self.touches(asked),
        }
    }

    /// Whether it counts for some of what it is about only.
    pub(crate) fn is_conditional(&self) -> bool {
        self.when.is_some() || self.session.is_some()
    }

    /// What a session has to be like, for rules about those.
    pub(crate) fn session(&self) -> Option<&SessionTerms> {
        self.session.as_deref()
    }

    /// Whether its condition lets it count. What cannot be told allows nothing, and denies and holds.
    fn applies(&self, case: &Case<'_>) -> bool {
        let errs = self.action != Action::Allow;
        if self.session().is_some_and(|terms| !terms.include(self.action, case.query.facts)) {
            return false;
        }
        self.when.as_ref().is_none_or(|condition| case.test(condition).unwrap_or(errs))
    }

    /// Who has to agree, for a review rule.
    #[must_use]
    pub fn review(&self) -> Option<&ReviewTerms> {
        self.review.as_ref()
    }

    /// A review rule that names no groups asks those that approve the role.
    pub(crate) fn ask_by_default(&mut self, approvers: &BTreeSet<String>) -> Result<(), String> {
        match &mut self.review {
            Some(terms) if terms.groups.is_empty() && approvers.is_empty() => {
                Err("name the groups that can agree: the role has no approval groups".to_owned())
            }
            Some(terms) if terms.groups.is_empty() => {
                terms.groups.clone_from(approvers);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether an allow or review rule covers all of what is asked for, its condition aside.
    pub(crate) fn fit(&self, asked: &Asked<'_>) -> Fit {
        let operation = asked.operation;
        if let (Scope::Mcp(scope), Operation::Mcp { method, item, name }) = (&self.scope, operation) {
            return if scope.includes(method, *item, name) { Fit::Yes } else { Fit::No };
        }
        if !self.verbs.include_any(asked.authorised_as) {
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
                && scope.resources.iter().any(|pattern| pattern.allows(resource, subresource)) =>
            {
                let named = scope.names.is_empty() || scope.names.iter().any(|one| one == name);
                let placed = scope.namespaces.is_empty() || matches(&scope.namespaces, namespace);
                let part = (named || name.is_empty()) && (placed || namespace.is_empty());
                match operation.verb() {
                    _ if named && placed => Fit::Yes,
                    "list" | "watch" if self.filter && part => Fit::Filtered,
                    verb if named && namespace.is_empty() && is_collection(verb) => Fit::InANamespace,
                    _ => Fit::No,
                }
            }
            _ => Fit::No,
        }
    }

    /// Whether a deny or review rule is about what is asked for, or something that its answer may include, its condition
    /// aside.
    pub(crate) fn touches(&self, asked: &Asked<'_>) -> bool {
        let operation = asked.operation;
        if let (Scope::Mcp(scope), Operation::Mcp { method, item, name }) = (&self.scope, operation) {
            return scope.includes(method, *item, name);
        }
        if !self.verbs.include_any(asked.verbs) {
            return false;
        }
        match (&self.scope, operation) {
            (Scope::Paths(patterns), Operation::NonResource { path, .. }) => matches(patterns, path),
            (
                Scope::Resources(scope),
                Operation::Resource { api_group, resource, subresource, namespace, name, .. },
            ) => {
                let several = name.is_empty() && operation.verb() != "create";
                let collection = is_collection(operation.verb()) || several;
                (scope.groups.includes(api_group) || api_group == "*")
                    && scope.resources.iter().any(|pattern| pattern.touches(resource, subresource))
                    && (scope.names.is_empty() || scope.names.iter().any(|one| one == name) || several)
                    && (scope.namespaces.is_empty()
                        || matches(&scope.namespaces, namespace)
                        || namespace.is_empty() && collection)
            }
            _ => false,
        }
    }

    /// What it is about, for the index.
    pub(crate) fn topics(&self) -> Vec<Topic<'_>> {
        match &self.scope {
            Scope::Paths(_) => vec![Topic::Paths],
            Scope::Mcp(_) => vec![Topic::Mcp],
            Scope::Resources(scope) => scope.resources.iter().map(ResourcePattern::topic).collect(),
        }
    }

    /// The namespaces it is limited to; empty when it is not.
    pub(crate) fn namespaces(&self) -> &[Pattern] {
        match &self.scope {
            Scope::Resources(scope) => &scope.namespaces,
            Scope::Paths(_) | Scope::Mcp(_) => &[],
        }
    }

    /// How much it may match, for putting narrow roles first. Only comparisons mean anything.
    pub(crate) fn breadth(&self) -> u64 {
        let sum = |patterns: &[Pattern]| patterns.iter().map(Pattern::breadth).sum::<u64>();
        let scope = match &self.scope {
            Scope::Paths(patterns) => sum(patterns),
            Scope::Mcp(scope) => scope.breadth(),
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

/// What a rule is about, as far as an index goes.
pub(crate) enum Topic<'a> {
    Resource(&'a str),
    AnyResource,
    Paths,
    Mcp,
}

impl TryFrom<RawRule> for Rule {
    type Error = String;

    fn try_from(raw: RawRule) -> Result<Self, String> {
        let of_resources = raw.namespaces.is_some() || raw.resource_names.is_some();
        let (scope, verbs) =
            match (raw.api_groups, raw.resources, raw.non_resource_urls, raw.mcp, of_resources) {
                (Some(groups), Some(resources), None, None, _) => {
                    let scope = ResourceScope::new(groups, resources, raw.namespaces, raw.resource_names)?;
                    (Scope::Resources(scope), verbs(raw.verbs, RESOURCE_VERBS)?)
                }
                (None, None, Some(urls), None, false) => {
                    let urls = filled("nonResourceURLs", Some(urls))?;
                    (Scope::Paths(urls), verbs(raw.verbs, PATH_VERBS)?)
                }
                (None, None, None, Some(_), false) if raw.verbs.is_some() => {
                    return Err("verbs: a rule about MCP has methods instead".to_owned());
                }
                (None, None, None, Some(scope), false) => (Scope::Mcp(scope), Verbs::All),
                _ => {
                    return Err("a rule has either apiGroups and resources (with optional namespaces and \
                                resourceNames), or nonResourceURLs, or mcp"
                        .to_owned());
                }
            };
        let review = review_terms(raw.action, raw.review, &scope)?;
        let by_argv = raw.when.as_ref().is_some_and(Condition::reads_argv);
        if raw.action == Action::Allow && by_argv {
            return Err(
                "when: process.argv is what the client says of itself, so an allow rule cannot rely on \
                        it; deny and review rules can"
                    .to_owned(),
            );
        }
        let session = SessionTerms::read(raw.command, raw.tty, &scope)?;
        let filter = raw.filter.unwrap_or(false);
        if filter {
            can_filter(raw.action, verbs, &scope)?;
        }
        let (action, reason, when) = (raw.action, raw.reason, raw.when);
        Ok(Self { action, reason, when, review, session: session.map(Box::new), filter, verbs, scope })
    }
}

/// Only what is limited can be a part of something.
fn can_filter(action: Action, verbs: Verbs, scope: &Scope) -> Result<(), String> {
    let limited =
        matches!(scope, Scope::Resources(scope) if !(scope.namespaces.is_empty() && scope.names.is_empty()));
    if action != Action::Allow {
        return Err("filter: only an allow rule says what of a list is shown".to_owned());
    }
    if !limited {
        return Err("filter: the rule covers whole lists; limit it by namespaces or resourceNames".to_owned());
    }
    if !verbs.include_any(Verbs::of("list").or(Verbs::of("watch"))) {
        return Err("filter: the rule is about neither list nor watch".to_owned());
    }
    Ok(())
}

fn verbs(written: Option<Vec<String>>, known: &[&str]) -> Result<Verbs, String> {
    Verbs::new(&written.ok_or("missing field `verbs`")?, known)
}

fn review_terms(
    action: Action,
    written: Option<RawReview>,
    scope: &Scope,
) -> Result<Option<ReviewTerms>, String> {
    if action != Action::Review {
        return match written {
            Some(_) => Err("review: only a rule with action review has terms of review".to_owned()),
            None => Ok(None),
        };
    }
    if let Scope::Paths(urls) = scope
        && let Some(url) = urls.iter().find(|url| is_usually_open(url))
    {
        return Err(format!("nonResourceURLs: \"{url}\" reaches discovery paths, and those are never held"));
    }
    let RawReview { required, groups, wait } = written.unwrap_or_default();
    let required = required.unwrap_or(1);
    if required == 0 {
        return Err("review: required is 0, so nobody would be asked".to_owned());
    }
    let wait = wait.map_or(USUAL_WAIT, |wait| wait.0);
    if wait > LONGEST_WAIT {
        let (asked, longest) = (format_duration(wait), format_duration(LONGEST_WAIT));
        return Err(format!("review: wait: a request is held for at most {longest}, not {asked}"));
    }
    let groups: BTreeSet<String> = filled("review: groups", groups)?.into_iter().collect();
    names_only("review: groups", &groups)?;
    Ok(Some(ReviewTerms { required, groups, wait }))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Resources(ResourceScope),
    Paths(Vec<Pattern>),
    Mcp(McpScope),
}

/// Empty `namespaces` and `names` mean: not limited.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ResourceScope {
    groups: Names,
    resources: Vec<ResourcePattern>,
    namespaces: Vec<Pattern>,
    names: Vec<SmolStr>,
}

impl ResourceScope {
    fn new(
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    action: Action,
    #[serde(default, deserialize_with = "present")]
    api_groups: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    resources: Option<Vec<ResourcePattern>>,
    #[serde(default, deserialize_with = "present")]
    verbs: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    namespaces: Option<Vec<Pattern>>,
    #[serde(default, deserialize_with = "present")]
    resource_names: Option<Vec<String>>,
    #[serde(default, rename = "nonResourceURLs", deserialize_with = "present")]
    non_resource_urls: Option<Vec<Pattern>>,
    #[serde(default, deserialize_with = "present")]
    mcp: Option<McpScope>,
    #[serde(default, deserialize_with = "present")]
    filter: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    command: Option<Vec<CommandPattern>>,
    #[serde(default, deserialize_with = "present")]
    tty: Option<bool>,
    #[serde(default, deserialize_with = "condition::of_rule")]
    when: Option<Condition>,
    #[serde(default, deserialize_with = "present")]
    review: Option<RawReview>,
    #[serde(default, deserialize_with = "present")]
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawReview {
    #[serde(default, deserialize_with = "present")]
    required: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    groups: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    wait: Option<Wait>,
}

#[derive(Deserialize)]
struct Wait(#[serde(with = "duration::text")] Duration);

/// `pods`, `pods/log`, `*`, `*/scale`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum ResourcePattern {
    /// Every resource and subresource.
    All,
    /// One resource itself, or one of its subresources.
    One { resource: SmolStr, subresource: SmolStr },
    /// One subresource of every resource.
    Sub(SmolStr),
}

impl ResourcePattern {
    fn matches(&self, resource: &str, subresource: &str) -> bool {
        match self {
            ResourcePattern::All => true,
            ResourcePattern::One { resource: r, subresource: s } => r == resource && s == subresource,
            ResourcePattern::Sub(s) => s == subresource,
        }
    }

    /// As [`Self::matches`], of a question in which `*` means all of them.
    fn touches(&self, resource: &str, subresource: &str) -> bool {
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
    fn allows(&self, resource: &str, subresource: &str) -> bool {
        self.matches(resource, subresource) && (subresource != "proxy" || *self != ResourcePattern::All)
    }

    /// The one that it is about, if it is about one.
    fn subresource(&self) -> Option<&str> {
        match self {
            ResourcePattern::All => None,
            ResourcePattern::One { subresource, .. } | ResourcePattern::Sub(subresource) => Some(subresource),
        }
    }

    fn topic(&self) -> Topic<'_> {
        match self {
            ResourcePattern::One { resource, .. } => Topic::Resource(resource),
            ResourcePattern::All | ResourcePattern::Sub(_) => Topic::AnyResource,
        }
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
enum Names {
    All,
    Of(Vec<SmolStr>),
}

impl Names {
    fn new(field: &str, values: Vec<String>) -> Result<Self, String> {
        if values.is_empty() {
            return Err(format!("{field}: the list is empty"));
        }
        match values.iter().find(|value| value.contains('*')) {
            None => Ok(Names::Of(values.into_iter().map(SmolStr::from).collect())),
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

pub(crate) fn matches(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// A list that is either absent or says something: an empty one would read as "none" and match as "all".
pub(crate) fn filled<T>(field: &str, list: Option<Vec<T>>) -> Result<Vec<T>, String> {
    match list {
        None => Ok(Vec::new()),
        Some(list) if list.is_empty() => Err(format!("{field}: the list is empty; leave it out to mean all")),
        Some(list) => Ok(list),
    }
}

/// `*` is no wildcard here, so a name that has one is a mistake.
pub(crate) fn names_only(field: &str, names: &BTreeSet<String>) -> Result<(), String> {
    match names.iter().find(|name| name.is_empty() || name.contains('*')) {
        Some(name) => Err(format!("{field}: {name:?} is not a name; there are no patterns here")),
        None => Ok(()),
    }
}

/// An optional field that, once written, has a value: `namespaces:` with nothing after it is a mistake.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(de: D) -> Result<Option<T>, D::Error> {
    T::deserialize(de).map(Some)
}

#[cfg(test)]
mod tests;
