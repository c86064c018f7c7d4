//! A small authorization server over TLS. It gives a token to one client, and looks at all that the client says.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{ClientCredentialsConfig, oauth::ClientCredentialsSource};

pub(super) const CLIENT: &str = "gate:1 %";
pub(super) const SECRET: &str = "s3cr:t+&=";
pub(super) const RESOURCE: &str = "https://mcp.example.com/mcp";

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) dir: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

pub(super) struct State {
    pub(super) now: Timestamp,
    pub(super) secret: String,
    /// Whether the secret has to come in the form.
    pub(super) post: bool,
    /// Answered in place of a token.
    pub(super) instead: Option<(StatusCode, String)>,
    /// What is found under other paths.
    pub(super) pages: BTreeMap<String, Value>,
    /// The paths and forms of all requests so far.
    pub(super) asked: Vec<(String, BTreeMap<String, String>)>,
}

impl Server {
    pub(super) async fn start() -> Self {
        aws_lc_rs::default_provider().install_default().ok();
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.crt"), made.cert.pem()).unwrap();
        secret(&dir.path().join("secret"), &format!("{SECRET}\n"));
        let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(
            vec![CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap(),
        );
        let acceptor = TlsAcceptor::from(Arc::new(tls.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            secret: SECRET.to_owned(),
            post: false,
            instead: None,
            pages: BTreeMap::new(),
            asked: Vec::new(),
        };
        let server =
            Self { address: listener.local_addr().unwrap(), dir, state: Arc::new(Mutex::new(state)) };
        let state = Arc::clone(&server.state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let state = Arc::clone(&state);
                let handler = service_fn(move |request: Request<Incoming>| {
                    let state = Arc::clone(&state);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let mut state = state.lock().unwrap();
                        let (status, body) =
                            state.answer(&head.method, head.uri.path(), &head.headers, &body);
                        let mut response = Response::new(Full::new(Bytes::from(body)));
                        *response.status_mut() = status;
                        if status.is_redirection() {
                            response.headers_mut().insert("location", HeaderValue::from_static("/elsewhere"));
                        }
                        Ok::<_, Infallible>(response)
                    }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), handler));
            }
        });
        server
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The gate's configuration as a client with a secret, of the server that `at` says.
    pub(super) fn config(&self, at: Value, by: Value) -> ClientCredentialsConfig {
        let mut config = json!({
            "clientId": CLIENT,
            "scope": "tools:read tools:call",
            "resource": RESOURCE,
            "certificateAuthority": self.file("ca.crt"),
        });
        for (name, value) in [at, by].iter().flat_map(|part| part.as_object().unwrap()) {
            config[name] = value.clone();
        }
        serde_json::from_value(config).unwrap()
    }

    pub(super) fn by_secret(&self) -> Value {
        json!({"clientSecretFile": self.file("secret")})
    }

    pub(super) fn endpoint(&self) -> Value {
        json!({"tokenEndpoint": self.url("/token")})
    }

    pub(super) fn source(&self, config: ClientCredentialsConfig) -> ClientCredentialsSource {
        let state = Arc::clone(&self.state);
        let start = std::time::Instant::now();
        let turned = Arc::clone(&self.state);
        let first = self.state(|state| state.now);
        let looks = move || {
            let passed = turned.lock().unwrap().now.duration_since(first);
            start + passed.unsigned_abs()
        };
        ClientCredentialsSource::new(config, Arc::new(move || state.lock().unwrap().now), Arc::new(looks))
            .unwrap()
    }

    pub(super) fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap())
    }

    pub(super) fn pass(&self, by: SignedDuration) {
        self.state(|state| state.now += by);
    }

    /// The forms that came to the token endpoint.
    pub(super) fn forms(&self) -> Vec<BTreeMap<String, String>> {
        let token = |(path, form): &(String, _)| (path == "/token").then(|| BTreeMap::clone(form));
        self.state(|state| state.asked.iter().filter_map(token).collect())
    }
}

impl State {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> (StatusCode, String) {
        let form = form_urlencoded::parse(body).into_owned().collect::<BTreeMap<_, _>>();
        self.asked.push((path.to_owned(), form.clone()));
        if path != "/token" {
            return match self.pages.get(path).filter(|_| method == Method::GET) {
                Some(page) => (StatusCode::OK, page.to_string()),
                None => (StatusCode::NOT_FOUND, "<html>".into()),
            };
        }
        if let Some(instead) = &self.instead {
            return instead.clone();
        }
        let no = |error: &str| (StatusCode::BAD_REQUEST, json!({"error": error}).to_string());
        let text = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let typed =
            headers.get("content-type").is_some_and(|kind| kind == "application/x-www-form-urlencoded");
        if method != Method::POST || !typed {
            return no("invalid_request");
        }
        if text("grant_type") != "client_credentials" {
            return no("unsupported_grant_type");
        }
        let asserted = form.contains_key("client_assertion");
        let proven = match basic(headers) {
            _ if asserted => text("client_id") == CLIENT && !headers.contains_key("authorization"),
            Some((client, secret)) => !self.post && client == CLIENT && secret == self.secret,
            None => self.post && text("client_id") == CLIENT && text("client_secret") == self.secret,
        };
        if !proven {
            return (StatusCode::UNAUTHORIZED, json!({"error": "invalid_client"}).to_string());
        }
        if text("scope") != "tools:read tools:call" {
            return no("invalid_scope");
        }
        if text("resource") != RESOURCE {
            return no("invalid_target");
        }
        let token = format!("at-{}", self.asked.iter().filter(|(path, _)| path == "/token").count());
        (
            StatusCode::OK,
            json!({"access_token": token, "token_type": "bearer", "expires_in": 600}).to_string(),
        )
    }
}

/// Identifier and secret, decoded as RFC 6749 section 2.3.1 has it.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get("authorization")?.to_str().unwrap().strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(value).unwrap()).unwrap();
    let decoded =
        |text: &str| form_urlencoded::parse(format!("x={text}").as_bytes()).next().unwrap().1.into_owned();
    let (client, secret) = pair.split_once(':').unwrap();
    Some((decoded(client), decoded(secret)))
}

pub(super) fn secret(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
