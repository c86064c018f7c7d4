//! Attempts over real sockets, against endpoints that answer what the test says.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::matter::EventKind;
use crate::sign::verify;
use crate::testing::{Hands, SECRET, happening, matter, notify, start};

/// Where the URL of each test would show: no words may hold it.
const PATH: &str = "/services/T0/hush_hush";

struct Endpoint {
    listener: TcpListener,
    http: Http,
    message: Message,
    _dir: tempfile::TempDir,
}

impl Endpoint {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let config = format!("webhooks: [{{name: a, url: '{url}', secretFile: SECRET, format: generic}}]");
        let notify = notify(dir.path(), &config);
        let webhook = &notify.webhooks[0];
        let message = Message::new(&notify, webhook, &happening(EventKind::Held, matter("h-000001")));
        let http = Http::new(webhook, Hands::new()).unwrap();
        Self { listener, http, message, _dir: dir }
    }

    /// What one attempt comes to when the endpoint answers this, and what it was sent.
    async fn answers(&self, answer: &str) -> (Attempt, String) {
        let serve = async {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            let (mut read, mut length) = (vec![0; 65_536], 0);
            while !read[..length].ends_with(b"}") {
                length += stream.read(&mut read[length..]).await.unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Endless answers are not read to their end.
            let more = vec![b'x'; 65_536];
            while answer.contains("chunked") && stream.write_all(b"10000\r\n").await.is_ok() {
                if stream.write_all(&more).await.is_err() || stream.write_all(b"\r\n").await.is_err() {
                    break;
                }
            }
            String::from_utf8(read[..length].to_vec()).unwrap()
        };
        tokio::join!(self.http.post(&self.message), serve)
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len())
}

#[tokio::test]
async fn a_message_is_signed_and_named() {
    let endpoint = Endpoint::new().await;
    let (attempt, sent) = endpoint.answers(&answer("204 No Content", "", "")).await;
    assert_eq!(attempt, Attempt::Delivered);
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {head}"))
    };
    assert!(head.starts_with(&format!("POST {PATH} HTTP/1.1")), "{head}");
    assert_eq!((header(ID_HEADER), header("content-type")), ("a-7", "application/json"));
    let secret = Secret::new(SECRET.to_vec());
    verify(&secret, header(SIGNATURE_HEADER), start(), body.as_bytes()).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&body["event"], &body["what"], &body["who"]["name"]),
        (&"held".into(), &"h-000001".into(), &"alice".into())
    );
}

#[tokio::test]
async fn the_status_says_whether_to_try_again() {
    let endpoint = Endpoint::new().await;
    for (status, headers, body, expected) in [
        ("200 OK", "", "ok", Attempt::Delivered),
        ("503 Unavailable", "Retry-After: 20\r\n", "", later("it answered 503", Some(20))),
        (
            "429 Too Many",
            "Retry-After: Thu, 01 Jan 2026 00:01:00 GMT\r\n",
            "",
            later("it answered 429", Some(60)),
        ),
        ("500 Oops", "Retry-After: never\r\n", "", later("it answered 500", None)),
        ("408 Timeout", "", "", later("it answered 408", None)),
        ("404 Gone", "", "no_service", refused("it answered 404 (no_service)")),
        ("400 Bad", "", "channel_is_archived\n", refused("it answered 400 (channel_is_archived)")),
        ("403 No", "", "hush_hush", refused("it answered 403")),
        ("403 No", "", "POST /services/T0/hush_hush is forbidden", refused("it answered 403")),
        ("410 Gone", "", "", refused("it answered 410")),
        (
            "302 Found",
            "Location: /elsewhere\r\n",
            "",
            refused("it answered 302, and redirects are not followed"),
        ),
    ] {
        let (attempt, _) = endpoint.answers(&answer(status, headers, body)).await;
        assert_eq!(attempt, expected, "{status}");
    }
    let (attempt, _) = endpoint.answers("HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(attempt, refused("it answered 400"));
}

#[tokio::test]
async fn failures_are_told_without_the_url() {
    let endpoint = Endpoint::new().await;
    let (attempt, _) = endpoint.answers("HTTP/9.9 nonsense\r\n\r\n").await;
    assert!(
        matches!(&attempt, Attempt::Later { why, .. } if !why.is_empty() && !why.contains("hush")),
        "{attempt:?}"
    );
    let (attempt, _) = endpoint.answers("").await;
    assert!(
        matches!(&attempt, Attempt::Later { why, .. } if !why.is_empty() && !why.contains("hush")),
        "{attempt:?}"
    );
    let Endpoint { listener, http, message, .. } = endpoint;
    drop(listener);
    let attempt = http.post(&message).await;
    assert!(matches!(&attempt, Attempt::Later { why, .. } if why.contains("refused")), "{attempt:?}");
    assert!(!format!("{message:?}").contains("alice"));
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let ca = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem())
            .unwrap();
        path.display().to_string()
    };
    let url = "https://127.0.0.1:1/x";
    let config = |ca: &str| {
        format!("webhooks: [{{name: a, url: '{url}', format: slack, certificateAuthority: {ca}}}]")
    };
    let good = notify(dir.path(), &config(&ca("ca.example")));
    assert!(Http::new(&good.webhooks[0], Hands::new()).is_ok());
    std::fs::write(dir.path().join("empty"), "").unwrap();
    for (path, problem) in [("empty", "no certificates in PEM"), ("missing", "cannot read")] {
        let path = dir.path().join(path);
        let bad = notify(dir.path(), &config(&path.display().to_string()));
        let error = Http::new(&bad.webhooks[0], Hands::new()).err().unwrap().to_string();
        assert!(error.contains(problem) && error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn only_the_configured_authority_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let made = ["ours", "theirs"].map(|name| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        (write(name, &made.cert.pem()), write(&format!("{name}.key"), &made.signing_key.serialize_pem()))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}{PATH}", listener.local_addr().unwrap());
    let files = crate::TlsFiles { cert_file: made[0].0.clone(), key_file: made[0].1.clone() };
    let certificate = crate::server::Certificate::load(&files, start()).unwrap();
    for (ca, believed) in [(&made[0].0, true), (&made[1].0, false)] {
        let config = format!(
            "webhooks: [{{name: a, url: '{url}', format: slack, certificateAuthority: {}}}]",
            ca.display()
        );
        let notify = notify(dir.path(), &config);
        let http = Http::new(&notify.webhooks[0], Hands::new()).unwrap();
        let message =
            Message::new(&notify, &notify.webhooks[0], &happening(EventKind::Held, matter("h-000001")));
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = certificate.acceptor(start()).accept(stream).await else { return };
            let mut read = vec![0; 65_536];
            // A client that believes nothing may finish its handshake and end.
            if stream.read(&mut read).await.is_ok_and(|length| length > 0) {
                stream.write_all(answer("200 OK", "", "").as_bytes()).await.unwrap();
                stream.shutdown().await.ok();
            }
        };
        let (attempt, ()) = tokio::join!(http.post(&message), serve);
        match attempt {
            Attempt::Delivered => assert!(believed),
            Attempt::Later { why, .. } => {
                assert!(!believed && why.contains("certificate") && !why.contains("hush"), "{why}");
            }
            refused => panic!("{refused:?}"),
        }
    }
}

fn later(why: &str, asked: Option<u64>) -> Attempt {
    Attempt::Later { why: why.into(), asked: asked.map(Duration::from_secs) }
}

fn refused(why: &str) -> Attempt {
    Attempt::Refused { why: why.into() }
}
