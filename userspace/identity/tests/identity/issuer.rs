//! An OpenID Connect provider that keeps to the specifications: discovery, keys, device and code flows with PKCE,
//! rotating refresh tokens, revocation.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::keys::Key;
use crate::rig::TestClock;

pub(crate) const CLIENT: &str = "portcullis";

#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) key: Arc<Key>,
    pub(crate) state: Arc<State>,
    clock: TestClock,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) key_fetches: AtomicU32,
    pub(crate) token_requests: AtomicU32,
    /// Answers everything with 503.
    pub(crate) down: AtomicBool,
    /// What discovery says instead of the truth.
    pub(crate) discovery: Mutex<Value>,
    pub(crate) more_keys: Mutex<Vec<Value>>,
    pub(crate) revoked: Mutex<Vec<String>>,
    pub(crate) slow_down: AtomicBool,
    /// Hands out access tokens where ID tokens belong.
    pub(crate) access_tokens_as_id_tokens: AtomicBool,
    /// `Authorization` header and `client_secret` field of each token request.
    pub(crate) client_proofs: Mutex<Vec<(Option<String>, Option<String>)>>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    serial: u32,
    /// Device codes, and what became of them: claims, or an error.
    devices: HashMap<String, Result<Value, &'static str>>,
    by_user_code: HashMap<String, String>,
    codes: HashMap<String, Code>,
    refresh: HashMap<String, Value>,
}

struct Code {
    challenge: String,
    redirect_uri: String,
    claims: Value,
}

impl Issuer {
    pub(crate) async fn start(clock: &TestClock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            key: Arc::new(Key::ec()),
            state: Arc::default(),
            clock: clock.clone(),
        };
        let serving = issuer.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let issuer = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let issuer = issuer.clone();
                        async move { Ok::<_, Infallible>(issuer.answer(request).await) }
                    });
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        issuer
    }

    /// An `oidc` entry of the configuration; `more` are further lines, indented by two.
    pub(crate) fn yaml(&self, more: &str) -> String {
        let url = &self.url;
        format!(
            "oidc:\n- name: corp\n  issuer: {url}\n  clientId: {CLIENT}\n  audiences: [{CLIENT}, kubernetes]\n  \
             algorithms: [ES256, RS256]\n{more}"
        )
    }

    /// What an ID token of this person for this client says, with some of it changed; null takes a claim away.
    pub(crate) fn claims(&self, name: &str, changes: Value) -> Value {
        let now = self.clock.now().as_second();
        let mut claims = json!({
            "iss": self.url, "aud": CLIENT, "sub": format!("sub-{name}"), "iat": now, "exp": now + 3600,
            "email": format!("{name}@example.com"), "groups": ["dev"],
        });
        for (claim, value) in changes.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    pub(crate) fn token(&self, name: &str, changes: Value) -> String {
        self.key.jwt("one", &self.claims(name, changes))
    }

    /// Somebody enters a user code, and confirms or declines.
    pub(crate) fn decide(&self, user_code: &str, decision: Result<Value, &'static str>) {
        let mut book = self.book();
        let device_code = book.by_user_code[user_code].clone();
        book.devices.insert(device_code, decision);
    }

    /// Somebody opens an authorization URL and logs in; the browser comes back with code and state.
    pub(crate) fn authorize(&self, url: &str, name: &str, changes: Value) -> (String, String) {
        let query: HashMap<String, String> = Url::parse(url).unwrap().query_pairs().into_owned().collect();
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["client_id"], CLIENT);
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
        let mut claims = self.claims(name, json!({"nonce": query["nonce"]}));
        for (claim, value) in changes.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        let mut book = self.book();
        let code = book.next("code");
        let issued = Code {
            challenge: query["code_challenge"].clone(),
            redirect_uri: query["redirect_uri"].clone(),
            claims,
        };
        book.codes.insert(code.clone(), issued);
        (code, query["state"].clone())
    }

    /// What the refresh tokens of `name` bring from now on.
    pub(crate) fn change(&self, name: &str, changes: Value) {
        for claims in self.book().refresh.values_mut().filter(|c| c["sub"] == format!("sub-{name}")) {
            for (claim, value) in changes.as_object().unwrap() {
                claims[claim] = value.clone();
            }
        }
    }

    pub(crate) fn forget_refresh_tokens(&self) {
        self.book().refresh.clear();
    }

    pub(crate) fn key_fetches(&self) -> u32 {
        self.state.key_fetches.load(Ordering::SeqCst)
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.state.book.lock().unwrap()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let header = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let query = format!("form:?{}", String::from_utf8_lossy(&body));
        let form: HashMap<String, String> = Url::parse(&query).unwrap().query_pairs().into_owned().collect();
        if path == "/token" {
            self.state.client_proofs.lock().unwrap().push((header, form.get("client_secret").cloned()));
        }
        let (status, json) = if self.state.down.load(Ordering::SeqCst) {
            (503, json!({"error": "down"}))
        } else {
            self.route(&path, &form)
        };
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(Full::new(json.to_string().into()))
            .unwrap()
    }

    fn route(&self, path: &str, form: &HashMap<String, String>) -> (u16, Value) {
        let url = &self.url;
        if path != "/.well-known/openid-configuration" && path != "/keys" {
            assert_eq!(form["client_id"], CLIENT);
        }
        match path {
            "/.well-known/openid-configuration" => {
                let mut document = json!({
                    "issuer": url, "jwks_uri": format!("{url}/keys"),
                    "authorization_endpoint": format!("{url}/authorize"),
                    "token_endpoint": format!("{url}/token"),
                    "device_authorization_endpoint": format!("{url}/device"),
                    "revocation_endpoint": format!("{url}/revoke"),
                });
                if let Value::Object(changes) = &*self.state.discovery.lock().unwrap() {
                    document.as_object_mut().unwrap().extend(changes.clone());
                    document.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                }
                (200, document)
            }
            "/keys" => {
                self.state.key_fetches.fetch_add(1, Ordering::SeqCst);
                let mut keys = vec![self.key.jwk("one"), json!({"kty": "quantum", "kid": "odd"})];
                keys.extend(self.state.more_keys.lock().unwrap().iter().cloned());
                (200, json!({ "keys": keys }))
            }
            "/device" => {
                let mut book = self.book();
                let (device_code, user_code) = (book.next("device"), book.next("USER"));
                book.devices.insert(device_code.clone(), Err("authorization_pending"));
                book.by_user_code.insert(user_code.clone(), device_code.clone());
                let complete = format!("{url}/activate?user_code={user_code}");
                (
                    200,
                    json!({
                        "device_code": device_code, "user_code": user_code, "expires_in": 600,
                        "verification_uri": format!("{url}/activate"), "verification_uri_complete": complete,
                    }),
                )
            }
            "/token" => {
                self.state.token_requests.fetch_add(1, Ordering::SeqCst);
                match self.grant(form) {
                    Ok(claims) => (200, self.tokens(claims)),
                    Err(error) => (400, json!({"error": error, "error_description": "so it is"})),
                }
            }
            "/revoke" => {
                self.book().refresh.remove(&form["token"]);
                self.state.revoked.lock().unwrap().push(form["token"].clone());
                (200, json!({}))
            }
            _ => (404, json!({"error": "not_found"})),
        }
    }

    fn grant(&self, form: &HashMap<String, String>) -> Result<Value, &'static str> {
        let mut book = self.book();
        match form["grant_type"].as_str() {
            "urn:ietf:params:oauth:grant-type:device_code" => {
                if self.state.slow_down.load(Ordering::SeqCst) {
                    return Err("slow_down");
                }
                let device_code = &form["device_code"];
                let claims = book.devices.get(device_code).ok_or("invalid_grant")?.clone()?;
                book.devices.remove(device_code);
                Ok(claims)
            }
            "authorization_code" => {
                let code = book.codes.remove(&form["code"]).ok_or("invalid_grant")?;
                let challenge = BASE64.encode(Sha256::digest(&form["code_verifier"]));
                if challenge != code.challenge || form["redirect_uri"] != code.redirect_uri {
                    return Err("invalid_grant");
                }
                Ok(code.claims)
            }
            "refresh_token" => {
                let mut claims = book.refresh.remove(&form["refresh_token"]).ok_or("invalid_grant")?;
                let now = self.clock.now().as_second();
                claims["iat"] = now.into();
                claims["exp"] = (now + 3600).into();
                claims.as_object_mut().unwrap().remove("nonce");
                Ok(claims)
            }
            _ => Err("unsupported_grant_type"),
        }
    }

    fn tokens(&self, claims: Value) -> Value {
        let mut book = self.book();
        let (access, refresh) = (book.next("access"), book.next("refresh"));
        let swapped = self.state.access_tokens_as_id_tokens.load(Ordering::SeqCst);
        let sign = if swapped { Key::access_token } else { Key::jwt };
        let id_token = sign(&self.key, "one", &claims);
        book.refresh.insert(refresh.clone(), claims);
        json!({
            "access_token": access, "token_type": "Bearer", "expires_in": 3600, "id_token": id_token,
            "refresh_token": refresh,
        })
    }
}

impl Book {
    fn next(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}-{}", self.serial)
    }
}
