//! Service-account tokens from a small API server over TLS, by a clock that the tests turn.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use portcullis_identity::{Method, Subject};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::AccountSource;
use crate::{
    CredentialError, OnBehalf, Source, TargetPlace, TokenRequestConfig, UpstreamConfig, UpstreamTls,
};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// An API server that knows one resource.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Mutex<Answer>>,
    now: Arc<Mutex<Timestamp>>,
    dir: tempfile::TempDir,
}

#[derive(Clone)]
struct Asked {
    path: String,
    authorization: Option<String>,
    certificates: usize,
    body: Value,
}

#[derive(Clone)]
enum Answer {
    /// A token for this long, whatever was asked for.
    Token(SignedDuration),
    Other(StatusCode, String),
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.crt"), ca.pem()).unwrap();
        for (name, host) in [("server", "kubernetes"), ("client", "portcullis")] {
            let key = KeyPair::generate().unwrap();
            let made = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
            std::fs::write(dir.path().join(format!("{name}.crt")), made.pem()).unwrap();
            secret(&dir.path().join(format!("{name}.key")), &key.serialize_pem());
        }
        secret(&dir.path().join("token"), "bastion-token");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            answer: Arc::new(Mutex::new(Answer::Token(MINUTE * 10))),
            now: Arc::new(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())),
            dir,
        };
        let acceptor = TlsAcceptor::from(server.tls());
        let (asked, answer, now) =
            (Arc::clone(&server.asked), Arc::clone(&server.answer), Arc::clone(&server.now));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let certificates = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
                let (asked, answer, now) = (Arc::clone(&asked), Arc::clone(&answer), Arc::clone(&now));
                let handler = service_fn(move |request: Request<Incoming>| {
                    let (asked, answer, now) = (Arc::clone(&asked), Arc::clone(&answer), Arc::clone(&now));
                    async move {
                        let entry = read(request, certificates).await;
                        let number = {
                            let mut asked = asked.lock().unwrap();
                            asked.push(entry);
                            asked.len()
                        };
                        let answer = answer.lock().unwrap().clone();
                        Ok::<_, Infallible>(answer.response(number, *now.lock().unwrap()))
                    }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), handler));
            }
        });
        server
    }

    fn tls(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.dir.path().join("ca.crt")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_file(self.dir.path().join("server.crt")).unwrap()],
                PrivateKeyDer::from_pem_file(self.dir.path().join("server.key")).unwrap(),
            );
        Arc::new(config.unwrap())
    }

    fn place(&self) -> TargetPlace {
        TargetPlace {
            // The first one does not answer: nobody listens on port 1.
            endpoints: vec![("127.0.0.1".into(), 1), ("127.0.0.1".into(), self.address.port())],
            server_name: Some("kubernetes".into()),
            tls: UpstreamTls::from_file(&self.dir.path().join("ca.crt")).unwrap(),
        }
    }

    fn config(&self, more: &str) -> TokenRequestConfig {
        let token = self.dir.path().join("token");
        let yaml = format!(
            "using: {{bearerTokenFile: {}}}\nserviceAccount: {{namespace: portcullis, name: engineer}}\n{more}",
            token.display()
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn source(&self) -> AccountSource {
        let now = Arc::clone(&self.now);
        AccountSource::new(self.config(""), self.place(), Arc::new(move || *now.lock().unwrap()))
    }

    fn pass(&self, by: SignedDuration) {
        *self.now.lock().unwrap() += by;
    }

    fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Answer {
    fn response(&self, number: usize, now: Timestamp) -> Response<Full<Bytes>> {
        let (status, body) = match self {
            Self::Token(life) => {
                let status =
                    json!({"token": format!("sa-token-{number}"), "expirationTimestamp": now + *life});
                (StatusCode::CREATED, json!({"kind": "TokenRequest", "status": status}).to_string())
            }
            Self::Other(status, body) => (*status, body.clone()),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response
    }
}

async fn read(request: Request<Incoming>, certificates: usize) -> Asked {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let authorization = head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    Asked {
        path: format!("{} {}", head.method, head.uri),
        authorization,
        certificates,
        body: serde_json::from_slice(&body).unwrap(),
    }
}

fn secret(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn token(source: &dyn Source, account: Option<(&str, &str)>) -> Result<String, CredentialError> {
    let alice = Subject {
        issuer: "unix".into(),
        id: "1001".into(),
        name: "alice".into(),
        groups: BTreeSet::new(),
        method: Method::Unix,
        account: None,
    };
    let on_behalf = OnBehalf {
        subject: &alice,
        role: "pod-admin",
        grant: Some("g-1"),
        expires: None,
        session: "s-1",
        aws_role: None,
        service_account: account,
    };
    let credential = source.present(&on_behalf).await?;
    assert!(!format!("{credential:?}").contains("sa-token"));
    Ok(credential.authorization().unwrap().to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_anew_at_four_fifths_of_its_life() {
    let server = Server::start().await;
    let source = server.source();
    source.check().unwrap();
    assert_eq!(token(&source, None).await.unwrap(), "Bearer sa-token-1");
    server.pass(MINUTE * 8 - SignedDuration::from_secs(1));
    assert_eq!(token(&source, None).await.unwrap(), "Bearer sa-token-1");
    server.pass(SignedDuration::from_secs(1));
    assert_eq!(token(&source, None).await.unwrap(), "Bearer sa-token-2");
    let asked = &server.asked()[0];
    assert_eq!(asked.path, "POST /api/v1/namespaces/portcullis/serviceaccounts/engineer/token");
    assert_eq!(asked.authorization.as_deref(), Some("Bearer bastion-token"));
    let spec = json!({"expirationSeconds": 600});
    assert_eq!(
        asked.body,
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
    );
    // Another account has another token; the same one has the same, for whoever asks.
    assert_eq!(token(&source, Some(("web", "deployer"))).await.unwrap(), "Bearer sa-token-3");
    assert_eq!(token(&source, Some(("portcullis", "engineer"))).await.unwrap(), "Bearer sa-token-2");
    assert_eq!(server.asked()[2].path, "POST /api/v1/namespaces/web/serviceaccounts/deployer/token");
    for (namespace, name) in
        [("web", "../../secrets/x"), ("web/x", "a"), ("", "a"), ("web", "a?b"), ("web", "A")]
    {
        let refused = token(&source, Some((namespace, name))).await.unwrap_err().to_string();
        assert!(refused.starts_with("serviceAccount: "), "{refused}");
    }
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn in_an_outage_a_token_is_used_to_its_end() {
    let server = Server::start().await;
    let source = server.source();
    token(&source, None).await.unwrap();
    let down =
        json!({"kind": "Status", "reason": "ServiceUnavailable", "message": "etcd is down"}).to_string();
    server.answer(Answer::Other(StatusCode::SERVICE_UNAVAILABLE, down));
    server.pass(MINUTE * 10 - SignedDuration::from_secs(1));
    assert_eq!(token(&source, None).await.unwrap(), "Bearer sa-token-1");
    server.pass(SignedDuration::from_secs(1));
    let refused = token(&source, None).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("cannot get a token of service account portcullis/engineer: 127.0.0.1:")
            && refused.ends_with(": ServiceUnavailable: etcd is down"),
        "{refused}"
    );
    // Nobody asks again at once.
    let asked = server.asked().len();
    token(&source, None).await.unwrap_err();
    assert_eq!(server.asked().len(), asked);
    server.answer(Answer::Token(MINUTE * 10));
    server.pass(SignedDuration::from_secs(60));
    token(&source, None).await.unwrap();
}

#[tokio::test]
async fn answers_that_are_no_token_are_refused_and_not_repeated() {
    let forbidden = json!({"kind": "Status", "reason": "Forbidden", "message": "serviceaccounts \"engineer\" is forbidden"});
    let expired = json!({"kind": "TokenRequest", "status": {"token": "sa-token-x", "expirationTimestamp": "2025-12-31T23:00:00Z"}});
    let blank = json!({"kind": "TokenRequest", "status": {"token": "sa token", "expirationTimestamp": "2026-01-01T00:10:00Z"}});
    let kind = json!({"kind": "Secret", "status": {"token": "sa-token-x", "expirationTimestamp": "2026-01-01T00:10:00Z"}});
    let broken =
        "{\"kind\": \"TokenRequest\", \"status\": {\"token\": \"sa-token-x\", \"expirationTimestamp\": 5}}";
    for (status, body, said) in [
        (403, forbidden.to_string(), "Forbidden: serviceaccounts \"engineer\" is forbidden"),
        (404, "<html>".into(), "HTTP 404: no reason given"),
        (201, expired.to_string(), "is this host's clock right?"),
        (201, blank.to_string(), "gave what is no token"),
        (201, kind.to_string(), "answered with a Secret"),
        (201, broken.into(), "with what is no TokenRequest"),
        (302, String::new(), "HTTP 302"),
    ] {
        let server = Server::start().await;
        server.answer(Answer::Other(StatusCode::from_u16(status).unwrap(), body));
        let refused = token(&server.source(), None).await.unwrap_err();
        let printed = format!("{refused} {refused:?}");
        assert!(printed.contains(said) && !printed.contains("sa-token-x"), "{printed}");
    }
}

#[tokio::test]
async fn a_certificate_can_ask_and_the_server_must_be_the_target() {
    let server = Server::start().await;
    let file = |name: &str| server.dir.path().join(name);
    let yaml = format!(
        "tokenRequest: {{using: {{clientCertificate: {{certFile: {}, keyFile: {}}}}}, serviceAccount: {{namespace: a, name: \
         b}}, audiences: [x], lifetime: 1h}}",
        file("client.crt").display(),
        file("client.key").display()
    );
    let config: UpstreamConfig = serde_saphyr::from_str(&yaml).unwrap();
    let source = config.open(Some(&server.place())).unwrap();
    server.answer(Answer::Token(SignedDuration::from_hours(24 * 365 * 50)));
    token(&*source, None).await.unwrap();
    let asked = &server.asked()[0];
    assert_eq!((asked.certificates, asked.authorization.as_ref()), (1, None));
    assert_eq!(asked.body["spec"], json!({"expirationSeconds": 3600, "audiences": ["x"]}));
    // A server with another name, or of another CA, never sees the credential.
    for place in [
        TargetPlace { server_name: None, ..server.place() },
        TargetPlace {
            tls: UpstreamTls::from_pem(
                Path::new("other"),
                rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem().as_bytes(),
            )
            .unwrap(),
            ..server.place()
        },
    ] {
        let source = AccountSource::new(server.config(""), place, Arc::new(Timestamp::now));
        let refused = token(&source, None).await.unwrap_err().to_string();
        assert!(refused.contains("certificate"), "{refused}");
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn mistakes_are_told_at_the_start() {
    let server = Server::start().await;
    let refused = |config: TokenRequestConfig| {
        UpstreamConfig::TokenRequest(config).open(Some(&server.place())).err().unwrap().to_string()
    };
    assert!(refused(server.config("lifetime: 5m")).starts_with("tokenRequest.lifetime: want 10m to 24h"));
    assert!(refused(server.config("lifetime: 25h")).starts_with("tokenRequest.lifetime: "));
    assert!(refused(server.config("audiences: ['']")).starts_with("tokenRequest.audiences: "));
    let mut config = server.config("");
    config.service_account.name = "engineer/../x".into();
    assert!(refused(config).starts_with("tokenRequest.serviceAccount: "));
    secret(&server.dir.path().join("token"), "");
    assert!(refused(server.config("")).contains("is empty"));
    let nowhere = TargetPlace { endpoints: Vec::new(), ..server.place() };
    secret(&server.dir.path().join("token"), "x");
    let config = UpstreamConfig::TokenRequest(server.config(""));
    assert!(config.open(Some(&nowhere)).err().unwrap().to_string().contains("no endpoint"));
}
