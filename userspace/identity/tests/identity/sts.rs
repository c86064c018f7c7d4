//! An STS that answers GetCallerIdentity over TLS, and only where the header names the cluster that was signed for.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[derive(Clone)]
pub(crate) struct Sts {
    /// `127.0.0.1:port`
    pub(crate) authority: String,
    /// The certificate, as PEM in a file.
    pub(crate) ca: Arc<tempfile::NamedTempFile>,
    state: Arc<Mutex<State>>,
}

struct State {
    answer: Answer,
    requests: Vec<(String, String)>,
}

#[derive(Clone)]
pub(crate) enum Answer {
    /// The ARN of whoever signed, if the signature is for the cluster that the header names: tokens of the tests have
    /// `<cluster>-signed` for a signature.
    Caller(String),
    Raw(u16, Value),
    Redirect(String),
    Endless,
}

impl Sts {
    pub(crate) async fn start(arn: &str) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), certified.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State { answer: Answer::Caller(arn.to_owned()), requests: Vec::new() };
        let sts = Self {
            authority: listener.local_addr().unwrap().to_string(),
            ca: Arc::new(ca),
            state: Arc::new(Mutex::new(state)),
        };
        let serving = sts.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (sts, acceptor) = (serving.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let sts = sts.clone();
                        async move { Ok::<_, Infallible>(sts.respond(&request)) }
                    });
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        sts
    }

    pub(crate) fn ca(&self) -> &Path {
        self.ca.path()
    }

    pub(crate) fn answer_with(&self, answer: Answer) {
        self.state.lock().unwrap().answer = answer;
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let header = |name: &str| request.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
        let (cluster, query) = (header("x-k8s-aws-id"), request.uri().query().unwrap_or_default().to_owned());
        assert_eq!(request.method(), "GET");
        assert_eq!(header("accept"), "application/json");
        assert!(request.headers().get("authorization").is_none());
        let mut state = self.state.lock().unwrap();
        state.requests.push((query.clone(), cluster.clone()));
        let signed = query.contains(&format!("X-Amz-Signature={cluster}-signed"));
        let reply = Response::builder().header("content-type", "application/json");
        let (status, body) = match state.answer.clone() {
            Answer::Caller(arn) if signed => {
                let account = arn.split(':').nth(4).unwrap().to_owned();
                let result = json!({"Account": account, "Arn": arn, "UserId": "AROAEXAMPLE:alice"});
                let response =
                    json!({"GetCallerIdentityResult": result, "ResponseMetadata": {"RequestId": "x"}});
                (200, json!({"GetCallerIdentityResponse": response}).to_string())
            }
            Answer::Caller(_) => (403, json!({"Error": {"Code": "SignatureDoesNotMatch"}}).to_string()),
            Answer::Raw(status, json) => (status, json.to_string()),
            Answer::Redirect(to) => {
                return reply.status(302).header("location", to).body(Full::default()).unwrap();
            }
            Answer::Endless => (200, "x".repeat(2_000_000)),
        };
        reply.status(status).body(Full::new(body.into())).unwrap()
    }
}
