//! A provider whose clock stands still until it is moved, and a client of it that knows nothing of its inside.

use std::sync::Arc;
use std::time::Duration;

use idp::{Idp, Options, Person};
use jiff::Timestamp;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::Value;
use tokio::runtime::Runtime;

pub(crate) const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub(crate) const BACK: &str = "http://127.0.0.1:8400/callback";
/// RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const SCOPE: &str = "openid profile email groups offline_access";

pub(crate) struct Rig {
    pub(crate) idp: Idp,
    web: Web,
}

/// What an HTTP answer was.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

pub(crate) struct Web {
    runtime: Runtime,
    client: Client,
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::with(|_| ())
    }

    /// With two clients, and alice and bob.
    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options =
            Options::new(vec![Person::example("alice", &["dev"]), Person::example("bob", &["dev", "leads"])]);
        options.clients.push("other".to_owned());
        let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        options.clock = Arc::new(move || start);
        change(&mut options);
        Self { idp: Idp::start(options).unwrap(), web: Web::new() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.web.get(&self.url(path))
    }

    pub(crate) fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.web.post(&self.url(path), form)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.idp.issuer())
    }

    pub(crate) fn seconds(&self, seconds: u64) {
        self.idp.advance(Duration::from_secs(seconds));
    }

    /// A device begins to log in.
    pub(crate) fn begin_device(&self) -> Value {
        self.post("/device_authorization", &[("client_id", "portcullis"), ("scope", SCOPE)]).json(200)
    }

    /// It asks how it goes.
    pub(crate) fn poll(&self, device_code: &str) -> Answer {
        let form = [("grant_type", DEVICE_GRANT), ("device_code", device_code), ("client_id", "portcullis")];
        self.post("/token", &form)
    }

    /// The URI that a client sends a browser to; `change` is taken instead of the usual parameters.
    pub(crate) fn authorization(&self, change: &[(&str, &str)]) -> String {
        let usual = [
            ("response_type", "code"),
            ("client_id", "portcullis"),
            ("redirect_uri", BACK),
            ("scope", SCOPE),
            ("state", "a b&c=d"),
            ("nonce", "n-0S6_WzA2Mj"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let mut url = Url::parse(&self.url("/authorize")).unwrap();
        for (name, value) in usual {
            if change.iter().all(|(changed, _)| *changed != name) {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        for (name, value) in change.iter().filter(|(_, value)| !value.is_empty()) {
            url.query_pairs_mut().append_pair(name, value);
        }
        url.into()
    }

    /// Alice logs in in a browser; the code it comes back with.
    pub(crate) fn code(&self) -> String {
        let back = self.idp.log_in(&self.authorization(&[]), "alice").unwrap();
        parameter(&back, "code").unwrap()
    }

    /// The client comes with a code; `change` is taken instead of the usual parameters.
    pub(crate) fn redeem(&self, code: &str, change: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", "portcullis"),
            ("code", code),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
        ];
        form.retain(|(name, _)| change.iter().all(|(changed, _)| changed != name));
        form.extend(change.iter().filter(|(_, value)| !value.is_empty()));
        self.post("/token", &form)
    }

    pub(crate) fn refresh(&self, token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "portcullis")];
        self.post("/token", &form)
    }
}

impl Web {
    pub(crate) fn new() -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { runtime, client }
    }

    pub(crate) fn get(&self, url: &str) -> Answer {
        self.send(self.client.get(url))
    }

    pub(crate) fn post(&self, url: &str, form: &[(&str, &str)]) -> Answer {
        self.send(self.client.post(url).form(form))
    }

    pub(crate) fn request(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        self.client.request(method, url)
    }

    pub(crate) fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Answer { status, headers, body: answer.text().await.unwrap() }
        })
    }
}

impl Rig {
    pub(crate) fn web(&self) -> &Web {
        &self.web
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("cache-control"), "no-store");
        serde_json::from_str(&self.body).unwrap()
    }

    /// The code of a refusal.
    #[track_caller]
    pub(crate) fn refused(&self) -> String {
        let body = self.json(if self.body.contains("invalid_client") { 401 } else { 400 });
        assert!(body["error_description"].is_string(), "{body}");
        body["error"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A parameter of a URL's query.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    let found = url.query_pairs().find(|(known, _)| known == name);
    found.map(|(_, value)| value.into_owned())
}

/// What a token says; whether it is true is for `judge` to say.
pub(crate) fn claims(token: &str) -> Value {
    use base64::Engine;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}
