//! What a client may send: what is read is what a server acts upon, and everything else is refused with its reason.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use http::StatusCode;
use portcullis_mcp::{About, Fault, Id, Kind, MAX_MESSAGE, Message};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(body: &Value) -> Message {
    Message::read(body.to_string().as_bytes()).unwrap()
}

fn refused(body: &str) -> Fault {
    match Message::read(body.as_bytes()) {
        Ok(message) => panic!("accepted {body}: {message:?}"),
        Err(fault) => fault,
    }
}

fn call(params: &Value) -> Message {
    read(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }))
}

#[test]
fn requests_are_about_what_their_parameters_say() {
    let about = |method: &str, params: Value| {
        let message = read(&json!({ "jsonrpc": "2.0", "id": "a", "method": method, "params": params }));
        assert_eq!((message.method(), message.kind()), (method, &Kind::Request(Id::Text("a".into()))));
        format!("{:?}", message.about())
    };
    assert_eq!(about("tools/call", json!({ "name": "add" })), r#"Tool("add")"#);
    assert_eq!(about("prompts/get", json!({ "name": "greet" })), r#"Prompt("greet")"#);
    for method in ["resources/read", "resources/subscribe", "resources/unsubscribe"] {
        assert_eq!(about(method, json!({ "uri": "file:///a" })), r#"Resource("file:///a")"#);
    }
    let reference = |reference: Value| about("completion/complete", json!({ "ref": reference }));
    assert_eq!(
        reference(json!({ "type": "ref/prompt", "name": "greet", "uri": "x:" })),
        r#"Prompt("greet")"#
    );
    assert_eq!(reference(json!({ "type": "ref/resource", "uri": "x:{id}" })), r#"Resource("x:{id}")"#);
    for method in ["tools/list", "ping", "initialize", "tasks/get", "com.example/index"] {
        assert_eq!(about(method, json!({ "name": "add", "uri": "file:///a" })), "Nothing");
    }
}

#[test]
fn notifications_and_responses_are_told_apart() {
    let told = read(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    assert_eq!((told.kind(), told.id(), told.params().len()), (&Kind::Notification, None, 0));
    for answer in [
        json!({ "jsonrpc": "2.0", "id": 7, "result": {} }),
        json!({ "jsonrpc": "2.0", "id": 7, "error": { "code": 1, "message": "no" } }),
    ] {
        let message = read(&answer);
        assert_eq!(message.kind(), &Kind::Response(Id::Number(7.into())));
        assert_eq!((message.method(), message.about()), ("", About::Nothing));
    }
}

#[test]
fn the_parts_of_a_request_are_found() {
    let message = call(&json!({
        "name": "add",
        "arguments": { "a": 1 },
        "requestState": "s",
        "_meta": { "progressToken": 5 }
    }));
    assert_eq!(message.arguments(), Some(&json!({ "a": 1 })));
    assert_eq!(message.progress_token(), Some(&json!(5)));
    assert_eq!(message.request_state(), Some("s"));

    let bare = call(&json!({ "name": "add", "arguments": null }));
    assert_eq!((bare.arguments(), bare.progress_token(), bare.request_state()), (None, None, None));

    let listen = read(&json!({
        "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
        "params": { "notifications": { "toolsListChanged": true, "resourceSubscriptions": ["x:a", "x:b"] } }
    }));
    assert_eq!(listen.subscribes_to().collect::<Vec<_>>(), ["x:a", "x:b"]);
    assert_eq!(bare.subscribes_to().count(), 0);
}

#[test]
fn what_is_no_single_clear_message_is_refused() {
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}}}"#, "[".repeat(200));
    for (body, code, id, why) in [
        ("", -32700, None, "EOF"),
        ("{", -32700, None, "EOF"),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32700, None, r#"key "id" is there twice"#),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}"#,
            -32700,
            None,
            r#""Method""#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            -32700,
            None,
            r#"key "name" is there twice"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"p":1,"P":2}}}"#,
            -32700,
            None,
            r#"key "P" is there twice"#,
        ),
        (&deep, -32700, None, "nested more than 100 levels"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600, None, "batches are not taken"),
        ("[]", -32600, None, "batches are not taken"),
        ("1", -32600, None, "no object"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, None, "its id"),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600, None, "its id"),
        (r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#, -32600, None, "its id"),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600, None, "its id"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600, Some(1), "its jsonrpc"),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, -32600, Some(1), "its jsonrpc"),
        (r#"{"id":1,"method":"ping"}"#, -32600, Some(1), "its jsonrpc"),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600, Some(1), "no method"),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600, Some(1), "its method is no string"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, -32600, Some(1), "several kinds"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, -32600, Some(1), "several kinds"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#, -32600, Some(1), "several kinds"),
        (r#"{"jsonrpc":"2.0","result":{}}"#, -32600, None, "it answers nothing"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}"#, -32600, Some(1), r#"called "extra""#),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Params":{}}"#, -32600, Some(1), r#"called "Params""#),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, -32600, Some(1), "params are no object"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
            -32600,
            Some(1),
            "params are no object",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"Tools/Call"}"#, -32600, Some(1), "looks like tools/call"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call\u0000"}"#, -32600, Some(1), "looks like tools/call"),
        (r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#, -32600, None, "has no id"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled"}"#, -32600, Some(1), "has an id"),
    ] {
        let fault = refused(body);
        let said = (fault.code(), fault.id().cloned(), fault.status());
        assert_eq!(said, (code, id.map(|id: i64| Id::Number(id.into())), StatusCode::BAD_REQUEST), "{body}");
        assert!(fault.to_string().contains(why), "{body}: {fault}");
    }
}

#[test]
fn parameters_that_decide_have_to_be_clear() {
    for (method, params, why) in [
        ("tools/call", json!({}), "name is missing"),
        ("tools/call", json!({ "name": 1 }), "name is no string"),
        ("tools/call", json!({ "name": "" }), "name is empty"),
        ("tools/call", json!({ "name": "add\u{0}" }), r#"control character in it: "add\0""#),
        ("tools/call", json!({ "Name": "add" }), r#""Name" looks like name"#),
        ("tools/call", json!({ "name": "add", "argumentſ": {} }), "looks like arguments"),
        ("tools/call", json!({ "name": "add", "arguments": [] }), "arguments is no object"),
        ("tools/call", json!({ "name": "add", "requestState": 1 }), "requestState is no string"),
        ("tools/call", json!({ "name": "add", "inputResponses": [] }), "inputResponses is no object"),
        ("tools/call", json!({ "name": "add", "_meta": 1 }), "_meta is no object"),
        ("resources/read", json!({ "name": "add" }), "uri is missing"),
        ("resources/read", json!({ "uri": "x:\n" }), "control character"),
        ("prompts/get", json!({ "uri": "x:" }), "name is missing"),
        ("completion/complete", json!({ "ref": "greet" }), "ref is no object"),
        ("completion/complete", json!({ "ref": { "type": "ref/tool", "name": "add" } }), "ref.type"),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "uri": "x:" } }),
            "ref.name is missing",
        ),
        (
            "subscriptions/listen",
            json!({ "notifications": { "resourceSubscriptions": "x:a" } }),
            "resourceSubscriptions is no list",
        ),
        (
            "subscriptions/listen",
            json!({ "notifications": { "resourceSubscriptions": ["x:a", 1] } }),
            "is no string",
        ),
    ] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let fault = refused(&body);
        assert_eq!((fault.code(), fault.id()), (-32602, Some(&Id::Number(1.into()))), "{body}");
        let said = fault.to_string();
        assert!(said.contains(why) && said.contains(method), "{body}: {said}");
    }
}

#[test]
fn size_is_limited() {
    let body = |length| {
        let frame = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":""}}"#;
        frame.replace(r#""""#, &format!("\"{}\"", "x".repeat(length - frame.len())))
    };
    assert!(Message::read(body(MAX_MESSAGE).as_bytes()).is_ok());
    let fault = refused(&body(MAX_MESSAGE + 1));
    assert_eq!((fault.code(), fault.status()), (-32600, StatusCode::PAYLOAD_TOO_LARGE));
    assert!(fault.to_string().contains("4194304 bytes"), "{fault}");
}

#[test]
fn a_fingerprint_is_of_what_is_agreed_to() {
    let print = |params: Value| call(&params).fingerprint();
    let first = print(json!({ "name": "add", "arguments": { "a": 1, "b": { "c": 2, "d": [1, 2] } } }));
    assert_eq!(print(json!({ "arguments": { "b": { "d": [1, 2], "c": 2 }, "a": 1 }, "name": "add" })), first);
    let retried = json!({
        "name": "add", "arguments": { "a": 1, "b": { "c": 2, "d": [1, 2] } },
        "_meta": { "progressToken": 9 }, "requestState": "s", "inputResponses": { "x": {} }
    });
    assert_eq!(print(retried), first);
    for other in [
        json!({ "name": "sub", "arguments": { "a": 1, "b": { "c": 2, "d": [1, 2] } } }),
        json!({ "name": "add", "arguments": { "a": 2, "b": { "c": 2, "d": [1, 2] } } }),
        json!({ "name": "add", "arguments": { "a": "1", "b": { "c": 2, "d": [1, 2] } } }),
        json!({ "name": "add", "arguments": { "a": 1, "b": { "c": 2, "d": [2, 1] } } }),
        json!({ "name": "add", "arguments": { "a": 1, "b": { "c": 2, "d": [1, 2], "_meta": {} } } }),
        json!({ "name": "add", "arguments": { "a": 1, "b": { "c": 2, "d": [1, 2] } }, "task": {} }),
    ] {
        assert_ne!(print(other.clone()), first, "{other}");
    }
    let get = json!({ "jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": { "name": "add" } });
    assert_ne!(read(&get).fingerprint(), print(json!({ "name": "add" })));
}

#[test]
fn an_error_answer_is_json_rpc() {
    let text = portcullis_mcp::error(Some(&Id::Text("a\"".into())), -32001, "no\n", Some(json!({ "x": 1 })));
    let answer: Value = serde_json::from_slice(&text).unwrap();
    let error = json!({ "code": -32001, "message": "no\n", "data": { "x": 1 } });
    assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": "a\"", "error": error }));
    let answer: Value = serde_json::from_slice(&portcullis_mcp::error(None, 1, "", None)).unwrap();
    assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": null, "error": { "code": 1, "message": "" } }));
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        id in prop_oneof![any::<i64>().prop_map(|id| json!(id)), any::<String>().prop_map(|id| json!(id))],
        name in "[^\\p{Cc}]{1,30}",
        text in any::<String>(),
        number in any::<i64>(),
        fraction in -1e15..1e15_f64,
    ) {
        let arguments = json!({ "text": text, "list": [number, fraction, null, true] });
        let params = json!({ "name": name, "arguments": arguments });
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        for text in [body.to_string(), format!("{body:#}\n")] {
            let message = Message::read(text.as_bytes()).unwrap();
            prop_assert_eq!(message.about(), About::Tool(&name));
            prop_assert_eq!(message.arguments(), Some(&arguments));
            let read = match message.id() {
                Some(Id::Number(number)) => json!(number),
                Some(Id::Text(text)) => json!(text),
                None => json!(null),
            };
            prop_assert_eq!(&read, &id);
        }
    }
}
