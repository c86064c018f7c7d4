//! Both ends of MCP over Streamable HTTP: a server with two tools that return a kilobyte of text, and clients that call one of
//! them over and over. One tool answers in `application/json`, the other with an event of `text/event-stream`.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::exec;
use crate::http::{Request, SESSION, Wire};
use crate::serve::After;

/// Where the server is.
const PATH: &str = "/mcp";
/// What a tool returns, bytes.
const TEXT: usize = 1000;
/// The tool that answers by an event; the other is `report`.
const BY_EVENT: &str = "report_events";
/// All that is said on the stream of a session.
const NEWS: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
/// The last revision with sessions, and the first without.
const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// What the server answers, ready but for the id.
pub(crate) struct Tools {
    hello: String,
    list: String,
    report: String,
    sessions: AtomicU64,
}

impl Tools {
    pub(crate) fn make() -> Result<Self> {
        let tool = |name: &str| {
            json!({
                "name": name,
                "description": "The last lines that a service has logged.",
                "inputSchema": { "type": "object", "properties": {
                    "service": { "type": "string" }, "since": { "type": "string" }, "lines": { "type": "integer" },
                }, "required": ["service"] },
            })
        };
        let text = String::from_utf8(exec::lines(TEXT)).context("lines of text")?;
        Ok(Self {
            hello: json!({
                "protocolVersion": LEGACY,
                "capabilities": { "tools": { "listChanged": true } },
                "serverInfo": { "name": "bench", "version": "1" },
            })
            .to_string(),
            list: json!({ "tools": [tool("report"), tool(BY_EVENT)] }).to_string(),
            report: json!({ "content": [{ "type": "text", "text": text }], "isError": false }).to_string(),
            sessions: AtomicU64::new(0),
        })
    }

    /// Serves until the client goes, or opens the stream of a session.
    pub(crate) fn serve<S: Read + Write>(&self, wire: &mut Wire<S>) -> Result<After> {
        while let Some(Request { method, body, .. }) = wire.request()? {
            match method.as_str() {
                "POST" => wire.send(&self.answer(&body)?)?,
                "GET" => {
                    wire.send(&events(&format!("event: message\ndata: {NEWS}\n\n")))?;
                    return Ok(After::Park);
                }
                _ => wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?,
            }
        }
        Ok(After::Close)
    }

    fn answer(&self, body: &[u8]) -> Result<Vec<u8>> {
        let Asked { id, method, params } = serde_json::from_slice(body).context("a message")?;
        let Some(id) = id else {
            return Ok(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec());
        };
        let result = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        Ok(match method {
            "initialize" => {
                let session = self.sessions.fetch_add(1, Ordering::Relaxed);
                whole("application/json", &format!("{SESSION}: bench-{session:08}\r\n"), &result(&self.hello))
            }
            "tools/list" => whole("application/json", "", &result(&self.list)),
            "tools/call" if params.and_then(|params| params.name) == Some(BY_EVENT) => {
                let mut answer = events(&format!("event: message\ndata: {}\n\n", result(&self.report)));
                answer.extend(b"0\r\n\r\n");
                answer
            }
            "tools/call" => whole("application/json", "", &result(&self.report)),
            other => {
                let error = json!({ "code": -32601, "message": format!("{other} is not known") });
                whole("application/json", "", &format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
            }
        })
    }
}

/// What the server reads of a message.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow)]
    params: Option<Named<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    name: Option<&'a str>,
}

/// Calls of one tool on one connection, each with an id of its own.
pub(crate) struct Calls {
    request: Vec<u8>,
    /// The digits of the id.
    id: Range<usize>,
}

impl Calls {
    /// Begins a session on `wire` as clients do, unless `modern`, and calls `tool` in it.
    pub(crate) fn begin<S: Read + Write>(
        wire: &mut Wire<S>,
        host: SocketAddr,
        tool: &str,
        modern: bool,
    ) -> Result<Self> {
        let (headers, meta) = match modern {
            true => {
                let headers = format!(
                    "MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
                );
                let meta = json!({
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                (headers, meta)
            }
            false => (session(wire, host)?, json!({ "progressToken": 1 })),
        };
        let arguments = json!({ "service": "checkout", "since": "2026-11-02T08:15:30Z", "lines": 12 });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        let body = format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{params},"id":100000000}}"#);
        let request = post(host, &headers, &body);
        let end = request.len() - 1;
        Ok(Self { id: end - 9..end, request })
    }

    /// The next call.
    pub(crate) fn next(&mut self) -> &[u8] {
        for digit in self.request[self.id.clone()].iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                break;
            }
            *digit = b'0';
        }
        &self.request
    }
}

/// Begins a session, and the stream on which its server speaks unasked.
pub(crate) fn open_stream<S: Read + Write>(wire: &mut Wire<S>, host: SocketAddr) -> Result<()> {
    let session = session(wire, host)?;
    wire.send(
        format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n{session}\r\n")
            .as_bytes(),
    )?;
    wire.endless()
}

/// What clients say before their first call; returns the headers that they send from then on.
fn session<S: Read + Write>(wire: &mut Wire<S>, host: SocketAddr) -> Result<String> {
    let mut say = |headers: &str, message: Value| {
        wire.send(&post(host, headers, &message.to_string()))?;
        wire.session().with_context(|| message["method"].to_string())
    };
    let params = json!({
        "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "bench", "version": "1" },
    });
    let begun = say("", json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }))?;
    let Some(session) = begun else { bail!("the server began no session") };
    let headers = format!("MCP-Protocol-Version: {LEGACY}\r\n{SESSION}: {session}\r\n");
    say(&headers, json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
    say(&headers, json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }))?;
    Ok(headers)
}

fn post(host: SocketAddr, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: application/json, text/event-stream\r\n\
         Content-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// An answer of a known length.
fn whole(content_type: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{headers}Date: Mon, 02 Nov 2026 08:15:30 GMT\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The beginning of a stream with its first event.
fn events(event: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
         Date: Mon, 02 Nov 2026 08:15:30 GMT\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n",
        event.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(tools: &Tools, request: &[u8]) -> String {
        let text = String::from_utf8(request.to_vec()).unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        String::from_utf8(tools.answer(body.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn each_call_has_its_own_id_and_gets_it_back() {
        let tools = Tools::make().unwrap();
        let host = SocketAddr::from(([127, 0, 0, 1], 443));
        let mut wire = Wire::new(std::io::Cursor::new(Vec::new()));
        for (tool, content_type) in [("report", "application/json"), (BY_EVENT, "text/event-stream")] {
            let mut calls = Calls::begin(&mut wire, host, tool, true).unwrap();
            for id in 100_000_001..100_000_012 {
                let answer = answered(&tools, calls.next());
                assert!(answer.contains(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#)), "{answer}");
                assert!(answer.contains(content_type) && answer.len() > TEXT, "{answer}");
            }
        }
    }
}
