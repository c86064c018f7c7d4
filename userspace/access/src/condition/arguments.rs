//! What conditions make of the arguments of a tool call.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Facts;
use crate::testing::*;

fn with(source: &str, arguments: Value) -> Result<bool, String> {
    let condition =
        Condition::compile(source, About::Request).unwrap_or_else(|error| panic!("{source}: {error}"));
    let facts = Facts { arguments: Some(Arc::new(arguments)), ..Facts::default() };
    let (alice, operation) = (person("alice", &["dev"]), op("mcp tools/call search"));
    let query = Query { subject: &alice, target: "demo", operation: &operation, facts: &facts };
    Case::new(&query, start()).test(&condition)
}

fn test(source: &str) -> Result<bool, String> {
    let arguments = json!({
        "path": "/srv/data", "count": 10, "whole": 10.0, "part": 0.5, "huge": 18_446_744_073_709_551_615_u64,
        "negative": -3, "far": 1e300, "dryRun": true, "tags": ["a", "b"], "none": [], "sizes": [1, 2.0, 3.5],
        "flags": [true, false], "x-y": {"z": [{"n": "deep"}, 7]}, "blank": null, "text": "10", "mixed": ["a", 1],
        "items": [{"name": "one", "on": true}, {"name": "two", "on": true}], "group": "dev", "umlaut": "äö",
    });
    with(source, arguments)
}

#[test]
fn arguments_are_what_stands_beside_them() {
    for source in [
        "request.arguments.path.startsWith('/srv/') && !request.arguments.path.contains('..')",
        "request.arguments.path.matches('^/srv/[a-z]+$') && request.arguments.path.endsWith('data')",
        "request.arguments['path'] == '/srv/data' && '/srv/data' == request.arguments.path",
        "request.arguments.count <= 10 && 10 == request.arguments.count && request.arguments.count + 1 == 11",
        "request.arguments.dryRun == true && request.arguments.dryRun && !(request.arguments.dryRun != true)",
        "'a' in request.arguments.tags && !('c' in request.arguments.tags)",
        "request.arguments.tags == ['a', 'b'] && request.arguments.tags[1] == 'b'",
        "request.arguments.path in ['/srv', '/srv/data'] && request.arguments.group in subject.groups",
        "true in request.arguments.flags && !(5 in request.arguments.sizes)",
        "request.arguments['x-y'].z[0].n == 'deep' && request.arguments['x-y'].z[1] == 7",
        "request.arguments.items.all(i, i.name.size() < 5) && request.arguments.items.all(i, i.on)",
        "request.arguments.items.exists(i, i.name == 'two') && request.arguments.items.exists_one(i, i.name == 'one')",
        "request.arguments.tags.size() == 2 && size(request.arguments.none) == 0 && request.arguments.umlaut.size() == 2",
        "request.arguments.dryRun ? request.arguments.count > 9 : request.arguments.whole > 9",
        "(request.arguments.dryRun ? request.arguments.count : request.arguments.whole) == 10",
        "string(request.arguments.path) == string(request.arguments['path']) && int(request.arguments.count) == int(request.arguments.whole)",
        "request.arguments.path + '/x' == '/srv/data/x' && request.arguments.count - request.arguments.whole == 0",
        "['/srv/data', '/opt'].exists(p, request.arguments.path == p)",
        // An object goes through its names, as in CEL: nothing beside what is known.
        "request.arguments.items[0].all(name, name in ['name', 'on']) && 'x-y' in request.arguments",
        "request.arguments.size() > 10 && request.arguments.items[0].size() == 2",
    ] {
        assert_eq!(test(source), Ok(true), "{source}");
    }
}

#[test]
fn numbers_are_the_same_however_they_are_written() {
    for source in [
        "request.arguments.whole == 10 && request.arguments.whole in [10] && request.arguments.whole % 3 == 1",
        "request.arguments.part < 1 && request.arguments.part > 0 && request.arguments.part != 0",
        "request.arguments.huge > 9223372036854775807 && request.arguments.far > 1 && request.arguments.negative < 0",
        "2 in request.arguments.sizes && -request.arguments.negative == 3",
    ] {
        assert_eq!(test(source), Ok(true), "{source}");
    }
    // 2^63 rounds to itself as a double, and the longest whole number does not equal it.
    assert_eq!(
        with("request.arguments.n == 9223372036854775807", json!({"n": 9_223_372_036_854_775_808_u64})),
        Ok(false)
    );
    assert_eq!(
        with("request.arguments.n == 9007199254740992", json!({"n": 9_007_199_254_740_993_i64})),
        Ok(false)
    );
}

#[test]
fn fields_can_be_asked_for() {
    for (source, there) in [
        ("has(request.arguments.path)", true),
        ("has(request.arguments.blank)", true),
        ("has(request.arguments.nothing)", false),
        ("has(request.arguments.items) && has(request.arguments.items[0].name)", true),
        ("request.arguments.items.exists(i, has(i.size))", false),
        ("has(request.arguments.nothing) && request.arguments.nothing == 'x'", false),
        ("!has(request.arguments.nothing) || request.arguments.nothing == 'x'", true),
        ("'path' in request.arguments && !('nothing' in request.arguments)", true),
    ] {
        assert_eq!(test(source), Ok(there), "{source}");
    }
}

#[test]
fn what_is_not_there_or_of_another_type_cannot_be_told() {
    for (source, said) in [
        ("request.arguments.nothing == 'x'", "No such key: nothing"),
        ("request.arguments.nothing != 'x'", "No such key: nothing"),
        ("has(request.arguments.nothing.more)", "No such key: nothing"),
        ("has(request.arguments.path.more)", "of request.arguments: a text has no field \"more\""),
        ("request.arguments.path != 1", "of request.arguments: a text is not a number"),
        ("request.arguments.text == 10", "a text is not a number"),
        ("request.arguments.count == '10'", "a number is not a text"),
        ("request.arguments.text == true", "a text is not a boolean"),
        ("request.arguments.tags.startsWith('a')", "a list is not a text"),
        ("request.arguments.tags != 'a'", "a list is not a text"),
        ("'a' in request.arguments.path", "a text is not a list"),
        ("'a' in request.arguments.mixed", "a number is not a text"),
        ("request.arguments.mixed.all(m, m == 'a')", "a number is not a text"),
        ("request.arguments.blank == 'x'", "a null is not a text"),
        ("request.arguments.blank", "a null is not a boolean"),
        ("request.arguments.count.all(c, true)", "a number is not a list"),
        ("request.arguments.count.size() == 1", "a number is not something that has a size"),
        ("request.arguments.tags.a == 'x'", "a list has no field \"a\""),
        ("request.arguments.tags[2] == 'x'", "a list has no item 2"),
        ("request.arguments.tags[-1] == 'x'", "a list has no item -1"),
        ("request.arguments[0] == 'x'", "an object has no item 0"),
        ("request.arguments.part + 1 == 2", "Unsupported binary operator"),
    ] {
        let outcome = test(source);
        assert!(outcome.clone().is_err_and(|error| error.contains(said)), "{source}: {outcome:?}");
    }
    // The arguments can be no object at all.
    assert!(with("request.arguments.a == 'x'", json!(["a"])).unwrap_err().contains("a list has no field"));
}

#[test]
fn a_request_without_arguments_has_none_of_them() {
    let condition = |source: &str| {
        let condition = Condition::compile(source, About::Request).unwrap();
        let (alice, operation) = (person("alice", &["dev"]), op("mcp tools/call search"));
        let query = Query { subject: &alice, target: "demo", operation: &operation, facts: Facts::NONE };
        Case::new(&query, start()).test(&condition)
    };
    assert_eq!(condition("request.arguments.size() == 0 && !has(request.arguments.path)"), Ok(true));
    assert!(condition("request.arguments.path != '/etc'").unwrap_err().contains("No such key"));
}

#[test]
fn what_can_never_be_told_is_found_when_a_role_is_loaded() {
    for (source, said) in [
        ("request.arguments.a == request.arguments.b", "`==` is not known for an argument and an argument"),
        ("request.arguments.a < request.arguments.b", "`<` is not known for an argument and an argument"),
        ("request.arguments.a in request.arguments.b", "`in` is not known for an argument and an argument"),
        ("request.arguments[request.arguments.a] == 'x'", "is not known for an argument and an argument"),
        ("'x' in [request.arguments.a]", "`in` is not known for a text and a list"),
        ("request.arguments.a == time.now", "`==` is not known for an argument and a time"),
        ("['x', request.arguments.a] == ['x']", "a list of a text cannot hold an argument"),
        ("request.arguments.a.matches(request.arguments.b)", "matches takes a pattern written out here"),
        ("timestamp(request.arguments.a) < time.now", "timestamp takes a text written out here"),
        ("request.arguments.a.reverse() == 'x'", "`reverse` is not known for an argument"),
        (
            "request.arguments.a + request.arguments.b == 'x'",
            "`+` is not known for an argument and an argument",
        ),
        (
            "f(request.arguments.a, request.arguments.b, request.arguments.c, request.arguments.d)",
            "`f` is not known",
        ),
        ("request.arguments.a.string() == 'x'", "`string` is not known for an argument"),
        ("request.path.x == 'y'", "there is no field \"x\" here"),
        ("request.argument.x == 'y'", "request has no field \"argument\""),
        ("request.arguments.?x == 'y'", "unsupported syntax"),
    ] {
        let error = Condition::compile(source, About::Request).unwrap_err();
        assert!(error.contains(said), "{source}\n got {error}\nwant {said}");
    }
    let asking = Condition::compile("request.arguments.a == 'x'", About::Asking).unwrap_err();
    assert!(asking.contains("request has no field \"arguments\""), "{asking}");
}

#[test]
fn what_is_read_of_arguments_has_a_bound() {
    let list = |items: usize| json!({"list": vec!["x"; items]});
    let all = "request.arguments.list.all(c, c == 'x')";
    assert_eq!(with(all, list(1024)), Ok(true));
    let error = with(all, list(1025)).unwrap_err();
    assert!(error.contains("a list has 1025 items; at most 1024 are looked at"), "{error}");
    // One item of a long list is found without going through it.
    assert_eq!(
        with("request.arguments.list[5000] == 'x' && request.arguments.list.size() == 6000", list(6000)),
        Ok(true)
    );

    let text = |bytes: usize| json!({"text": "x".repeat(bytes), "path": "/srv"});
    assert_eq!(with("!request.arguments.text.contains('y')", text(1024 * 1024)), Ok(true));
    let error = with("request.arguments.text.contains('y')", text(1024 * 1024 + 1)).unwrap_err();
    assert!(error.contains("more than 1048576 bytes of them would be read"), "{error}");
    let again = "request.arguments.text.contains('y') || request.arguments.text.contains('z')";
    assert!(with(again, text(600 * 1024)).is_err());
    assert!(with("['a', 'b', 'c'].exists(c, request.arguments.text.contains(c))", text(600 * 1024)).is_err());
    // What is not looked at costs nothing.
    assert_eq!(with("request.arguments.path == '/srv'", text(4 * 1024 * 1024)), Ok(true));

    let nested = "request.arguments.a.exists(a, request.arguments.b.exists(b, a.x == 'x' && b.x == 'x'))";
    let error = Condition::compile(nested, About::Request).unwrap_err();
    assert!(error.contains("this may take too long"), "{error}");
}

#[test]
fn a_condition_knows_that_it_reads_them() {
    let reads = |source: &str| Condition::compile(source, About::Request).unwrap().reads(ARGUMENTS);
    assert!(reads("request.arguments.a == 'x'") && reads("has(request.arguments.a)"));
    assert!(reads("request.name == 'x' || request.arguments.size() == 0"));
    assert!(!reads("request.name == 'arguments'"));
}

/// JSON of some depth.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-c]", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is written and whatever the arguments are, there is an answer or an error.
    #[test]
    fn nothing_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "request.arguments", ".a", ".b", "['c']", "[0]", "[1]", ".size()", ".startsWith('a')", "==", "!=", "<", "in", "+",
        "%", "-", "&&", "||", "!", "(", ")", "?", ":", "'a'", "1", "true", "['a']", "has(request.arguments.a)",
        "request.arguments.b.all(x, x", ")", "string(", "int(", "x", "subject.groups",
    ]), 1..16), arguments in any_json()) {
        if let Ok(condition) = Condition::compile(&words.join(" "), About::Request) {
            let facts = Facts { arguments: Some(Arc::new(arguments)), ..Facts::default() };
            let (alice, operation) = (person("alice", &["dev"]), op("mcp tools/call search"));
            let query = Query { subject: &alice, target: "demo", operation: &operation, facts: &facts };
            let _ = Case::new(&query, start()).test(&condition);
            let _ = Case::without(&query, start(), &[ARGUMENTS]).test(&condition);
        }
    }

    /// A comparison is the one of the values where they are of one type, and an error where they are not.
    #[test]
    fn a_comparison_is_told_by_type(arguments in any_json()) {
        let there = arguments.get("a").cloned();
        let text = with("request.arguments.a == 'a'", arguments.clone());
        prop_assert_eq!(text.ok(), there.as_ref().and_then(Value::as_str).map(|a| a == "a"));
        let not = with("request.arguments.a != 'a'", arguments.clone());
        prop_assert_eq!(not.ok(), there.as_ref().and_then(Value::as_str).map(|a| a != "a"));
        let number = with("request.arguments.a >= 0", arguments.clone());
        prop_assert_eq!(number.ok(), there.as_ref().and_then(Value::as_f64).map(|a| a >= 0.0));
        let truth = with("request.arguments.a", arguments.clone());
        prop_assert_eq!(truth.ok(), there.as_ref().and_then(Value::as_bool));
        if arguments.is_object() {
            prop_assert_eq!(with("has(request.arguments.a)", arguments), Ok(there.is_some()));
        }
    }
}
