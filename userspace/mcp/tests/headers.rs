//! Headers that repeat the body: whoever trusts them sees what the server acts upon.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_mcp::{Definition, Era, Fault, Id, Message, check_headers};
use serde_json::{Value, json};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), value)
    };
    let mut map = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        map.append(name, value);
    }
    map
}

fn message(method: &str, params: &Value) -> Message {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    Message::read(body.to_string().as_bytes()).unwrap()
}

/// A request of 2026-07-28 for the tool, with these arguments.
fn call(name: &str, arguments: &Value) -> Message {
    message(
        "tools/call",
        &json!({ "name": name, "arguments": arguments, "_meta": { VERSION: "2026-07-28" } }),
    )
}

const MODERN: [(&str, &str); 3] =
    [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "add")];

/// The same with one header in another way; none for no value.
fn with(name: &str, value: Option<&str>) -> HeaderMap {
    let mut map = headers(&MODERN);
    let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
    map.remove(&name);
    if let Some(value) = value {
        map.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn mismatch(outcome: Result<Era, Fault>) -> String {
    let fault = outcome.expect_err("accepted");
    assert_eq!(
        (fault.code(), fault.id(), fault.status().as_u16()),
        (-32020, Some(&Id::Number(1.into())), 400)
    );
    fault.to_string()
}

#[test]
fn the_era_is_what_the_version_says() {
    let ping = message("ping", &json!({}));
    let era = |pairs: &[(&str, &str)]| check_headers(&ping, &headers(pairs), None);
    assert_eq!(era(&[]).unwrap(), Era::Legacy);
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(era(&[("mcp-protocol-version", version)]).unwrap(), Era::Legacy);
    }
    assert_eq!(check_headers(&call("add", &json!({})), &headers(&MODERN), None).unwrap(), Era::Modern);
    assert_eq!(Era::declared(&headers(&MODERN)).unwrap(), Era::Modern);
    for version in ["2027-01-01", "2026-07-28 ", "", "latest"] {
        let fault = era(&[("mcp-protocol-version", version)]).unwrap_err();
        assert_eq!((fault.code(), fault.id()), (-32022, Some(&Id::Number(1.into()))), "{version:?}");
        assert_eq!(fault.data().unwrap()["requested"], version);
        assert!(fault.data().unwrap()["supported"].as_array().unwrap().contains(&json!("2026-07-28")));
    }
    let twice = headers(&[("mcp-protocol-version", "2025-11-25"), ("mcp-protocol-version", "2025-11-25")]);
    assert!(Era::declared(&twice).unwrap_err().to_string().contains("more than once"));
}

#[test]
fn what_the_headers_say_is_what_the_body_says() {
    let body = call("add", &json!({}));
    for (header, value, why) in [
        ("mcp-protocol-version", None, "is missing, and _meta says \"2026-07-28\""),
        ("mcp-protocol-version", Some("2025-11-25"), "says \"2025-11-25\", and the body"),
        ("mcp-method", None, "mcp-method is missing"),
        ("mcp-method", Some("tools/list"), "says \"tools/list\", and the body \"tools/call\""),
        ("mcp-method", Some("Tools/call"), "says \"Tools/call\""),
        ("mcp-name", None, "mcp-name is missing"),
        ("mcp-name", Some("sub"), "says \"sub\", and the body \"add\""),
        ("mcp-name", Some("ADD"), "says \"ADD\""),
        ("mcp-name", Some("add, add"), "says \"add, add\""),
        ("mcp-name", Some("ädd"), "characters in it that no header may have"),
        ("mcp-name", Some("=?base64?c3Vi?="), "says \"sub\""),
        ("mcp-name", Some("=?base64?YWRk"), "says \"=?base64?YWRk\""),
        ("mcp-name", Some("=?BASE64?YWRk?="), "says \"=?BASE64?YWRk?=\""),
        ("mcp-name", Some("=?base64?YWR?="), "is no Base64"),
        ("mcp-name", Some("=?base64?YWRl/?="), "is no Base64"),
        ("mcp-name", Some("=?base64?/w==?="), "is no Base64 of UTF-8"),
        ("mcp-name", Some("=?base64?="), "is no Base64"),
    ] {
        let said = mismatch(check_headers(&body, &with(header, value), None));
        assert!(said.contains(why), "{header}: {value:?}: {said}");
    }
    for header in ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-any"] {
        let mut map = with("mcp-param-any", Some("1"));
        let again = map[header].clone();
        map.append(HeaderName::from_static(header), again);
        let said = mismatch(check_headers(&body, &map, None));
        assert!(said.contains(&format!("{header} is there more than once")), "{said}");
    }
    assert!(check_headers(&body, &with("mcp-name", Some("=?base64?YWRk?=")), None).is_ok());
    let unversioned = message("tools/call", &json!({ "name": "add" }));
    let said = mismatch(check_headers(&unversioned, &headers(&MODERN), None));
    assert!(said.contains("is not repeated in _meta"), "{said}");
}

#[test]
fn names_that_no_header_can_hold_are_encoded() {
    for (name, header) in [
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ] {
        let body = call(name, &json!({}));
        assert!(check_headers(&body, &with("mcp-name", Some(header)), None).is_ok(), "{name}");
        assert!(check_headers(&call("add", &json!({})), &with("mcp-name", Some(header)), None).is_err());
    }
}

#[test]
fn each_method_repeats_its_own_name() {
    let check = |method: &str, params: Value, name: Option<&str>| {
        let mut params = params;
        params["_meta"] = json!({ VERSION: "2026-07-28" });
        let mut map = headers(&[("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)]);
        if let Some(name) = name {
            map.insert("mcp-name", HeaderValue::from_str(name).unwrap());
        }
        check_headers(&message(method, &params), &map, None)
    };
    for (method, params, name, accepted) in [
        ("resources/read", json!({ "uri": "x:a" }), Some("x:a"), true),
        ("resources/read", json!({ "uri": "x:a" }), Some("x:b"), false),
        ("resources/read", json!({ "uri": "x:a" }), None, false),
        ("resources/read", json!({ "uri": "x:a", "name": "x:b" }), Some("x:b"), false),
        ("prompts/get", json!({ "name": "greet" }), Some("greet"), true),
        ("prompts/get", json!({ "name": "greet" }), None, false),
        ("tools/list", json!({}), None, true),
        ("tools/list", json!({}), Some("add"), false),
        ("tasks/get", json!({ "taskId": "t1" }), Some("t1"), true),
        ("tasks/get", json!({ "taskId": "t1" }), Some("t2"), false),
        ("tasks/get", json!({ "taskId": "t1" }), None, true),
    ] {
        let outcome = check(method, params.clone(), name);
        assert_eq!(outcome.is_ok(), accepted, "{method} {params} {name:?}: {outcome:?}");
    }
}

#[test]
fn older_clients_need_no_headers_and_may_not_lie_in_them() {
    let body = message("tools/call", &json!({ "name": "add" }));
    let legacy = |more: &[(&str, &str)]| {
        let all = [&[("mcp-protocol-version", "2025-11-25")], more].concat();
        check_headers(&body, &headers(&all), None)
    };
    assert_eq!(legacy(&[]).unwrap(), Era::Legacy);
    assert_eq!(legacy(&[("mcp-method", "tools/call"), ("mcp-name", "add")]).unwrap(), Era::Legacy);
    mismatch(legacy(&[("mcp-method", "tools/list")]));
    mismatch(legacy(&[("mcp-name", "sub")]));
}

#[test]
fn arguments_are_repeated_as_the_definition_says() {
    let tool = Definition::read(
        r#"{"name":"add","inputSchema":{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "at":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
            "dry":{"type":"boolean","x-mcp-header":"Dry"}}}}"#,
    )
    .unwrap();
    let check = |arguments: Value, params: &[(&str, &str)]| {
        let map = headers(&[&MODERN, params].concat());
        check_headers(&call("add", &arguments), &map, Some(&tool))
    };
    let both = json!({ "region": "eu", "at": { "n": 42 }, "dry": true });
    for (arguments, params) in [
        (json!({}), &[][..]),
        (json!({ "region": null, "at": 1 }), &[]),
        (both.clone(), &[("Mcp-Param-Region", "eu"), ("Mcp-Param-N", "42"), ("Mcp-Param-Dry", "true")]),
        (
            both.clone(),
            &[("mcp-param-region", "=?base64?ZXU=?="), ("mcp-param-n", "42.0"), ("mcp-param-dry", "true")],
        ),
        (json!({ "at": { "n": 42.0 } }), &[("mcp-param-n", "42")]),
        (json!({ "at": { "n": -7 } }), &[("mcp-param-n", "-7")]),
        (json!({ "region": "" }), &[("mcp-param-region", "=?base64??=")]),
        (json!({}), &[("mcp-param-other", "anything")]),
    ] {
        assert_eq!(check(arguments.clone(), params).unwrap(), Era::Modern, "{arguments} {params:?}");
    }
    for (arguments, params, why) in [
        (json!({ "region": "eu" }), &[][..], "mcp-param-region is missing, and there is an argument region"),
        (json!({ "region": "eu" }), &[("mcp-param-region", "us")], "says \"us\""),
        (json!({ "region": "eu" }), &[("mcp-param-region", "EU")], "says \"EU\""),
        (
            json!({ "region": "eu" }),
            &[("mcp-param-region", "eu"), ("mcp-param-region", "eu")],
            "more than once",
        ),
        (json!({}), &[("mcp-param-region", "eu")], "is there, and no argument region"),
        (json!({ "region": null }), &[("mcp-param-region", "null")], "is there, and no argument region"),
        (json!({ "at": { "n": 42 } }), &[("mcp-param-n", "42.5")], "says \"42.5\""),
        (json!({ "at": { "n": 42 } }), &[("mcp-param-n", "042")], "says \"042\""),
        (json!({ "at": { "n": 42 } }), &[("mcp-param-n", "42.")], "says \"42.\""),
        (json!({ "dry": false }), &[("mcp-param-dry", "False")], "says \"False\""),
        (json!({ "region": ["eu"] }), &[("mcp-param-region", "eu")], "says \"eu\""),
    ] {
        let said = mismatch(check(arguments.clone(), params));
        assert!(said.contains(why), "{arguments} {params:?}: {said}");
    }
    let legacy = message("tools/call", &json!({ "name": "add", "arguments": both }));
    assert!(check_headers(&legacy, &headers(&[]), Some(&tool)).is_ok());
}

#[test]
fn a_tool_that_is_not_defined_validly_cannot_be_called() {
    let tool =
        Definition::read(r#"{"name":"add","inputSchema":{"items":{"type":"string","x-mcp-header":"A"}}}"#);
    let fault = check_headers(&call("add", &json!({})), &headers(&MODERN), Some(&tool.unwrap())).unwrap_err();
    assert_eq!(fault.code(), -32602);
    assert!(fault.to_string().contains("the tool \"add\" is not valid"), "{fault}");
}

#[test]
fn since_2026_07_28_clients_send_no_responses() {
    let response = Message::read(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#).unwrap();
    assert!(check_headers(&response, &headers(&[]), None).is_ok());
    let fault =
        check_headers(&response, &headers(&[("mcp-protocol-version", "2026-07-28")]), None).unwrap_err();
    assert!(fault.to_string().contains("clients send no responses"), "{fault}");
}
