//! Who can sign: configured users, and whoever assumed a role.

use std::collections::HashMap;

use http::StatusCode;
use jiff::Timestamp;
use rand::RngExt as _;

use crate::{Refusal, User};

/// Somebody whose signature can be checked.
#[derive(Clone)]
pub(crate) struct Principal {
    pub(crate) secret: String,
    pub(crate) session_token: Option<String>,
    pub(crate) arn: String,
    pub(crate) user_id: String,
    pub(crate) expires: Option<Timestamp>,
}

/// The keys that a role session gets.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) access_key_id: String,
    pub(crate) secret: String,
    pub(crate) session_token: String,
    pub(crate) arn: String,
    pub(crate) role_id: String,
    pub(crate) expires: Timestamp,
}

/// All of them, by access key.
pub(crate) struct Principals(HashMap<String, Principal>);

impl Principals {
    pub(crate) fn new(users: &[User]) -> Self {
        let principal = |user: &User| Principal {
            secret: user.secret_access_key.clone(),
            session_token: user.session_token.clone(),
            arn: user.arn.clone(),
            user_id: user_id(user),
            expires: None,
        };
        Self(users.iter().map(|user| (user.access_key_id.clone(), principal(user))).collect())
    }

    /// The principal with this key and this session token, if that is still good.
    ///
    /// # Errors
    /// As the service words it.
    pub(crate) fn find(&self, key: &str, token: Option<&str>, now: Timestamp) -> Result<&Principal, Refusal> {
        let principal = self.0.get(key).ok_or_else(Refusal::unknown_key)?;
        if principal.session_token.as_deref() != token {
            return Err(Refusal::unknown_key());
        }
        if principal.expires.is_some_and(|expires| now >= expires) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "ExpiredToken",
                "The security token included in the request is expired",
            ));
        }
        Ok(principal)
    }

    /// Makes keys for a session of a role.
    pub(crate) fn issue(&mut self, role_arn: &str, session: &str, expires: Timestamp) -> Issued {
        let role_id = role_id(role_arn);
        let issued = Issued {
            access_key_id: format!("ASIA{}", random(16, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
            secret: random(40, BASE64),
            // As long as the real ones are, so that what has to hold them is tested.
            session_token: random(900, BASE64),
            arn: session_arn(role_arn, session),
            role_id: format!("{role_id}:{session}"),
            expires,
        };
        self.0.insert(
            issued.access_key_id.clone(),
            Principal {
                secret: issued.secret.clone(),
                session_token: Some(issued.session_token.clone()),
                arn: issued.arn.clone(),
                user_id: issued.role_id.clone(),
                expires: Some(expires),
            },
        );
        issued
    }
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn random(length: usize, alphabet: &[u8]) -> String {
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())])).collect()
}

/// `arn:aws:iam::1:role/path/Name` under a session is `arn:aws:sts::1:assumed-role/Name/session`.
fn session_arn(role: &str, session: &str) -> String {
    let parts: Vec<&str> = role.splitn(6, ':').collect();
    let (partition, account) = (parts.get(1).unwrap_or(&"aws"), parts.get(4).unwrap_or(&""));
    let name = role.rsplit('/').next().unwrap_or(role);
    format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session}")
}

/// The same role has the same id.
fn role_id(role: &str) -> String {
    format!("AROA{}", stable(role))
}

/// As the service makes them: `AIDA…` for users, `AROA…:session` for role sessions.
fn user_id(user: &User) -> String {
    match user.arn.split_once(":assumed-role/").and_then(|(_, rest)| rest.split_once('/')) {
        Some((role, session)) => format!("AROA{}:{session}", stable(role)),
        None => format!("AIDA{}", stable(&user.arn)),
    }
}

fn stable(of: &str) -> String {
    use sha2::{Digest as _, Sha256};
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    Sha256::digest(of).iter().take(17).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}
