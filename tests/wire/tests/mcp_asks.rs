//! A call that has to wait, of a client that takes elicitations by URL: it is asked to come back, and what goes up then is
//! the call and nothing of the gate's own.

use anyhow::{Context, Result, ensure};
use portcullis_access::{Hold, HoldState};
use portcullis_identity::{Method, Subject};
use serde_json::{Value, json};
use wire::{Arrivals, Gate, Head, Upstream, soon};

const PATH: &str = "/api/v1/namespaces/tools/services/http:mcp:8080/proxy/mcp";
const ACCEPTS: &str = "application/json, text/event-stream";

/// A call of the tool `restart`, and how it is sent.
#[derive(Clone)]
struct Call {
    params: Value,
    capabilities: Value,
    accept: &'static str,
    version: &'static str,
}

impl Call {
    fn of(service: &str) -> Self {
        Self {
            params: json!({"name": "restart", "arguments": {"service": service, "factor": 1.10}}),
            capabilities: json!({"elicitation": {"form": {}, "url": {}}}),
            accept: ACCEPTS,
            version: "2026-07-28",
        }
    }

    /// The same once more, with what an answer asks to be brought back.
    fn back(&self, state: &str, responses: Value) -> Self {
        let mut back = self.clone();
        back.params["requestState"] = state.into();
        back.params["inputResponses"] = responses;
        back
    }

    /// The same after the person did this with the gate's question.
    fn after(&self, asked: &Value, action: &str) -> Self {
        self.back(state(asked), json!({"portcullis": {"action": action}}))
    }

    fn text(&self) -> String {
        let Self { capabilities, accept, version, .. } = self;
        let mut params = self.params.clone();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        });
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        let length = body.len();
        format!(
            "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAccept: {accept}\r\n\
             MCP-Protocol-Version: {version}\r\nMcp-Method: tools/call\r\nMcp-Name: restart\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }
}

/// The gate before a server whose requests arrive here.
struct Stage {
    gate: Gate,
    arrivals: Arrivals,
}

impl Stage {
    async fn new() -> Result<Self> {
        let upstream = Upstream::listen().await?;
        Ok(Self { gate: Gate::with_pages(&upstream).await?, arrivals: upstream.arrivals() })
    }

    /// The answer to the question whether it may be done.
    async fn asked(&self, call: &Call) -> Result<Value> {
        let answer = send(&self.gate, call).await?;
        ensure!(answer["result"]["resultType"] == "input_required", "{answer}");
        Ok(answer)
    }

    /// What a call is answered that goes up, once the server has answered it; and what went up.
    async fn goes_up(&mut self, call: &Call, result: Value) -> Result<(Value, Value)> {
        let answered = send(&self.gate, call);
        let served = async {
            let mut arrived = self.arrivals.http1().await?;
            let body: Value = serde_json::from_slice(&arrived.stream.body(&arrived.head).await?)?;
            let answer = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
            let length = answer.len();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
            arrived.stream.write(format!("{head}Content-Length: {length}\r\n\r\n{answer}")).await?;
            arrived.keep();
            anyhow::Ok(body)
        };
        let (answered, body) = tokio::join!(answered, served);
        Ok((answered?, body?))
    }

    /// The one hold that waits.
    fn held(&self) -> Result<Hold> {
        let mut held = self.gate.access().holds(false)?;
        ensure!(held.len() == 1, "{held:?}");
        held.pop().context("one")
    }

    fn agree(&self) -> Result<Hold> {
        Ok(self.gate.access().approve_hold(&bob(), &self.held()?.id, "go ahead")?)
    }

    async fn refused(&mut self, call: &Call, why: &str) -> Result<()> {
        let answer = send(&self.gate, call).await?;
        let said = answer["error"]["message"].as_str().with_context(|| answer.to_string())?;
        ensure!(said.contains(why), "{why:?} is not in {said}");
        ensure!(self.arrivals.waiting().is_none(), "it went up");
        Ok(())
    }
}

/// What a call is answered, on a connection of its own that is closed then.
async fn send(gate: &Gate, call: &Call) -> Result<Value> {
    let mut client = gate.http1().await?;
    client.write(call.text()).await?;
    let head = client.head().await?;
    // The answer of a stream is its last event.
    let text = String::from_utf8(client.body(&head).await?)?;
    let text = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&text);
    serde_json::from_str(text).with_context(|| format!("{head:?} {text}"))
}

fn bob() -> Subject {
    let (issuer, id, name) = ("unix".to_owned(), "61002".to_owned(), "bob".to_owned());
    Subject { issuer, id, name, groups: ["leads".to_owned()].into(), method: Method::Unix, account: None }
}

fn state(asked: &Value) -> &str {
    asked["result"]["requestState"].as_str().unwrap_or_default()
}

fn done() -> Value {
    json!({"resultType": "complete", "content": [{"type": "text", "text": "restarted"}]})
}

#[tokio::test]
async fn a_held_call_is_answered_with_a_page_and_goes_on_when_its_client_comes_back() -> Result<()> {
    let mut stage = Stage::new().await?;
    let call = Call::of("web");
    let asked = stage.asked(&call).await?;
    let hold = stage.held()?;
    let question = &asked["result"]["inputRequests"]["portcullis"];
    ensure!(question["method"] == "elicitation/create" && question["params"]["mode"] == "url", "{asked}");
    ensure!(question["params"]["url"] == format!("https://gate.test/{}", hold.id), "{asked}");
    let message = question["params"]["message"].as_str().unwrap_or_default();
    for part in [&hold.id.to_string(), "a member of leads agrees", "call tool \"restart\" of target tools"] {
        ensure!(message.contains(part), "{part:?} is not in {message}");
    }
    // Its client is gone, and nobody minds.
    ensure!(
        !hold.abandoned && hold.expires_at > hold.created_at + std::time::Duration::from_secs(500),
        "{hold:?}"
    );
    ensure!(stage.arrivals.waiting().is_none(), "nothing was sent yet");
    let approved = stage.agree()?;
    ensure!(approved.spend_within.as_secs() == 600, "as long as people had to agree: {approved:?}");

    let back = call.after(&asked, "accept");
    let (answer, sent) = stage.goes_up(&back, done()).await?;
    ensure!(answer["result"]["content"][0]["text"] == "restarted", "{answer}");
    ensure!(sent["params"]["arguments"] == call.params["arguments"], "{sent}");
    ensure!(sent["params"].get("requestState").or(sent["params"].get("inputResponses")).is_none(), "{sent}");
    // An approval is good once, and so is what brings a client back to it.
    stage.refused(&back, "is spent").await?;
    let asked = stage.asked(&call).await?;
    ensure!(stage.held()?.id != hold.id, "the same call again is another question: {asked}");
    Ok(())
}

#[tokio::test]
async fn what_the_server_asks_itself_is_brought_back_to_it() -> Result<()> {
    let mut stage = Stage::new().await?;
    let call = Call::of("web");
    let asked = stage.asked(&call).await?;
    stage.agree()?;
    let question = json!({"method": "elicitation/create", "params": {"mode": "form", "message": "sure?", "requestedSchema":
        {"type": "object", "properties": {}}}});
    let wanted =
        json!({"resultType": "input_required", "inputRequests": {"q": question}, "requestState": "theirs"});
    let (theirs, _) = stage.goes_up(&call.after(&asked, "accept"), wanted).await?;
    ensure!(state(&theirs) == "theirs", "{theirs}");

    // Each time that it goes to the server, somebody agrees.
    let responses = json!({"q": {"action": "accept", "content": {"sure": 1.0}}});
    let second = call.back("theirs", responses.clone());
    let asked = stage.asked(&second).await?;
    stage.agree()?;
    let (answer, sent) = stage.goes_up(&call.after(&asked, "accept"), done()).await?;
    ensure!(answer["result"]["resultType"] == "complete", "{answer}");
    ensure!(sent["params"]["requestState"] == "theirs", "{sent}");
    ensure!(sent["params"]["inputResponses"] == responses, "{sent}");
    Ok(())
}

#[tokio::test]
async fn what_was_not_given_for_this_very_call_brings_nobody_back() -> Result<()> {
    const FOREIGN: &str = "was not given to this person for this request";
    let mut stage = Stage::new().await?;
    let call = Call::of("web");
    let asked = stage.asked(&call).await?;
    let other = stage.asked(&Call::of("db")).await?;
    for hold in stage.gate.access().holds(false)? {
        stage.gate.access().approve_hold(&bob(), &hold.id, "")?;
    }
    let accept = json!({"portcullis": {"action": "accept"}});
    let altered = |at: usize| {
        let mut bytes = state(&asked).as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let ids: Vec<String> = stage.gate.access().holds(true)?.iter().map(|hold| hold.id.to_string()).collect();
    let (own, others) = if state(&asked).contains(&ids[0]) { (0, 1) } else { (1, 0) };
    let swapped = state(&asked).replace(&ids[own], &ids[others]);
    for state in [
        state(&other).to_owned(),
        altered(0),
        altered(12),
        altered(state(&asked).len() - 1),
        swapped,
        String::new(),
        "portcullis".to_owned(),
    ] {
        stage.refused(&call.back(&state, accept.clone()), FOREIGN).await?;
    }
    let mut legacy = call.after(&asked, "accept");
    legacy.version = "2025-11-25";
    stage.refused(&legacy, FOREIGN).await?;
    stage.refused(&call.after(&asked, "perhaps"), "is none of accept, decline and cancel").await?;
    stage.goes_up(&call.after(&asked, "accept"), done()).await?;
    Ok(())
}

#[tokio::test]
async fn who_declines_withdraws() -> Result<()> {
    for (action, agreed) in [("decline", false), ("cancel", false), ("decline", true)] {
        let mut stage = Stage::new().await?;
        let call = Call::of("web");
        let asked = stage.asked(&call).await?;
        if agreed {
            stage.agree()?;
        }
        let id = stage.gate.access().holds(true)?.pop().context("a hold")?.id;
        stage.refused(&call.after(&asked, action), "was withdrawn by alice: declined in the client").await?;
        let hold = stage.gate.access().find_hold(&id)?;
        ensure!(hold.state == HoldState::Cancelled, "{hold:?}");
        stage.refused(&call.after(&asked, "accept"), "was withdrawn by alice").await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_comes_back_too_early_waits_or_is_asked_again() -> Result<()> {
    let mut stage = Stage::new().await?;
    let call = Call::of("web");
    let asked = stage.asked(&call).await?;
    let hold = stage.held()?;
    // On a stream where it reads events; and its end ends nothing.
    let mut client = stage.gate.http1().await?;
    client.write(call.after(&asked, "accept").text()).await?;
    let head = client.head().await?;
    ensure!(is_stream(&head), "{head:?}");
    let beat = client.chunk().await?.context("a beat")?;
    ensure!(String::from_utf8_lossy(&beat).contains("waits until somebody agrees"), "{beat:?}");
    drop(client);
    let mut plain = call.clone();
    plain.accept = "application/json";
    let again = stage.asked(&plain.after(&asked, "accept")).await?;
    let silent = stage.asked(&call.back(state(&again), json!({}))).await?;
    ensure!(stage.held()? == hold, "the same hold, as it was");

    let mut client = stage.gate.http1().await?;
    client.write(call.after(&silent, "accept").text()).await?;
    ensure!(is_stream(&client.head().await?), "it waits again");
    stage.agree()?;
    ensure!(stage.arrivals.http1().await?.head.line.starts_with("POST"), "and then it goes on");
    Ok(())
}

#[tokio::test]
async fn who_was_refused_reads_why_on_coming_back() -> Result<()> {
    let mut stage = Stage::new().await?;
    let call = Call::of("web");
    let asked = stage.asked(&call).await?;
    stage.gate.access().deny_hold(&bob(), &stage.held()?.id, "not today")?;
    stage.refused(&call.after(&asked, "accept"), "bob did not agree to").await?;
    stage.refused(&call.after(&asked, "accept"), "not today").await
}

#[tokio::test]
async fn who_cannot_be_asked_waits_on_a_stream() -> Result<()> {
    let upstream = Upstream::listen().await?;
    let (asking, pageless) = (Gate::with_pages(&upstream).await?, Gate::before_service(&upstream).await?);
    let call = Call::of("web");
    let forms = Call { capabilities: json!({"elicitation": {"form": {}}}), ..call.clone() };
    let bare = Call { capabilities: json!({"elicitation": {}}), ..call.clone() };
    let legacy = Call { version: "2025-11-25", ..call.clone() };
    for (what, gate, call) in [
        ("forms alone", &asking, forms),
        ("no modes", &asking, bare),
        ("the era before", &asking, legacy),
        ("no address for pages", &pageless, call),
    ] {
        let mut client = gate.http1().await?;
        client.write(call.text()).await?;
        let head = client.head().await?;
        ensure!(is_stream(&head), "{what}: {head:?}");
        // And who goes away wants it no longer.
        soon(what, until(gate, true)).await??;
        drop(client);
        soon(what, until(gate, false)).await??;
    }
    Ok(())
}

/// Waits until a call waits with its client, or none does.
async fn until(gate: &Gate, waits: bool) -> Result<()> {
    let mut changes = gate.access().subscribe();
    while gate.access().holds(false)?.iter().any(|hold| !hold.abandoned) != waits {
        changes.changed().await?;
    }
    Ok(())
}

fn is_stream(head: &Head) -> bool {
    head.status() == 200 && head.field("content-type") == Some("text/event-stream")
}
