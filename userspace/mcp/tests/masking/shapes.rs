//! The messages that a server can send, and the secrets that are planted in them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// A text with a secret in it, and the secret.
pub(crate) fn planted() -> Vec<(String, String)> {
    let jwt = format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(r#"{"sub":"alice","admin":true}"#),
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----");
    let aws = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    [
        (format!("the id is {}", aws.0), aws.0),
        (format!("{}\n{}", aws.0, aws.1), aws.1),
        (format!("{{\"id\": \"{}\", \"other\": \"{}\"}}", aws.0, aws.1), aws.1),
        (format!("Authorization: Bearer {jwt}"), &jwt),
        (jwt.clone(), &jwt),
        (format!("<key>\n{pem}\n</key>"), body),
        ("connect to postgres://app:correcthorse9@db/app".to_owned(), "correcthorse9"),
        ("export DB_PASSWORD=Tr0ub4dor&3x ; run".to_owned(), "Tr0ub4dor"),
        (r#"{"user": "x", "password": "plainword"}"#.to_owned(), "plainword"),
        (r#"[{"db": {"apiKey": ["plainword"]}}]"#.to_owned(), "plainword"),
        ("Found:\n```json\n{\"db\": {\"apiKey\": [\"plainword\"]}}\n```".to_owned(), "plainword"),
        (json!(r#"{"password": "plainword"}"#).to_string(), "plainword"),
        (
            "token ghp_0123456789abcdefghijABCDEFGHIJ012345".to_owned(),
            "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        ),
    ]
    .into_iter()
    .map(|(text, secret)| (text, secret.to_owned()))
    .collect()
}

pub(crate) fn result(result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "result": result})
}

fn content(content: &Value) -> Value {
    result(&json!({"content": [content], "isError": false}))
}

/// All shapes, each with `text` where a server can put some.
pub(crate) fn shapes(text: &str) -> Vec<(&'static str, Value)> {
    let blob = |media: &str| json!({"uri": "file:///x", "mimeType": media, "blob": encoded(text)});
    let uri = format!("data:text/plain;base64,{}", encoded(text));
    let notification =
        |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params});
    let request = |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": "s-1", "method": method, "params": params});
    let sampling = json!({"messages": [{"role": "user", "content": {"type": "text", "text": text}}], "systemPrompt": text, "maxTokens": 10});
    let elicitation = json!({"message": text, "requestedSchema": {"type": "object", "properties": {"password": {"type": "string", "description": text, "default": text}}}});
    let mut shapes = vec![
        ("text", content(&json!({"type": "text", "text": text}))),
        ("text of an error", result(&json!({"content": [{"type": "text", "text": text}], "isError": true}))),
        ("image", content(&json!({"type": "image", "data": encoded(text), "mimeType": "image/png"}))),
        ("svg", content(&json!({"type": "image", "data": encoded(text), "mimeType": "image/svg+xml"}))),
        (
            "polyglot image",
            content(
                &json!({"type": "image", "data": encoded([PNG, text.as_bytes()].concat()), "mimeType": "image/png"}),
            ),
        ),
        (
            "type after data",
            content(&json!({"mimeType": "text/plain", "data": encoded(text), "type": "image"})),
        ),
        ("audio", content(&json!({"type": "audio", "data": encoded(text), "mimeType": "audio/wav"}))),
        ("image without a type", content(&json!({"type": "image", "data": encoded(text)}))),
        (
            "image of two types",
            content(
                &json!({"type": "image", "data": encoded(text), "mimeType": "image/png", "MimeType": "text/plain"}),
            ),
        ),
        (
            "resource link",
            content(&json!({"type": "resource_link", "uri": "x://h/", "name": "n", "description": text})),
        ),
        (
            "embedded text",
            content(&json!({"type": "resource", "resource": {"uri": "file:///x", "text": text}})),
        ),
        ("embedded blob", content(&json!({"type": "resource", "resource": blob("text/plain")}))),
        (
            "embedded blob, unpadded",
            content(
                &json!({"type": "resource", "resource": {"blob": STANDARD_NO_PAD.encode(text), "mimeType": "text/plain"}}),
            ),
        ),
        ("embedded json", content(&json!({"type": "resource", "resource": blob("application/json")}))),
        (
            "embedded binary",
            content(&json!({"type": "resource", "resource": blob("application/octet-stream")})),
        ),
        (
            "structured",
            result(
                &json!({"content": [], "structuredContent": {"rows": [{"note": text, "metadata": {"x": [text]}}]}}),
            ),
        ),
        ("structured key", result(&json!({"content": [], "structuredContent": {"rows": {text: 1}}}))),
        ("structured content blob", result(&json!({"structuredContent": {"files": [blob("text/csv")]}}))),
        (
            "json in text",
            content(
                &json!({"type": "text", "text": json!({"stdout": text, "files": [blob("text/plain")]}).to_string()}),
            ),
        ),
        ("data uri", content(&json!({"type": "text", "text": format!("![x]({uri}) {uri}")}))),
        (
            "data uri in json in text",
            content(&json!({"type": "text", "text": json!({"icon": uri}).to_string()})),
        ),
        (
            "data uri in svg",
            content(
                &json!({"type": "image", "mimeType": "image/svg+xml", "data": encoded(format!("<image href='{uri}'/>"))}),
            ),
        ),
        (
            "icons",
            result(&json!({"tools": [{"name": "t", "icons": [{"src": uri, "mimeType": "image/png"}]}]})),
        ),
        (
            "resources/read text",
            result(&json!({"contents": [{"uri": "file:///x", "mimeType": "text/plain", "text": text}]})),
        ),
        ("resources/read blob", result(&json!({"contents": [blob("text/x-python; charset=utf-8")]}))),
        (
            "resources/read pdf",
            result(&json!({"contents": [blob("application/pdf")], "ttlMs": 5, "cacheScope": "private"})),
        ),
        (
            "resources/list",
            result(
                &json!({"resources": [{"uri": "file:///x", "name": "x", "title": text, "description": text}]}),
            ),
        ),
        (
            "templates",
            result(
                &json!({"resourceTemplates": [{"uriTemplate": "file:///{x}", "name": "x", "description": text}]}),
            ),
        ),
        (
            "prompts/get",
            result(&json!({"description": text, "messages": [
                {"role": "user", "content": {"type": "text", "text": text}},
                {"role": "assistant", "content": {"type": "resource", "resource": blob("text/plain")}},
                {"role": "user", "content": {"type": "image", "mimeType": "image/png", "data": encoded(text)}},
            ]})),
        ),
        (
            "prompts/list",
            result(&json!({"prompts": [{"name": "p", "arguments": [{"name": "a", "description": text}]}]})),
        ),
        ("completion", result(&json!({"completion": {"values": [text, "b"], "total": 2, "hasMore": false}}))),
        (
            "initialize",
            result(
                &json!({"protocolVersion": "2025-11-25", "capabilities": {"experimental": {"x": {"y": text}}}, "serverInfo": {"name": "s", "version": text}, "instructions": text}),
            ),
        ),
        (
            "tools/list",
            result(
                &json!({"tools": [{"name": "t", "description": text, "annotations": {"title": text}, "inputSchema": {"type": "object", "properties": {"token": {"type": "string", "description": text, "examples": [text]}}}}]}),
            ),
        ),
        (
            "_meta",
            result(
                &json!({"content": [], "_meta": {"io.modelcontextprotocol/serverInfo": {"name": text}, "example.test/x": text}}),
            ),
        ),
        ("_meta of content", content(&json!({"type": "text", "text": "x", "_meta": {"a/b": {"c": text}}}))),
        ("unknown result", result(&json!({"something": [{"new": text}]}))),
        (
            "unknown content",
            content(&json!({"type": "video", "data": encoded(text), "mimeType": "video/mp4"})),
        ),
        (
            "tool result of sampling",
            request(
                "sampling/createMessage",
                json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "toolUseId": "1", "content": [{"type": "text", "text": text}], "structuredContent": {"x": text}}]}]}),
            ),
        ),
        (
            "error",
            json!({"jsonrpc": "2.0", "id": 7, "error": {"code": -32603, "message": text, "data": {"stderr": text, "cause": [text]}}}),
        ),
        (
            "error with text as data",
            json!({"jsonrpc": "2.0", "id": 7, "error": {"code": -32603, "message": "x", "data": text}}),
        ),
        (
            "log",
            notification(
                "notifications/message",
                json!({"level": "info", "logger": "x", "data": {"line": text}}),
            ),
        ),
        ("log of text", notification("notifications/message", json!({"level": "info", "data": text}))),
        (
            "progress",
            notification(
                "notifications/progress",
                json!({"progressToken": 3, "progress": 1, "message": text}),
            ),
        ),
        ("cancelled", notification("notifications/cancelled", json!({"requestId": 3, "reason": text}))),
        ("unknown notification", notification("notifications/new", json!({"x": text}))),
        ("sampling", request("sampling/createMessage", sampling.clone())),
        ("elicitation", request("elicitation/create", elicitation.clone())),
        (
            "url elicitation",
            request(
                "elicitation/create",
                json!({"mode": "url", "message": "m", "url": "https://h/", "elicitationId": "e", "note": text}),
            ),
        ),
    ];
    shapes.push((
        "input required",
        result(&json!({"resultType": "input_required", "requestState": "opaque", "inputRequests": {
            "secret form": {"method": "elicitation/create", "params": elicitation},
            "s": {"method": "sampling/createMessage", "params": sampling},
        }})),
    ));
    shapes
}
