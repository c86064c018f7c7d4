//! How the gate proves that it is the client it says: by a secret, or by a key that signs.

use std::{path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{
    CredentialError,
    file::{Watched, read_secret},
    oauth::{assertion::SigningKey, config::Proof},
    source::Clock,
};

/// A client's secret or key, read again when its file changes.
pub(crate) struct Prover {
    proof: Proof,
    held: Watched<Held>,
}

#[derive(Clone)]
enum Held {
    Secret(Arc<Zeroizing<String>>),
    Key(Arc<SigningKey>),
}

/// How a server wants a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// In the Authorization header, which every server has to take (RFC 6749 section 2.3.1).
    Basic,
    /// In the form.
    Post,
}

/// What goes with a request for a token.
pub(crate) struct Proven {
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) fields: Vec<(&'static str, Zeroizing<String>)>,
}

impl Prover {
    pub(crate) fn new(proof: Proof, clock: Clock) -> Self {
        Self { proof, held: Watched::new(clock) }
    }

    /// Whether there is something to prove it by.
    pub(crate) fn check(&self) -> Result<(), CredentialError> {
        self.held().map(drop)
    }

    pub(crate) fn has_key(&self) -> bool {
        matches!(self.proof, Proof::Key { .. })
    }

    /// The proof that `client` asks the server that is known as `audience`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn prove(
        &self,
        client: &str,
        audience: &str,
        method: Method,
        now: Timestamp,
    ) -> Result<Proven, String> {
        let text = |text: &str| Zeroizing::new(text.to_owned());
        match (self.held().map_err(|error| error.to_string())?, method) {
            (Held::Key(key), _) => {
                let kind = text("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                let fields = vec![
                    ("client_id", text(client)),
                    ("client_assertion_type", kind),
                    ("client_assertion", key.assertion(self.key_id(), client, audience, now)?),
                ];
                Ok(Proven { authorization: None, fields })
            }
            (Held::Secret(secret), Method::Basic) => {
                Ok(Proven { authorization: Some(basic(client, &secret)?), fields: Vec::new() })
            }
            (Held::Secret(secret), Method::Post) => {
                let fields = vec![("client_id", text(client)), ("client_secret", text(&secret))];
                Ok(Proven { authorization: None, fields })
            }
        }
    }

    fn held(&self) -> Result<Held, CredentialError> {
        let (Proof::Secret(file) | Proof::Key { file, .. }) = &self.proof;
        self.held.current(&[file], || {
            let content = read_secret(file)?;
            match &self.proof {
                Proof::Key { .. } => SigningKey::parse(file, &content).map(|key| Held::Key(Arc::new(key))),
                Proof::Secret(_) => secret(file, &content).map(|secret| Held::Secret(Arc::new(secret))),
            }
        })
    }

    fn key_id(&self) -> Option<&str> {
        match &self.proof {
            Proof::Key { id, .. } => id.as_deref(),
            Proof::Secret(_) => None,
        }
    }
}

/// White space around the secret is dropped.
fn secret(file: &Path, content: &[u8]) -> Result<Zeroizing<String>, CredentialError> {
    let secret = content.trim_ascii();
    if secret.is_empty() {
        return Err(CredentialError::Empty(file.to_owned()));
    }
    // RFC 6749 appendix A.2.
    match std::str::from_utf8(secret) {
        Ok(text) if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
            Ok(Zeroizing::new(text.to_owned()))
        }
        _ => {
            let problem = format!("{} holds characters that no secret has", file.display());
            Err(CredentialError::config("oauthClientCredentials.clientSecretFile", problem))
        }
    }
}

/// RFC 6749 section 2.3.1: identifier and secret are form-encoded first.
fn basic(client: &str, secret: &str) -> Result<HeaderValue, String> {
    let encoded = |text: &str| -> Zeroizing<String> {
        Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect())
    };
    let pair = Zeroizing::new([encoded(client).as_str(), ":", encoded(secret).as_str()].concat());
    let value = Zeroizing::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(pair.as_bytes()))));
    // The header shares these bytes, and so they are wiped with it.
    let mut header =
        HeaderValue::from_maybe_shared(Bytes::from_owner(value)).map_err(|error| error.to_string())?;
    header.set_sensitive(true);
    Ok(header)
}
