//! Who asked, approved, revoked: what remains of a subject once the act is on record.

use std::fmt;

use portcullis_identity::{AccountId, Subject};
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
    /// The account that they came with, where the configuration says whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Box<AccountId>>,
}

impl Person {
    /// Whether `subject` is this very account.
    #[must_use]
    pub fn is(&self, subject: &Subject) -> bool {
        self.issuer == subject.issuer && self.id == subject.id
    }

    /// Whether this and `subject` may be one person, be it through two accounts: any name or id in common, in
    /// whatever case and with or without a domain, be it the person's or the account's that they came with. Four
    /// eyes need two people, so doubt counts as the same.
    #[must_use]
    pub fn may_be(&self, subject: &Subject) -> bool {
        let ours = words(&self.id, &self.name, self.account.as_deref());
        let theirs = words(&subject.id, &subject.name, subject.account.as_ref());
        ours.iter().any(|word| theirs.contains(word))
    }
}

impl From<&Subject> for Person {
    fn from(subject: &Subject) -> Self {
        Self {
            issuer: subject.issuer.clone(),
            id: subject.id.clone(),
            name: subject.name.clone(),
            account: subject.account.clone().map(Box::new),
        }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What somebody is known by, for comparing.
fn words(id: &str, name: &str, account: Option<&AccountId>) -> Vec<String> {
    [id, name].into_iter().chain(account.map(|account| account.id.as_str())).map(bare).collect()
}

/// `Alice@example.com` and `alice` compare equal.
fn bare(name: &str) -> String {
    name.split('@').next().unwrap_or(name).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::person;

    fn account(issuer: &str, id: &str) -> Option<AccountId> {
        Some(AccountId { issuer: issuer.into(), id: id.into() })
    }

    /// Bob by `people`, through one of his accounts.
    fn mapped(issuer: &str, id: &str) -> Subject {
        Subject {
            issuer: "people".into(),
            id: "bob".into(),
            account: account(issuer, id),
            ..person("bob", &["leads"])
        }
    }

    #[test]
    fn two_accounts_of_one_person_are_that_person() {
        let through_unix = Person::from(&mapped("unix", "1002"));
        let through_idp = mapped("https://idp.example.com", "00u1bob");
        assert!(through_unix.is(&through_idp) && through_unix.may_be(&through_idp));

        // A bastion whose configuration does not map the account sees another issuer and id.
        let unmapped = [
            Subject { id: "1002".into(), ..person("bob", &[]) },
            Subject { id: "1002".into(), ..person("svc-deploy", &[]) },
            Subject {
                issuer: "https://idp.example.com".into(),
                id: "x".into(),
                ..person("Bob@example.com", &[])
            },
        ];
        for subject in unmapped {
            assert!(!through_unix.is(&subject), "{subject:?}");
            assert!(through_unix.may_be(&subject), "{subject:?}");
            assert!(Person::from(&subject).may_be(&mapped("unix", "1002")), "{subject:?}");
        }
        let carol = Subject { account: account("unix", "1003"), ..person("carol", &["leads"]) };
        assert!(!through_unix.may_be(&carol) && !Person::from(&carol).may_be(&through_idp));
    }
}
