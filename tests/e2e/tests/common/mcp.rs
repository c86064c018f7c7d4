//! What the end-to-end tests of MCP need: a stage with an MCP server, clients with and without the gate in between, and HTTP
//! requests byte by byte where a client of an SDK would not send them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::{ALICE, McpServer, McpTarget, Output, Person, Seat, Stage, StageOptions, output};
use serde_json::{Map, Value, json};

use super::{LIMIT, own, parsed, programs};

/// The revision of the modern era.
pub const MODERN: &str = "2026-07-28";
/// The last of the legacy era.
pub const LEGACY: &str = "2025-11-25";

/// The modes of a client.
pub const ERAS: [&str; 2] = ["legacy", "modern"];
/// What an answer may not show, whatever it is in.
pub const SECRET: &str = "FAKE-hunter2-Zx81qPw7";

/// A role that allows everything on the target `tools`; `obligations` as in `{mask: none}`.
pub fn everything_on_tools(name: &str, obligations: &str) -> String {
    format!(
        r#"
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {{name: {name}}}
spec:
  targets: [tools]
  eligible: {{groups: [dev]}}
  approval: {{required: 1, groups: [leads]}}
  maxDuration: 2h
  obligations: {obligations}
  rules:
  - mcp: {{methods: ["*"]}}
  - {{nonResourceURLs: ["*"], verbs: ["*"]}}
"#
    )
}

/// A stage whose target `tools` is the server at `url`, changed by `settings`.
pub fn stage(url: &str, roles: &str, settings: &Value) -> Result<Stage> {
    Stage::set(&programs()?, &options(url, roles, settings))
}

/// The options of such a stage.
pub fn options(url: &str, roles: &str, settings: &Value) -> StageOptions {
    let target = McpTarget { name: "tools", url: url.to_owned(), settings: settings.clone() };
    StageOptions { mcp_targets: vec![target], ..StageOptions::with_roles(roles) }
}

/// A stage on which ALICE may do everything on `tools`.
pub fn open_stage(url: &str) -> Result<Stage> {
    let stage = stage(url, &everything_on_tools("all", "{}"), &json!({}))?;
    stage.grant_on("tools", ALICE, "all", "1h")?;
    Ok(stage)
}

/// A file for a server with the one planted value of these tests.
pub fn planted() -> Result<(tempfile::TempDir, String)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("planted.json");
    fs::write(&file, json!([STANDARD.encode(format!("password={SECRET}"))]).to_string())?;
    let file = file.display().to_string();
    Ok((dir, file))
}

/// What a client printed that played `scenarios` (`tests/mcp/client.py`).
pub fn play(seat: Seat<'_>, url: &str, mode: &str, scenarios: &[&str], more: &[&str]) -> Result<Value> {
    let args = [&[url][..], scenarios, &["--mode", mode], more].concat();
    printed(&output(&mut seat.client(&args)?, LIMIT * 4)?)
}

/// The JSON that a client printed, which may be too long for an error.
pub fn printed(output: &Output) -> Result<Value> {
    let begin: String = output.stdout.chars().take(500).collect();
    serde_json::from_str(&output.stdout).with_context(|| format!("{}{begin}", output.stderr))
}

/// The result of the scenario `call`, or the error, as the client has it.
pub fn call(seat: Seat<'_>, url: &str, mode: &str, tool: &str, arguments: &Value) -> Result<Value> {
    called(&printed(&output(&mut calling(seat, url, mode, tool, arguments)?, LIMIT * 2)?)?, tool)
}

/// A client that calls one tool.
pub fn calling(seat: Seat<'_>, url: &str, mode: &str, tool: &str, arguments: &Value) -> Result<Command> {
    let mut command = seat.client(&[url, "call", "--mode", mode, "--tool", tool])?;
    // Not on the command line, which is recorded.
    command.env("ARGUMENTS", arguments.to_string());
    Ok(command)
}

/// The same, of what such a client printed.
pub fn called(played: &Value, tool: &str) -> Result<Value> {
    let results = played["call"]["results"].as_array().context("results")?;
    let result = results.iter().find_map(|result| result.get(tool));
    result.cloned().with_context(|| format!("{tool} has no result: {}", played["call"]))
}

/// The text of a result's first content.
pub fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// Where two things differ: the path, and what is on either side.
pub fn differences(one: &Value, other: &Value) -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    differ("", one, other, &mut found);
    found
}

fn differ(path: &str, one: &Value, other: &Value, found: &mut Vec<(String, Value, Value)>) {
    match (one, other) {
        (Value::Object(left), Value::Object(right)) if left.keys().eq(right.keys()) => {
            for (key, value) in left {
                differ(&format!("{path}/{key}"), value, &right[key], found);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                found.push((format!("{path}/length"), left.len().into(), right.len().into()));
            }
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differ(&format!("{path}/{index}"), left, right, found);
            }
        }
        _ if one == other => {}
        _ => found.push((path.to_owned(), one.clone(), other.clone())),
    }
}

/// Whether a value is what the gate shows in place of another, as it is or in base64.
pub fn is_masked(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    let decoded = STANDARD.decode(text).unwrap_or_default();
    text.contains("portcullis-masked") || String::from_utf8_lossy(&decoded).contains("portcullis")
}

/// A request as curl sends it.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: &'static str,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

/// What came of one.
#[derive(Debug, Clone)]
pub struct Answered {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Ask {
    /// A request of the modern era, with all headers that belong to it.
    pub fn modern(id: u64, method: &str, params: &Value) -> Self {
        let mut params = params.clone();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}, "sampling": {}, "roots": {}},
        });
        let name = params["name"].as_str().or(params["uri"].as_str()).map(str::to_owned);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let ask = Self::post(body.to_string()).with(&format!("MCP-Protocol-Version: {MODERN}"));
        let ask = ask.with(&format!("Mcp-Method: {method}"));
        match name {
            Some(name) => ask.with(&format!("Mcp-Name: {name}")),
            None => ask,
        }
    }

    /// A request of the legacy era, in a session.
    pub fn legacy(session: &str, id: u64, method: &str, params: &Value) -> Self {
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        Self::post(body.to_string()).in_session(session)
    }

    /// The beginning of a session.
    pub fn initialize(version: &str) -> Self {
        let params = json!({
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": {"name": "raw", "version": "1"},
        });
        Self::post(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string())
    }

    pub fn post(body: impl Into<Vec<u8>>) -> Self {
        let accept = "Accept: application/json, text/event-stream".to_owned();
        Self {
            method: "POST",
            headers: vec!["Content-Type: application/json".to_owned(), accept],
            body: body.into(),
        }
    }

    pub fn get() -> Self {
        Self { method: "GET", headers: vec!["Accept: text/event-stream".to_owned()], body: Vec::new() }
    }

    pub fn with(mut self, header: &str) -> Self {
        self.headers.push(header.to_owned());
        self
    }

    /// Without the headers of this name.
    pub fn without(mut self, name: &str) -> Self {
        let prefix = format!("{}:", name.to_ascii_lowercase());
        self.headers.retain(|header| !header.to_ascii_lowercase().starts_with(&prefix));
        self
    }

    pub fn in_session(self, session: &str) -> Self {
        self.with(&format!("Mcp-Session-Id: {session}")).with(&format!("MCP-Protocol-Version: {LEGACY}"))
    }

    /// With another text in the place of one in the body.
    pub fn replacing(mut self, old: &str, new: &str) -> Self {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        assert!(body.contains(old), "{old} is not in {body}");
        self.body = body.replace(old, new).into_bytes();
        self
    }

    /// Sends it as `person`.
    pub fn send(&self, stage: &Stage, person: Person, url: &str) -> Result<Answered> {
        let file = stage.home(person).join("asked");
        fs::write(&file, &self.body)?;
        own(&stage.home(person), person)?;
        let mut command = stage.command(person, Path::new("/usr/bin/curl"));
        command.args(["-sSi", "--http1.1", "--max-time", "25", "--path-as-is", "-X", self.method]);
        if self.method == "POST" {
            command.arg("--data-binary").arg(format!("@{}", file.display())).args(["-H", "Expect:"]);
        }
        for header in &self.headers {
            command.args(["-H", header]);
        }
        let answered = output(command.arg(url), LIMIT)?;
        let (head, body) = answered.stdout.split_once("\r\n\r\n").with_context(|| answered.all())?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("a status")?.parse()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Ok(Answered { status, headers, body: body.to_owned() })
    }
}

impl Answered {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The messages in it, whether it is one or a stream of events.
    pub fn messages(&self) -> Result<Vec<Value>> {
        let events = self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        if !events {
            return Ok(vec![serde_json::from_str(&self.body).with_context(|| format!("{self:?}"))?]);
        }
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
        let data = data.filter(|data| !data.is_empty());
        data.map(|data| serde_json::from_str(data).with_context(|| data.to_owned())).collect()
    }

    /// The last message: the answer.
    pub fn message(&self) -> Result<Value> {
        self.messages()?.pop().with_context(|| format!("no message: {self:?}"))
    }

    /// Its result.
    pub fn result(&self) -> Result<Map<String, Value>> {
        let message = self.message()?;
        match message["result"].as_object() {
            Some(result) => Ok(result.clone()),
            None => bail!("no result: {message}"),
        }
    }

    /// What its error says.
    pub fn error(&self) -> Result<String> {
        let message = self.message()?;
        let said = message["error"]["message"].as_str();
        said.map(str::to_owned).with_context(|| format!("no error: {} {message}", self.status))
    }
}

/// Begins a session as `person`; its id.
pub fn begin(stage: &Stage, person: Person, url: &str, version: &str) -> Result<String> {
    let begun = Ask::initialize(version).send(stage, person, url)?;
    let session =
        begun.header("mcp-session-id").with_context(|| format!("no session: {begun:?}"))?.to_owned();
    ensure!(begun.result()?["protocolVersion"] == version, "{begun:?}");
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    let told = Ask::post(initialized).in_session(&session).send(stage, person, url)?;
    ensure!(told.status == 202, "{told:?}");
    Ok(session)
}

/// A call whose arguments hold a word by which it is found if it goes through.
pub fn echo(word: &str) -> Ask {
    Ask::modern(1, "tools/call", &json!({"name": "echo", "arguments": {"say": word}}))
}

/// That each of these is refused by the gate with one of these statuses and says why, and that nothing of it got through.
pub fn assert_refused(stage: &Stage, server: &McpServer, asks: Vec<(&str, Ask, &[u16], &str)>) -> Result<()> {
    let before = server.requests()?.len();
    for (what, ask, statuses, why) in asks {
        let answered = ask.send(stage, ALICE, server.url()).with_context(|| what.to_owned())?;
        assert!(statuses.contains(&answered.status), "{what}: {answered:?}");
        let said = answered.error().with_context(|| what.to_owned())?;
        assert!(said.contains("portcullis"), "{what}: the gate itself refuses: {said}");
        assert!(said.to_lowercase().contains(&why.to_lowercase()), "{what}: {why:?} is not in {said}");
        assert_eq!(server.requests()?.len(), before, "{what}: it went through");
    }
    let works = echo("after").send(stage, ALICE, server.url())?;
    assert!(text(&json!(works.result()?)).contains("after"), "{works:?}");
    Ok(())
}

/// `sessions show` of everything that `person` has done on `tools`.
pub fn conversations(stage: &Stage, person: Person) -> Result<String> {
    let sessions = parsed(&stage.operator(&["sessions", "list", "-o", "json"])?)?;
    let mut told = String::new();
    for session in sessions.as_array().context("a list")? {
        if session.to_string().contains(person.name) {
            let id = session["id"].as_str().context("id")?;
            told.push_str(&stage.operator(&["sessions", "show", id])?.stdout);
        }
    }
    Ok(told)
}
