//! Scopes, and which claims each of them shows (OpenID Connect Core, section 5.4).

use serde_json::{Map, Value, json};

use crate::Error;
use crate::answer::Refusal;
use crate::options::Person;

pub(crate) const OFFLINE: &str = "offline_access";

const KNOWN: [(&str, &[&str]); 5] = [
    ("openid", &["sub"]),
    ("profile", &["preferred_username", "name"]),
    ("email", &["email", "email_verified"]),
    ("groups", &["groups"]),
    (OFFLINE, &[]),
];

/// What was agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scopes(Vec<&'static str>);

impl Scopes {
    /// Reads a `scope` parameter. Scopes that are not known are left out (OpenID Connect Core, section 3.1.2.1).
    pub(crate) fn read(text: Option<&str>) -> Result<Self, Refusal> {
        let asked: Vec<&str> = text.into_iter().flat_map(|text| text.split(' ')).collect();
        let known = KNOWN.map(|(scope, _)| scope).into_iter().filter(|scope| asked.contains(scope));
        let scopes = Self(known.collect());
        if scopes.has("openid") {
            Ok(scopes)
        } else {
            Err(Refusal::new("invalid_scope", "scope must contain openid: this provider does nothing else"))
        }
    }

    /// These, or fewer where fewer are asked for (RFC 6749, section 6).
    pub(crate) fn narrowed(&self, text: Option<&str>) -> Result<Self, Refusal> {
        let Some(text) = text else { return Ok(self.clone()) };
        if let Some(more) = text.split(' ').find(|scope| !self.has(scope)) {
            return Err(Refusal::new("invalid_scope", format!("{more:?} was not agreed to")));
        }
        Self::read(Some(text))
    }

    pub(crate) fn has(&self, scope: &str) -> bool {
        self.0.contains(&scope)
    }

    pub(crate) fn written(&self) -> String {
        self.0.join(" ")
    }

    /// What these show of somebody.
    pub(crate) fn claims(&self, person: &Person) -> Result<Map<String, Value>, Error> {
        let shown: Vec<&str> = KNOWN
            .iter()
            .filter(|(scope, _)| self.has(scope))
            .flat_map(|(_, claims)| claims.iter().copied())
            .collect();
        match json!(person) {
            Value::Object(mut claims) => {
                claims.retain(|claim, _| shown.contains(&claim.as_str()));
                Ok(claims)
            }
            _ => Err(Error::Options("a person is an object".to_owned())),
        }
    }

    pub(crate) fn supported() -> Vec<&'static str> {
        KNOWN.iter().map(|(scope, _)| *scope).collect()
    }

    pub(crate) fn claims_supported() -> Vec<&'static str> {
        KNOWN.iter().flat_map(|(_, claims)| claims.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_shown() {
        let alice = Person::example("alice", &["dev"]);
        let scopes = Scopes::read(Some("email openid nonsense")).unwrap();
        assert_eq!(scopes.written(), "openid email");
        let claims = Value::Object(scopes.claims(&alice).unwrap());
        assert_eq!(
            claims,
            json!({"sub": "sub-alice", "email": "alice@example.test", "email_verified": true})
        );
        assert_eq!(Scopes::read(Some("email")).unwrap_err().code, "invalid_scope");
        assert_eq!(Scopes::read(None).unwrap_err().code, "invalid_scope");
    }

    #[test]
    fn scopes_never_grow() {
        let scopes = Scopes::read(Some("openid email")).unwrap();
        assert_eq!(scopes.narrowed(None).unwrap(), scopes);
        assert_eq!(scopes.narrowed(Some("openid")).unwrap().written(), "openid");
        assert_eq!(scopes.narrowed(Some("openid groups")).unwrap_err().code, "invalid_scope");
    }
}
