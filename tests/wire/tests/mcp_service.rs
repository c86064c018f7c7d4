//! An MCP server that is a service of a cluster is read as one on its way through the API server's proxy, in no other
//! spelling.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wire::{Gate, Upstream};

const SERVICE: &str = "/api/v1/namespaces/tools/services/http:mcp:8080/proxy";
const SECRET: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

/// A request of the era that has no sessions, with these parameters and headers.
fn post(path: &str, method: &str, mut params: Value, headers: &str) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAccept: application/json, \
         text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: \
         {method}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn call(path: &str, tool: &str) -> String {
    post(path, "tools/call", json!({"name": tool, "arguments": {}}), &format!("Mcp-Name: {tool}\r\n"))
}

#[tokio::test]
async fn a_call_through_the_api_server_is_decided_and_masked_as_one() -> Result<()> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::before_service(&upstream).await?;
    let mut arrivals = upstream.arrivals();
    let mut client = gate.http1().await?;
    client.write(call(&format!("{SERVICE}/mcp"), "read")).await?;
    let mut arrived = arrivals.http1().await?;
    ensure!(arrived.head.line.starts_with(&format!("POST {SERVICE}/mcp ")), "{}", arrived.head.line);
    ensure!(
        arrived.head.field("authorization") == Some("Bearer the-gates-own-token"),
        "the cluster's credential"
    );
    let text = format!("token {SECRET}");
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete", "content": [
        {"type": "text", "text": text}]}})
    .to_string();
    let length = answer.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{answer}"
    );
    arrived.stream.write(answer).await?;
    let head = client.head().await?;
    let said = String::from_utf8(client.body(&head).await?)?;
    ensure!(said.contains("token portcullis-masked:") && !said.contains(SECRET), "{said}");

    client.write(call(&format!("{SERVICE}/mcp"), "drop")).await?;
    let head = client.head().await?;
    let refused: Value = serde_json::from_slice(&client.body(&head).await?)?;
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("may not call tool \"drop\" of target tools"), "{refused}");
    ensure!(refused["id"] == 1, "{refused}");
    Ok(())
}

#[tokio::test]
async fn news_of_a_resource_are_a_subscription_to_it() -> Result<()> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::before_service(&upstream).await?;
    let mut arrivals = upstream.arrivals();
    let listen = |wanted| {
        post(&format!("{SERVICE}/mcp"), "subscriptions/listen", json!({"notifications": wanted}), "")
    };
    let mut client = gate.http1().await?;
    client.write(listen(json!({"resourceSubscriptions": ["file:///etc/motd"]}))).await?;
    let head = client.head().await?;
    let refused = String::from_utf8(client.body(&head).await?)?;
    ensure!(refused.contains(r#"may not subscribe to resource \"file:///etc/motd\""#), "{refused}");
    // Of lists, which show no more than may be used, everybody may hear.
    client.write(listen(json!({"toolsListChanged": true}))).await?;
    let arrived = arrivals.http1().await?;
    ensure!(arrived.head.field("mcp-method") == Some("subscriptions/listen"), "{:?}", arrived.head);
    Ok(())
}

#[tokio::test]
async fn streams_of_sessions_are_of_the_era_that_has_sessions() -> Result<()> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::before_service(&upstream).await?;
    for (versions, status, why) in [
        (&["2026-07-28"][..], 405, "is no way to speak"),
        (&["2025-11-25", "2025-06-18"], 400, "is there more than once"),
        (&["2031-01-01"], 400, "is not known"),
    ] {
        let fields: String =
            versions.iter().map(|version| format!("MCP-Protocol-Version: {version}\r\n")).collect();
        let mut client = gate.http1().await?;
        client.write(format!("GET {SERVICE}/mcp HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await?;
        let head = client.head().await?;
        let said = String::from_utf8(client.body(&head).await?)?;
        ensure!(head.status() == status && said.contains(why), "{versions:?}: {} {said}", head.status());
    }
    Ok(())
}

#[tokio::test]
async fn the_service_is_reached_in_one_spelling() -> Result<()> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::before_service(&upstream).await?;
    for path in [
        "/api/v1/namespaces/tools/services/mcp:8080/proxy/mcp",
        "/api/v1/namespaces/tools/services/mcp/proxy/mcp",
        "/api/v1/namespaces/tools/services/https:mcp:8080/proxy/mcp",
        "/api/v1/namespaces/tools/services/mcp:http/proxy/health",
        "/api/v1/namespaces/tools/pods/mcp-7f3a9c:8080/proxy/mcp",
        "/api/v1/namespaces/tools/pods/http:mcp-7f3a9c:8080/proxy/mcp",
        "/api/v1/namespaces/tools/pods/mcp-7f3a9c/proxy/mcp",
        "/api/v1/namespaces/tools/pods/mcp-7f3a9c:http/proxy/health",
    ] {
        let mut client = gate.http1().await?;
        client.write(call(path, "read")).await?;
        let head = client.head().await?;
        let said = String::from_utf8(client.body(&head).await?)?;
        ensure!(head.status() == 400 && said.contains("is reached as"), "{path}: {} {said}", head.status());
    }
    let mut client = gate.http1().await?;
    client.write(call(&format!("{SERVICE}/MCP"), "read")).await?;
    ensure!(client.head().await?.status() == 400, "a path that is the endpoint to some readers only");
    let mut arrivals = upstream.arrivals();
    for path in [
        "/api/v1/namespaces/tools/pods/mcp-7f3a9c:9090/proxy/metrics",
        "/api/v1/namespaces/tools/pods/web-1:8080/proxy/mcp",
        "/api/v1/namespaces/other/pods/mcp-7f3a9c:8080/proxy/mcp",
    ] {
        let mut client = gate.http1().await?;
        client.write(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await?;
        let arrived = arrivals.http1().await?;
        ensure!(arrived.head.line.starts_with(&format!("GET {path} ")), "{}", arrived.head.line);
    }
    Ok(())
}
