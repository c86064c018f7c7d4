//! What a role session is called: names and tags that AWS allows, and that tell people apart.
//!
//! A session's name is made of the person's name and a digest: `alice-3f9c1d5e7a2b4c60`. Characters other than
//! `[A-Za-z0-9_+=,.@-]` become `_`, and the name is cut to leave room; the digest is over issuer, id and name as they
//! were, so that two people never share a session name, whatever they are called and whoever vouches for them. The
//! digest is left out only where the name alone says who it is: for somebody listed in `identity.people`, whose name
//! is their id, if it is legal as it stands, holds no `@` (which the cluster's `{{SessionName}}` turns into `-`) and
//! does not itself end as a digest would.

use portcullis_identity::Subject;
use sha2::{Digest as _, Sha256};

use crate::OnBehalf;

/// The issuer of subjects that the configuration's `people` name: their id is their name, and unique.
const PEOPLE: &str = "people";
/// Longest `RoleSessionName` and `SourceIdentity`.
const LONGEST_NAME: usize = 64;
/// Longest value of a session tag.
const LONGEST_TAG: usize = 256;
/// Hex digits of a digest, 64 bits.
const DIGEST: usize = 16;
/// The tag's value where there is no grant, as for discovery, or no role.
const NONE: &str = "none";

/// The name of the role session that stands for a person: in the cluster's audit log, in CloudTrail, and as source
/// identity.
#[must_use]
pub fn session_name(subject: &Subject) -> String {
    let Subject { issuer, id, name, .. } = subject;
    if issuer == PEOPLE && id == name && speaks_for_itself(name) {
        return name.clone();
    }
    with_digest(name, &digest([issuer.as_str(), id, name]), LONGEST_NAME, in_name)
}

/// The tags of a session, keys and values.
pub(crate) fn tags(on_behalf: &OnBehalf<'_>) -> Vec<(&'static str, String)> {
    let Subject { issuer, id, .. } = on_behalf.subject;
    let some = |text: &str| if text.is_empty() { NONE.to_owned() } else { tag_value(text) };
    vec![
        ("portcullis-subject", tag_value(&format!("{issuer}:{id}"))),
        ("portcullis-role", some(on_behalf.role)),
        ("portcullis-grant", on_behalf.grant.map_or_else(|| NONE.to_owned(), tag_value)),
        ("portcullis-session", some(on_behalf.session)),
    ]
}

/// A legal value for a session tag: the text where it is one, else what can be kept of it and a digest.
fn tag_value(text: &str) -> String {
    if text.chars().all(in_tag) && text.len() <= LONGEST_TAG {
        return text.to_owned();
    }
    with_digest(text, &digest([text]), LONGEST_TAG, in_tag)
}

fn speaks_for_itself(name: &str) -> bool {
    let like_a_digest = name.rsplit_once('-').is_some_and(|(_, end)| is_digest(end));
    (2..=LONGEST_NAME).contains(&name.len()) && name.chars().all(|c| in_name(c) && c != '@') && !like_a_digest
}

fn is_digest(text: &str) -> bool {
    text.len() == DIGEST && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What can be kept of `text`, `-`, and the digest. All of it is ASCII: a byte is a character.
fn with_digest(text: &str, digest: &str, longest: usize, legal: fn(char) -> bool) -> String {
    let room = longest - DIGEST - 1;
    let mut name: String = text.chars().take(room).map(|c| if legal(c) { c } else { '_' }).collect();
    if name.is_empty() {
        name.push('_');
    }
    name.push('-');
    name + digest
}

/// `[\w+=,.@-]`, as the API reference has it for `RoleSessionName` and `SourceIdentity`.
fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

/// The ASCII part of `[\p{L}\p{Z}\p{N}_.:/=+\-@]`. Letters of other scripts are allowed, and not needed.
fn in_tag(c: char) -> bool {
    c.is_ascii_alphanumeric() || " _.:/=+-@".contains(c)
}

/// Over each part with its length, so that no two lists of parts read the same.
fn digest<const N: usize>(parts: [&str; N]) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part.len().to_be_bytes());
        sha.update(part);
    }
    sha.finalize().iter().take(DIGEST / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use portcullis_identity::Method;
    use proptest::prelude::*;

    use super::*;

    fn subject(issuer: &str, id: &str, name: &str) -> Subject {
        Subject {
            issuer: issuer.into(),
            id: id.into(),
            name: name.into(),
            groups: BTreeSet::new(),
            method: Method::Unix,
            account: None,
        }
    }

    fn name(issuer: &str, id: &str, name: &str) -> String {
        session_name(&subject(issuer, id, name))
    }

    #[test]
    fn a_name_is_readable_and_tells_people_apart() {
        assert_eq!(name("people", "alice", "alice"), "alice");
        let named = name("unix", "1001", "alice");
        assert!(named.starts_with("alice-") && named.len() == 22, "{named}");
        assert_ne!(named, name("unix", "1002", "alice"));
        assert_ne!(named, name("https://idp.example.com", "1001", "alice"));
        assert!(name("unix", "1", "Jürgen Müller").starts_with("J_rgen_M_ller-"));
        // As the cluster shows them, where @ becomes -.
        let shown = |person: &str| name("people", person, person).replace('@', "-");
        assert_ne!(shown("alice@example.com"), shown("alice-example.com"));
        // A name chosen to look like another's session name.
        assert_ne!(name("people", &named, &named), named);
        assert_ne!(name("people", "1001", "alice"), "alice");
    }

    /// Few characters and issuers, so that what could collide comes up.
    fn person() -> impl Strategy<Value = (String, String, String)> {
        let word = prop_oneof!["[aä@ -]{0,3}", "[a-f0-9]{16}", "a-[a-f0-9]{16}", "[a-z@. ]{60,70}", ".{0,8}"];
        let people = word.clone().prop_map(|name| ("people".to_owned(), name.clone(), name));
        let any = ("(unix|people|https://idp)", word.clone(), word);
        prop_oneof![people, any]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn names_are_legal((issuer, id, called) in person()) {
            let name = name(&issuer, &id, &called);
            prop_assert!((2..=64).contains(&name.len()), "{name:?}");
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)), "{name:?}");
        }

        #[test]
        fn names_are_injective(a in person(), b in person()) {
            prop_assert_eq!(name(&a.0, &a.1, &a.2) == name(&b.0, &b.1, &b.2), a == b);
        }

        #[test]
        fn the_cluster_sees_different_people(a in person(), b in person()) {
            let shown = |p: &(String, String, String)| name(&p.0, &p.1, &p.2).replace('@', "-");
            prop_assert_eq!(shown(&a) == shown(&b), a == b);
        }

        #[test]
        fn a_name_does_not_collide_with_a_derived_one(a in person()) {
            let derived = name(&a.0, &a.1, &a.2);
            let posing = ("people".to_owned(), derived.clone(), derived.clone());
            prop_assert_eq!(name("people", &derived, &derived) == derived, a == posing);
        }

        #[test]
        fn tags_are_legal_and_tell_apart(a in "(.{0,300}|[g# ä-]{0,3})", b in "[g# ä-]{0,3}") {
            let (x, y) = (tag_value(&a), tag_value(&b));
            prop_assert!(x.len() <= 256 && x.chars().all(in_tag), "{x:?}");
            prop_assert_eq!(x == y, a == b);
        }
    }

    #[test]
    fn every_session_has_all_four_tags() {
        let alice = subject("https://idp.example.com/#x", "00u1", "alice");
        let on_behalf = OnBehalf {
            subject: &alice,
            role: "",
            grant: None,
            expires: None,
            session: "s-1",
            aws_role: None,
            service_account: None,
        };
        let tags = tags(&on_behalf);
        assert!(tags[0].1.starts_with("https://idp.example.com/_x:00u1-"), "{tags:?}");
        assert_eq!(
            tags[1..].iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
            ["none", "none", "s-1"]
        );
    }
}
