//! Approvers are told by webhooks, signed, and decide by links of their own: looking at one decides nothing, using it does,
//! once; and what was not signed by whom it should be counts for nothing.

mod common;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use common::{LIMIT, curl, id_of, newest, programs, requests, role};
use e2e::{ALICE, BOB, Running, Stage, StageOptions, output, wait_for};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::Sha256;

const HOOK_SECRET: &str = "FAKE-webhook-secret-0123456789abcdef";
const INBOUND_SECRET: &str = "FAKE-inbound-secret-0123456789abcdef";

fn roles() -> String {
    role(
        "careful",
        r#"
  rules:
  - {apiGroups: [""], resources: [pods], verbs: [get, list, watch]}
  - {action: review, apiGroups: [""], resources: [pods], verbs: [delete], review: {wait: 1m}}
"#,
    )
}

/// Something that webhooks are sent to.
struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    /// Its end is the server's.
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Received {
    path: String,
    headers: HashMap<String, String>,
    body: Bytes,
}

impl Receiver {
    fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let into = Arc::clone(&received);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let into = Arc::clone(&into);
                tokio::spawn(async move {
                    let service = service_fn(move |request| take(request, Arc::clone(&into)));
                    let connection = hyper::server::conn::http1::Builder::new();
                    connection.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Ok(Self { address, received, _runtime: runtime })
    }

    /// The first message to `path` of this kind about `what`, once it is there.
    fn told(&self, path: &str, event: &str, what: &str) -> Result<(Received, Value)> {
        wait_for(&format!("{event} of {what} at {path}"), LIMIT, || {
            let received = self.received.lock().expect("no panic while it is held");
            received.iter().filter(|message| message.path == path).find_map(|message| {
                let body: Value = serde_json::from_slice(&message.body).ok()?;
                (body["event"] == event && body["what"] == what).then(|| (message.clone(), body))
            })
        })
    }
}

async fn take(
    request: Request<Incoming>,
    into: Arc<Mutex<Vec<Received>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    if let Ok(body) = body.collect().await {
        let received = Received { path: head.uri.path().to_owned(), headers, body: body.to_bytes() };
        into.lock().expect("no panic while it is held").push(received);
    }
    Ok(Response::new(Full::default()))
}

struct World {
    stage: Stage,
    receiver: Receiver,
    /// Where links and programs are answered.
    base: String,
    _secrets: tempfile::TempDir,
}

/// Everybody reads `/all`; `/bob` is bob's alone and carries his links.
fn world() -> Result<World> {
    let receiver = Receiver::start()?;
    let secrets = tempfile::tempdir()?;
    let secret = |name: &str, content: &str| -> Result<PathBuf> {
        let file = secrets.path().join(name);
        fs::write(&file, content)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        Ok(file)
    };
    let hook = secret("hook", HOOK_SECRET)?;
    let inbound = secret("inbound", INBOUND_SECRET)?;
    // Freed at once and taken again by the daemon.
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let base = format!("http://{listen}");
    let url = |path: &str| format!("http://{}{path}", receiver.address);
    let options = StageOptions {
        config: json!({ "notify": {
            "listen": listen.to_string(),
            "baseUrl": base,
            "webhooks": [
                { "name": "all", "url": url("/all"), "secretFile": hook, "format": "generic" },
                { "name": "bob", "url": url("/bob"), "secretFile": hook, "format": "generic", "approver": "bob" },
            ],
            "inbound": { "secretFile": inbound },
            "approvers": [{ "name": "bob", "issuer": "unix", "id": BOB.uid.to_string(), "groups": BOB.groups }],
        }}),
        ..StageOptions::with_roles(&roles())
    };
    Ok(World { stage: Stage::set(&programs()?, &options)?, receiver, base, _secrets: secrets })
}

fn ask(stage: &Stage, person: e2e::Person) -> Result<String> {
    id_of(&stage.portcullis(
        person,
        &["request", "--role", "careful", "--for", "1h", "--reason", "INC-7: web is slow", "-o", "json"],
    )?)
}

fn signed(secret: &str, time: &str, body: &[u8]) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let code: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("t={time},v1={code}"))
}

fn now() -> Result<String> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().to_string())
}

/// Uses a link as the page behind it does.
fn press(link: &str, base: &str) -> Result<(u16, String)> {
    let origin = format!("Origin: {base}");
    curl(&["-X", "POST", "-H", &origin, "-d", "comment=by+link"], link)
}

#[test]
fn a_request_is_told_and_decided_by_link_once() -> Result<()> {
    let World { stage, receiver, base, .. } = world()?;
    let request = ask(&stage, ALICE)?;
    let (message, told) = receiver.told("/all", "requested", &request)?;
    assert_eq!((&told["who"]["name"], &told["role"]), (&"alice".into(), &"careful".into()));
    assert_eq!(told["reason"], "INC-7: web is slow");
    assert!(told["links"].is_null(), "what everybody reads decides nothing: {told}");
    let signature = message.headers.get("x-portcullis-signature").context("no signature")?;
    let time = signature.split(',').next().and_then(|part| part.strip_prefix("t=")).context("no time")?;
    assert_eq!(*signature, signed(HOOK_SECRET, time, &message.body)?);

    let (_, told) = receiver.told("/bob", "requested", &request)?;
    let link = told["links"]["approve"].as_str().context("no link")?;
    let other = told["links"]["deny"].as_str().context("no link")?;
    assert!(link.starts_with(&format!("{base}/decide/")), "{link}");
    for _preview in 0..2 {
        let (status, page) = curl(&[], link)?;
        assert_eq!(status, 200, "{page}");
        for part in ["alice", "INC-7: web is slow", "<form method=\"post\">"] {
            assert!(page.contains(part), "{part:?} is not in {page}");
        }
    }
    assert_eq!(requests(&stage, BOB, "r-", false)?.len(), 1, "looking decides nothing");

    let altered = format!("{}{}", &link[..link.len() - 2], if link.ends_with("AA") { "BB" } else { "AA" });
    assert_eq!(press(&altered, &base)?.0, 403, "altered");
    let (status, page) = curl(&["-X", "POST", "-H", "Origin: https://elsewhere.example.test"], link)?;
    assert_eq!(status, 403, "from another page: {page}");
    assert_eq!(requests(&stage, BOB, "r-", false)?.len(), 1);

    let (status, page) = press(link, &base)?;
    assert_eq!(status, 200, "{page}");
    let works = output(&mut stage.kubectl(ALICE, &newest()?, &["get", "pods"]), LIMIT)?;
    assert_eq!(works.code, 0, "{}", works.all());
    for spent in [link, other] {
        let (status, page) = press(spent, &base)?;
        assert_eq!(status, 409, "{page}");
    }
    let grants = stage.portcullis(BOB, &["grants", "-o", "json"])?;
    assert_eq!(grants.stdout.matches("\"g-").count(), 1, "{}", grants.stdout);
    let (_, granted) = receiver.told("/all", "granted", &request).or_else(|_| {
        let grant = common::parsed(&grants)?[0]["id"].as_str().unwrap_or_default().to_owned();
        receiver.told("/all", "granted", &grant)
    })?;
    assert_eq!(granted["who"]["name"], "alice");
    Ok(())
}

#[test]
fn a_held_request_goes_on_by_link() -> Result<()> {
    let World { stage, receiver, base, .. } = world()?;
    stage.grant(ALICE, "careful", "1h")?;
    let delete = ["delete", "pod", "web", "--wait=false"];
    let mut running = Running::start(stage.kubectl(ALICE, &newest()?, &delete).stdin(Stdio::null()))?;
    let held = wait_for("a held request", LIMIT, || requests(&stage, BOB, "h-", false).ok()?.pop())?;
    let (_, told) = receiver.told("/bob", "held", held["id"].as_str().context("id")?)?;
    assert!(told["operation"].as_str().is_some_and(|operation| operation.contains("delete pods")), "{told}");
    assert!(told["command"].as_str().is_some_and(|command| command.contains("delete pod web")), "{told}");
    let (status, page) = press(told["links"]["approve"].as_str().context("no link")?, &base)?;
    assert_eq!(status, 200, "{page}");
    let deleted = running.wait(LIMIT)?;
    assert_eq!(deleted.code, 0, "{}", deleted.all());
    Ok(())
}

#[test]
fn nobody_decides_their_own_by_link() -> Result<()> {
    let World { stage, receiver, base, .. } = world()?;
    let request = ask(&stage, BOB)?;
    let (_, told) = receiver.told("/bob", "requested", &request)?;
    // That he gets no link is as good as one that is refused.
    if let Some(link) = told["links"]["approve"].as_str() {
        let (status, page) = press(link, &base)?;
        assert_eq!(status, 409, "{page}");
    }
    assert_eq!(requests(&stage, BOB, "r-", false)?.len(), 1);
    Ok(())
}

#[test]
fn a_program_is_believed_by_its_signature_alone() -> Result<()> {
    let World { stage, base, .. } = world()?;
    let request = ask(&stage, ALICE)?;
    let body = |approver: &str| {
        json!({ "what": request, "verdict": "approve", "approver": approver, "comment": "by program" })
            .to_string()
    };
    let url = format!("{base}/webhook/decide");
    let send = |body: &str, signature: Option<String>| -> Result<(u16, String)> {
        let header = signature.map(|signature| format!("X-Portcullis-Signature: {signature}"));
        let mut args = vec!["-H", "Content-Type: application/json", "-d", body];
        if let Some(header) = &header {
            args.extend(["-H", header]);
        }
        curl(&args, &url)
    };
    let (good, time) = (body("bob"), now()?);
    let long_ago = (time.parse::<u64>()? - 301).to_string();
    let flipped = signed(INBOUND_SECRET, &time, good.as_bytes())?.replace("v1=", "v1=0");
    for (what, body, signature) in [
        ("unsigned", good.clone(), None),
        ("another secret", good.clone(), Some(signed(HOOK_SECRET, &time, good.as_bytes())?)),
        (
            "another body",
            body("bob").replace("approve\"", "deny\""),
            Some(signed(INBOUND_SECRET, &time, good.as_bytes())?),
        ),
        ("too old", good.clone(), Some(signed(INBOUND_SECRET, &long_ago, good.as_bytes())?)),
        ("malformed", good.clone(), Some(flipped)),
        ("nobody's", body("eve"), Some(signed(INBOUND_SECRET, &time, body("eve").as_bytes())?)),
    ] {
        let (status, answered) = send(&body, signature)?;
        assert_eq!(status, 401, "{what}: {answered}");
        assert_eq!(requests(&stage, BOB, "r-", false)?.len(), 1, "{what}");
    }
    let signature = signed(INBOUND_SECRET, &time, good.as_bytes())?;
    let (status, answered) = send(&good, Some(signature.clone()))?;
    assert_eq!(status, 200, "{answered}");
    let (status, answered) = send(&good, Some(signature))?;
    assert_eq!(status, 409, "the same message again: {answered}");
    let grants = stage.portcullis(BOB, &["grants", "-o", "json"])?;
    assert_eq!(grants.stdout.matches("\"g-").count(), 1, "{}", grants.stdout);
    Ok(())
}

#[test]
fn engineers_reach_the_links_endpoint_and_nothing_more() -> Result<()> {
    let World { stage, base, .. } = world()?;
    let mut look = stage.command(ALICE, Path::new("/usr/bin/curl"));
    let looked =
        output(look.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", &format!("{base}/")]), LIMIT)?;
    assert_eq!(looked.stdout, "404");
    Ok(())
}
