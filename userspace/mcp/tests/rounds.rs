//! Requests that are answered with a question, and come back.

use portcullis_mcp::{Action, Message, UrlElicitation, bringing_back};
use serde_json::{Map, Value, json};

fn request(method: &str, mut params: Value, capabilities: &Value) -> Message {
    params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": capabilities });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    Message::read(body.to_string().as_bytes()).expect("a request")
}

fn call(params: Value) -> Message {
    request("tools/call", params, &json!({ "elicitation": { "url": {} } }))
}

#[test]
fn urls_go_to_clients_that_take_them() {
    let takes = |method: &str, capabilities: Value| {
        request(method, json!({ "name": "add", "uri": "x:a" }), &capabilities).elicits_by_url()
    };
    let able = json!({ "elicitation": { "url": {} } });
    for method in ["tools/call", "prompts/get", "resources/read"] {
        assert!(takes(method, able.clone()), "{method}");
    }
    assert!(!takes("tools/list", able), "which is never answered so");
    for unable in [
        json!({}),
        json!({ "elicitation": null }),
        json!({ "elicitation": {} }),
        json!({ "elicitation": { "form": {} } }),
        json!({ "elicitation": { "url": null } }),
        json!({ "elicitation": "url" }),
        json!({ "url": {} }),
    ] {
        assert!(!takes("tools/call", unable.clone()), "{unable}");
    }
}

#[test]
fn a_question_is_an_input_required_result() {
    let message = call(json!({ "name": "add" }));
    let asked = UrlElicitation { key: "k", message: "look", url: "https://a.test/1", state: "s" };
    let answer: Value = serde_json::from_slice(&asked.answer(message.id().unwrap())).unwrap();
    let params = json!({ "mode": "url", "message": "look", "url": "https://a.test/1" });
    let result = json!({
        "resultType": "input_required",
        "inputRequests": { "k": { "method": "elicitation/create", "params": params } },
        "requestState": "s",
    });
    assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": 1, "result": result }));
}

#[test]
fn what_the_person_did_is_one_of_three_things() {
    let answered = |response: Value| call(json!({ "name": "add", "inputResponses": { "k": response } }));
    for (action, meant) in
        [("accept", Action::Accept), ("decline", Action::Decline), ("cancel", Action::Cancel)]
    {
        assert_eq!(answered(json!({ "action": action })).action("k").unwrap(), Some(meant));
    }
    assert_eq!(answered(json!({ "action": "accept" })).action("other").unwrap(), None);
    assert_eq!(call(json!({ "name": "add" })).action("k").unwrap(), None);
    for bad in [json!({ "action": "Accept" }), json!({}), json!("accept"), json!({ "action": true })] {
        let fault = answered(bad.clone()).action("k").unwrap_err();
        assert_eq!(fault.code(), -32602, "{bad}");
        assert!(fault.to_string().contains("inputResponses.k.action"), "{fault}");
    }
}

#[test]
fn what_is_brought_back_is_replaced_and_nothing_else() {
    let arguments = r#"{ "b":1.10, "a":[1e2, "\u00e4"],"big":12345678901234567890 }"#;
    let with = |beside: &str| {
        format!(
            r#"{{"id":"x","params":{{"name":"add","arguments":{arguments}{beside}}},"method":"tools/call","jsonrpc":"2.0"}}"#
        )
    };
    let body = with(r#","requestState":"ours","inputResponses":{"k":{"action":"accept"}}"#);
    let message = Message::read(body.as_bytes()).unwrap();
    assert_eq!(message.brought_back().len(), 2);

    let plain = String::from_utf8(bringing_back(body.as_bytes(), &Map::new()).unwrap()).unwrap();
    assert!(plain.contains(arguments), "byte for byte: {plain}");
    let read = Message::read(plain.as_bytes()).unwrap();
    assert!(read.brought_back().is_empty(), "{plain}");
    assert_eq!((read.id(), read.fingerprint()), (message.id(), message.fingerprint()));

    let theirs = json!({ "requestState": "theirs", "inputResponses": { "q": 7 } });
    let Value::Object(theirs) = theirs else { unreachable!() };
    let restored = bringing_back(body.as_bytes(), &theirs).unwrap();
    let read = Message::read(&restored).unwrap();
    assert_eq!(read.brought_back(), theirs);
    assert!(!String::from_utf8(restored).unwrap().contains("ours"));
}
