//! To what the answer of a list or watch is filtered, where a role allows it only so.

use std::fmt;

use serde::Serialize;

use crate::operation::Operation;
use crate::pattern::Pattern;
use crate::rule::matches;

/// The objects that somebody may see in an answer: those in any of the scopes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    scopes: Vec<FilterScope>,
    /// The objects are Namespaces, and each lies in itself, as RequestInfo has it.
    #[serde(skip)]
    of_namespaces: bool,
}

/// What one rule is limited to. An empty list is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FilterScope {
    #[serde(serialize_with = "spelled")]
    pub(crate) namespaces: Vec<Pattern>,
    pub(crate) resource_names: Vec<String>,
}

impl Filter {
    /// A filter of the answer to `operation`.
    pub(crate) fn of(operation: &Operation, scopes: Vec<FilterScope>) -> Self {
        let of_namespaces = matches!(operation, Operation::Resource { api_group, resource, .. }
            if api_group.is_empty() && resource == "namespaces");
        Self { scopes, of_namespaces }
    }

    /// Whether an object may be seen, by its namespace (empty where it has none) and its name.
    #[must_use]
    pub fn covers(&self, namespace: &str, name: &str) -> bool {
        let namespace = if self.of_namespaces { name } else { namespace };
        self.scopes.iter().any(|scope| {
            (scope.namespaces.is_empty() || matches(&scope.namespaces, namespace))
                && (scope.resource_names.is_empty() || scope.resource_names.iter().any(|one| one == name))
        })
    }
}

/// `in namespaces team-a, stage-*, or named web`
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, FilterScope { namespaces, resource_names }) in self.scopes.iter().enumerate() {
            let or = if number == 0 { "" } else { ", or " };
            let namespaces: Vec<String> = namespaces.iter().map(ToString::to_string).collect();
            match (namespaces.is_empty(), resource_names.is_empty()) {
                (false, true) => write!(f, "{or}in namespaces {}", namespaces.join(", "))?,
                (true, _) => write!(f, "{or}named {}", resource_names.join(", "))?,
                (false, false) => {
                    write!(
                        f,
                        "{or}in namespaces {} named {}",
                        namespaces.join(", "),
                        resource_names.join(", ")
                    )?;
                }
            }
        }
        Ok(())
    }
}

fn spelled<S: serde::Serializer>(patterns: &[Pattern], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(patterns.iter().map(ToString::to_string))
}
