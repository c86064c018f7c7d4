//! The endpoint over real sockets, with a clock that stands still. Requests are written by hand: what is attacked is
//! what a client can write.

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
async fn a_link_shows_first_and_decides_when_its_button_is_pressed() {
    let stage = Stage::with(CONFIG, Judge { diff: Some("-a\n+<b>".into()), ..Judge::default() }).await;
    let link = stage.link(Verdict::Approve);
    let page = stage.send("GET", &link, "", "").await;
    assert_eq!(page.status, 200);
    for part in [
        "Approve r-7f3a9c?",
        "alice",
        "INC-7: web is stuck",
        "kubectl delete pod web",
        "+&lt;b&gt;",
        "Approve as bob",
    ] {
        assert!(page.body.contains(part), "{part} in {}", page.body);
    }
    let head = page.head.to_lowercase();
    for header in [
        "content-security-policy: default-src 'none'",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "frame-ancestors 'none'",
        "x-frame-options: deny",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert!(stage.taken().is_empty(), "looking decides nothing");

    let done = stage.send("POST", &link, OURS, "comment=seen+it+%26+fine").await;
    assert_eq!(done.status, 200);
    assert!(done.body.contains("approve of r-7f3a9c is on record"), "{}", done.body);
    let taken = stage.judge.taken();
    assert_eq!(stage.taken(), [said("bob", "r-7f3a9c", "approve")]);
    assert_eq!(
        (taken[0].comment.as_str(), taken[0].by.method),
        ("seen it & fine", portcullis_identity::Method::Link)
    );
    assert_eq!((taken[0].by.issuer.as_str(), taken[0].by.id.as_str()), ("unix", "1002"));
    assert_eq!(taken[0].expires, start() + Duration::from_secs(900));

    let again = stage.send("POST", &link, OURS, "").await;
    assert_eq!(again.status, 409);
    assert!(again.body.contains("was used already"), "{}", again.body);
    assert_eq!(stage.taken().len(), 1);
}

#[tokio::test]
async fn what_only_looks_decides_nothing() {
    let stage = Stage::new().await;
    let link = stage.link(Verdict::Approve);
    for method in ["GET", "HEAD"] {
        let reply = stage.send(method, &link, "", "").await;
        assert_eq!((reply.status, method == "HEAD"), (200, reply.body.is_empty()), "{method}");
    }
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        let reply = stage.send(method, &link, OURS, "").await;
        assert_eq!(reply.status, 405, "{method}");
        assert!(reply.head.to_lowercase().contains("allow: get, head, post"), "{}", reply.head);
    }
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn a_post_from_elsewhere_decides_nothing() {
    let stage = Stage::new().await;
    let link = stage.link(Verdict::Approve);
    for headers in [
        "",
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://bastion.example.com\r\n",
        "Origin: https://bastion.example.com.evil.example\r\n",
        "Origin: https://bastion.example.com:8443\r\n",
        "Origin: https://bastion.example.com\r\nOrigin: https://evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: none\r\n",
        "Referer: https://bastion.example.com/\r\n",
        "Sec-Fetch-Site: cross-site\r\nOrigin: https://bastion.example.com\r\n",
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        let reply = stage.send("POST", &link, headers, "").await;
        assert_eq!(reply.status, 403, "{headers}");
        assert!(reply.body.contains("open the link"), "{}", reply.body);
    }
    assert!(stage.taken().is_empty());
    // What browsers send from a page without referrer.
    let reply = stage.send("POST", &link, "Sec-Fetch-Site: same-origin\r\nOrigin: null\r\n", "").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn each_bad_link_has_its_own_reason() {
    let stage = Stage::new().await;
    let good = stage.token(Some("bob"), Verdict::Approve);
    let other = token(&TokenKey::new(Secret::new(vec![9; 32])), Some("bob"), Verdict::Approve);
    let (payload, code) = good.split_once('.').unwrap();
    let altered =
        format!("{}{}.{code}", &payload[..payload.len() - 1], if payload.ends_with('A') { "Q" } else { "A" });
    let gone = stage.token(Some("dave"), Verdict::Approve);
    let button = stage.token(None, Verdict::Approve);
    for (token, status, reason) in [
        (good[..good.len() - 5].to_owned(), 400, "is not whole"),
        (String::new(), 400, "is not whole"),
        ("../decide".to_owned(), 400, "is not whole"),
        (altered, 403, "was altered"),
        (other, 403, "another key"),
        (gone, 403, "dave is no longer among notify.approvers"),
        (button, 403, "was made for a button"),
    ] {
        for (method, headers) in [("GET", ""), ("POST", OURS)] {
            let reply = stage.send(method, &format!("/decide/{token}"), headers, "").await;
            assert_eq!(reply.status, status, "{method} {token}: {}", reply.body);
            assert!(reply.body.contains(reason), "{reason} in {}", reply.body);
        }
    }
    stage.clock.forward(899);
    assert_eq!(stage.send("GET", &stage.link(Verdict::Deny), "", "").await.status, 200);
    stage.clock.forward(1);
    for (method, headers) in [("GET", ""), ("POST", OURS)] {
        let reply = stage.send(method, &stage.link(Verdict::Deny), headers, "").await;
        assert_eq!(reply.status, 410);
        assert!(reply.body.contains("expired at 2026-01-01T00:15:00Z"), "{}", reply.body);
    }
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn what_is_decided_already_has_no_button() {
    let stage = Stage::new().await;
    *stage.judge.over.lock().unwrap() = Some("denied".into());
    let page = stage.send("GET", &stage.link(Verdict::Approve), "", "").await;
    assert_eq!(page.status, 409);
    assert!(
        page.body.contains("no longer waits: it is denied") && !page.body.contains("<form"),
        "{}",
        page.body
    );
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
async fn a_press_decides_as_the_approver_whose_it_is() {
    let stage = Stage::new().await;
    let button = stage.token(None, Verdict::Approve);
    let reply = stage.press("U1", &button).await;
    assert_eq!((reply.status, words(&reply)), (200, "`approve of r-7f3a9c is on record`".to_owned()));
    assert!(reply.body.contains("\"response_type\":\"ephemeral\""));
    let again = stage.press("U1", &button).await;
    assert_eq!((again.status, words(&again)), (200, "`this link or button was used already`".to_owned()));
    // Where two are required, both press the same button.
    stage.press("U2", &button).await;
    assert_eq!(stage.taken(), [said("bob", "r-7f3a9c", "approve"), said("carol", "r-7f3a9c", "approve")]);
    assert_eq!(stage.judge.taken()[0].by.method, portcullis_identity::Method::Webhook);
}

#[tokio::test]
async fn a_press_that_is_not_slacks_decides_nothing() {
    let stage = Stage::new().await;
    let pressed = payload("U1", "T1", &stage.token(None, Verdict::Approve));
    for (secret, late, reason) in [
        (ANOTHER, 0, "does not verify"),
        (SECRET, 301, "more than 300 seconds"),
        (SECRET, -301, "more than 300 seconds"),
    ] {
        let reply = stage.callback(&pressed, secret, late).await;
        assert_eq!(reply.status, 401);
        assert!(reply.body.contains(reason), "{}", reply.body);
    }
    let time = stage.clock.now().as_second();
    for (headers, reason) in [
        (String::new(), "exactly one X-Slack-Request-Timestamp"),
        (format!("X-Slack-Request-Timestamp: {time}\r\n"), "exactly one X-Slack-Signature"),
        (format!("X-Slack-Request-Timestamp: {time}\r\nX-Slack-Signature: v0=0\r\n"), "not of the form v0="),
        (
            format!("X-Slack-Request-Timestamp: {time}\r\nX-Slack-Signature: v0={}\r\n", "0".repeat(64)),
            "does not verify",
        ),
        (
            format!("X-Slack-Request-Timestamp: {time}\r\nX-Slack-Request-Timestamp: {time}\r\n"),
            "exactly one X-Slack-Request-Timestamp",
        ),
    ] {
        let reply = stage.send("POST", "/slack/interactive", &headers, "payload=%7B%7D").await;
        assert_eq!(reply.status, 401, "{headers}");
        assert!(reply.body.contains(reason), "{reason} in {}", reply.body);
    }
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn slacks_word_is_not_enough() {
    let stage = Stage::new().await;
    let button = stage.token(None, Verdict::Approve);
    let unknown = stage.press("U9", &button).await;
    assert!(words(&unknown).contains("Slack user U9 is no approver"), "{}", unknown.body);
    let elsewhere = stage.callback(&payload("U1", "T2", &button), SECRET, 0).await;
    assert!(words(&elsewhere).contains("another workspace"), "{}", elsewhere.body);
    let forged = token(&TokenKey::new(Secret::new(vec![9; 32])), None, Verdict::Approve);
    for (token, reason) in [
        (forged, "another key"),
        ("r-7f3a9c".to_owned(), "not whole"),
        // Bob's own link, pasted into a button that carol presses.
        (stage.token(Some("bob"), Verdict::Approve), "was made for a link"),
    ] {
        let reply = stage.press("U2", &token).await;
        assert_eq!(reply.status, 200);
        assert!(words(&reply).contains(reason), "{reason} in {}", reply.body);
    }
    stage.clock.forward(900);
    assert!(words(&stage.press("U1", &button).await).contains("expired at"));
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn callbacks_of_other_kinds_decide_nothing() {
    let stage = Stage::new().await;
    let press = payload("U1", "T1", &stage.token(None, Verdict::Approve));
    let other = press.replace("block_actions", "view_submission");
    assert_eq!(stage.callback(&other, SECRET, 0).await.status, 400);
    assert_eq!(stage.callback("{", SECRET, 0).await.status, 400);
    // A button that opens a link.
    let mut opened: serde_json::Value = serde_json::from_str(&press).unwrap();
    opened["actions"][0].as_object_mut().unwrap().remove("value");
    let reply = stage.callback(&opened.to_string(), SECRET, 0).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn slack_is_answered_where_it_asks_and_nobody_else_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = CONFIG.replace("team: T1", "team: T1, responseHosts: ['127.0.0.1']");
    let stage = Stage::with(&config, Judge::default()).await;
    let asked = |url: String| {
        let mut press: serde_json::Value =
            serde_json::from_str(&payload("U1", "T1", &stage.token(None, Verdict::Approve))).unwrap();
        press["response_url"] = url.into();
        press.to_string()
    };
    // Of another host: nothing may come of it. What arrives first is what was allowed.
    stage.callback(&asked(format!("http://localhost:{port}/elsewhere")), SECRET, 0).await;
    stage.callback(&asked(format!("http://127.0.0.1:{port}/answer")), SECRET, 0).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = vec![0; 4096];
    let mut length = 0;
    while !String::from_utf8_lossy(&read[..length]).contains('}') {
        length += stream.read(&mut read[length..]).await.unwrap();
    }
    let text = String::from_utf8_lossy(&read[..length]);
    assert!(text.starts_with("POST /answer HTTP/1.1") && text.contains("was used already"), "{text}");
}

#[tokio::test]
async fn a_program_decides_for_whom_its_secret_speaks() {
    let stage = Stage::new().await;
    let bob = r#"{"what":"h-000001","verdict":"deny","approver":"bob","comment":"not today"}"#;
    let reply = stage.program(bob, SECRET).await;
    assert_eq!((reply.status, words(&reply)), (200, "deny of h-000001 is on record".to_owned()));
    let again = stage.program(bob, SECRET).await;
    assert_eq!(again.status, 409, "the same message again: {}", again.body);
    // However the header spells it.
    let code = signature(&Secret::new(SECRET.to_vec()), start(), bob.as_bytes())
        .replace("v1=", " v1=")
        .to_uppercase();
    let spelt = format!("X-Portcullis-Signature: {}\r\n", code.replace("T=", "t=").replace("V1=", "v1="));
    assert_eq!(stage.send("POST", "/webhook/decide", &spelt, bob).await.status, 409);
    assert_eq!(stage.taken(), [said("bob", "h-000001", "deny")]);
    let taken = &stage.judge.taken()[0];
    assert_eq!(taken.comment, "not today");
    assert_eq!(
        taken.expires,
        start() + Duration::from_secs(301),
        "remembered for as long as it would be accepted"
    );

    let carol = bob.replace("bob", "carol");
    assert_eq!(stage.program(&carol, SECRET).await.status, 401, "carol has a secret of her own");
    assert_eq!(stage.program(&carol, ANOTHER).await.status, 200);
    assert_eq!(stage.program(bob, ANOTHER).await.status, 401, "which speaks for nobody else");
}

#[tokio::test]
async fn a_program_that_is_not_vouched_for_decides_nothing() {
    let stage = Stage::new().await;
    let body = r#"{"what":"h-000001","verdict":"approve","approver":"bob"}"#;
    let good = signature(&Secret::new(SECRET.to_vec()), start(), body.as_bytes());
    for (headers, body, status, reason) in [
        (String::new(), body, 401, "exactly one X-Portcullis-Signature"),
        (
            format!("X-Portcullis-Signature: {good}\r\nX-Portcullis-Signature: {good}\r\n"),
            body,
            401,
            "exactly one",
        ),
        ("X-Portcullis-Signature: v1=00\r\n".to_owned(), body, 401, "not of the form t="),
        (
            format!("X-Portcullis-Signature: {good}\r\n"),
            &body.replace("000001", "000002"),
            401,
            "does not verify",
        ),
        (format!("X-Portcullis-Signature: {good}\r\n"), &body.replace("bob", "eve"), 401, "does not verify"),
        (
            format!("X-Portcullis-Signature: {good}\r\n"),
            &body.replace("h-0", "g-0"),
            400,
            "neither a request",
        ),
        (
            format!("X-Portcullis-Signature: {good}\r\n"),
            &body.replace("approve\"", "maybe\""),
            400,
            "unknown variant",
        ),
        (
            format!("X-Portcullis-Signature: {good}\r\n"),
            &body.replace('}', ",\"groups\":[]}"),
            400,
            "unknown field",
        ),
        (
            format!("X-Portcullis-Signature: {good}\r\n"),
            &body.replace('}', ",\"approver\":\"carol\"}"),
            400,
            "duplicate field",
        ),
        (format!("X-Portcullis-Signature: {good}\r\n"), "", 400, "no decision"),
    ] {
        let reply = stage.send("POST", "/webhook/decide", &headers, body).await;
        assert_eq!(reply.status, status, "{headers} {body}: {}", reply.body);
        assert!(reply.body.contains(reason), "{reason} in {}", reply.body);
    }
    stage.clock.forward(301);
    let reply =
        stage.send("POST", "/webhook/decide", &format!("X-Portcullis-Signature: {good}\r\n"), body).await;
    assert_eq!(reply.status, 401);
    assert!(reply.body.contains("more than 300 seconds"), "{}", reply.body);
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn what_is_not_configured_is_not_there() {
    let stage = Stage::new().await;
    for path in
        ["/", "/decide", "/slack", "/slack/interactive/", "/webhook/decide/x", "/metrics", "//decide/x"]
    {
        assert_eq!(stage.send("GET", path, "", "").await.status, 404, "{path}");
    }
    for path in ["/slack/interactive", "/webhook/decide"] {
        let reply = stage.send("GET", path, "", "").await;
        assert_eq!(reply.status, 405, "{path}");
    }
    let bare = Stage::with(
        "{listen: '127.0.0.1:0', links_for: 1m}".replace(", links_for: 1m", "").as_str(),
        Judge::default(),
    )
    .await;
    for path in ["/decide/x.y", "/slack/interactive", "/webhook/decide"] {
        assert_eq!(bare.send("POST", path, OURS, "").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn everything_is_bounded() {
    let stage = Stage::new().await;
    let big = "x".repeat(300 * 1024);
    for (path, headers) in
        [(stage.link(Verdict::Approve).as_str(), OURS), ("/slack/interactive", ""), ("/webhook/decide", "")]
    {
        assert_eq!(stage.send("POST", path, headers, &big).await.status, 413, "{path}");
    }
    let reply = stage.send("GET", "/", &format!("X-Big: {}\r\n", "x".repeat(32 * 1024)), "").await;
    assert_eq!(reply.status, 431);
    // One request a connection: a second one is not read.
    let two = "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = stage.raw(two.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 404").count(), 1, "{answer}");
    assert!(stage.taken().is_empty());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_places_come_free() {
    let stage = Stage::new().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(TcpStream::connect(stage.address).await.unwrap());
    }
    // Accepted in order, so by now all places are taken.
    assert_eq!(stage.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
    drop(open);
    // The server notices in its own time; each try is a real connection, not a pause.
    for _ in 0..10_000 {
        if stage.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 404") {
            return;
        }
    }
    panic!("places never came free");
}

#[tokio::test]
async fn draining_ends_the_server() {
    let stage = Stage::new().await;
    assert_eq!(stage.send("GET", "/", "", "").await.status, 404);
    stage.drain.cancel();
    stage.task.await.unwrap();
    assert!(TcpStream::connect(stage.address).await.is_err());
}

#[tokio::test]
async fn the_certificate_is_shown_and_read_again_when_it_was_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let renew = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = dir.path().join("key.new");
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(key, dir.path().join("key")).unwrap();
        std::fs::write(dir.path().join("cert.new"), made.cert.pem()).unwrap();
        std::fs::rename(dir.path().join("cert.new"), dir.path().join("cert")).unwrap();
        reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()
    };
    let first = renew("first.example");
    let tls = format!("tls: {{certFile: {0}/cert, keyFile: {0}/key}}\n", dir.path().display());
    let config = CONFIG.replace("baseUrl", &format!("{tls}baseUrl"));
    let stage = Stage::with(&config, Judge::default()).await;
    let get = async |name: &str, root: &reqwest::Certificate| {
        let client =
            reqwest::Client::builder().tls_certs_only([root.clone()]).resolve(name, stage.address).no_proxy();
        let url = format!("https://{name}:{}/", stage.address.port());
        client.build().unwrap().get(url).send().await.map(|answer| answer.status().as_u16())
    };
    assert_eq!(get("first.example", &first).await.unwrap(), 404);
    let second = renew("second.example");
    stage.clock.forward(60);
    assert_eq!(get("second.example", &second).await.unwrap(), 404);
    assert!(get("first.example", &first).await.is_err());
    // A renewal that cannot be used changes nothing.
    std::fs::write(dir.path().join("cert"), "half a certi").unwrap();
    stage.clock.forward(60);
    assert_eq!(get("second.example", &second).await.unwrap(), 404);
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

/// In paused time, which runs ahead while everyone waits.
#[tokio::test(start_paused = true)]
async fn who_is_slow_is_cut() {
    let stage = Stage::new().await;
    let asked = tokio::time::Instant::now();
    stage.raw(b"GET / HTTP/1.1\r\nHos").await;
    assert!((5..=6).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
    let asked = tokio::time::Instant::now();
    stage.raw(b"POST /webhook/decide HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").await;
    assert!((30..=31).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
}
