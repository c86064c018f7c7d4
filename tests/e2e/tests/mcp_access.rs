//! What may be called on an MCP server: decided by tool and arguments, held for a person where a role says so, shown in lists
//! as it is decided, and told afterwards as a conversation.

mod common;

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::mcp::{
    Ask, ERAS, MODERN, SECRET, call, called, calling, conversations, everything_on_tools, open_stage,
    options, planted, play, printed, stage, text,
};
use common::{LIMIT, held, id_of, programs, recorded, requests};
use e2e::{ALICE, BOB, CAROL, McpServer, Running, Seat, Stage, output, wait_for};
use serde_json::{Value, json};

/// One tool allowed, one held, one denied by its arguments, and a bit of HTTP.
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
  - mcp: {methods: [tools/call], tools: [echo, slow, "te*"]}
  - mcp: {methods: [resources/read], resources: ["note://*"]}
  - {action: review, mcp: {methods: [tools/call], tools: [restart]}, review: {wait: 1m}}
  - action: deny
    mcp: {methods: [tools/call], tools: [echo]}
    when: has(request.arguments.path) && request.arguments.path.startsWith("/etc")
    reason: these are files of the system
  - {nonResourceURLs: [/health, /leaky], verbs: [get]}
  - {action: review, nonResourceURLs: ["/admin/*"], verbs: [post], review: {wait: 1m}}
---
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: wider}
spec:
  targets: [tools]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 2h
  rules:
  - mcp: {methods: [tools/call], tools: [structured]}
"#;

/// A stage on which ALICE is an operator.
fn operator(server: &McpServer) -> Result<Stage> {
    let stage = stage(server.url(), ROLES, &json!({}))?;
    stage.grant_on("tools", ALICE, "operator", "1h")?;
    Ok(stage)
}

/// Starts a client that calls one tool.
fn start(stage: &Stage, url: &str, mode: &str, tool: &str, arguments: &Value) -> Result<Running> {
    Running::start(calling(Seat::On(stage, ALICE), url, mode, tool, arguments)?.stdin(Stdio::null()))
}

/// What such a client got in the end.
fn ended(running: &mut Running, tool: &str) -> Result<Value> {
    called(&printed(&running.wait(LIMIT)?)?, tool)
}

#[test]
fn lists_show_what_may_be_called() -> Result<()> {
    let server = McpServer::start(&[])?;
    let stage = operator(&server)?;
    for mode in ERAS {
        let played =
            play(Seat::On(&stage, ALICE), server.url(), mode, &["call"], &["--tool", "text", "--list"])?;
        let listed = called(&played, "tools/list")?;
        let names: Vec<&str> = listed["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tool| tool["name"].as_str())
            .filter(|name| !name.starts_with("test_"))
            .collect();
        assert_eq!(names, ["text", "slow", "restart", "echo"], "{mode}");
        // Whoever could ask for access is told at the first call how; whoever could not has nothing to do here.
        let list = ["--tool", "text", "--list"];
        let without = play(Seat::On(&stage, BOB), server.url(), mode, &["call"], &list)?;
        assert_eq!(called(&without, "tools/list")?["tools"], json!([]), "{mode}");
        let refused = called(&without, "text")?;
        assert!(refused.to_string().contains("portcullis request --from d-"), "{mode}: {refused}");
        let stranger = play(Seat::On(&stage, CAROL), server.url(), mode, &["call"], &list)?;
        assert!(stranger["call"]["failure"].to_string().contains("carol may not"), "{mode}: {stranger}");
        let offers = play(Seat::On(&stage, ALICE), server.url(), mode, &["offers"], &[])?;
        let shown = offers["offers"]["results"].to_string();
        assert!(shown.contains("note://plain") && shown.contains("note://by-name"), "{shown}");
        assert!(!shown.contains("test://static-text"), "{mode}: {shown}");
    }
    Ok(())
}

#[test]
fn who_is_not_known_reads_why() -> Result<()> {
    let server = McpServer::start(&[])?;
    let mut options = options(server.url(), ROLES, &json!({}));
    options.config = json!({"identity": {"unix": {"users": [{"uid": BOB.uid, "name": "bob"}]}}});
    let stage = Stage::set(&programs()?, &options)?;
    for mode in ERAS {
        let played = play(Seat::On(&stage, ALICE), server.url(), mode, &["hello"], &[])?;
        let said = played["hello"]["failure"].to_string();
        assert!(said.contains("portcullis: not identified"), "{mode}: {played}");
    }
    assert_eq!(server.requests()?, Vec::<Value>::new(), "nothing went through");
    Ok(())
}

#[test]
fn one_tool_is_allowed_and_one_is_held_and_one_is_denied() -> Result<()> {
    let server = McpServer::start(&[])?;
    let stage = operator(&server)?;
    for mode in ERAS {
        let alice = Seat::On(&stage, ALICE);
        let allowed = call(alice, server.url(), mode, "echo", &json!({"path": "/srv/x"}))?;
        assert!(text(&allowed).contains("/srv/x"), "{mode}: {allowed}");

        let before = server.reached("structured")?.len();
        let denied = call(alice, server.url(), mode, "structured", &json!({}))?;
        let said = denied["error"]["message"].as_str().context("an error")?;
        for part in ["alice", "structured", "tools", "role wider", "portcullis request --from d-"] {
            assert!(said.contains(part), "{mode}: {part:?} is not in {said}");
        }
        let by_arguments = call(alice, server.url(), mode, "echo", &json!({"path": "/etc/shadow"}))?;
        let said = by_arguments["error"]["message"].as_str().context("an error")?;
        assert!(said.contains("these are files of the system"), "{mode}: {said}");
        assert_eq!(server.reached("structured")?.len(), before, "{mode}: it went through");
        assert!(server.reached("/etc/shadow")?.is_empty(), "{mode}: it went through");

        // Asked for from the very denial.
        let from = said_id(denied["error"]["message"].as_str().unwrap_or_default())?;
        let asked =
            stage.portcullis(ALICE, &["request", "--from", from, "--reason", "INC-7", "-o", "json"])?;
        let request = id_of(&asked)?;
        assert_eq!(stage.portcullis(BOB, &["approve", &request])?.code, 0);
        let works = call(alice, server.url(), mode, "structured", &json!({}))?;
        assert_eq!(works["structuredContent"]["total"], 0, "{mode}: {works}");
        stage.portcullis(BOB, &["revoke", "--role", "wider", "--reason", "next"])?;
    }
    Ok(())
}

/// The id in a refusal that can be asked from.
fn said_id(said: &str) -> Result<&str> {
    said.split_whitespace().find(|word| word.starts_with("d-")).with_context(|| format!("no id in {said}"))
}

#[test]
fn a_held_call_waits_for_a_yes_to_these_very_arguments() -> Result<()> {
    let server = McpServer::start(&[])?;
    let stage = operator(&server)?;
    for (number, mode) in ERAS.into_iter().enumerate() {
        let arguments = json!({"service": format!("web-{mode}"), "password": SECRET});
        let mut running = start(&stage, server.url(), mode, "restart", &arguments)?;
        let hold = held(&stage)?;
        let (id, shown) = (hold["id"].as_str().context("id")?, hold.to_string());
        for part in ["restart", "tools/call", &format!("web-{mode}")] {
            assert!(shown.contains(part), "{mode}: {part:?} is not in {shown}");
        }
        assert!(!shown.contains(SECRET), "{mode}: what is masked is masked for approvers too: {shown}");
        let listed = stage.portcullis(BOB, &["requests"])?;
        assert!(listed.stdout.contains(&format!("web-{mode}")), "{}", listed.stdout);
        assert!(!listed.stdout.contains(SECRET), "{}", listed.stdout);
        assert_eq!(stage.portcullis(ALICE, &["approve", id])?.code, 1, "nobody agrees to their own");
        assert!(!running.ended(), "{mode}: it waits");
        assert!(server.reached(&format!("web-{mode}"))?.is_empty(), "{mode}: nothing was sent yet");
        assert_eq!(stage.portcullis(BOB, &["approve", id])?.code, 0);
        let answer = ended(&mut running, "restart")?;
        assert_eq!(text(&answer), format!("restarted web-{mode}"), "{mode}: {answer}");
        assert_eq!(server.reached(&format!("web-{mode}"))?.len(), 1, "{mode}: once");

        // The same arguments again are another question, and so are others.
        for arguments in [arguments, json!({"service": format!("db-{mode}")})] {
            let mut running = start(&stage, server.url(), mode, "restart", &arguments)?;
            let hold = held(&stage)?;
            let id = hold["id"].as_str().context("id")?;
            let refused = stage.portcullis(BOB, &["deny", id, "--comment", "not today"])?;
            assert_eq!(refused.code, 0, "{}", refused.all());
            let answer = ended(&mut running, "restart")?;
            let said = answer["error"]["message"].as_str().context("an error")?;
            assert!(said.contains("not today") && said.contains("bob"), "{mode}: {said}");
        }
        assert!(server.reached(&format!("db-{mode}"))?.is_empty(), "{mode}: it went through");
        // What was refused is told as well as what went on.
        let told = conversations(&stage, ALICE)?;
        let asked = format!(r#"client | tools/call restart {{"service":"db-{mode}"}} is to be reviewed"#);
        assert!(told.contains(&asked), "{mode}: {asked} is not in {told}");
        assert!(!told.contains(SECRET), "{mode}: {told}");
        let all = requests(&stage, BOB, "h-", true)?;
        assert_eq!(all.len(), 3 * (number + 1), "{all:?}");
    }
    Ok(())
}

#[test]
fn who_gives_up_waits_no_longer() -> Result<()> {
    let server = McpServer::start(&[])?;
    let stage = operator(&server)?;
    for mode in ERAS {
        let mut running = start(&stage, server.url(), mode, "restart", &json!({"service": "gone"}))?;
        held(&stage)?;
        running.kill();
        nothing_waits(&stage).with_context(|| format!("{mode}: the client was killed"))?;

        // Or says so: in the legacy era by a message, in the modern one by closing the stream. It hears that it waits.
        let args = [server.url(), "cancel", "--mode", mode, "--tool", "restart"];
        let mut client = Seat::On(&stage, ALICE).client(&args)?;
        client.env("ARGUMENTS", r#"{"service": "gone"}"#);
        let played = printed(&output(&mut client, LIMIT)?)?;
        assert_eq!(played["cancel"]["failure"], Value::Null, "{mode}: {played}");
        assert!(played.to_string().contains("until somebody agrees"), "{mode}: {played}");
        nothing_waits(&stage).with_context(|| format!("{mode}: the client gave up: {played}"))?;
    }
    assert!(server.reached("gone")?.is_empty());
    Ok(())
}

fn nothing_waits(stage: &Stage) -> Result<()> {
    let none = || requests(stage, BOB, "h-", false).is_ok_and(|held| held.is_empty());
    wait_for("the hold to end", LIMIT, || none().then_some(()))
}

#[test]
fn what_no_rule_names_is_denied_in_every_method() -> Result<()> {
    let server = McpServer::start(&[])?;
    let stage = operator(&server)?;
    // What is open to look at comes from the gate's own list of methods; nothing of it reads or does anything.
    let discovered = Ask::modern(1, "server/discover", &json!({})).send(&stage, ALICE, server.url())?;
    assert!(discovered.result()?.contains_key("supportedVersions"), "{discovered:?}");
    let before = server.requests()?.len();
    let reference = json!({"type": "ref/prompt", "name": "weather"});
    for (method, params) in [
        ("tools/call", json!({"name": "Echo"})),
        ("tools/call", json!({"name": "structured"})),
        ("resources/read", json!({"uri": "test://static-text"})),
        ("resources/read", json!({"uri": "NOTE://plain"})),
        ("prompts/get", json!({"name": "weather"})),
        ("completion/complete", json!({"ref": reference, "argument": {"name": "city", "value": "p"}})),
        (
            "subscriptions/listen",
            json!({"notifications": {"resourceSubscriptions": ["test://watched-resource"]}}),
        ),
        ("vendor/method", json!({})),
    ] {
        let denied = Ask::modern(2, method, &params).send(&stage, ALICE, server.url())?;
        let said = denied.error().with_context(|| format!("{method} {params}"))?;
        assert!(said.contains("alice may not"), "{method} {params}: {said}");
    }
    assert_eq!(server.requests()?.len(), before, "something went through");
    let allowed = Ask::modern(3, "resources/read", &json!({"uri": "note://plain"}));
    assert!(allowed.send(&stage, ALICE, server.url())?.result()?.contains_key("contents"));
    Ok(())
}

#[test]
fn the_end_of_a_grant_ends_a_call_with_the_reason() -> Result<()> {
    let server = McpServer::start(&[])?;
    let stage = stage(server.url(), ROLES, &json!({}))?;
    for (number, mode) in ERAS.into_iter().enumerate() {
        let grant = stage.grant_on("tools", ALICE, "operator", "1h")?;
        let args = [server.url(), "slow", "--mode", mode];
        let mut running = Running::start(Seat::On(&stage, ALICE).client(&args)?.stdin(Stdio::null()))?;
        // Progress comes through at once, not when the call is over.
        running.wait_for_stdout("began", LIMIT)?;
        assert_eq!(stage.portcullis(BOB, &["revoke", &grant, "--reason", "lunch time"])?.code, 0);
        let over = running.wait(LIMIT)?;
        assert!(over.stdout.contains("lunch time"), "{mode}: {}", over.all());
        wait_for("the server to hear of it", LIMIT, || {
            (server.slow_calls().ok()?.get(number)? == "cancelled").then_some(())
        })?;
    }
    Ok(())
}

#[test]
fn the_end_of_a_grant_ends_a_subscription_with_the_reason() -> Result<()> {
    let server = McpServer::start(&[])?;
    let stage = stage(server.url(), &everything_on_tools("all", "{}"), &json!({}))?;
    let grant = stage.grant_on("tools", ALICE, "all", "1h")?;
    let ask = Ask::modern(1, "subscriptions/listen", &json!({"notifications": {"toolsListChanged": true}}));
    let mut curl = stage.command(ALICE, Path::new("/usr/bin/curl"));
    curl.args(["-sSN", "--max-time", "60", "-d"]).arg(String::from_utf8(ask.body)?);
    for header in &ask.headers {
        curl.args(["-H", header]);
    }
    let mut running = Running::start(curl.arg(server.url()).stdin(Stdio::null()))?;
    running.wait_for_stdout("notifications/subscriptions/acknowledged", LIMIT)?;
    server.define("Restarts something else.")?;
    running.wait_for_stdout("notifications/tools/list_changed", LIMIT)?;
    assert_eq!(stage.portcullis(BOB, &["revoke", &grant, "--reason", "lunch time"])?.code, 0);
    let over = running.wait(LIMIT)?;
    assert!(over.stdout.contains("lunch time"), "{}", over.all());
    Ok(())
}

#[test]
fn what_is_no_message_is_http() -> Result<()> {
    let (_dir, file) = planted()?;
    let server = McpServer::start(&["--planted", &file])?;
    let stage = operator(&server)?;
    let origin = server.url().trim_end_matches("/mcp");
    let get = |path: &str| {
        let mut curl = stage.command(ALICE, Path::new("/usr/bin/curl"));
        curl.args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"]).arg(format!("{origin}{path}"));
        output(&mut curl, LIMIT)
    };
    assert_eq!(get("/health")?.stdout, "{\"status\":\"ok\"}\n200");
    let leaky = get("/leaky?values=0")?.stdout;
    assert!(leaky.starts_with("The weather is fine.\npassword=portcullis-masked:"), "{leaky}");
    let denied = get("/metrics")?.stdout;
    assert!(denied.ends_with("403") && denied.contains("/metrics"), "{denied}");
    assert!(server.reached("/metrics")?.is_empty());

    let mut curl = stage.command(ALICE, Path::new("/usr/bin/curl"));
    curl.args(["-sS", "--max-time", "60", "-X", "POST", "-d", "now"]).arg(format!("{origin}/admin/reset"));
    let mut running = Running::start(curl.stdin(Stdio::null()))?;
    let hold = held(&stage)?;
    assert!(server.reached("/admin/reset")?.is_empty(), "nothing was sent yet");
    assert_eq!(stage.portcullis(BOB, &["approve", hold["id"].as_str().context("id")?])?.code, 0);
    let done = running.wait(LIMIT)?;
    assert!(done.stdout.contains(r#""done":"reset""#) && done.stdout.contains("now"), "{}", done.all());
    let recorded = recorded(&stage)?;
    for part in ["/health", "/leaky", "/admin/reset"] {
        assert!(recorded.contains(part), "{part} is not recorded");
    }
    Ok(())
}

#[test]
fn masked_values_do_not_come_back_as_arguments() -> Result<()> {
    let (_dir, file) = planted()?;
    let server = McpServer::start(&["--planted", &file])?;
    let stage = open_stage(server.url())?;
    for mode in ERAS {
        let alice = Seat::On(&stage, ALICE);
        let shown = call(alice, server.url(), mode, "text", &json!({"values": [0]}))?;
        let mask = text(&shown).split('=').nth(1).context("a masked value")?.to_owned();
        assert!(mask.starts_with("portcullis-masked:"), "{shown}");
        for arguments in [
            json!({"set": {"password": mask}}),
            json!({"list": [format!("password={mask}")]}),
            json!({"text": json!({"password": mask}).to_string()}),
            json!({"packed": STANDARD.encode(&mask)}),
        ] {
            let refused = call(alice, server.url(), mode, "echo", &arguments)?;
            let said = refused["error"]["message"]
                .as_str()
                .with_context(|| format!("{mode} {arguments}: {refused}"))?;
            assert!(said.contains("masked value"), "{mode} {arguments}: {said}");
        }
    }
    assert!(server.reached("portcullis-masked")?.is_empty(), "a mask went upstream");
    Ok(())
}

#[test]
fn a_session_reads_as_a_conversation() -> Result<()> {
    let (_dir, file) = planted()?;
    let server = McpServer::start(&["--planted", &file])?;
    let stage = open_stage(server.url())?;
    for mode in ERAS {
        let marker = format!("seen-{mode}");
        call(
            Seat::On(&stage, ALICE),
            server.url(),
            mode,
            "echo",
            &json!({"say": marker, "password": SECRET}),
        )?;
        call(Seat::On(&stage, ALICE), server.url(), mode, "progressing", &json!({"values": [0]}))?;
        let told = conversations(&stage, ALICE)?;
        for part in ["tools/call echo", &marker, "says notifications/progress", "step 2", "done", "grant g-"]
        {
            assert!(told.contains(part), "{mode}: {part:?} is not in {told}");
        }
        assert!(!told.contains(SECRET), "{mode}: {told}");
    }
    Ok(())
}

#[test]
fn a_modern_list_is_for_one_person_alone() -> Result<()> {
    let server = McpServer::start(&[])?;
    let stage = operator(&server)?;
    let ask = Ask::modern(1, "tools/list", &json!({}));
    let listed = ask.send(&stage, ALICE, server.url())?;
    assert_eq!(listed.result()?["cacheScope"], "private", "{listed:?}");
    assert!(server.reached(MODERN)?.len() == 1, "it was asked for once");
    Ok(())
}
