//! A held call of a client that can ask its person to open a URL: they see where it stands, nobody has to stay connected, and
//! the client comes back for it.

mod common;

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;

use anyhow::{Context, Result};
use common::mcp::{Ask, called, calling, conversations, options, printed, text};
use common::{LIMIT, curl, held, programs, recorded, requests};
use e2e::{ALICE, BOB, MALLORY, McpServer, Running, Seat, Stage, wait_for};
use serde_json::{Value, json};

const ROLES: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: operator}
spec:
  targets: [tools]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 2h
  rules:
  - {action: review, mcp: {methods: [tools/call], tools: [restart, ask_url]}, review: {wait: 10m}}
"#;

/// A stage with an address for links, on which ALICE and MALLORY are operators, and that address.
fn operators(server: &McpServer) -> Result<(Stage, String)> {
    // Freed at once and taken again by the daemon.
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let base = format!("http://{listen}");
    let mut options = options(server.url(), ROLES, &json!({}));
    options.config = json!({"notify": {"listen": listen.to_string(), "baseUrl": base}});
    let stage = Stage::set(&programs()?, &options)?;
    for person in [ALICE, MALLORY] {
        stage.grant_on("tools", person, "operator", "1h")?;
    }
    Ok((stage, base))
}

/// A client of the SDK, whose person is asked to open a URL.
struct Asked {
    running: Running,
    tool: &'static str,
    url: String,
    message: String,
}

impl Asked {
    fn start(stage: &Stage, server: &McpServer, tool: &'static str, arguments: &Value) -> Result<Self> {
        let mut command = calling(Seat::On(stage, ALICE), server.url(), "modern", tool, arguments)?;
        let mut running = Running::start(command.arg("--asked").stdin(Stdio::piped()))?;
        let question = question(&mut running, 0)?;
        let part = |name: &str| question[name].as_str().map(str::to_owned).context("a question");
        Ok(Self { url: part("url")?, message: part("message")?, running, tool })
    }

    fn answer(&mut self, action: &str) -> Result<()> {
        let stdin = self.running.child().stdin.as_mut().context("standard input")?;
        Ok(writeln!(stdin, "{action}")?)
    }

    /// What the client got in the end.
    fn ended(&mut self) -> Result<Value> {
        called(&printed(&self.running.wait(LIMIT)?)?, self.tool)
    }
}

/// What a client asks its person, the `number`th time.
fn question(running: &mut Running, number: usize) -> Result<Value> {
    let line = wait_for("a question", LIMIT, || {
        let shown = running.stderr();
        let line = shown.split_inclusive('\n').nth(number).filter(|line| line.ends_with('\n'));
        line.map(|line| Some(line.to_owned())).or_else(|| running.ended().then_some(None))
    })?;
    let line = line.with_context(|| format!("it ended:\n{}{}", running.stdout(), running.stderr()))?;
    serde_json::from_str(&line).with_context(|| line.clone())
}

#[test]
fn a_person_sees_where_a_held_call_stands_and_it_goes_on_when_they_continue() -> Result<()> {
    let server = McpServer::start(&[])?;
    let (stage, base) = operators(&server)?;
    let mut asked = Asked::start(&stage, &server, "restart", &json!({"service": "web-17"}))?;
    let hold = held(&stage)?;
    let id = hold["id"].as_str().context("id")?;
    for part in [id, "restart", "tools", "a member of leads agrees"] {
        assert!(asked.message.contains(part), "{part:?} is not in {}", asked.message);
    }
    assert!(asked.url.starts_with(&format!("{base}/hold/{id}.")), "{}", asked.url);

    let (status, page) = curl(&[], &asked.url)?;
    assert_eq!(status, 200, "{page}");
    for part in
        [id, "pending", "restart", "members of leads", "http-equiv=\"refresh\"", "Go back to your client"]
    {
        assert!(page.contains(part), "{part:?} is not in {page}");
    }
    assert!(!page.contains("web-17") && !page.contains("alice"), "{page}");
    assert_eq!(curl(&["-X", "POST"], &asked.url)?.0, 405, "nothing is decided there");
    let forged = asked.url.replacen("h-", "h-0", 1);
    assert_eq!(curl(&[], &forged)?.0, 404);
    assert_eq!(curl(&[], &format!("{base}/hold/{id}"))?.0, 404);

    assert_eq!(stage.portcullis(ALICE, &["approve", id])?.code, 1, "nobody agrees to their own");
    assert_eq!(stage.portcullis(BOB, &["approve", id, "--comment", "go ahead"])?.code, 0);
    let (_, page) = curl(&[], &asked.url)?;
    assert!(page.contains("approved") && page.contains("It may go on, once"), "{page}");
    assert!(server.reached("web-17")?.is_empty(), "not before the client comes back");

    asked.answer("accept")?;
    let answer = asked.ended()?;
    assert_eq!(text(&answer), "restarted web-17", "{answer}");
    let reached = server.reached("web-17")?;
    assert_eq!(reached.len(), 1, "once: {reached:?}");
    for part in ["requestState", "inputResponses"] {
        assert!(!reached[0].to_string().contains(part), "{part} went up: {}", reached[0]);
    }
    let (_, page) = curl(&[], &asked.url)?;
    assert!(page.contains("spent") && page.contains("It went on"), "{page}");

    // The first try and the return are requests of their own, and nothing of the page's address is kept.
    let recorded = recorded(&stage)?;
    for (event, times) in [("holdBegun", 2), ("inputRequired", 1), ("holdEnded", 1)] {
        assert_eq!(recorded.matches(&format!("\"{event}\"")).count(), times, "{event}: {recorded}");
    }
    let told = conversations(&stage, ALICE)?;
    let lines = [
        format!("waits as {id}"),
        format!("answered: the client is to come back for {id}"),
        format!("{id} approved by bob: go ahead"),
    ];
    for line in lines {
        assert!(told.contains(&line), "{line} is not in {told}");
    }
    let secret = asked.url.rsplit('.').next().context("a token")?;
    assert!(!recorded.contains(secret), "{recorded}");
    Ok(())
}

#[test]
fn who_continues_at_once_waits_there() -> Result<()> {
    let server = McpServer::start(&[])?;
    let (stage, _) = operators(&server)?;
    let mut asked = Asked::start(&stage, &server, "restart", &json!({"service": "early"}))?;
    asked.answer("accept")?;
    let hold = held(&stage)?;
    assert_eq!(stage.portcullis(BOB, &["approve", hold["id"].as_str().context("id")?])?.code, 0);
    assert_eq!(text(&asked.ended()?), "restarted early");

    // A client that goes away instead ends nothing.
    let mut asked = Asked::start(&stage, &server, "restart", &json!({"service": "gone"}))?;
    let hold = held(&stage)?;
    asked.running.kill();
    let (_, page) = curl(&[], &asked.url)?;
    assert!(page.contains("pending"), "{page}");
    assert_eq!(held(&stage)?["expiresAt"], hold["expiresAt"]);
    Ok(())
}

#[test]
fn who_declines_withdraws() -> Result<()> {
    let server = McpServer::start(&[])?;
    let (stage, _) = operators(&server)?;
    for action in ["decline", "cancel"] {
        let mut asked = Asked::start(&stage, &server, "restart", &json!({"service": action}))?;
        asked.answer(action)?;
        let said = asked.ended()?["error"]["message"].to_string();
        assert!(said.contains("was withdrawn by alice: declined in the client"), "{action}: {said}");
        assert!(requests(&stage, BOB, "h-", false)?.is_empty(), "{action}: nothing waits");
        let (_, page) = curl(&[], &asked.url)?;
        assert!(page.contains("cancelled") && page.contains("It does not go on"), "{page}");
    }
    assert!(server.reached("restart")?.is_empty());
    Ok(())
}

#[test]
fn a_server_that_asks_itself_does_so_afterwards() -> Result<()> {
    let server = McpServer::start(&[])?;
    let (stage, base) = operators(&server)?;
    let mut asked = Asked::start(&stage, &server, "ask_url", &json!({}))?;
    // Of its three questions the second is the server's own, whose answer is held as the call was.
    for number in 0..3 {
        let question = question(&mut asked.running, number)?;
        let url = question["url"].as_str().context("a url")?;
        assert_eq!(url.starts_with(&base), number != 1, "{number}: {url}");
        if number != 1 {
            let hold = held(&stage)?;
            assert_eq!(stage.portcullis(BOB, &["approve", hold["id"].as_str().context("id")?])?.code, 0);
        }
        asked.answer("accept")?;
    }
    let answer = asked.ended()?;
    assert_eq!(text(&answer), r#"The answer: {"action": "accept"}"#, "{answer}");
    Ok(())
}

#[test]
fn what_one_person_was_given_is_of_no_use_to_another() -> Result<()> {
    let server = McpServer::start(&[])?;
    let (stage, _) = operators(&server)?;
    let ask = |params: &Value| {
        let ask = Ask::modern(1, "tools/call", params);
        ask.replacing(r#""elicitation":{"form":{}}"#, r#""elicitation":{"url":{}}"#)
    };
    let mut params = json!({"name": "restart", "arguments": {"service": "stolen"}});
    let asked = ask(&params).send(&stage, ALICE, server.url())?.result()?;
    assert_eq!(asked["resultType"], "input_required", "{asked:?}");
    let hold = held(&stage)?;
    assert_eq!(stage.portcullis(BOB, &["approve", hold["id"].as_str().context("id")?])?.code, 0);
    params["requestState"] = asked["requestState"].clone();
    params["inputResponses"] = json!({"portcullis": {"action": "accept"}});
    let refused = ask(&params).send(&stage, MALLORY, server.url())?;
    assert!(refused.error()?.contains("was not given to this person for this request"), "{refused:?}");
    assert!(server.reached("stolen")?.is_empty(), "it went through");

    // For its owner it is good once, from whichever of their processes.
    let answer = ask(&params).send(&stage, ALICE, server.url())?;
    assert_eq!(text(&json!(answer.result()?)), "restarted stolen", "{answer:?}");
    let again = ask(&params).send(&stage, ALICE, server.url())?;
    assert!(again.error()?.contains("is spent"), "{again:?}");
    assert_eq!(server.reached("stolen")?.len(), 1, "once");
    Ok(())
}

#[test]
fn who_cannot_be_asked_waits_as_before() -> Result<()> {
    let server = McpServer::start(&[])?;
    let (stage, _) = operators(&server)?;
    let alice = Seat::On(&stage, ALICE);
    let arguments = json!({"service": "before"});
    let mut legacy = calling(alice, server.url(), "legacy", "restart", &arguments)?;
    let mut running = Running::start(legacy.arg("--asked").stdin(Stdio::null()))?;
    let hold = held(&stage)?;
    assert_eq!(stage.portcullis(BOB, &["approve", hold["id"].as_str().context("id")?])?.code, 0);
    let answer = called(&printed(&running.wait(LIMIT)?)?, "restart")?;
    assert_eq!(text(&answer), "restarted before", "{answer}");
    assert_eq!(running.stderr(), "", "its person was not asked");
    Ok(())
}
