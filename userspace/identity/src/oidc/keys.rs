//! An issuer's endpoints and keys, fetched when they are needed and no oftener than allowed.
//!
//! Keys are fetched again when they are ten minutes old, and when a token names one that is not among them. Both count
//! against `refreshAtMostEvery`, so that a flood of invented key ids costs the issuer one request a window. While the
//! issuer cannot be reached, what was fetched stays good for `staleFor`, and no longer.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKey, JsonWebKeyUse, JwsSigningAlgorithm};
use reqwest::Url;
use serde::Deserialize;

use super::{KeysConfig, KeysError, TokenRefusal};
use crate::Clock;
use crate::web::{Web, secure_url};

/// How long discovery documents and keys are believed without looking again.
const FRESH_FOR: SignedDuration = SignedDuration::from_mins(10);

/// An issuer's HTTP side.
pub(crate) struct Provider {
    issuer: String,
    pub(crate) web: Web,
    config: KeysConfig,
    clock: Clock,
    state: Mutex<State>,
    /// Held while fetching, so that those who need the same wait for it instead of asking too.
    fetching: tokio::sync::Mutex<()>,
}

/// What was fetched.
pub(crate) struct Known {
    pub(crate) endpoints: Arc<Endpoints>,
    keys: CoreJsonWebKeySet,
    fetched: Timestamp,
}

/// Where an issuer is asked for what.
pub(crate) struct Endpoints {
    pub(crate) authorization: Option<Url>,
    pub(crate) token: Option<Url>,
    pub(crate) device: Option<Url>,
    pub(crate) revocation: Option<Url>,
    /// Whether the client's secret goes into the form instead of a header.
    pub(crate) secret_in_form: bool,
    keys: Url,
    fetched: Timestamp,
}

#[derive(Default)]
struct State {
    known: Option<Arc<Known>>,
    attempted: Option<Timestamp>,
    failure: Option<KeysError>,
}

/// OpenID Connect Discovery 1.0, section 3; RFC 8414, section 2; RFC 8628, section 4.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Provider {
    pub(crate) fn new(issuer: String, web: Web, config: KeysConfig, clock: Clock) -> Self {
        Self { issuer, web, config, clock, state: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// Where the issuer is asked for what.
    pub(crate) async fn endpoints(&self) -> Result<Arc<Endpoints>, KeysError> {
        self.known().await.map(|known| Arc::clone(&known.endpoints))
    }

    /// The key that a token names.
    pub(crate) async fn key(
        &self,
        kid: Option<&str>,
        algorithm: &CoreJwsSigningAlgorithm,
    ) -> Result<CoreJsonWebKey, TokenRefusal> {
        let known = self.known().await?;
        if let Some(key) = find(&known.keys, kid, algorithm)? {
            return Ok(key);
        }
        // The issuer may have begun to use a new key.
        let _fetching = self.fetching.lock().await;
        let current = self.state().known.clone();
        if let Some(current) = current.filter(|current| !Arc::ptr_eq(current, &known))
            && let Some(key) = find(&current.keys, kid, algorithm)?
        {
            return Ok(key);
        }
        if let Some(again) = self.too_soon() {
            return Err(TokenRefusal::UnknownKeyTooSoon { kid: quoted(kid), again });
        }
        let known = self.fetch().await?;
        find(&known.keys, kid, algorithm)?.ok_or_else(|| TokenRefusal::UnknownKey { kid: quoted(kid) })
    }

    /// Whether something was fetched and should be again.
    pub(crate) fn is_aging(&self) -> bool {
        let known = self.state().known.clone();
        let old = known.is_some_and(|known| (self.clock)().duration_since(known.fetched) >= FRESH_FOR);
        old && self.too_soon().is_none()
    }

    /// Fetches what has grown old, for a caller who has time.
    pub(crate) async fn keep_fresh(&self) {
        // Nobody waits for this; whatever goes wrong is told to those who need the keys.
        let _ = self.known().await;
    }

    async fn known(&self) -> Result<Arc<Known>, KeysError> {
        let known = self.state().known.clone();
        let age = known.as_ref().map(|known| (self.clock)().duration_since(known.fetched));
        match (known, age) {
            (Some(known), Some(age)) if age < FRESH_FOR => Ok(known),
            (Some(known), Some(age)) if age < FRESH_FOR + self.config.stale_for => {
                // Usable: one caller looks again, the others do not wait for that.
                let Ok(_fetching) = self.fetching.try_lock() else {
                    return Ok(known);
                };
                if self.too_soon().is_some() {
                    return Ok(known);
                }
                Ok(self.fetch().await.unwrap_or(known))
            }
            (before, _) => {
                let _fetching = self.fetching.lock().await;
                let current = self.state().known.clone();
                let now = (self.clock)();
                if let Some(current) = current.filter(|known| now.duration_since(known.fetched) < FRESH_FOR) {
                    return Ok(current);
                }
                let failure = match self.too_soon() {
                    None => match self.fetch().await {
                        Ok(known) => return Ok(known),
                        Err(error) => error,
                    },
                    Some(again) => {
                        let failure = self.state().failure.clone();
                        let why = failure.map_or("it was asked a moment ago".to_owned(), |e| e.to_string());
                        KeysError::Waiting { why, again }
                    }
                };
                Err(match before {
                    None => failure,
                    Some(known) => KeysError::Stale {
                        issuer: self.issuer.clone(),
                        fetched: known.fetched,
                        why: failure.to_string(),
                    },
                })
            }
        }
    }

    /// When the issuer may be asked again, where that is not now.
    fn too_soon(&self) -> Option<Timestamp> {
        let now = (self.clock)();
        let attempted = self.state().attempted?;
        let again = attempted.checked_add(self.config.refresh_at_most_every).ok()?;
        // A clock that was set back must not keep keys from being fetched until it has caught up.
        (now < again && attempted <= now).then_some(again)
    }

    /// To be called with `fetching` held.
    async fn fetch(&self) -> Result<Arc<Known>, KeysError> {
        self.state().attempted = Some((self.clock)());
        let fetched = self.fetch_anew().await;
        let mut state = self.state();
        match fetched {
            Ok(known) => {
                let known = Arc::new(known);
                state.known = Some(Arc::clone(&known));
                state.failure = None;
                Ok(known)
            }
            Err(error) => {
                tracing::warn!(issuer = %self.issuer, %error, "cannot fetch the keys of an identity provider");
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn fetch_anew(&self) -> Result<Known, KeysError> {
        let now = (self.clock)();
        let before = self.state().known.as_ref().map(|known| Arc::clone(&known.endpoints));
        let endpoints = match before {
            Some(endpoints) if now.duration_since(endpoints.fetched) < FRESH_FOR => endpoints,
            _ => Arc::new(self.discover(now).await?),
        };
        let answer = self.web.get(&endpoints.keys, HeaderMap::new()).await?;
        let keys: CoreJsonWebKeySet = answer.json("a set of keys")?;
        if !keys.keys().iter().any(signs) {
            return Err(KeysError::NoKeys(self.issuer.clone()));
        }
        Ok(Known { endpoints, keys, fetched: now })
    }

    async fn discover(&self, now: Timestamp) -> Result<Endpoints, KeysError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let url = self.endpoint("issuer", &url)?;
        let document: Discovery = self.web.get(&url, HeaderMap::new()).await?.json("a discovery document")?;
        if document.issuer != self.issuer {
            return Err(KeysError::OtherIssuer { expected: self.issuer.clone(), found: document.issuer });
        }
        let optional = |field, url: Option<String>| url.map(|url| self.endpoint(field, &url)).transpose();
        // Without the list it is `client_secret_basic` (Discovery 1.0, section 3).
        let methods = document.token_endpoint_auth_methods_supported;
        let offers = |method| methods.as_ref().is_some_and(|methods| methods.iter().any(|m| m == method));
        Ok(Endpoints {
            authorization: optional("authorization_endpoint", document.authorization_endpoint)?,
            token: optional("token_endpoint", document.token_endpoint)?,
            device: optional("device_authorization_endpoint", document.device_authorization_endpoint)?,
            revocation: optional("revocation_endpoint", document.revocation_endpoint)?,
            secret_in_form: offers("client_secret_post") && !offers("client_secret_basic"),
            keys: self.endpoint("jwks_uri", &document.jwks_uri)?,
            fetched: now,
        })
    }

    fn endpoint(&self, field: &'static str, url: &str) -> Result<Url, KeysError> {
        secure_url(url).map_err(|why| KeysError::Endpoint { issuer: self.issuer.clone(), field, why })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// The one key that can be meant; `None` when there is none.
fn find(
    keys: &CoreJsonWebKeySet,
    kid: Option<&str>,
    algorithm: &CoreJwsSigningAlgorithm,
) -> Result<Option<CoreJsonWebKey>, TokenRefusal> {
    let mut found = keys.keys().iter().filter(|key| {
        let named = kid.is_none_or(|kid| key.key_id().is_some_and(|id| id.as_str() == kid));
        named && signs(key) && algorithm.key_type().as_ref() == Some(key.key_type())
    });
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(key), None) => Ok(Some(key.clone())),
        (Some(_), Some(_)) => Err(TokenRefusal::AmbiguousKey { kid: quoted(kid) }),
    }
}

fn signs(key: &CoreJsonWebKey) -> bool {
    key.key_use().is_none_or(JsonWebKeyUse::allows_signature)
}

fn quoted(kid: Option<&str>) -> String {
    match kid {
        None => "(the token names none)".to_owned(),
        Some(kid) => format!("{:?}", kid.chars().take(64).collect::<String>()),
    }
}
