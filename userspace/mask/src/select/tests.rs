use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What team-a has, and `shared` anywhere.
fn covers() -> Covers {
    Box::new(|namespace, name| namespace == "team-a" || name == "shared")
}

fn covered(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata["namespace"] == "team-a" || metadata["name"] == "shared"
}

fn filtered(mut filter: ListFilter, input: &[u8], size: usize) -> Result<(Vec<u8>, u64), MaskError> {
    let mut out = Vec::new();
    for chunk in input.chunks(size) {
        filter.push(chunk, &mut out)?;
    }
    filter.finish()?;
    Ok((out, filter.withheld()))
}

fn list(input: &str, size: usize) -> Result<(String, u64), MaskError> {
    let (out, withheld) = filtered(ListFilter::list(covers()), input.as_bytes(), size)?;
    Ok((String::from_utf8(out).unwrap(), withheld))
}

fn watch(input: &str, size: usize) -> Result<(String, u64), MaskError> {
    let (out, withheld) = filtered(ListFilter::watch(covers()), input.as_bytes(), size)?;
    Ok((String::from_utf8(out).unwrap(), withheld))
}

#[test]
fn elements_that_are_covered_stay_byte_for_byte() {
    let compact = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"c","remainingItemCount":12},"items":[{"metadata":{"name":"a","namespace":"team-b"}},{"spec":{"metadata":{"name":"x"}},"metadata":{"namespace":"team-a","name":"\u0062"},"x":1.50},{"metadata":{"name":"c"}}]}"#;
    let left = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"c","remainingItemCount":null},"items":[{"spec":{"metadata":{"name":"x"}},"metadata":{"namespace":"team-a","name":"\u0062"},"x":1.50}]}"#;
    let pretty = "{\n  \"items\": [\n    {\"metadata\": {\"name\": \"a\"}},\n    {\"metadata\": {\"namespace\": \"team-a\"}},\n    {\"metadata\": {}},\n    {\"metadata\": {\"name\": \"shared\"}}\n  ],\n  \"kind\": \"List\"\n}\n";
    let pretty_left = "{\n  \"items\": [\n    {\"metadata\": {\"namespace\": \"team-a\"}},\n    {\"metadata\": {\"name\": \"shared\"}}\n  ],\n  \"kind\": \"List\"\n}\n";
    for size in [1, 2, 3, 7, 64, 4096] {
        assert_eq!(list(compact, size).unwrap(), (left.to_owned(), 2), "{size}");
        assert_eq!(list(pretty, size).unwrap(), (pretty_left.to_owned(), 2), "{size}");
    }
    for empty in [r#"{"items":[]}"#, r#"{"items":null}"#, r#"{"items": [ ] , "metadata":{}}"#] {
        assert_eq!(list(empty, 1).unwrap(), (empty.to_owned(), 0));
    }
}

#[test]
fn rows_go_by_their_objects() {
    let table = |rows: &str| {
        format!(
            r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{{}},"columnDefinitions":[{{"name":"Name","items":[1]}}],"rows":[{rows}]}}"#
        )
    };
    let a = r#"{"cells":["a"],"object":{"kind":"PartialObjectMetadata","metadata":{"name":"a","namespace":"team-a"}}}"#;
    let b = r#"{"cells":["b"],"object":{"kind":"PartialObjectMetadata","metadata":{"name":"b","namespace":"team-b"}}}"#;
    assert_eq!(list(&table(&format!("{b},{a}")), 5).unwrap(), (table(a), 1));
    assert_eq!(list(&table(b), 5).unwrap(), (table(""), 1));
    let bare = list(&table(r#"{"cells":["a"]}"#), 5);
    assert!(matches!(bare, Err(MaskError::List(ListFault::BareRow))), "{bare:?}");
}

#[test]
fn what_is_no_list_is_withheld() {
    use ListFault::*;
    for (input, fault) in [
        ("[]", NotAList),
        (r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"},"items":[]}"#, UnknownMember),
        (r#"{"metadata":{"resourceVersion":"1","labels":{"a":"b"}},"items":[]}"#, UnknownMember),
        (r#"{"metadata":{"continue":{"a":"b"}},"items":[]}"#, UnknownMember),
        (r#"{"metadata":{"remainingItemCount":3,"name":"a"}}"#, UnknownMember),
        ("3", NotAList),
        ("{}", NotAList),
        (r#"{"kind":"PartialObjectMetadata","metadata":{"name":"a"}}"#, UnknownMember),
        (r#"{"kind":"PodList","metadata":{"resourceVersion":"1"}}"#, NotAList),
        (r#"{"items":{}}"#, NotAList),
        (r#"{"items":"x"}"#, NotAList),
        (r#"{"items":[1]}"#, NotAnObject),
        (r#"{"items":[[]]}"#, NotAnObject),
        (r#"{"items":[{"metadata":3}]}"#, NotAnObject),
        (r#"{"items":[{"metadata":["shared"]}]}"#, NotAnObject),
        (r#"{"rows":[{"object":[{},"",""]}]}"#, NotAnObject),
        (r#"{"items":[{"metadata":{"name":"a"},"metadata":{"namespace":"team-a"}}]}"#, NotAnObject),
        (r#"{"items":[{"metadata":{"namespace":"team-b","namespace":"team-a"}}]}"#, NotAnObject),
        (r#"{"Items":[]}"#, UnknownMember),
        (r#"{"kind":"Pod","metadata":{},"spec":{}}"#, UnknownMember),
        (r#"{"items":[],"type":"ADDED","object":{}}"#, UnknownMember),
        (r#"{"items":[],"metadata":{"remainingItemCount":{}}}"#, UnknownMember),
    ] {
        for size in [3, 40, 1000] {
            let (mut filter, mut out) = (ListFilter::list(covers()), Vec::new());
            let outcome = input.as_bytes().chunks(size).try_for_each(|chunk| filter.push(chunk, &mut out));
            let outcome = outcome.and_then(|()| filter.finish());
            assert!(matches!(outcome, Err(MaskError::List(found)) if found == fault), "{input}: {outcome:?}");
            let begins_a_list = ["{\"items\":[", "{\"rows\":["].iter().any(|start| input.starts_with(start));
            assert!(begins_a_list || out.is_empty(), "{input}: {}", String::from_utf8_lossy(&out));
        }
    }
    assert!(matches!(list(r#"{"items":[{"#, 3), Err(MaskError::Json { .. })));
    let huge = format!(
        r#"{{"items":[{{"metadata":{{"namespace":"team-a"}},"x":"{}"}}]}}"#,
        "x".repeat(LARGEST_OBJECT)
    );
    assert!(matches!(list(&huge, 1 << 16), Err(MaskError::List(TooLarge))));
    let wide = format!(r#"{{"items":[{}"#, " ".repeat(LARGEST_OBJECT + 1));
    assert!(matches!(list(&wide, 1 << 16), Err(MaskError::List(TooLarge))));
}

#[test]
fn nothing_comes_after_a_fault() {
    let mut filter = ListFilter::list(covers());
    let mut out = Vec::new();
    assert!(
        filter
            .push(br#"{"items":[{"metadata":{"name":"shared"}},7,{"metadata":{"name":"shared"}}]}"#, &mut out)
            .is_err()
    );
    assert_eq!(out, br#"{"items":[{"metadata":{"name":"shared"}}"#);
    assert!(matches!(filter.push(b"{}", &mut out), Err(MaskError::Over)));
    assert!(matches!(filter.finish(), Err(MaskError::Over)));
}

#[test]
fn events_of_other_objects_are_left_out() {
    let pod = |kind: &str, namespace: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"object\":{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"w\",\"namespace\":\"{namespace}\"}}}}}}\n"
        )
    };
    let bookmark = "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n";
    let error = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"code\":410}}\n";
    let input = [
        pod("ADDED", "team-a"),
        pod("ADDED", "team-b"),
        bookmark.to_owned(),
        pod("DELETED", "team-b"),
        pod("DELETED", "team-a"),
        pod("BOOKMARK", "team-a"),
        error.to_owned(),
    ];
    let left =
        [pod("ADDED", "team-a"), bookmark.to_owned(), pod("DELETED", "team-a"), error.to_owned()].concat();
    for size in [1, 5, 64, 4096] {
        assert_eq!(watch(&input.concat(), size).unwrap(), (left.clone(), 3));
    }
    for odd in [
        pod("RENAMED", "team-a"),
        pod("ERROR", "team-a"),
        "[]".to_owned(),
        "7 ".to_owned(),
        r#"{"type":"ADDED"}"#.to_owned(),
        r#"{"type":"ADDED","object":[]}"#.to_owned(),
        r#"{"type":"ADDED","type":"ADDED","object":{"metadata":{"name":"shared"}}}"#.to_owned(),
    ] {
        let outcome = watch(&odd, 3);
        assert!(matches!(outcome, Err(MaskError::List(ListFault::NotAnEvent))), "{odd}: {outcome:?}");
    }
}

#[test]
fn the_first_event_about_rows_says_what_the_columns_are() {
    let event = |kind: &str, columns: &str, rows: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"object\":{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"columnDefinitions\":{columns},\"rows\":[{rows}]}}}}\n"
        )
    };
    let row = |namespace: &str| {
        format!(r#"{{"cells":[1],"object":{{"metadata":{{"name":"w","namespace":"{namespace}"}}}}}}"#)
    };
    let nameless = r#"{"cells":[""],"object":{"metadata":{"resourceVersion":"9"}}}"#;
    let (a, b, columns) = (row("team-a"), row("team-b"), r#"[{"name":"Name"}]"#);
    let input = [
        event("ADDED", columns, &b),
        event("ADDED", "null", &b),
        event("ADDED", "null", &format!("{b},{a}")),
        event("BOOKMARK", "null", nameless),
        event("BOOKMARK", "null", &a),
        event("DELETED", "null", &a),
    ];
    let left = [
        event("ADDED", columns, ""),
        event("ADDED", "null", &a),
        event("BOOKMARK", "null", nameless),
        event("DELETED", "null", &a),
    ];
    for size in [1, 5, 64, 4096] {
        assert_eq!(watch(&input.concat(), size).unwrap(), (left.concat(), 4));
    }
    let bare = watch(&event("ADDED", "null", r#"{"cells":[1]}"#), 9);
    assert!(matches!(bare, Err(MaskError::List(ListFault::BareRow))), "{bare:?}");
    // Somebody's own kind of that name is an object like any other.
    let theirs = r#"{"type":"ADDED","object":{"kind":"Table","apiVersion":"example.com/v1","metadata":{"name":"t","namespace":"team-a"},"rows":3}}"#;
    assert_eq!(watch(theirs, 9).unwrap(), (theirs.to_owned(), 0));
}

fn object() -> impl Strategy<Value = Value> {
    let namespace = prop::sample::select(vec![None, Some("team-a"), Some("team-b"), Some("team-\u{e4}")]);
    let name = prop::sample::select(vec!["shared", "other", "a\"b\\"]);
    let rest = prop::sample::select(vec![
        json!(null),
        json!({"items": [{"metadata": {"namespace": "team-a"}}], "metadata": {"name": "shared"}}),
        json!(["]", "},{", 1.5e3, {"rows": []}]),
    ]);
    (namespace, name, rest, any::<bool>()).prop_map(|(namespace, name, rest, last)| {
        let mut metadata = json!({"name": name});
        if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.into();
        }
        if last {
            json!({"spec": rest, "metadata": metadata})
        } else {
            json!({"metadata": metadata, "spec": rest})
        }
    })
}

fn spelled(value: &Value, pretty: bool) -> Vec<u8> {
    if pretty { serde_json::to_vec_pretty(value).unwrap() } else { serde_json::to_vec(value).unwrap() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn a_list_is_what_filtering_its_values_gives(
        objects in prop::collection::vec(object(), 0..8),
        as_table in any::<bool>(),
        pretty in any::<bool>(),
        size in 1_usize..200,
    ) {
        let (field, elements): (&str, Vec<Value>) = if as_table {
            ("rows", objects.iter().map(|object| json!({"cells": [1, "x"], "object": object})).collect())
        } else {
            ("items", objects)
        };
        let of = |elements: Vec<Value>, count: Value| json!({
            "kind": "X", "metadata": {"remainingItemCount": count, "resourceVersion": "1"}, field: elements
        });
        let kept: Vec<Value> =
            elements.iter().filter(|e| covered(if as_table { &e["object"] } else { e })).cloned().collect();
        let withheld = (elements.len() - kept.len()) as u64;
        let (out, left_out) =
            filtered(ListFilter::list(covers()), &spelled(&of(elements, json!(4)), pretty), size).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), of(kept.clone(), Value::Null));
        prop_assert_eq!(left_out, withheld);
        if !pretty {
            prop_assert_eq!(out, spelled(&of(kept, Value::Null), false), "byte for byte");
        }
    }

    #[test]
    fn a_watch_is_what_filtering_its_events_gives(
        objects in prop::collection::vec(object(), 0..8),
        pretty in any::<bool>(),
        size in 1_usize..200,
    ) {
        let line = |object: &Value| [spelled(&json!({"type": "MODIFIED", "object": object}), pretty), b"\n".to_vec()].concat();
        let input: Vec<u8> = objects.iter().flat_map(line).collect();
        let left: Vec<u8> = objects.iter().filter(|object| covered(object)).flat_map(line).collect();
        let (out, _) = filtered(ListFilter::watch(covers()), &input, size).unwrap();
        prop_assert_eq!(out, left);
    }

    #[test]
    fn any_cut_gives_the_same(
        input in "[\\[\\]{},:\"a 1]{0,20}",
        wrap in prop::sample::select(vec!["{}", "{\"items\":[{}]}", "{\"rows\":{},\"metadata\":{}}", "{\"type\":\"ADDED\",\"object\":{}}"]),
        size in 1_usize..9,
    ) {
        let input = wrap.replace("{}", &input);
        for make in [ListFilter::list as fn(Covers) -> ListFilter, ListFilter::watch] {
            let run = |size| filtered(make(covers()), input.as_bytes(), size).map_err(|_| ());
            prop_assert_eq!(run(1000), run(size));
        }
    }
}
