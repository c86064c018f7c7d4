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
mod raw;
mod resources;
mod session;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::raw::RawRule;
pub(crate) use self::raw::USUAL_WAIT;
pub(crate) use self::raw::{filled, names_only, present};
use self::resources::{ResourcePattern, ResourceScope};
pub(crate) use self::session::SessionTerms;
use crate::condition::{Case, Condition};
use crate::filter::FilterScope;
use crate::mcp::McpScope;
use crate::operation::{Asked, Operation};
use crate::pattern::Pattern;
use crate::role::ReviewTerms;
use crate::verbs::Verbs;

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

    /// What it says of MCP servers, for rules about those.
    pub(crate) fn mcp(&self) -> Option<&McpScope> {
        let Scope::Mcp(scope) = &self.scope else { return None };
        Some(scope)
    }

    /// What a session has to be like, for rules about those.
    pub(crate) fn session(&self) -> Option<&SessionTerms> {
        self.session.as_deref()
    }

    /// Whether its condition lets it count. What cannot be told allows nothing, and denies and holds; what may come to
    /// hold could allow, and need not deny.
    pub(crate) fn applies(&self, case: &Case<'_>) -> bool {
        if self.session().is_some_and(|terms| !terms.include(self.action, case.query.facts)) {
            return false;
        }
        self.when.as_ref().is_none_or(|condition| match case.test(condition) {
            Ok(holds) => holds,
            Err(_) if case.leaves_open(condition) => self.action != Action::Deny,
            Err(_) => self.action != Action::Allow,
        })
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
            (Scope::Paths(patterns), Operation::NonResource { path, .. }) => {
                patterns.iter().any(|pattern| pattern.meets(path))
            }
            (
                Scope::Resources(scope),
                Operation::Resource { api_group, resource, subresource, namespace, name, .. },
            ) => {
                // What is created has no name yet; a subresource is always somebody's.
                let several = name.is_empty() && (operation.verb() != "create" || !subresource.is_empty());
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Resources(ResourceScope),
    Paths(Vec<Pattern>),
    Mcp(McpScope),
}

/// Requests whose answer is made of many objects.
fn is_collection(verb: &str) -> bool {
    matches!(verb, "list" | "watch" | "deletecollection")
}

pub(crate) fn matches(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

#[cfg(test)]
mod tests;
