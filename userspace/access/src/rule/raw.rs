//! A rule as its manifest writes it, and the checks that make it one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::resources::{ResourcePattern, ResourceScope};
use super::{Action, Rule, Scope, SessionTerms};
use crate::command::CommandPattern;
use crate::condition::{self, Condition};
use crate::discovery::{is_open_method, is_usually_open};
use crate::duration;
use crate::format_duration;
use crate::mcp::McpScope;
use crate::pattern::Pattern;
use crate::role::ReviewTerms;
use crate::verbs::{PATH_VERBS, RESOURCE_VERBS, Verbs};

/// How long a held request waits where its rule does not say, and the longest that one can say. kubectl waits for
/// answers without end; people do not.
pub(crate) const USUAL_WAIT: Duration = Duration::from_secs(5 * 60);
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRule {
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
        let by_argv = raw.when.as_ref().is_some_and(|when| when.reads("process.argv"));
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
    if let Scope::Mcp(scope) = scope
        && let Some(method) = scope.methods().find(|method| is_open_method(method))
    {
        return Err(format!("mcp: methods: {method:?} is open to all who use the server, and never held"));
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
