//! Who forwards a port to an MCP server calls its tools under the same rules as anybody: each request in each forwarded
//! connection is decided, filtered, masked and answered by the gate, however the port-forward is framed.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wire::{Arrivals, Forwarding, Framing, Gate, Peer, ServerStream, Upstream, forward};

const POD: &str = "tools/mcp-0";
const PORT: u16 = 8080;
const SECRET: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

/// A request of the era that has no sessions.
fn post(method: &str, mut params: Value, headers: &str) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost:9000\r\nUser-Agent: agent/1\r\nContent-Type: \
         application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: \
         2026-07-28\r\nMcp-Method: {method}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn call(tool: &str, headers: &str) -> String {
    post("tools/call", json!({"name": tool, "arguments": {}}), &format!("Mcp-Name: {tool}\r\n{headers}"))
}

fn answer(result: &Value, fields: &str) -> String {
    let body = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn text(text: &str) -> Value {
    json!({"resultType": "complete", "content": [{"type": "text", "text": text}]})
}

/// What a refusal says, and whether it is one of the request.
fn refusal(body: &str) -> Result<String> {
    let refused: Value = serde_json::from_str(body)?;
    ensure!(refused["id"] == 1, "{refused}");
    Ok(refused["error"]["message"].as_str().unwrap_or_default().to_owned())
}

struct Stage {
    gate: Gate,
    arrivals: Arrivals,
}

async fn stage() -> Result<Stage> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::before_service(&upstream).await?;
    Ok(Stage { gate, arrivals: upstream.arrivals() })
}

impl Stage {
    async fn forward(&mut self, framing: Framing) -> Result<(Forwarding, Peer<ServerStream>)> {
        let (mut client, pod) = forward(&self.gate, &mut self.arrivals, POD, framing, PORT).await?;
        client.open(0, PORT).await?;
        Ok((client, pod))
    }
}

#[tokio::test]
async fn a_call_is_decided_and_masked_however_it_is_framed_and_cut() -> Result<()> {
    let mut stage = stage().await?;
    for framing in Framing::ALL {
        for slices in [1, 7, 100_000] {
            let (mut client, mut pod) = stage.forward(framing).await?;
            client.cut_into(slices);
            pod.cut_into(slices);
            // What is refused reaches nobody: the first that the pod hears is the next call.
            client.say(0, call("drop", "")).await?;
            let (_, refused) = client.http(0).await?;
            let refused = refusal(&refused)?;
            ensure!(refused.contains("may not call tool \"drop\" of target tools"), "{refused}");

            client.say(0, call("read", "Authorization: Bearer theirs\r\nCookie: a=b\r\n")).await?;
            let (head, body) = pod.http(0).await?;
            ensure!(head.starts_with("POST /mcp HTTP/1.1\r\n") && body.contains("\"read\""), "{head}{body}");
            for field in [
                "Host: localhost:9000",
                "Authorization: Bearer theirs",
                "Cookie: a=b",
                "accept-encoding: identity",
            ] {
                ensure!(head.lines().any(|line| line.eq_ignore_ascii_case(field)), "no {field}: {head}");
            }
            ensure!(head.contains("agent/1 portcullis (alice; g-"), "{head}");
            pod.say(0, answer(&text(&format!("token {SECRET}")), "Set-Cookie: c=d\r\n")).await?;
            let (head, said) = client.http(0).await?;
            ensure!(head.contains("Set-Cookie: c=d"), "{head}");
            ensure!(said.contains("token portcullis-masked:") && !said.contains(SECRET), "{said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn lists_show_what_may_be_called() -> Result<()> {
    let mut stage = stage().await?;
    let (mut client, mut pod) = stage.forward(Framing::Spdy).await?;
    client.say(0, post("tools/list", json!({}), "")).await?;
    pod.http(0).await?;
    let tool = |name| json!({"name": name, "inputSchema": {"type": "object"}});
    let tools = json!({"tools": [tool("read"), tool("drop")], "resultType": "complete"});
    pod.say(0, answer(&tools, "")).await?;
    let (_, said) = client.http(0).await?;
    ensure!(said.contains("\"read\"") && !said.contains("\"drop\""), "{said}");
    Ok(())
}

#[tokio::test]
async fn connections_do_not_wait_for_each_other() -> Result<()> {
    let mut stage = stage().await?;
    for framing in [Framing::Spdy, Framing::Tunnel] {
        let (mut client, mut pod) = stage.forward(framing).await?;
        client.open(1, PORT).await?;
        for connection in [0, 1] {
            client.say(connection, call("read", "")).await?;
            pod.http(connection).await?;
        }
        // Nor does what is refused.
        client.open(2, PORT).await?;
        client.say(2, call("drop", "")).await?;
        ensure!(refusal(&client.http(2).await?.1)?.contains("may not call"), "the third");
        for connection in [1, 0] {
            pod.say(connection, answer(&text(&format!("number {connection}")), "")).await?;
            let (_, said) = client.http(connection).await?;
            ensure!(said.contains(&format!("number {connection}")), "{said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn events_pass_one_by_one_and_the_end_of_a_grant_is_told_among_them() -> Result<()> {
    let mut stage = stage().await?;
    let (mut client, mut pod) = stage.forward(Framing::Tunnel).await?;
    client.say(0, call("read", "")).await?;
    pod.http(0).await?;
    pod.say(0, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await?;
    for number in 0..3 {
        let params = json!({"progressToken": 1, "progress": number, "message": SECRET});
        let event = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        let event = format!("data: {event}\n\n");
        pod.say(0, format!("{:x}\r\n{event}\r\n", event.len())).await?;
        // Before the next one is said.
        let heard = client.until(0, &format!("\"progress\":{number}")).await?;
        ensure!(!heard.contains(SECRET), "{heard}");
    }
    stage.gate.revoke("readers")?;
    let heard = client.until(0, "0\r\n\r\n").await?;
    ensure!(heard.contains("portcullis: access ended") && heard.contains("\"id\":1"), "{heard}");
    // The port-forward itself is under another grant.
    client.open(1, PORT).await?;
    client.say(1, call("read", "")).await?;
    let (_, refused) = client.http(1).await?;
    ensure!(refusal(&refused)?.contains("was revoked"), "{refused}");
    stage.gate.revoke("everything")?;
    let told = client.hears(1, |heard| heard.ended).await?;
    ensure!(told.error.contains("portcullis: access ended"), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_http_is_refused_with_a_reason() -> Result<()> {
    let mut stage = stage().await?;
    for framing in Framing::ALL {
        for said in
            [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"hello"]
        {
            let (mut client, mut pod) = stage.forward(framing).await?;
            client.say(0, said).await?;
            let told = client.hears(0, |heard| heard.error.contains("nothing else")).await?;
            ensure!(told.error.contains("this port is that of MCP server tools"), "{told:?}");
            ensure!(told.bytes.is_empty(), "{told:?}");
            if framing != Framing::Channels {
                client.hears(0, |heard| heard.ended).await?;
                let heard = pod.hears(0, |heard| heard.ended).await?;
                ensure!(heard.bytes.is_empty(), "it went up: {heard:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn heads_that_two_readers_read_in_two_ways_are_refused() -> Result<()> {
    let mut stage = stage().await?;
    let (mut client, mut pod) = stage.forward(Framing::Spdy).await?;
    client
        .say(0, "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await?;
    let (head, said) = client.http(0).await?;
    ensure!(head.starts_with("HTTP/1.1 400 ") && said.contains("can be read in two ways"), "{head}{said}");
    client.hears(0, |heard| heard.ended).await?;
    ensure!(pod.hears(0, |heard| heard.ended).await?.bytes.is_empty(), "it went up");
    Ok(())
}

#[tokio::test]
async fn other_paths_need_a_rule_and_foreign_pages_have_no_business_here() -> Result<()> {
    let mut stage = stage().await?;
    let (mut client, mut pod) = stage.forward(Framing::Spdy).await?;
    // Open to everybody at an API server.
    client.say(0, "GET /version HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let (head, said) = client.http(0).await?;
    ensure!(head.starts_with("HTTP/1.1 403 ") && said.contains("of target tools"), "{head}{said}");
    client.say(0, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let (head, _) = pod.http(0).await?;
    ensure!(head.starts_with("GET /health HTTP/1.1\r\n"), "{head}");
    let body = format!("fine {SECRET}");
    pod.say(
        0,
        format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Type: text/plain\r\nContent-Length: \
             {}\r\n\r\n{body}",
            body.len()
        ),
    )
    .await?;
    let (head, said) = client.http(0).await?;
    ensure!(head.contains("WWW-Authenticate: Basic"), "the server's own challenge: {head}");
    ensure!(said.starts_with("fine ") && !said.contains(SECRET), "{said}");

    client.say(0, call("read", "Origin: http://evil.example:9000\r\n")).await?;
    let (head, said) = client.http(0).await?;
    ensure!(head.starts_with("HTTP/1.1 403 ") && said.contains("evil.example"), "{head}{said}");
    client.say(0, call("read", "Origin: http://localhost:6274\r\n")).await?;
    let (head, _) = pod.http(0).await?;
    ensure!(head.starts_with("POST /mcp "), "{head}");
    Ok(())
}

#[tokio::test]
async fn each_end_of_a_connection_is_passed_on() -> Result<()> {
    let mut stage = stage().await?;
    for framing in [Framing::Spdy, Framing::Tunnel] {
        // The pod ends it behind its answer.
        let (mut client, mut pod) = stage.forward(framing).await?;
        client.say(0, call("read", "")).await?;
        pod.http(0).await?;
        pod.say(0, answer(&text("last"), "Connection: close\r\n")).await?;
        pod.end(0).await?;
        let (_, said) = client.http(0).await?;
        ensure!(said.contains("last"), "{said}");
        client.hears(0, |heard| heard.ended).await?;
        // The client ends it, while nothing is asked.
        client.open(1, PORT).await?;
        client.say(1, call("read", "")).await?;
        pod.http(1).await?;
        pod.say(1, answer(&text("kept"), "")).await?;
        client.http(1).await?;
        client.end(1).await?;
        pod.hears(1, |heard| heard.ended).await?;
        client.hears(1, |heard| heard.ended).await?;
        // Either breaks it off.
        for connection in [2, 3] {
            client.open(connection, PORT).await?;
            client.say(connection, call("read", "")).await?;
            pod.http(connection).await?;
        }
        client.reset(2).await?;
        pod.hears(2, |heard| heard.reset).await?;
        pod.reset(3).await?;
        client.hears(3, |heard| heard.reset).await?;
        // The others go on.
        client.open(4, PORT).await?;
        client.say(4, call("read", "")).await?;
        pod.http(4).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_is_heard_before_the_end_of_its_port_forward() -> Result<()> {
    let mut stage = stage().await?;
    let (mut client, mut pod) = stage.forward(Framing::Channels).await?;
    client.say(0, call("read", "")).await?;
    pod.http(0).await?;
    // In one go, as the kubelet does when a server closes its connection.
    pod.say(0, answer(&text(&format!("last {SECRET}")), "Connection: close\r\n")).await?;
    pod.close().await?;
    let (_, said) = client.http(0).await?;
    ensure!(said.contains("last portcullis-masked:"), "{said}");
    client.hears(0, |heard| heard.ended).await?;
    Ok(())
}

#[tokio::test]
async fn an_approval_is_not_used_up_by_a_server_that_has_hung_up() -> Result<()> {
    let mut stage = stage().await?;
    let (mut client, mut pod) = stage.forward(Framing::Spdy).await?;
    client.say(0, call("restart", "")).await?;
    client.until(0, "this call waits").await?;
    // As servers do with connections on which nothing is said for a while.
    pod.end(0).await?;
    pod.hears(0, |_| true).await?;
    stage.gate.agree().await?;
    let said = client.until(0, "0\r\n\r\n").await?;
    ensure!(said.contains("hung up while the request waited"), "{said}");
    client.hears(0, |heard| heard.ended).await?;
    client.open(1, PORT).await?;
    client.say(1, call("restart", "")).await?;
    let (_, body) = pod.http(1).await?;
    ensure!(body.contains("\"restart\""), "{body}");
    Ok(())
}

#[tokio::test]
async fn other_ports_and_pods_pass_as_before() -> Result<()> {
    let mut stage = stage().await?;
    let upstream = Upstream::listen().await?;
    let gate = Gate::before(&upstream).await?;
    let mut unmasked = Stage { gate, arrivals: upstream.arrivals() };
    for framing in Framing::ALL {
        for (pod, port) in [(POD, 9090), ("tools/web", PORT), ("demo/mcp-0", PORT)] {
            for Stage { gate, arrivals } in [&mut stage, &mut unmasked] {
                let (mut client, mut server) = forward(gate, arrivals, pod, framing, port).await?;
                client.open(0, port).await?;
                client.say(0, "\x01no http\n").await?;
                server.until(0, "\x01no http\n").await?;
                server.say(0, "\x02nor this\n").await?;
                client.until(0, "\x02nor this\n").await?;
            }
        }
        let (mut client, mut server) =
            forward(&stage.gate, &mut stage.arrivals, "tools/web", framing, PORT).await?;
        client.open(0, PORT).await?;
        client.say(0, call("drop", "")).await?;
        let (head, body) = server.http(0).await?;
        ensure!(head.contains("User-Agent: agent/1\r\n") && body.contains("\"drop\""), "{head}{body}");
    }
    Ok(())
}
