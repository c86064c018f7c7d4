//! Who asked, approved, revoked: what remains of a subject once the act is on record.

use std::fmt;

use portcullis_identity::Subject;
use serde::{Deserialize, Serialize};

/// A person as the record names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Person {
    /// Who vouched for the id.
    pub issuer: String,
    /// Stable within the issuer.
    pub id: String,
    /// What people call them.
    pub name: String,
}

impl Person {
    /// Whether `subject` is this very account.
    #[must_use]
    pub fn is(&self, subject: &Subject) -> bool {
        self.issuer == subject.issuer && self.id == subject.id
    }

    /// Whether this and `subject` may be one person, be it through two accounts: any name or id in common, in
    /// whatever case and with or without a domain. Four eyes need two people, so doubt counts as the same.
    #[must_use]
    pub fn may_be(&self, subject: &Subject) -> bool {
        let theirs = [bare(&subject.id), bare(&subject.name)];
        [bare(&self.id), bare(&self.name)].iter().any(|ours| theirs.contains(ours))
    }
}

impl From<&Subject> for Person {
    fn from(subject: &Subject) -> Self {
        Self { issuer: subject.issuer.clone(), id: subject.id.clone(), name: subject.name.clone() }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// `Alice@example.com` and `alice` compare equal.
fn bare(name: &str) -> String {
    name.split('@').next().unwrap_or(name).to_lowercase()
}
