//! What a role opens of what is masked: fields of some resources, named one by one.

use std::fmt;

use portcullis_mask::FieldPath;
use serde::{Deserialize, Serialize};

/// Fields that a grant of the role shows as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", rename_all = "camelCase")]
pub struct Unmask {
    /// API groups; `""` is the core group.
    pub groups: Vec<String>,
    /// In plural and lower case.
    pub resources: Vec<String>,
    /// The fields.
    pub paths: Vec<FieldPath>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    #[serde(default = "core")]
    groups: Vec<String>,
    resources: Vec<String>,
    paths: Vec<FieldPath>,
}

impl Unmask {
    /// Whether it is about a resource.
    pub(crate) fn is_about(&self, group: &str, resource: &str) -> bool {
        self.groups.iter().any(|name| name == group) && self.resources.iter().any(|name| name == resource)
    }
}

impl TryFrom<Raw> for Unmask {
    type Error = String;

    fn try_from(Raw { groups, resources, paths }: Raw) -> Result<Self, String> {
        if groups.is_empty() || resources.is_empty() || paths.is_empty() {
            return Err("groups, resources and paths: each needs at least one".to_owned());
        }
        // Whoever approves it is to read what it opens.
        if let Some(name) = resources.iter().find(|name| name.is_empty() || name.contains(['*', '/'])) {
            return Err(format!("resources: {name:?}: name the resources themselves"));
        }
        Ok(Self { groups, resources, paths })
    }
}

impl fmt::Display for Unmask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |group: &String| match group.as_str() {
            "" => String::new(),
            group => format!(".{group}"),
        };
        let resources = self
            .groups
            .iter()
            .flat_map(|group| self.resources.iter().map(move |name| format!("{name}{}", of(group))));
        let paths = self.paths.iter().map(ToString::to_string);
        write!(f, "{}: {}", resources.collect::<Vec<_>>().join(", "), paths.collect::<Vec<_>>().join(", "))
    }
}

fn core() -> Vec<String> {
    vec![String::new()]
}
