//! An MCP server in a pod, at the end of a `kubectl port-forward`: clients of others' SDKs get there what they get anywhere
//! behind the gate.

mod common;

use std::process::Stdio;

use anyhow::{Context, Result};
use common::mcp::{ERAS, SECRET, call, planted, play, text};
use common::{LIMIT, everything_role, oldest_and_newest, parsed, programs};
use e2e::{ALICE, McpServer, Running, Seat, Stage, StageOptions};
use serde_json::json;

/// Some of the server's tools.
const ROLE: &str = "
---
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: reader}
spec:
  targets: [tools]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 2h
  rules:
  - mcp: {methods: [tools/call], tools: [echo, text]}
";

#[test]
fn a_port_forward_to_an_mcp_server_is_decided_as_one() -> Result<()> {
    let (_dir, file) = planted()?;
    let server = McpServer::start(&["--planted", &file])?;
    let address = server.url().trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
    let options = StageOptions {
        cluster_args: vec!["--behind-ports".to_owned(), address],
        target: json!({"mcpServices": [{
            "name": "tools",
            "namespace": "demo",
            "service": "http:web:80",
            "portForward": {"pods": ["web*"], "ports": [8080]},
        }]}),
        ..StageOptions::with_roles(&format!("{}{ROLE}", everything_role()))
    };
    let stage = Stage::set(&programs()?, &options)?;
    stage.grant(ALICE, "everything", "1h")?;
    stage.grant_on("tools", ALICE, "reader", "1h")?;
    let alice = Seat::On(&stage, ALICE);
    for kubectl in oldest_and_newest()? {
        let version = &kubectl.version;
        let mut command = stage.kubectl(ALICE, &kubectl, &["port-forward", "web", ":8080"]);
        let mut running = Running::start(command.stdin(Stdio::null()))?;
        running.wait_for_stdout("Forwarding from 127.0.0.1:", LIMIT)?;
        let shown = running.stdout();
        let (_, rest) = shown.split_once("127.0.0.1:").context("no port")?;
        let port = rest.split([' ', '\n']).next().context("no port")?;
        let url = format!("http://127.0.0.1:{port}/mcp");
        for mode in ERAS {
            let marker = format!("forwarded-{}-{mode}", version.replace('.', "-"));
            let echoed = call(alice, &url, mode, "echo", &json!({"say": marker}))?;
            assert!(text(&echoed).contains(&marker), "{version} {mode}: {echoed}");
            assert_eq!(server.reached(&marker)?.len(), 1, "{version} {mode}");
            let refused = call(alice, &url, mode, "restart", &json!({"name": marker}))?;
            let why = refused["error"]["message"].as_str().unwrap_or_default();
            assert!(
                why.contains("may not call tool \"restart\" of target tools"),
                "{version} {mode}: {refused}"
            );
            assert_eq!(server.reached(&marker)?.len(), 1, "{version} {mode}: it reached the server");
            let played = play(alice, &url, mode, &["hello", "tools"], &["--values", "0"])?.to_string();
            assert!(!played.contains(SECRET), "{version} {mode}");
        }
        running.kill();
    }
    let sessions = parsed(&stage.operator(&["sessions", "list", "-o", "json"])?)?;
    let mut told = String::new();
    for session in sessions.as_array().context("a list")? {
        let id = session["id"].as_str().context("id")?;
        told.push_str(&stage.operator(&["sessions", "show", id])?.stdout);
    }
    for what in ["forwarded to port 8080", "client | tools/call echo", "client | tools/call restart"] {
        assert!(told.contains(what), "no {what:?}: {told}");
    }
    assert!(!told.contains(SECRET), "{told}");
    let verified = stage.operator(&["sessions", "verify"])?;
    assert_eq!(verified.code, 0, "{}", verified.all());
    Ok(())
}
