//! The endpoint over real sockets, with a clock that stands still. Requests are written by hand: what is attacked is
//! what a client can write.

mod bounds;
mod links;
mod pages;
mod programs;
mod slack;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::matter::{Happening, Verdict};
use crate::secret::Secret;
use crate::sign::{hex, signature};
use crate::testing::{ANOTHER, Hands, Judge, SECRET, happening, matter, notify, start};
use crate::token::{New, TokenKey};
use hmac::Mac;

const CONFIG: &str = "
listen: 127.0.0.1:0
baseUrl: https://bastion.example.com
webhooks:
- {name: dm, url: 'https://a.example', secretFile: SECRET, format: generic, approver: bob}
- {name: channel, url: 'https://b.example', format: slack}
slack: {signingSecretFile: SECRET, team: T1}
inbound: {secretFile: SECRET}
approvers:
- {name: bob, issuer: unix, id: '1002', groups: [leads], slack: U1}
- {name: carol, issuer: unix, id: '1003', groups: [leads], slack: U2, secretFile: ANOTHER}
- {name: alice, issuer: unix, id: id-of-alice, groups: [leads], slack: U3}
";
const OURS: &str = "Origin: https://bastion.example.com\r\n";

/// A running server.
struct Stage {
    address: SocketAddr,
    notify: Arc<Notify>,
    judge: Arc<Judge>,
    clock: Arc<Hands>,
    drain: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

/// What came back.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Stage {
    async fn new() -> Self {
        Self::with(CONFIG, Judge::default()).await
    }

    async fn with(config: &str, judge: Judge) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (notify, judge, clock) = (notify(dir.path(), config), Arc::new(judge), Hands::new());
        let (decider, time): (Arc<dyn Decider>, Arc<dyn Clock>) = (judge.clone() as _, clock.clone() as _);
        let server = Server::bind(&notify, &decider, &time).await.unwrap().unwrap();
        let (address, drain) = (server.local_addr().unwrap(), CancellationToken::new());
        let task = tokio::spawn(server.run(drain.clone()));
        Self { address, notify, judge, clock, drain, task, _dir: dir }
    }

    async fn raw(&self, text: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        stream.write_all(text).await.ok();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.ok();
        String::from_utf8(read).unwrap()
    }

    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let length = body.len();
        let text =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
        let answer = self.raw(text.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn token(&self, approver: Option<&str>, verdict: Verdict) -> String {
        token(&self.notify.tokens, approver, verdict)
    }

    fn link(&self, verdict: Verdict) -> String {
        format!("/decide/{}", self.token(Some("bob"), verdict))
    }

    /// A press of a button, as Slack reports it.
    async fn press(&self, user: &str, token: &str) -> Reply {
        self.callback(&payload(user, "T1", token), SECRET, 0).await
    }

    async fn callback(&self, payload: &str, secret: &[u8], late: i64) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new()).append_pair("payload", payload).finish();
        let time = (self.clock.now().as_second() - late).to_string();
        let mac = Secret::new(secret.to_vec()).mac(&[b"v0:", time.as_bytes(), b":", body.as_bytes()]);
        let code = hex(&mac.finalize().into_bytes());
        let headers = format!("X-Slack-Request-Timestamp: {time}\r\nX-Slack-Signature: v0={code}\r\n");
        self.send("POST", "/slack/interactive", &headers, &body).await
    }

    /// A program's decision, signed with a secret.
    async fn program(&self, body: &str, secret: &[u8]) -> Reply {
        let signature = signature(&Secret::new(secret.to_vec()), self.clock.now(), body.as_bytes());
        self.send("POST", "/webhook/decide", &format!("X-Portcullis-Signature: {signature}\r\n"), body).await
    }

    fn taken(&self) -> Vec<(String, String, String)> {
        let taken = self.judge.taken();
        taken.into_iter().map(|taken| (taken.by.name, taken.what, taken.verdict.to_string())).collect()
    }
}

fn token(key: &TokenKey, approver: Option<&str>, verdict: Verdict) -> String {
    let what = "r-7f3a9c".parse().unwrap();
    key.sign(
        &New { webhook: "dm", seq: 7, what: &what, approver, expires: start() + Duration::from_secs(900) },
        verdict,
    )
}

fn payload(user: &str, team: &str, token: &str) -> String {
    serde_json::json!({
        "type": "block_actions", "api_app_id": "A1", "trigger_id": "1.2.3",
        "user": {"id": user, "username": "whoever", "team_id": team}, "team": {"id": team, "domain": "acme"},
        "actions": [{"action_id": "portcullis-approve", "block_id": "x", "type": "button", "value": token}],
    })
    .to_string()
}

fn words(reply: &Reply) -> String {
    let value: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    value["text"].as_str().or(value["refused"].as_str()).or(value["result"].as_str()).unwrap().to_owned()
}

fn said(who: &str, what: &str, verdict: &str) -> (String, String, String) {
    (who.to_owned(), what.to_owned(), verdict.to_owned())
}

#[tokio::test]
async fn the_deciders_refusal_is_what_people_read() {
    let stage = Stage::new().await;
    let link = format!("/decide/{}", stage.token(Some("alice"), Verdict::Approve));
    let reply = stage.send("POST", &link, OURS, "").await;
    assert_eq!(reply.status, 409);
    assert!(reply.body.contains("nobody approves their own request"), "{}", reply.body);
    let press = stage.press("U3", &stage.token(None, Verdict::Approve)).await;
    assert_eq!((press.status, words(&press)), (200, "`nobody approves their own request`".to_owned()));
    let body = r#"{"what":"r-7f3a9c","verdict":"approve","approver":"alice"}"#;
    let reply = stage.program(body, SECRET).await;
    assert_eq!((reply.status, words(&reply)), (409, "nobody approves their own request".to_owned()));
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn messages_carry_what_the_endpoint_takes() {
    let stage = Stage::new().await;
    let told: Happening = happening(crate::EventKind::Requested, matter("r-7f3a9c"));
    let read = |number: usize, told: &Happening| -> serde_json::Value {
        let message = crate::message::Message::new(&stage.notify, &stage.notify.webhooks[number], told);
        serde_json::from_slice(&message.body).unwrap()
    };
    let message = read(0, &told);
    assert_eq!(
        (message["version"].as_u64(), message["event"].as_str(), message["id"].as_str()),
        (Some(1), Some("requested"), Some("dm-7"))
    );
    assert_eq!(message["links"]["expires"], "2026-01-01T00:15:00Z");
    let link =
        message["links"]["deny"].as_str().unwrap().strip_prefix("https://bastion.example.com").unwrap();
    assert_eq!(stage.send("POST", link, OURS, "").await.status, 200);
    let message = read(1, &told);
    let button =
        message["blocks"].as_array().unwrap().last().unwrap()["elements"][0]["value"].as_str().unwrap();
    assert!(button.len() < 2000, "Slack's limit");
    // As long as there is something to decide, and no longer.
    stage.clock.forward(3599);
    stage.press("U2", button).await;
    assert_eq!(stage.taken(), [said("bob", "r-7f3a9c", "deny"), said("carol", "r-7f3a9c", "approve")]);
    stage.clock.forward(1);
    assert!(words(&stage.press("U1", button).await).contains("expired"));

    let mut others = told.clone();
    others.matter.approver_groups = ["security".to_owned()].into();
    assert!(read(0, &others).get("links").is_none(), "bob could not approve it");
    let mut over = told.clone();
    over.matter.over = Some("approved".into());
    assert!(read(0, &over).get("links").is_none());
    let ended = Happening { kind: crate::EventKind::Revoked, ..told };
    assert!(read(0, &ended).get("links").is_none());
}
