//! The API server's own reading of 1,500 request lines, most of them hostile, and every request line that real clients
//! sent while the captures were made.

use std::collections::BTreeMap;

use portcullis_kube::{ClassifyError, ambiguity, classify, classify_line};
use proptest::prelude::*;
use serde_json::Value;

const VECTORS: &str = include_str!("../../../tests/vectors/requestinfo.jsonl");
const REQUESTS: &str = include_str!("../../../tests/vectors/kubectl-requests.txt");

#[test]
fn every_line_is_read_as_the_api_server_reads_it() {
    let mut agreed = 0;
    let mut refused = BTreeMap::<String, usize>::new();
    for line in VECTORS.lines() {
        let expected: Value = serde_json::from_str(line).unwrap();
        let (method, target) = (expected["method"].as_str().unwrap(), expected["target"].as_str().unwrap());
        let asked = serde_json::json!({"method": method, "target": target}).to_string();
        let mut answer: Value = serde_json::from_str(&classify_line(&asked).unwrap()).unwrap();
        if let Some(named) = answer.as_object_mut().unwrap().remove("refused") {
            assert_eq!(named, ambiguity(method, target).unwrap().to_string());
            *refused.entry(named.as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(answer, expected);
        agreed += 1;
    }
    let doubtful: usize = refused.values().sum();
    println!("{agreed} agree; {doubtful} of them are refused for their spelling: {refused:#?}");
    assert_eq!((agreed, doubtful), (1500, 1378));
}

#[test]
fn no_real_client_is_refused() {
    let mut lines = 0;
    let mut refused = Vec::new();
    for line in REQUESTS.lines() {
        let (method, target) = line.split_once(' ').unwrap();
        classify(method, target).unwrap();
        if let Some(why) = ambiguity(method, target) {
            refused.push(format!("{line}: {why}"));
        }
        lines += 1;
    }
    println!("{lines} distinct request lines, {} refused", refused.len());
    // The four that were sent to see what the API server makes of them.
    assert_eq!(
        refused,
        [
            "GET /api/v1//namespaces/demo/secrets/api-key: the path has an empty segment (\"//\")",
            "GET /api/v1/namespaces/demo/%73ecrets/api-key: the path hides 's' in a percent-escape",
            "GET /api/v1/namespaces/demo/pods/../secrets/api-key: the path has a dot segment (\".\" or \"..\")",
            "GET /api/v1/namespaces/demo/secrets%2Fapi-key: the path hides '/' in a percent-escape",
        ]
    );
}

/// Pieces that request targets, honest and not, are made of.
const PIECES: &[&str] = &[
    "/",
    "/",
    "/",
    "api",
    "apis",
    "API",
    "v1",
    "apps",
    "watch",
    "proxy",
    "namespaces",
    "pods",
    "secrets",
    "status",
    "db",
    ".",
    "..",
    "%2e",
    "%2F",
    "%252f",
    "%73",
    "%20",
    "%",
    "%zz",
    "%ff",
    "%00",
    "\\",
    ";x=1",
    "?",
    "&",
    "watch=true",
    "watch=0",
    "fieldSelector=metadata.name%3Ddb",
    "#",
    ":",
    "*",
    " ",
    "é",
    "\0",
];

proptest! {
    #[test]
    fn what_is_not_refused_has_one_reading(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..14)) {
        let target = format!("/{}", pieces.concat());
        let info = classify("GET", &target);
        if ambiguity("GET", &target).is_none() && !matches!(info, Err(ClassifyError::NoResource(_))) {
            let info = info.unwrap();
            let segments: Vec<&str> = info.path[1..].split('/').collect();
            prop_assert!(!segments.iter().any(|segment| matches!(*segment, "." | "..")));
            if !info.is_proxy() {
                let (path, _) = target.split_once('?').unwrap_or((&target, ""));
                prop_assert_eq!(segments.len(), path[1..].split('/').count(), "as many segments as spelled");
                prop_assert!(segments[..segments.len() - 1].iter().all(|segment| !segment.is_empty()));
            }
        }
    }
}
