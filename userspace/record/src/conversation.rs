//! What an MCP server said in answer to one request, as a person reads it: a line for each thing said.

use portcullis_codec::sse::{Decoder, Frame};
use serde_json::Value;

use crate::safe::Safe;

/// The longest message that is taken apart, in bytes; the proxy passes none that is longer.
const LIMIT: usize = 16 * 1024 * 1024;
/// What is shown of one thing said, in characters.
const SHOWN: usize = 2000;

/// The answer to one request, as far as it has come.
pub(crate) enum Conversation {
    /// `application/json`: one message, at the end.
    Json(Vec<u8>),
    /// `text/event-stream`: a message an event.
    Events(Decoder),
}

impl Conversation {
    pub(crate) fn new(content_type: &str) -> Self {
        match content_type.trim_start().to_ascii_lowercase().starts_with("text/event-stream") {
            true => Self::Events(Decoder::new(LIMIT)),
            false => Self::Json(Vec::new()),
        }
    }

    /// Takes bytes of the answer; gives what was said in them, in safe lines.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut said = Vec::new();
        match self {
            Self::Json(whole) if whole.len() + bytes.len() <= LIMIT => whole.extend_from_slice(bytes),
            Self::Json(_) => {}
            Self::Events(decoder) => {
                while let Ok(Some(frame)) = decoder.next(&mut bytes) {
                    let Frame::Event(event) = frame else { continue };
                    said.extend(event.data.iter().flat_map(|data| message(data)));
                }
            }
        }
        said
    }

    /// What was said in an answer that is over.
    pub(crate) fn finish(self) -> Vec<String> {
        match self {
            Self::Json(whole) => message(&whole),
            Self::Events(_) => Vec::new(),
        }
    }
}

/// One JSON-RPC message, in lines.
fn message(text: &[u8]) -> Vec<String> {
    let Ok(message) = serde_json::from_slice::<Value>(text) else { return Vec::new() };
    let params = message.get("params");
    if let Some(method) = message["method"].as_str() {
        let what = if message.get("id").is_some() { "asks the client" } else { "says" };
        let params = params.map(|params| format!(" {}", shown(params))).unwrap_or_default();
        return vec![format!("{what} {}{params}", Safe(method))];
    }
    if let Some(error) = message.get("error") {
        let text = error["message"].as_str().unwrap_or_default();
        let data = error.get("data").map(|data| format!(" {}", shown(data))).unwrap_or_default();
        return vec![format!("error {}: {}{data}", error["code"], Safe(&cut(text)))];
    }
    message.get("result").map_or(Vec::new(), result)
}

/// What a request was answered: the contents of a tool, resource or prompt one by one, anything else as it is.
fn result(result: &Value) -> Vec<String> {
    let failed = if result["isError"] == true { "the tool failed: " } else { "" };
    let list = |field: &str| result[field].as_array().into_iter().flatten();
    let mut said: Vec<String> =
        list("content").chain(list("contents")).map(|content| format!("{failed}{}", one(content))).collect();
    for message in list("messages") {
        let role = message["role"].as_str().unwrap_or_default();
        said.push(format!("{}: {}", Safe(role), one(&message["content"])));
    }
    for (field, name) in
        [("tools", "name"), ("prompts", "name"), ("resources", "uri"), ("resourceTemplates", "uriTemplate")]
    {
        if result[field].is_array() {
            let names: Vec<&str> = list(field).filter_map(|entry| entry[name].as_str()).collect();
            said.push(format!("{} {field}: {}", names.len(), Safe(&cut(&names.join(", ")))));
        }
    }
    if let Some(structured) = result.get("structuredContent") {
        said.push(format!("structured {}", shown(structured)));
    }
    if said.is_empty() { vec![shown(result)] } else { said }
}

/// One piece of content.
fn one(content: &Value) -> String {
    let inner = content.get("resource").unwrap_or(content);
    let uri = inner["uri"].as_str().map(|uri| format!("{} ", Safe(uri))).unwrap_or_default();
    match (inner["text"].as_str(), inner["data"].as_str().or(inner["blob"].as_str())) {
        (Some(text), _) => format!("{uri}{}", Safe(&cut(text))),
        (None, Some(blob)) => {
            let kind = inner["mimeType"].as_str().unwrap_or("of no type");
            format!("{uri}({}, {} characters of base64)", Safe(kind), blob.len())
        }
        (None, None) => shown(content),
    }
}

fn shown(value: &Value) -> String {
    Safe(&cut(&value.to_string())).to_string()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_said_is_a_line() {
        for (said, lines) in [
            (r#"{"result":{"content":[{"type":"text","text":"hello"}]}}"#, &["hello"][..]),
            (
                r#"{"result":{"isError":true,"content":[{"type":"text","text":"no"}]}}"#,
                &["the tool failed: no"],
            ),
            (
                r#"{"result":{"content":[{"type":"image","data":"AAAA","mimeType":"image/png"}],"structuredContent":{"a":1}}}"#,
                &["(image/png, 4 characters of base64)", r#"structured {"a":1}"#],
            ),
            (r#"{"result":{"contents":[{"uri":"file:///a","text":"b"}]}}"#, &["file:///a b"]),
            (
                r#"{"result":{"messages":[{"role":"user","content":{"type":"text","text":"hi"}}]}}"#,
                &["user: hi"],
            ),
            (r#"{"result":{"tools":[{"name":"a"},{"name":"b"}]}}"#, &["2 tools: a, b"]),
            (r#"{"result":{}}"#, &["{}"]),
            (r#"{"error":{"code":-32602,"message":"no such tool"}}"#, &["error -32602: no such tool"]),
            (
                r#"{"method":"notifications/progress","params":{"progress":1}}"#,
                &[r#"says notifications/progress {"progress":1}"#],
            ),
            (r#"{"id":1,"method":"roots/list"}"#, &["asks the client roots/list"]),
            ("not JSON", &[]),
        ] {
            assert_eq!(message(said.as_bytes()), lines, "{said}");
        }
    }

    #[test]
    fn events_are_told_as_they_come() {
        let mut conversation = Conversation::new("text/event-stream; charset=utf-8");
        assert!(conversation.push(b": waits\n\ndata: {\"method\":").is_empty());
        assert_eq!(conversation.push(b"\"x\"}\n\n"), ["says x"]);
        assert!(conversation.finish().is_empty());
    }

    #[test]
    fn nothing_reaches_the_terminal_unescaped() {
        let said = message(br#"{"result":{"content":[{"type":"text","text":"\u001b[2Jgone"}]}}"#);
        assert!(!said[0].contains('\u{1b}'), "{said:?}");
    }
}
