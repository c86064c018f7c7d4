//! What kubectl does not do but other clients may: protobuf, old WebSocket forms, certificates, expired watches. The
//! wanted answers are those of recorded exchanges with a real API server.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use portcullis_codec::websocket::{self, Decoder, Frame, Kind};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use simcluster::{Config, SimCluster};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const SECRETS: &str = "/api/v1/namespaces/demo/secrets";
const EXEC: &str =
    "/api/v1/namespaces/demo/pods/shell/exec?command=cat&container=sh&stdin=true&stdout=true&stderr=true";

struct Fixture {
    cluster: SimCluster,
    home: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Fixture {
    async fn new() -> Fixture {
        let home = tempfile::tempdir().expect("a directory");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(home.path(), open).expect("permissions");
        let cluster = SimCluster::start(Config {
            listen: vec![([127, 0, 0, 1], 0).into(), (std::net::Ipv6Addr::LOCALHOST, 0).into()],
            dir: home.path().join("sim"),
            log: Some(home.path().join("log")),
            bulk_secrets: 60,
            ..Config::default()
        });
        Fixture { cluster: cluster.await.expect("a cluster"), home }
    }

    async fn send(&self, method: Method, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let request = request(method, target, headers, body);
        let mut response = self.connection(0, false).await.send_request(request).await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.body_mut().collect().await.expect("a body").to_bytes();
        Answer { status, headers, body }
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, target, headers, "").await
    }

    /// Asks for a WebSocket; the connection when it is granted.
    async fn websocket(&self, target: &str, headers: &[(&str, &str)]) -> Result<Socket, Answer> {
        let mut all = vec![
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "Kz9TSEmbOW/CAlM8JUview=="),
        ];
        all.extend(headers);
        let request = request(Method::GET, target, &all, "");
        let response = self.connection(0, false).await.send_request(request).await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            return Err(Answer { status, headers, body });
        }
        assert_eq!(headers["sec-websocket-accept"], "apdYxM1nIGbIVZ2Ghjhzu9/dytI=");
        let upgraded = hyper::upgrade::on(response).await.expect("an upgrade");
        let protocol =
            headers.get("sec-websocket-protocol").map(|value| value.to_str().expect("ASCII").to_owned());
        Ok(Socket { io: TokioIo::new(upgraded), decoder: Decoder::server(), protocol })
    }

    async fn connection(
        &self,
        endpoint: usize,
        certificate: bool,
    ) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
        let address = self.cluster.endpoints()[endpoint];
        let config = Arc::new(client_config(self.cluster.dir(), certificate));
        let stream = TcpStream::connect(address).await.expect("connects");
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(config).connect(name, stream).await.expect("TLS");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection.with_upgrades());
        sender
    }

    fn journal(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.home.path().join("log")).expect("a journal");
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn content_type(&self) -> &str {
        self.headers["content-type"].to_str().expect("ASCII")
    }
}

struct Socket {
    io: TokioIo<hyper::upgrade::Upgraded>,
    decoder: Decoder,
    protocol: Option<String>,
}

impl Socket {
    async fn send(&mut self, kind: Kind, payload: &[u8]) {
        let mut frame = Vec::new();
        websocket::message(&mut frame, kind, Some([1, 2, 3, 4]), &[payload]);
        self.io.write_all(&frame).await.expect("sent");
    }

    /// The next message and its kind; `None` for the close frame.
    async fn next(&mut self) -> Option<(Kind, Vec<u8>)> {
        let mut message = Vec::new();
        loop {
            let byte = [self.io.read_u8().await.expect("not cut off")];
            let mut input = &byte[..];
            while let Some(frame) = self.decoder.next(&mut input).expect("well-formed") {
                match frame {
                    Frame::Data(slice) => {
                        message.extend_from_slice(slice.payload);
                        if slice.last {
                            return Some((slice.kind, message));
                        }
                    }
                    Frame::Close { code, .. } => {
                        assert_eq!(code, Some(1000));
                        return None;
                    }
                    Frame::Ping(_) | Frame::Pong(_) => {}
                }
            }
        }
    }
}

fn request(method: Method, target: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
    if !headers.iter().any(|(name, _)| *name == "authorization") {
        request = request.header("authorization", "Bearer token-admin-0001");
    }
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request")
}

fn client_config(dir: &Path, certificate: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.crt")).expect("the CA")).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
    let builder = builder.with_root_certificates(roots);
    if !certificate {
        return builder.with_no_client_auth();
    }
    let chain = vec![CertificateDer::from_pem_file(dir.join("admin-cert.crt")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(dir.join("admin-cert.key")).expect("a key");
    builder.with_client_auth_cert(chain, key).expect("a client certificate")
}

#[tokio::test]
async fn secrets_come_in_the_encoding_the_client_prefers() {
    let fixture = Fixture::new().await;
    let accept = "application/vnd.kubernetes.protobuf,application/json";
    let one = fixture.get(&format!("{SECRETS}/api-key"), &[("accept", accept)]).await;
    assert_eq!(one.content_type(), "application/vnd.kubernetes.protobuf");
    assert!(one.body.starts_with(b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Secret\x12"));
    let holds = |body: &[u8], text: &[u8]| body.windows(text.len()).any(|window| window == text);
    // Values travel as they are, not as base64.
    assert!(holds(&one.body, b"FAKE-APIKEY-0123456789abcdef"));
    let watch = format!("{SECRETS}?watch=true&timeoutSeconds=1");
    let frames = fixture.get(&watch, &[("accept", "application/vnd.kubernetes.protobuf;stream=watch")]).await;
    assert_eq!(frames.content_type(), "application/vnd.kubernetes.protobuf;stream=watch");
    assert!(holds(&frames.body[..16], b"\x0a\x05ADDED\x12"));
    let yaml = fixture.get(&format!("{SECRETS}/api-key"), &[("accept", "application/yaml")]).await;
    assert!(yaml.body.starts_with(b"apiVersion: v1\ndata:\n  config.json: "));
    for (accept, wanted) in [
        ("application/json;as=Table;v=v1;g=meta.k8s.io", "Table"),
        ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "PartialObjectMetadataList"),
        ("application/json", "SecretList"),
    ] {
        assert_eq!(fixture.get(SECRETS, &[("accept", accept)]).await.json()["kind"], wanted);
    }
    let table = fixture
        .get(
            &format!("{SECRETS}?includeObject=Object"),
            &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")],
        )
        .await
        .json();
    assert_eq!(table["rows"][0]["object"]["data"]["key"], "RkFLRS1BUElLRVktMDEyMzQ1Njc4OWFiY2RlZg==");
    assert_eq!(fixture.get(SECRETS, &[("accept", "text/html")]).await.status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn large_answers_are_compressed() {
    let fixture = Fixture::new().await;
    let large = fixture.get("/api/v1/namespaces/bulk/secrets", &[("accept-encoding", "gzip")]).await;
    assert_eq!(large.headers["content-encoding"], "gzip");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&large.body[..]), &mut plain).expect("gzip");
    assert_eq!(serde_json::from_slice::<Value>(&plain).expect("JSON")["items"].as_array().unwrap().len(), 60);
    let small = fixture.get(SECRETS, &[("accept-encoding", "gzip")]).await;
    assert!(!small.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn a_watch_tells_the_present_then_changes_and_expires() {
    let fixture = Fixture::new().await;
    let gone = fixture.get(&format!("{SECRETS}?watch=true&resourceVersion=1"), &[]).await;
    assert_eq!((gone.status, gone.json()["type"].as_str()), (StatusCode::OK, Some("ERROR")));
    assert_eq!(gone.json()["object"]["code"], 410);
    let listing =
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
    let events = fixture.get(&format!("{SECRETS}?watch=true&{listing}"), &[]).await;
    let events: Vec<Value> = events
        .body
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(kinds, ["ADDED", "ADDED", "ADDED", "ADDED", "ADDED", "BOOKMARK", "BOOKMARK"]);
    assert_eq!(events[5]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let version =
        fixture.get(SECRETS, &[]).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let new = r#"{"metadata":{"name":"new"},"stringData":{"a":"b"}}"#;
    fixture.send(Method::POST, SECRETS, &[("content-type", "application/json")], new).await;
    fixture.send(Method::DELETE, &format!("{SECRETS}/new"), &[], "").await;
    let since =
        fixture.get(&format!("{SECRETS}?watch=true&resourceVersion={version}&timeoutSeconds=1"), &[]).await;
    let text = String::from_utf8(since.body.to_vec()).expect("UTF-8");
    assert!(text.starts_with("{\"type\":\"ADDED\"") && text.contains("{\"type\":\"DELETED\""), "{text}");
    let legacy = fixture.get("/api/v1/watch/namespaces/demo/secrets/api-key?timeoutSeconds=1", &[]).await;
    assert_eq!(legacy.body.iter().filter(|byte| **byte == b'\n').count(), 1);
}

#[tokio::test]
async fn every_caller_is_told_apart() {
    let fixture = Fixture::new().await;
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let body = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let json = ("content-type", "application/json");
    let by_certificate = request(Method::POST, whoami, &[json, ("authorization", "")], body);
    let response = fixture.connection(1, true).await.send_request(by_certificate).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    let info: Value =
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(
        info["status"]["userInfo"],
        json!({"username": "admin", "groups": ["system:masters", "system:authenticated"]})
    );
    let acting = [
        json,
        ("authorization", "Bearer token-gateway-0001"),
        ("impersonate-user", "alice"),
        ("impersonate-group", "dev"),
        ("impersonate-extra-session", "s-1"),
    ];
    let info = fixture.send(Method::POST, whoami, &acting, body).await.json();
    assert_eq!(info["status"]["userInfo"]["extra"], json!({"session": ["s-1"]}));
    let nobody = fixture.get(SECRETS, &[("authorization", "")]).await;
    assert_eq!(
        (nobody.status, nobody.json()["message"].as_str()),
        (StatusCode::UNAUTHORIZED, Some("Unauthorized"))
    );
    let journal = fixture.journal();
    assert_eq!(journal[0]["user"]["name"], "admin");
    assert_eq!(
        (&journal[1]["user"]["name"], &journal[1]["impersonated"]["name"]),
        (&json!("gateway"), &json!("alice"))
    );
    assert_eq!(journal[1]["body"], BASE64.encode(body));
    assert!(journal[1]["headers"].as_array().unwrap().contains(&json!(["impersonate-extra-session", "s-1"])));
    assert_eq!((&journal[2]["user"], &journal[2]["target"]), (&Value::Null, &json!(SECRETS)));
}

#[tokio::test]
async fn exec_speaks_every_websocket_protocol() {
    let fixture = Fixture::new().await;
    for (protocol, binary) in [
        ("v5.channel.k8s.io", true),
        ("v4.channel.k8s.io", true),
        ("channel.k8s.io", true),
        ("", true),
        ("v4.base64.channel.k8s.io", false),
        ("base64.channel.k8s.io", false),
    ] {
        let mut socket =
            fixture.websocket(EXEC, &[("sec-websocket-protocol", protocol)]).await.ok().expect("granted");
        assert_eq!(socket.protocol.as_deref(), Some(protocol));
        let channel = |number: u8| if binary { number } else { b'0' + number };
        let kind = if binary { Kind::Binary } else { Kind::Text };
        assert_eq!(
            socket.next().await,
            Some((kind, vec![channel(1)])),
            "{protocol} begins with an empty message"
        );
        let typed: &[u8] = if binary { b"\0hello\n" } else { b"0aGVsbG8K" };
        socket.send(kind, typed).await;
        let mut echoed = typed.to_vec();
        echoed[0] = channel(1);
        assert_eq!(socket.next().await, Some((kind, echoed)), "{protocol}");
        if protocol == "v5.channel.k8s.io" {
            socket.send(Kind::Binary, &[255, 0]).await;
            let success = b"\x03{\"metadata\":{},\"status\":\"Success\"}".to_vec();
            assert_eq!(socket.next().await, Some((Kind::Binary, success)));
            assert_eq!(socket.next().await, None);
        }
    }
    let typed: Vec<Value> =
        fixture.journal().into_iter().filter(|line| line.get("stdin").is_some()).collect();
    assert_eq!(typed[0], json!({"id": 1, "stdin": BASE64.encode("hello\n")}));
}

#[tokio::test]
async fn websocket_refusals_are_as_captured() {
    let fixture = Fixture::new().await;
    let refused = |answer: Result<Socket, Answer>| answer.err().expect("refused").status;
    let unknown = [("sec-websocket-protocol", "v9.channel.k8s.io")];
    assert_eq!(refused(fixture.websocket(EXEC, &unknown).await), StatusCode::FORBIDDEN);
    let watch = format!("{SECRETS}?watch=true");
    assert_eq!(refused(fixture.websocket(&watch, &[]).await), StatusCode::FORBIDDEN, "no Origin");
    assert_eq!(refused(fixture.websocket(SECRETS, &[]).await), StatusCode::OK, "a list is answered as ever");
    let token = [
        ("authorization", ""),
        (
            "sec-websocket-protocol",
            "base64url.bearer.authorization.k8s.io.dG9rZW4tYWxpY2UtMDAwMQ, v5.channel.k8s.io",
        ),
    ];
    let socket = fixture.websocket(EXEC, &token).await.ok().expect("granted");
    assert_eq!(socket.protocol.as_deref(), Some("v5.channel.k8s.io"));
    let plain = fixture.get(EXEC, &[]).await;
    assert_eq!(plain.json()["message"], "Upgrade request required");
}

#[tokio::test]
async fn watches_logs_and_ports_run_over_websocket() {
    let fixture = Fixture::new().await;
    let origin = ("origin", "https://localhost");
    let mut watch =
        fixture.websocket(&format!("{SECRETS}?watch=true"), &[origin]).await.ok().expect("granted");
    let (kind, event) = watch.next().await.expect("an event");
    assert!(kind == Kind::Text && event.starts_with(b"{\"type\":\"ADDED\"") && event.ends_with(b"\n"));
    let log = "/api/v1/namespaces/demo/pods/shell/log?follow=true&tailLines=1";
    let mut lines = fixture.websocket(log, &[]).await.ok().expect("granted");
    assert_eq!(lines.next().await, Some((Kind::Binary, Vec::new())));
    assert_eq!(lines.next().await, Some((Kind::Binary, b"line 20\n".to_vec())));
    let mut lines = fixture
        .websocket(log, &[("sec-websocket-protocol", "base64.binary.k8s.io")])
        .await
        .ok()
        .expect("granted");
    assert_eq!(lines.next().await, Some((Kind::Text, Vec::new())));
    assert_eq!(lines.next().await, Some((Kind::Text, b"bGluZSAyMAo=".to_vec())));
    let ports = "/api/v1/namespaces/demo/pods/web/portforward?ports=8080";
    let mut forward = fixture
        .websocket(ports, &[("sec-websocket-protocol", "v4.channel.k8s.io")])
        .await
        .ok()
        .expect("granted");
    for channel in [0, 1] {
        assert_eq!(forward.next().await, Some((Kind::Binary, vec![channel, 0x90, 0x1f])));
    }
    forward.send(Kind::Binary, b"\0GET / HTTP/1.1\r\n\r\n").await;
    let (_, answer) = forward.next().await.expect("an answer");
    assert!(answer.starts_with(b"\0HTTP/1.1 200 OK") && answer.ends_with(b"hello-from-web\n"));
    assert_eq!(forward.next().await, None);
}

#[tokio::test]
async fn a_finalizer_holds_a_deleted_object() {
    let fixture = Fixture::new().await;
    let json = [("content-type", "application/json")];
    let held = r#"{"metadata":{"name":"held","finalizers":["example.test/hold"]}}"#;
    fixture.send(Method::POST, "/api/v1/namespaces/demo/configmaps", &json, held).await;
    let path = "/api/v1/namespaces/demo/configmaps/held";
    let deleted = fixture.send(Method::DELETE, path, &[], "").await.json();
    assert!(deleted["metadata"]["deletionTimestamp"].is_string(), "{deleted}");
    assert_eq!(fixture.get(path, &[]).await.status, StatusCode::OK);
    let merge = [("content-type", "application/merge-patch+json")];
    fixture.send(Method::PATCH, path, &merge, r#"{"metadata":{"finalizers":null}}"#).await;
    assert_eq!(fixture.get(path, &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_process_ends_with_its_client_and_a_stream_with_the_server() {
    let fixture = Fixture::new().await;
    let exec = "/api/v1/namespaces/demo/pods/shell/exec?command=sh&command=-c&command=echo+$$;sleep+1000&stdout=true";
    let v5 = [("sec-websocket-protocol", "v5.channel.k8s.io")];
    let mut shell = fixture.websocket(exec, &v5).await.ok().expect("granted");
    shell.next().await;
    let (_, printed) = shell.next().await.expect("a process id");
    let process = format!("/proc/{}", String::from_utf8_lossy(&printed[1..]).trim());
    assert!(Path::new(&process).exists());
    drop(shell);
    let ended = async {
        while Path::new(&process).exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("the process ends");
    let mut shell = fixture.websocket(EXEC, &v5).await.ok().expect("granted");
    shell.next().await;
    fixture.cluster.stop();
    let mut rest = Vec::new();
    shell.io.read_to_end(&mut rest).await.expect("a proper end");
}
