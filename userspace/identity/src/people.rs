//! Accounts that are one person. Whoever comes with any of them is the same subject, so that nobody approves their own
//! request from a second account, and a grant is theirs however they come.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::oidc::{check_label, is_system};
use crate::{AccountId, IdentityError, Subject};

/// The issuer of subjects that `people` names.
pub const PEOPLE_ISSUER: &str = "people";

/// A person with several accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PersonConfig {
    /// What they are called, whichever account they come with.
    pub name: String,
    /// Groups that they have beside those that the account brings.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Their accounts.
    pub accounts: Vec<AccountId>,
}

/// Whose account is whose.
#[derive(Debug, Default)]
pub(crate) struct People {
    /// By issuer, then by id: looked up without making an [`AccountId`] first.
    accounts: HashMap<String, HashMap<String, Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    groups: Vec<String>,
}

impl People {
    pub(crate) fn new(people: &[PersonConfig]) -> Result<Self, IdentityError> {
        let bad = |name: &str, why: String| IdentityError::Config(format!("people: {name:?}: {why}"));
        let mut names = HashSet::new();
        let mut accounts: HashMap<String, HashMap<String, Arc<Entry>>> = HashMap::new();
        for person in people {
            let name = person.name.as_str();
            for label in person.groups.iter().map(String::as_str).chain([name]) {
                check_label(label).map_err(|problem| bad(name, format!("{label:?} {problem}")))?;
                if is_system(label) {
                    return Err(bad(name, format!("{label:?}: system: is Kubernetes' own")));
                }
            }
            if !names.insert(name.to_lowercase()) {
                return Err(bad(name, "two people are called that (in any case)".to_owned()));
            }
            if person.accounts.is_empty() {
                return Err(bad(name, "accounts: at least one is needed".to_owned()));
            }
            let entry = Arc::new(Entry { name: person.name.clone(), groups: person.groups.clone() });
            for AccountId { issuer, id } in &person.accounts {
                if issuer.is_empty() || id.is_empty() || issuer == PEOPLE_ISSUER {
                    return Err(bad(name, format!("{issuer:?} {id:?} is no account")));
                }
                let of_issuer = accounts.entry(issuer.clone()).or_default();
                if let Some(other) = of_issuer.insert(id.clone(), Arc::clone(&entry)) {
                    let other = &other.name;
                    return Err(bad(
                        name,
                        format!("the account {id:?} of {issuer:?} is {other:?}'s already"),
                    ));
                }
            }
        }
        Ok(Self { accounts })
    }

    /// The person whose account this is; the account itself where nobody is said to own it.
    pub(crate) fn person(&self, account: Subject) -> Subject {
        let entry = self.accounts.get(&account.issuer).and_then(|ids| ids.get(&account.id));
        let Some(entry) = entry else {
            return account;
        };
        let mut groups: BTreeSet<String> = account.groups;
        groups.extend(entry.groups.iter().cloned());
        Subject {
            issuer: PEOPLE_ISSUER.to_owned(),
            id: entry.name.clone(),
            name: entry.name.clone(),
            groups,
            method: account.method,
            account: Some(AccountId { issuer: account.issuer, id: account.id }),
        }
    }
}

/// Whether two sources mean the same person. Where `people` knows one of them it decides; otherwise the account is the
/// same, or the user names are: `alice` and `Alice@example.com` are, `alice@example.com` and `alice@example.org` not.
pub(crate) fn same_person(a: &Subject, b: &Subject) -> bool {
    if a.issuer == b.issuer || a.issuer == PEOPLE_ISSUER || b.issuer == PEOPLE_ISSUER {
        return a.issuer == b.issuer && a.id == b.id;
    }
    let (a, b) = (a.name.to_lowercase(), b.name.to_lowercase());
    match (a.split_once('@'), b.split_once('@')) {
        (Some((user, _)), None) => user == b,
        (None, Some((user, _))) => a == user,
        _ => a == b,
    }
}

/// Two people for a message that says that they are not one: by name, and by issuer too where the names would not tell.
pub(crate) fn told_apart(a: &Subject, b: &Subject) -> (String, String) {
    if a.name.to_lowercase() != b.name.to_lowercase() {
        return (a.name.clone(), b.name.clone());
    }
    let full = |subject: &Subject| format!("{} ({:?} of {})", subject.name, subject.id, subject.issuer);
    (full(a), full(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    fn account(issuer: &str, id: &str) -> AccountId {
        AccountId { issuer: issuer.into(), id: id.into() }
    }

    fn alice(accounts: Vec<AccountId>) -> PersonConfig {
        PersonConfig { name: "alice".into(), groups: vec!["dev".into()], accounts }
    }

    fn subject(issuer: &str, id: &str, name: &str) -> Subject {
        Subject {
            issuer: issuer.into(),
            id: id.into(),
            name: name.into(),
            groups: BTreeSet::from(["staff".to_owned()]),
            method: Method::Unix,
            account: None,
        }
    }

    #[test]
    fn an_account_becomes_the_person_and_brings_its_groups() {
        let people =
            People::new(&[alice(vec![account("unix", "1001"), account("https://idp", "00u1")])]).unwrap();
        let person = people.person(subject("https://idp", "00u1", "a.smith"));
        assert_eq!(
            (person.issuer.as_str(), person.id.as_str(), person.name.as_str()),
            ("people", "alice", "alice")
        );
        assert_eq!(person.groups, BTreeSet::from(["dev".to_owned(), "staff".to_owned()]));
        assert_eq!(person.account, Some(account("https://idp", "00u1")));
        let stranger = subject("unix", "00u1", "x");
        assert_eq!(people.person(stranger.clone()), stranger, "the id counts at its own issuer alone");
    }

    #[test]
    fn contradictions_are_refused() {
        let two = account("unix", "1");
        for (people, why) in [
            (vec![alice(vec![two.clone(), two.clone()])], "already"),
            (vec![alice(vec![two.clone()]), alice(vec![account("unix", "2")])], "two people"),
            (vec![alice(vec![])], "at least one"),
            (vec![alice(vec![account("people", "alice")])], "no account"),
            (vec![PersonConfig { name: "system:x".into(), ..alice(vec![two.clone()]) }], "Kubernetes"),
            (vec![PersonConfig { groups: vec!["system:masters".into()], ..alice(vec![two]) }], "Kubernetes"),
        ] {
            let error = People::new(&people).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn people_of_one_name_are_told_apart() {
        let (unix, idp) = (subject("unix", "1001", "alice"), subject("https://idp", "00u1", "Alice"));
        let (a, b) = told_apart(&unix, &idp);
        assert_eq!((a.as_str(), b.as_str()), ("alice (\"1001\" of unix)", "Alice (\"00u1\" of https://idp)"));
        assert_eq!(told_apart(&unix, &subject("unix", "1002", "bob")), ("alice".into(), "bob".into()));
    }

    #[test]
    fn who_is_the_same_person() {
        let unix = subject("unix", "1001", "alice");
        let same = |other: Subject| same_person(&unix, &other) && same_person(&other, &unix);
        assert!(same(subject("https://idp", "x", "alice")));
        assert!(same(subject("https://idp", "x", "Alice@Example.com")));
        assert!(!same(subject("https://idp", "x", "bob@example.com")));
        assert!(!same(subject("unix", "1002", "alice")), "another account of the same issuer");
        assert!(!same(subject("people", "alice", "alice")), "people would know this account too");
        let (com, org) = (subject("a", "1", "alice@example.com"), subject("b", "1", "alice@example.org"));
        assert!(!same_person(&com, &org));
        assert!(same_person(&subject("people", "a", "x"), &subject("people", "a", "y")));
    }
}
