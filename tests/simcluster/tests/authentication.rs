//! Whom tokens stand for that the server did not know beforehand: those it issues for service accounts, and those of EKS,
//! which STS vouches for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use simcluster::{Config, EksConfig, SimCluster};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const PODS: &str = "/api/v1/namespaces/demo/pods";
const SECRETS: &str = "/api/v1/namespaces/demo/secrets";
const TOKENS: &str = "/api/v1/namespaces/demo/serviceaccounts/robot/token";

struct Fixture {
    cluster: SimCluster,
    home: tempfile::TempDir,
}

impl Fixture {
    async fn new(config: Config) -> Fixture {
        let home = tempfile::tempdir().expect("a directory");
        let (dir, log) = (home.path().join("sim"), Some(home.path().join("log")));
        let cluster = SimCluster::start(Config { dir, log, ..config }).await.expect("a cluster");
        Fixture { cluster, home }
    }

    async fn send(&self, method: Method, target: &str, token: &str, body: &Value) -> (StatusCode, Value) {
        let address = self.cluster.endpoints()[0];
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.cluster.dir().join("ca.crt")).expect("the CA");
        roots.add(ca).expect("a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await.expect("connects");
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "sim")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn get(&self, target: &str, token: &str) -> StatusCode {
        self.send(Method::GET, target, token, &Value::Null).await.0
    }

    async fn issue(&self, by: &str, spec: Value) -> (StatusCode, Value) {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        self.send(Method::POST, TOKENS, by, &body).await
    }

    fn last_request(&self) -> Value {
        let text = std::fs::read_to_string(self.home.path().join("log")).expect("a journal");
        serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
    }
}

#[tokio::test]
async fn a_service_accounts_token_is_taken_until_it_expires() {
    let fixture = Fixture::new(Config { token_lifetime: Duration::from_secs(2), ..Config::default() }).await;
    let (status, asked) = fixture.issue("token-issuer-0001", json!({"expirationSeconds": 600})).await;
    assert_eq!(status, StatusCode::CREATED, "{asked}");
    let token = asked["status"]["token"].as_str().expect("a token");
    assert_eq!(fixture.get(PODS, token).await, StatusCode::OK);
    let seen = fixture.last_request();
    assert_eq!(seen["user"]["name"], "system:serviceaccount:demo:robot");
    assert_eq!(seen["user"]["groups"][1], "system:serviceaccounts:demo");
    let id = &seen["user"]["extra"]["authentication.kubernetes.io/credential-id"][0];
    assert!(id.as_str().expect("an id").starts_with("JTI="), "{seen}");
    assert_eq!(seen["auditId"].as_str().map(str::len), Some(36), "the server makes an audit id up: {seen}");
    assert_eq!(fixture.get(SECRETS, token).await, StatusCode::FORBIDDEN);
    let forged = format!("{}x", &token[..token.len() - 1]);
    assert_eq!(fixture.get(PODS, &forged).await, StatusCode::UNAUTHORIZED);
    let deadline = Instant::now() + Duration::from_secs(10);
    while fixture.get(PODS, token).await != StatusCode::UNAUTHORIZED {
        assert!(Instant::now() < deadline, "the token outlives its time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn tokens_are_issued_as_the_real_server_issues_them() {
    let fixture = Fixture::new(Config::default()).await;
    let (status, refused) = fixture.issue("token-issuer-0001", json!({"expirationSeconds": 599})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains("may not specify a duration less than 10 minutes"), "{message}");
    let (status, _) = fixture.issue("token-alice-0001", json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (_, elsewhere) = fixture.issue("token-issuer-0001", json!({"audiences": ["vault"]})).await;
    assert_eq!(elsewhere["spec"]["audiences"], json!(["vault"]));
    let token = elsewhere["status"]["token"].as_str().expect("a token");
    assert_eq!(fixture.get(PODS, token).await, StatusCode::UNAUTHORIZED, "it is for another");
    assert_eq!(fixture.get(PODS, "token-issuer-0001").await, StatusCode::FORBIDDEN, "it may do nothing else");
}

/// An STS that knows one session, and asks to be told the right cluster.
async fn sts(dir: &Path) -> SocketAddr {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(dir.join("sts.crt"), cert.pem()).expect("writes");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                    Ok::<_, Infallible>(answer(&request))
                });
                let connection = hyper::server::conn::http1::Builder::new();
                connection.serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    address
}

fn answer<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let query = request.uri().query().unwrap_or_default();
    if query.contains("X-Amz-Signature=elsewhere") {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert("location", "https://example.test/".parse().expect("a value"));
        return response;
    }
    let good = request.headers().get("x-k8s-aws-id").is_some_and(|id| id == "sim")
        && request.headers().get("accept").is_some_and(|accept| accept == "application/json")
        && query.contains("X-Amz-Signature=good");
    let mut response = Response::new(Full::new(
        json!({"GetCallerIdentityResponse": {"GetCallerIdentityResult": {
            "Account": "111122223333", "Arn": "arn:aws:sts::111122223333:assumed-role/Dev/alice@example.test",
            "UserId": "AROAEXAMPLE:alice@example.test"}}})
        .to_string()
        .into(),
    ));
    if !good {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

#[tokio::test]
async fn an_eks_token_is_whose_sts_says() {
    let home = tempfile::tempdir().expect("a directory");
    let address = sts(home.path()).await;
    let eks = |cluster: &str| EksConfig {
        cluster: cluster.to_owned(),
        sts: format!("https://{address}").parse().expect("a URL"),
        sts_ca: home.path().join("sts.crt"),
        users: vec!["arn:aws:iam::111122223333:role/Dev=eng:{{SessionName}}=dev".parse().expect("a mapping")],
    };
    let fixture = Fixture::new(Config { eks: Some(eks("sim")), ..Config::default() }).await;
    let token = |host: &str, headers: &str, signature: &str| {
        let url = format!(
            "https://{host}/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Credential=AKIDEXAMPLE%2F20260101%2Feu-central-1\
             %2Fsts%2Faws4_request&X-Amz-SignedHeaders={headers}&X-Amz-Signature={signature}"
        );
        format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url))
    };
    let (host, headers) = (address.to_string(), "host%3Bx-k8s-aws-id");
    let good = token(&host, headers, "good");
    assert_eq!(fixture.get(PODS, &good).await, StatusCode::OK);
    let seen = fixture.last_request();
    assert_eq!(seen["user"]["name"], "eng:alice-example.test");
    assert_eq!(seen["user"]["groups"][0], "dev");
    let extra = &seen["user"]["extra"];
    assert_eq!(extra["sessionName"], json!(["alice@example.test"]));
    assert_eq!(extra["canonicalArn"], json!(["arn:aws:iam::111122223333:role/Dev"]));
    assert_eq!(extra["accessKeyId"], json!(["AKIDEXAMPLE"]));
    for bad in [
        token(&host, headers, "bad"),
        token(&host, headers, "elsewhere"),
        token(&host, "host", "good"),
        token("sts.example.test", headers, "good"),
        "k8s-aws-v1.%%%".to_owned(),
    ] {
        assert_eq!(fixture.get(PODS, &bad).await, StatusCode::UNAUTHORIZED, "{bad}");
    }
    let other = Fixture::new(Config { eks: Some(eks("other")), ..Config::default() }).await;
    assert_eq!(other.get(PODS, &good).await, StatusCode::UNAUTHORIZED, "it is for another cluster");
}
