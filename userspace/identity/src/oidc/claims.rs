//! From verified claims to a person: name, groups, and what must not be either.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::TokenRefusal;
use super::config::Issuer;

/// More is no name; Kubernetes and audit logs have to carry it.
const MAX_LABEL: usize = 256;

/// Where a claim is: a top-level name, or a JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClaimPath {
    Name(String),
    Pointer(String),
}

/// What an issuer says of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) sub: String,
    pub(crate) name: String,
    pub(crate) groups: BTreeSet<String>,
}

impl ClaimPath {
    pub(crate) fn new(text: &str) -> Option<Self> {
        match text.strip_prefix('/') {
            Some("") => None,
            Some(_) => Some(Self::Pointer(text.to_owned())),
            None => (!text.is_empty()).then(|| Self::Name(text.to_owned())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Name(text) | Self::Pointer(text) => text,
        }
    }

    /// The top-level claim that it lies in.
    fn top(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Pointer(pointer) => pointer[1..].split('/').next().unwrap_or(pointer),
        }
    }

    fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let Self::Pointer(pointer) = self else {
            return claims.get(self.as_str());
        };
        let mut tokens = pointer[1..].split('/').map(|token| token.replace("~1", "/").replace("~0", "~"));
        let first = claims.get(&tokens.next()?)?;
        tokens.try_fold(first, |value, token| match value {
            Value::Object(map) => map.get(&token),
            Value::Array(list) => list.get(token.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

impl Person {
    /// # Errors
    /// Where a claim is missing, of another type, or claims what must not be claimed.
    pub(crate) fn of(issuer: &Issuer, claims: &Map<String, Value>) -> Result<Self, TokenRefusal> {
        let sub = text(claims, "sub")?;
        check_label(sub).map_err(|problem| claim("sub", problem))?;
        Ok(Self {
            sub: sub.to_owned(),
            name: name(&issuer.username, claims)?,
            groups: groups(&issuer.groups, claims)?,
        })
    }
}

/// What may be somebody's name or group: it ends up in headers, logs and prompts.
pub(crate) fn check_label(label: &str) -> Result<(), &'static str> {
    if label.is_empty() {
        return Err("is empty");
    }
    if label.len() > MAX_LABEL {
        return Err("is longer than 256 bytes");
    }
    if label.chars().any(char::is_control) {
        return Err("holds control characters");
    }
    if label.trim() != label {
        return Err("begins or ends with white space");
    }
    Ok(())
}

/// Names and groups that Kubernetes itself gives out, in whichever case.
pub(crate) fn is_system(label: &str) -> bool {
    label.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("system:"))
}

/// A claim that must be a text.
pub(crate) fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<&'c str, TokenRefusal> {
    match claims.get(name) {
        None => Err(claim(name, "is missing")),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(claim(name, "is not a text")),
    }
}

pub(crate) fn claim(name: &str, problem: &'static str) -> TokenRefusal {
    TokenRefusal::Claim { claim: name.to_owned(), problem }
}

fn name(path: &ClaimPath, claims: &Map<String, Value>) -> Result<String, TokenRefusal> {
    let problem = |problem| claim(path.as_str(), problem);
    let name = match path.find(claims) {
        None => return Err(problem("is missing, and people are called by it (usernameClaim)")),
        Some(Value::String(name)) => name,
        Some(_) => return Err(problem("is not a text")),
    };
    check_label(name).map_err(problem)?;
    if is_system(name) {
        return Err(TokenRefusal::SystemName(name.clone()));
    }
    if path.as_str() == "email" {
        match claims.get("email_verified") {
            None | Some(Value::Bool(true)) => {}
            // Some providers write it as a text.
            Some(Value::String(text)) if text == "true" => {}
            Some(_) => return Err(TokenRefusal::EmailUnverified),
        }
    }
    Ok(name.clone())
}

fn groups(path: &ClaimPath, claims: &Map<String, Value>) -> Result<BTreeSet<String>, TokenRefusal> {
    // Entra ID leaves the groups out where they are more than 200 and says where to ask for them, or just that it did
    // (`hasgroups`). Taking that for "no groups" would quietly change what a deny rule applies to.
    let elsewhere = claims.get("_claim_names").is_some_and(|names| names.get(path.top()).is_some());
    let Some(value) = path.find(claims) else {
        let hidden = match claims.get("hasgroups") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::String(text)) => text != "false",
            Some(_) => true,
        };
        return if elsewhere || hidden { Err(TokenRefusal::GroupOverage) } else { Ok(BTreeSet::new()) };
    };
    if elsewhere {
        return Err(TokenRefusal::GroupOverage);
    }
    let problem = |problem| claim(path.as_str(), problem);
    let groups: BTreeSet<String> = match value {
        Value::String(group) => BTreeSet::from([group.clone()]),
        Value::Array(list) => list
            .iter()
            .map(|group| group.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| problem("lists something else than texts"))?,
        _ => return Err(problem("is neither a text nor a list of texts")),
    };
    for group in &groups {
        check_label(group).map_err(|_| problem("lists a group without a usable name"))?;
        if is_system(group) {
            return Err(TokenRefusal::SystemName(group.clone()));
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[allow(clippy::needless_pass_by_value)] // `json!(…)` reads best as it is
    fn groups_of(path: &str, value: Value) -> Result<BTreeSet<String>, TokenRefusal> {
        groups(&ClaimPath::new(path).unwrap(), &map(&value))
    }

    #[allow(clippy::needless_pass_by_value)]
    fn name_of(path: &str, value: Value) -> Result<String, TokenRefusal> {
        name(&ClaimPath::new(path).unwrap(), &map(&value))
    }

    #[test]
    fn groups_are_a_text_or_a_list_by_name_or_pointer() {
        let ab = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert_eq!(groups_of("groups", json!({"groups": ["a", "b", "a"]})).unwrap(), ab);
        assert_eq!(groups_of("groups", json!({"groups": "a"})).unwrap().len(), 1);
        assert_eq!(groups_of("groups", json!({})).unwrap().len(), 0);
        assert_eq!(
            groups_of("/realm_access/roles", json!({"realm_access": {"roles": ["a", "b"]}})).unwrap(),
            ab
        );
        assert_eq!(groups_of("https://x.example/g", json!({"https://x.example/g": ["a", "b"]})).unwrap(), ab);
        assert_eq!(groups_of("/a~1b/0", json!({"a/b": [["a", "b"]]})).unwrap(), ab);
    }

    #[test]
    fn groups_of_another_type_are_not_no_groups() {
        for value in [json!(null), json!(7), json!({"a": "b"}), json!(["a", 7]), json!([""]), json!(["a\n"])]
        {
            let refusal = groups_of("groups", json!({ "groups": value })).unwrap_err();
            assert!(matches!(refusal, TokenRefusal::Claim { .. }), "{refusal}");
        }
    }

    #[test]
    fn group_overage_is_not_no_groups() {
        for value in [
            json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://x"}}}),
            json!({"hasgroups": true}),
            json!({"hasgroups": "true"}),
            json!({"groups": ["a"], "_claim_names": {"groups": "src1"}}),
        ] {
            assert_eq!(groups_of("groups", value).unwrap_err(), TokenRefusal::GroupOverage);
        }
        assert_eq!(groups_of("groups", json!({"_claim_names": {"address": "src1"}})).unwrap().len(), 0);
    }

    #[test]
    fn nobody_is_called_as_kubernetes_calls_its_own() {
        for name in ["system:admin", "system:masters", "System:x"] {
            let system = TokenRefusal::SystemName(name.to_owned());
            assert_eq!(name_of("name", json!({ "name": name })).unwrap_err(), system);
            assert_eq!(groups_of("groups", json!({ "groups": ["a", name] })).unwrap_err(), system);
        }
        assert_eq!(name_of("name", json!({"name": "systemd"})).unwrap(), "systemd");
    }

    #[test]
    fn an_address_that_is_not_verified_names_nobody() {
        for verified in [json!(false), json!("false"), json!(null), json!(0)] {
            let claims = json!({"email": "a@example.com", "email_verified": verified});
            assert_eq!(name_of("email", claims).unwrap_err(), TokenRefusal::EmailUnverified);
        }
        for claims in [
            json!({"email": "a@example.com"}),
            json!({"email": "a@example.com", "email_verified": true}),
            json!({"email": "a@example.com", "email_verified": "true"}),
        ] {
            assert_eq!(name_of("email", claims).unwrap(), "a@example.com");
        }
        assert_eq!(name_of("name", json!({"name": "a", "email_verified": false})).unwrap(), "a");
    }

    #[test]
    fn a_name_must_be_there_and_usable() {
        for (value, problem) in [
            (json!({}), "is missing"),
            (json!({"name": 7}), "is not a text"),
            (json!({"name": ""}), "is empty"),
            (json!({"name": " a"}), "white space"),
            (json!({"name": "a\u{7}b"}), "control"),
            (json!({"name": "x".repeat(257)}), "longer"),
        ] {
            let refusal = name_of("name", value).unwrap_err().to_string();
            assert!(refusal.contains(problem), "{refusal}");
        }
    }

    #[test]
    fn a_path_is_a_name_or_a_pointer() {
        assert_eq!(ClaimPath::new(""), None);
        assert_eq!(ClaimPath::new("/"), None);
        assert_eq!(ClaimPath::new("/a/b").unwrap().top(), "a");
        assert_eq!(ClaimPath::new("a/b").unwrap().top(), "a/b");
    }
}
