//! Tokens of service accounts, as `TokenRequest` issues them: taken until they expire, and by this server alone.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::auth::User;
use crate::object;

/// The audience of the server itself.
pub(crate) const AUDIENCE: &str = "https://kubernetes.local";

/// The tokens that were issued. They look like JWTs, but what makes them good is that they are remembered here: the
/// signature is a random number.
pub(crate) struct ServiceAccounts {
    issued: Mutex<HashMap<String, Issued>>,
    /// The longest that a token lives, whatever was asked for.
    longest: SignedDuration,
}

struct Issued {
    user: User,
    expires: Timestamp,
}

/// What is asked for.
pub(crate) struct Wanted<'a> {
    /// The account's namespace.
    pub namespace: &'a str,
    /// The account's name.
    pub name: &'a str,
    /// The account's uid.
    pub uid: &'a str,
    /// Whom the token is for; nobody named is this server.
    pub audiences: &'a [String],
    /// For how long.
    pub lifetime: SignedDuration,
}

impl ServiceAccounts {
    /// None issued yet.
    pub(crate) fn new(longest: SignedDuration) -> ServiceAccounts {
        ServiceAccounts { issued: Mutex::default(), longest }
    }

    /// A new token, and when it expires: a server may give less time than was asked for.
    pub(crate) fn issue(&self, wanted: &Wanted<'_>, now: Timestamp) -> (String, Timestamp) {
        let Wanted { namespace, name, uid, audiences, lifetime } = wanted;
        let expires = now + (*lifetime).min(self.longest);
        let (id, subject) = (object::uid(), format!("system:serviceaccount:{namespace}:{name}"));
        let claims = json!({
            "aud": audiences, "exp": expires.as_second(), "iat": now.as_second(), "iss": AUDIENCE, "jti": id,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
            "nbf": now.as_second(), "sub": subject,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(&json!({"alg": "RS256", "kid": "FAKE"}));
        let token = format!(
            "{header}.{}.{}",
            part(&claims),
            URL_SAFE_NO_PAD.encode(format!("FAKE-{}", object::uid()))
        );
        if audiences.iter().any(|audience| audience == AUDIENCE) {
            let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
            let mut user = User::new(subject, groups);
            user.uid = (*uid).to_owned();
            user.extra
                .insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("JTI={id}")]);
            let mut issued = self.issued.lock().expect("no holder of this lock panics");
            issued.insert(token.clone(), Issued { user, expires });
        }
        (token, expires)
    }

    /// The account that a token stands for, while it does.
    pub(crate) fn user(&self, token: &str) -> Option<User> {
        let issued = self.issued.lock().expect("no holder of this lock panics");
        issued.get(token).filter(|issued| Timestamp::now() < issued.expires).map(|issued| issued.user.clone())
    }
}
