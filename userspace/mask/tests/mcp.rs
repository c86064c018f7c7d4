//! Messages of MCP servers: what is called a secret and what looks like one goes, wherever it stands and in JSON in strings;
//! what the protocol needs stays.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]
#![allow(clippy::needless_pass_by_value, reason = "values are made where they are used")]

mod support;

use std::sync::LazyLock;

use portcullis_mask::Profile;
use proptest::prelude::*;
use serde_json::{Value, json};

use support::{mask_by, placeholder, profile};

const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
const AWS_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const AWS_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn masked_text(message: &str, sizes: &[usize]) -> String {
    static DEFAULT: LazyLock<Profile> = LazyLock::new(Profile::default);
    let (out, outcome) = mask_by(&DEFAULT.for_mcp(), message.as_bytes(), sizes);
    outcome.unwrap();
    String::from_utf8(out).unwrap()
}

fn masked(message: &Value) -> Value {
    serde_json::from_str(&masked_text(&message.to_string(), &[usize::MAX])).unwrap()
}

fn result(result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": result})
}

#[track_caller]
fn stays(message: &Value) {
    let text = message.to_string();
    assert_eq!(masked_text(&text, &[usize::MAX]), text);
}

#[test]
fn what_is_called_a_secret_goes_and_keeps_its_type() {
    let out = masked(&result(json!({
        "structuredContent": {
            "password": "abc",
            "pin_token": 1234,
            "hasToken": true,
            "apiKey": null,
            "clientSecret": {"value": "x", "created": 5, "parts": ["y", false]},
            "metadata": {"password": "abc"},
            "items": [{"object": {"password": "abc"}}],
            "passphrase": "",
        }
    })));
    let content = &out["result"]["structuredContent"];
    let hidden = json!(placeholder(b"abc"));
    assert_eq!(content["password"], hidden);
    assert_eq!(content["metadata"]["password"], hidden);
    assert_eq!(content["items"][0]["object"]["password"], hidden);
    assert_eq!(content["pin_token"], 0);
    assert_eq!(content["hasToken"], true);
    assert_eq!(content["apiKey"], Value::Null);
    assert_eq!(content["passphrase"], "");
    let secret = json!({"value": placeholder(b"x"), "created": 0, "parts": [placeholder(b"y"), false]});
    assert_eq!(content["clientSecret"], secret);
}

#[test]
fn json_in_a_string_is_masked_as_json() {
    let inner = json!({"password": "abc", "pin_token": 7, "note": "é</a>"});
    let twice = json!(inner.to_string()).to_string();
    for text in [
        inner.to_string(),
        format!(" \n{inner}\n"),
        format!("[{inner}]"),
        format!("{inner}\n{inner}\n"),
        twice.clone(),
        json!({"body": twice}).to_string(),
    ] {
        let out = masked(&result(json!({"content": [{"type": "text", "text": text}]})));
        let shown = out["result"]["content"][0]["text"].as_str().unwrap();
        assert!(shown.contains(&placeholder(b"abc")) && !shown.contains("\"abc"), "{shown}");
        assert!(shown.replace('\\', "").contains("\"pin_token\":0,\"note\":\"é</a>\""), "{shown}");
    }
}

#[test]
fn a_string_that_only_begins_as_json_is_scanned() {
    for text in [
        format!("{{\"a\": \"{TOKEN}\", \"b\": "),
        format!("[INFO] {TOKEN}"),
        format!("\"{TOKEN}"),
        format!("{{\"password\":\"hunter2hunter2\"}} and more {TOKEN}"),
    ] {
        let out = masked(&result(json!({"content": [{"type": "text", "text": text}], "z": "kept"})));
        let shown = out["result"]["content"][0]["text"].as_str().unwrap();
        assert_eq!(
            shown
                .replace(&placeholder(TOKEN.as_bytes()), TOKEN)
                .replace(&placeholder(b"hunter2hunter2"), "hunter2hunter2"),
            text
        );
        assert_ne!(shown, text);
        assert_eq!(out["result"]["z"], "kept");
    }
}

#[test]
fn json_too_deep_in_strings_is_replaced_whole() {
    let mut text = json!({"a": "b"}).to_string();
    for _ in 0..2 {
        text = json!({"t": text}).to_string();
    }
    stays(&result(json!({"t": text})));
    let out = masked(&result(json!({"t": json!({"t": text}).to_string()})));
    let shown = out.to_string();
    assert!(shown.contains("portcullis-masked:") && !shown.contains("\"b"), "{shown}");
}

#[test]
fn keys_are_scanned() {
    let out = masked(&result(json!({"structuredContent": {"owners": {TOKEN: "me"}, "{}": {"x": 1}}})));
    let owners = out["result"]["structuredContent"]["owners"].as_object().unwrap();
    assert_eq!(owners.keys().collect::<Vec<_>>(), [&placeholder(TOKEN.as_bytes())]);
    assert_eq!(owners.values().next().unwrap(), "me");
    // However the keys are set.
    for space in ["", " "] {
        let text = format!(
            r#"{{{space}"{TOKEN}":"x",{space}"{TOKEN}":1,{space}"{TOKEN}":[],{space}"{TOKEN}":null}}"#
        );
        assert!(!masked_text(&text, &[usize::MAX]).contains(TOKEN), "{text}");
    }
    let text = json!({TOKEN: 1}).to_string();
    assert!(!masked(&result(json!({"content": [{"text": text}]}))).to_string().contains(TOKEN));
}

#[test]
fn a_key_of_aws_is_known_beside_its_id() {
    let pair = json!({"name": AWS_ID, "value": AWS_KEY});
    for content in [
        json!({"structuredContent": pair}),
        json!({"structuredContent": [AWS_ID, AWS_KEY]}),
        json!({"content": [{"type": "text", "text": pair.to_string()}]}),
        json!({"content": [{"type": "text", "text": AWS_ID}, {"type": "text", "text": AWS_KEY}]}),
    ] {
        let shown = masked(&result(content)).to_string();
        assert!(!shown.contains(AWS_ID) && !shown.contains(AWS_KEY), "{shown}");
    }
    stays(&result(json!({"structuredContent": [AWS_KEY]})));
}

#[test]
fn environment_variables_are_told_by_their_names() {
    let env = json!([{"name": "DB_PASSWORD", "value": "abc"}, {"name": "MODE", "value": "abc"}, {"name": TOKEN, "value": ""}]);
    let out = masked(&result(json!({"structuredContent": {"containers": [{"env": env}]}})));
    let hidden = json!([
        {"name": "DB_PASSWORD", "value": placeholder(b"abc")},
        {"name": "MODE", "value": "abc"},
        {"name": placeholder(TOKEN.as_bytes()), "value": ""},
    ]);
    assert_eq!(out["result"]["structuredContent"]["containers"][0]["env"], hidden);
}

#[test]
fn schemas_speak_of_names() {
    let schema = json!({
        "type": "object",
        "properties": {
            "password": {"type": "string", "description": "the password", "enum": ["one", "two"]},
            "token": {"const": "bearer", "minLength": 3},
        },
        "required": ["password"],
    });
    let tool = json!({"name": "set_password", "inputSchema": schema, "outputSchema": schema});
    stays(&result(json!({"tools": [tool], "nextCursor": "c"})));
    let form =
        json!({"method": "elicitation/create", "params": {"message": "who?", "requestedSchema": schema}});
    stays(&result(json!({"inputRequests": {"db_password": form, "x": form}, "requestState": "s"})));

    let mut told = schema;
    told["properties"]["password"]["default"] = json!("abc");
    told["properties"]["password"]["examples"] = json!(["abc"]);
    told["properties"]["token"]["description"] = json!(format!("such as {TOKEN}"));
    told["properties"]["mode"] = json!({"default": "abc"});
    let hidden = placeholder(b"abc");
    for message in [
        result(json!({"tools": [{"name": "t", "inputSchema": told}]})),
        result(json!({"tools": [{"name": "t", "outputSchema": told}]})),
        json!({"id": 1, "method": "elicitation/create", "params": {"requestedSchema": told}}),
        result(json!({"inputRequests": {"my token": {"method": "m", "params": {"requestedSchema": told}}}})),
    ] {
        let shown = masked(&message).to_string();
        assert!(!shown.contains(TOKEN), "{shown}");
        assert!(shown.contains(&format!(r#""default":"{hidden}","examples":["{hidden}"]"#)), "{shown}");
        assert!(shown.contains(r#""default":"abc""#), "{shown}");
    }
}

#[test]
fn what_goes_back_as_it_came_stays() {
    for message in [
        json!({"jsonrpc": "2.0", "id": TOKEN, "result": {}}),
        json!({"jsonrpc": "2.0", "id": 12, "method": TOKEN}),
        result(json!({"nextCursor": TOKEN, "tools": [{"name": "ghp"}]})),
        result(
            json!({"resultType": "input_required", "requestState": format!("{{\"password\":\"{TOKEN}\"}}")}),
        ),
        json!({"method": "notifications/progress", "params": {"progressToken": TOKEN, "progress": 1, "total": 2}}),
        json!({"method": "notifications/progress", "params": {"progressToken": 77}}),
        json!({"method": "notifications/cancelled", "params": {"requestId": TOKEN}}),
        json!({"method": "x", "params": {"_meta": {"progressToken": TOKEN, "io.modelcontextprotocol/subscriptionId": TOKEN}}}),
        json!({"method": "sampling/createMessage", "id": 1, "params": {"maxTokens": 100, "messages": []}}),
        result(
            json!({"inputRequests": {"a token": {"method": "sampling/createMessage", "params": {"maxTokens": 100}}}}),
        ),
        result(json!({"capabilities": {"extensions": {"example.test/credentials": {"flow": "code"}}}})),
        result(
            json!({"structuredContent": {"usage": {"totalTokens": 9, "max_tokens": 10, "token_count": 3}}}),
        ),
        result(
            json!({"structuredContent": {"NextToken": "AAMA-EFRSURBSGhtN3k", "next_page_token": "CAUQAA", "items": []}}),
        ),
        result(
            json!({"contents": [{"uri": "db://a/secrets/password", "mimeType": "text/plain", "text": "{\"a\" : [1, \"\\u00e9\\/\"]} \n"}]}),
        ),
    ] {
        stays(&message);
    }
    // Only where the protocol has them.
    for message in [
        result(json!({"structuredContent": {"nextCursor": TOKEN, "id": TOKEN, "requestState": TOKEN}})),
        result(
            json!({"content": [{"text": json!({"result": {"nextCursor": TOKEN}, "id": TOKEN}).to_string()}]}),
        ),
        json!({"error": {"code": 1, "message": TOKEN, "data": {"id": TOKEN, "method": TOKEN}}}),
        result(json!({"contents": [{"uri": "db://u:hunter2hunter2@h/ghp"}], "instructions": TOKEN})),
    ] {
        let shown = masked(&message).to_string();
        assert!(!shown.contains(TOKEN) && !shown.contains("hunter2hunter2"), "{shown}");
    }
}

#[test]
fn a_policy_says_what_else_is_a_secret_and_how_it_is_masked() {
    let policy = "defaults: {how: drop, addNames: [\"*dsn*\"], exceptNames: [\"*tokens\"]}\ndetectors: {off: [github]}\n";
    let message = result(json!({"structuredContent": {"dsn": "abc", "tokens": [1, "abc"], "x": TOKEN}}));
    let (out, outcome) = mask_by(&profile(policy).for_mcp(), message.to_string().as_bytes(), &[usize::MAX]);
    outcome.unwrap();
    let out: Value = serde_json::from_slice(&out).unwrap();
    let wanted = json!({"dsn": "portcullis-masked:hidden", "tokens": [1, "abc"], "x": TOKEN});
    assert_eq!(
        out["result"]["structuredContent"], wanted,
        "a field that a schema may ask for is not dropped"
    );
}

#[test]
fn data_has_no_protocol() {
    let body = json!({"id": TOKEN, "method": TOKEN, "result": {"nextCursor": TOKEN}}).to_string();
    let (out, outcome) = mask_by(&profile("").for_data(), body.as_bytes(), &[usize::MAX]);
    outcome.unwrap();
    assert!(!String::from_utf8(out).unwrap().contains(TOKEN));
}

fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        prop::sample::select(vec![
            TOKEN, AWS_ID, AWS_KEY, "password", "=", ": ", "\"", "{", "}", "[", "]", ",", "\\", " ", "\n",
            "é", "1",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9]{0,12}",
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn document() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![text().prop_map(Value::from), any::<i32>().prop_map(Value::from), Just(Value::Null)];
    let key = prop_oneof![
        prop::sample::select(vec![
            "result",
            "params",
            "password",
            "text",
            "tools",
            "inputSchema",
            "env",
            "name",
            "value",
            "id"
        ])
        .prop_map(str::to_owned),
        text(),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let object = || {
            prop::collection::vec((key.clone(), inner.clone()), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect()))
        };
        prop_oneof![
            object(),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            object().prop_map(|object| Value::from(object.to_string())),
        ]
    })
}

/// Whether `after` has the shape of `before`: the types and the numbers of members.
fn same_shape(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            before.len() == after.len()
                && before.values().zip(after.values()).all(|(before, after)| same_shape(before, after))
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len()
                && before.iter().zip(after).all(|(before, after)| same_shape(before, after))
        }
        _ => std::mem::discriminant(before) == std::mem::discriminant(after),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn any_cut_gives_the_same_and_types_stay(document in document(), sizes in prop::collection::vec(1_usize..20, 1..4)) {
        let text = document.to_string();
        let whole = masked_text(&text, &[usize::MAX]);
        prop_assert_eq!(&masked_text(&text, &sizes), &whole);
        let read: Value = serde_json::from_str(&whole).unwrap();
        prop_assert!(same_shape(&document, &read), "{}", whole);
    }
}
