//! Lists, Tables and watches that a real API server (v1.36.2) sent, filtered; and the seeds of the fuzzer, replayed.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::path::Path;

use portcullis_mask::{ListFilter, MaskError};
use serde_json::Value;

const LIST: &[u8] = include_bytes!("fixtures/secrets-list.json");
const TABLE: &[u8] = include_bytes!("fixtures/secrets-table.json");
const WATCH: &[u8] = include_bytes!("fixtures/secrets-watch.json");
const WATCH_TABLE: &[u8] = include_bytes!("fixtures/secrets-watch-table.json");

fn documents(body: &[u8]) -> Vec<Value> {
    serde_json::Deserializer::from_slice(body).into_iter().map(Result::unwrap).collect()
}

fn only(name: &'static str) -> portcullis_mask::Covers {
    Box::new(move |namespace, found| namespace == "demo" && found == name)
}

fn run(mut filter: ListFilter, body: &[u8], size: usize) -> Result<Vec<u8>, MaskError> {
    let mut out = Vec::new();
    body.chunks(size).try_for_each(|chunk| filter.push(chunk, &mut out))?;
    filter.finish()?;
    Ok(out)
}

#[test]
fn of_a_list_and_a_table_what_is_covered_stays() {
    for (body, field) in [(LIST, "items"), (TABLE, "rows")] {
        let whole: Value = serde_json::from_slice(body).unwrap();
        let mut expected = whole.clone();
        let is_basic = |element: &Value| {
            let object = if field == "rows" { &element["object"] } else { element };
            object["metadata"]["name"] == "basic"
        };
        expected[field].as_array_mut().unwrap().retain(is_basic);
        assert_eq!(expected[field].as_array().unwrap().len(), 1);
        for size in [1, 777, body.len()] {
            let left = run(ListFilter::list(only("basic")), body, size).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&left).unwrap(), expected, "{field}");
        }
        let all = run(ListFilter::list(Box::new(|_, _| true)), body, 100).unwrap();
        assert_eq!(all, body, "nothing to leave out, nothing to change");
    }
}

#[test]
fn of_a_watch_what_is_covered_stays() {
    for (body, about, first) in [
        (WATCH, "/object/metadata/name", "BOOKMARK"),
        // Says what the columns are, without a row.
        (WATCH_TABLE, "/object/rows/0/object/metadata/name", "ADDED"),
    ] {
        let left = documents(&run(ListFilter::watch(only("watched")), body, 333).unwrap());
        let kinds: Vec<&str> = left.iter().filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(kinds, [first, "ADDED", "MODIFIED", "DELETED"]);
        assert_eq!(left[0].pointer(about), None);
        assert!(left[1..].iter().all(|event| event.pointer(about).unwrap() == "watched"));
        assert_eq!(run(ListFilter::watch(Box::new(|_, _| true)), body, 100).unwrap(), body);
    }
}

/// As `tests/fuzz/fuzz_targets/select_list.rs` does.
#[test]
fn the_fuzzers_seeds_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/select_list");
    let mut ran = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let data = std::fs::read(seed.unwrap().path()).unwrap();
        let (size, body) = data.split_first().unwrap();
        for make in [ListFilter::list as fn(portcullis_mask::Covers) -> ListFilter, ListFilter::watch] {
            let cut = |size| run(make(only("watched")), body, size).ok();
            assert_eq!(cut(usize::from(*size).max(1)), cut(body.len().max(1)));
        }
        ran += 1;
    }
    assert!(ran >= 3, "{ran}");
}
