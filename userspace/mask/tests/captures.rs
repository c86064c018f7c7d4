//! Bodies that a real API server (v1.36.2) sent to kubectl and curl: masked, they keep their shape and lose their secrets.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use portcullis_mask::{BodyMasker, Format, MaskError, Profile, filter};
use serde_json::Value;

use support::{key, mask, placeholder, placeholder_base64, shows};

const LIST: &[u8] = include_bytes!("fixtures/secrets-list.json");
const LIST_GZIP: &[u8] = include_bytes!("fixtures/secrets-list.json.gz");
const TABLE: &[u8] = include_bytes!("fixtures/secrets-table.json");
const WATCH: &[u8] = include_bytes!("fixtures/secrets-watch.json");
const WATCH_TABLE: &[u8] = include_bytes!("fixtures/secrets-watch-table.json");
const PARTIAL: &[u8] = include_bytes!("fixtures/secret-partial-metadata.json");
const APPLIED: &[u8] = include_bytes!("fixtures/secret-applied.json");
const STATUS: &[u8] = include_bytes!("fixtures/status-400.json");

/// What the cluster of the captures held.
const SECRETS: [&[u8]; 10] = [
    b"FAKE-APIKEY-0123456789abcdef",
    b"{\"token\":\"FAKE-json-token\",\"n\":1}\n",
    b"FAKE-applied-token-1",
    b"FAKE-applied-token-2",
    b"FAKE-basic-pass",
    b"robot\"",
    b"postgres://shop_rw:FAKE-s3cr3t-passw0rd-1@db.kubernetes.local:5432/shop",
    b"FAKE-s3cr3t-passw0rd-1",
    b"shop_rw",
    b"\x00\x01\x02\x03\xff\xfe\xfd\xfc\x80\x81",
];

fn documents(body: &[u8]) -> Vec<Value> {
    serde_json::Deserializer::from_slice(body).into_iter().map(Result::unwrap).collect()
}

/// Values compared leaf by leaf: only what was masked may differ.
fn assert_same_shape(before: &Value, after: &Value, path: &str) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            assert!(before.keys().eq(after.keys()), "keys and their order at {path}");
            for (key, value) in before {
                assert_same_shape(value, &after[key], &format!("{path}/{key}"));
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len(), "{path}");
            for (at, (before, after)) in before.iter().zip(after).enumerate() {
                assert_same_shape(before, after, &format!("{path}/{at}"));
            }
        }
        (Value::String(before), Value::String(after)) if before != after => {
            assert!(path.contains("/data/") || path.ends_with("last-applied-configuration"), "{path}");
        }
        (before, after) => assert_eq!(before, after, "{path}"),
    }
}

#[test]
fn secrets_lose_their_values_and_nothing_else() {
    for body in [LIST, TABLE, WATCH, WATCH_TABLE, PARTIAL, APPLIED] {
        for sizes in [&[usize::MAX][..], &[1], &[7, 64, 3]] {
            let (out, outcome) = mask(body, sizes);
            outcome.unwrap();
            let (before, after) = (documents(body), documents(&out));
            assert_eq!(before.len(), after.len());
            for (before, after) in before.iter().zip(&after) {
                assert_same_shape(before, after, "");
            }
            assert!(!String::from_utf8_lossy(&out).contains("FAKE"));
            for secret in SECRETS {
                assert!(!shows(&out, secret), "{}", String::from_utf8_lossy(secret));
            }
        }
    }
}

#[test]
fn equal_secrets_look_equal_wherever_they_are() {
    let (out, outcome) = mask(APPLIED, &[100]);
    outcome.unwrap();
    let object = &documents(&out)[0];
    assert_eq!(object["data"]["token"], placeholder_base64(b"FAKE-applied-token-1"));
    let annotation = &object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    let applied: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
    assert_eq!(applied["stringData"]["token"], placeholder(b"FAKE-applied-token-1"));
    assert!(annotation.as_str().unwrap().ends_with("}\n"), "the newline kubectl puts there stays");
}

#[test]
fn a_status_loses_what_it_quotes() {
    let (out, outcome) = mask(STATUS, &[5]);
    outcome.unwrap();
    let quoted = br#"({\"apiVersion\":\"v1\",\"kind\":\"Sec ...)"#;
    let at = STATUS.windows(quoted.len()).position(|window| window == quoted).unwrap();
    let mask = placeholder(br#"({"apiVersion":"v1","kind":"Sec ...)"#);
    assert_eq!(out, [&STATUS[..at], mask.as_bytes(), &STATUS[at + quoted.len()..]].concat());
}

#[test]
fn an_event_is_given_as_soon_as_it_is_whole() {
    let mut masker =
        BodyMasker::new("application/json", "", Profile::default().for_unknown(), &key()).unwrap();
    for event in WATCH.split_inclusive(|byte| *byte == b'\n') {
        let mut out = Vec::new();
        masker.push(event, &mut out).unwrap();
        assert!(out.ends_with(b"}}\n"));
        documents(&out);
    }
}

#[test]
fn gzip_comes_out_as_gzip() {
    let mut json = Vec::new();
    MultiGzDecoder::new(LIST_GZIP).read_to_end(&mut json).unwrap();
    let (expected, outcome) = mask(&json, &[usize::MAX]);
    outcome.unwrap();
    for size in [1, 1000, usize::MAX] {
        let (out, outcome) = mask_gzip(LIST_GZIP, size);
        outcome.unwrap();
        let mut masked = Vec::new();
        MultiGzDecoder::new(out.as_slice()).read_to_end(&mut masked).unwrap();
        assert!(masked == expected, "chunks of {size}");
    }
}

#[test]
fn each_push_of_gzip_can_be_read_at_once() {
    let mut masker =
        BodyMasker::new("application/json", "gzip", Profile::default().for_unknown(), &key()).unwrap();
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    let mut reader = flate2::write::GzDecoder::new(Vec::new());
    for event in WATCH.split_inclusive(|byte| *byte == b'\n') {
        packer.write_all(event).unwrap();
        packer.flush().unwrap();
        let mut out = Vec::new();
        masker.push(&std::mem::take(packer.get_mut()), &mut out).unwrap();
        reader.write_all(&out).unwrap();
        reader.flush().unwrap();
        assert!(reader.get_ref().ends_with(b"}}\n"));
    }
}

#[test]
fn members_of_gzip_follow_one_another_and_nothing_else_does() {
    let pack = |json: &[u8]| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(json).unwrap();
        packer.finish().unwrap()
    };
    let (left, right) = LIST.split_at(1000);
    let two = [pack(left), pack(right)].concat();
    let (out, outcome) = mask_gzip(&two, 11);
    outcome.unwrap();
    let mut masked = Vec::new();
    MultiGzDecoder::new(out.as_slice()).read_to_end(&mut masked).unwrap();
    assert_eq!(masked, mask(LIST, &[usize::MAX]).0);

    let whole = pack(LIST);
    for damaged in [
        [&whole[..], b"x"].concat(),
        [&whole[..], b"more than a header of garbage"].concat(),
        whole[..whole.len() - 1].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..whole.len() - 5], b"wrong"].concat(),
        LIST.to_vec(),
        vec![],
    ] {
        let (_, outcome) = mask_gzip(&damaged, 100);
        assert!(matches!(outcome, Err(MaskError::Gzip { .. })), "{outcome:?}");
    }
    let (_, outcome) = mask_gzip(&pack(b"{\"a\":"), 100);
    assert!(matches!(outcome, Err(MaskError::Json { offset: 5, .. })), "{outcome:?}");
}

#[test]
fn nothing_follows_an_error() {
    for (coding, body) in [("", &b"{]"[..]), ("gzip", b"not gzip at all")] {
        let mut masker =
            BodyMasker::new("application/json", coding, Profile::default().for_unknown(), &key()).unwrap();
        let mut out = Vec::new();
        assert!(masker.push(body, &mut out).is_err());
        let given = out.len();
        assert!(matches!(masker.push(b"{}", &mut out), Err(MaskError::Over)));
        assert!(matches!(masker.finish(&mut out), Err(MaskError::Over)));
        assert_eq!(out.len(), given);
    }
}

#[test]
fn other_codings_are_refused() {
    for coding in ["br", "zstd", "gzip, gzip", "deflate"] {
        assert!(matches!(
            BodyMasker::new("application/json", coding, Profile::default().for_unknown(), &key()),
            Err(MaskError::Coding(named)) if named == coding
        ));
    }
}

#[test]
fn the_filter_masks_a_stream_and_says_what_it_cannot() {
    for (name, body) in [("json", LIST), ("table", TABLE), ("watch", WATCH)] {
        let format: Format = name.parse().unwrap();
        let mut out = Vec::new();
        filter(body, &mut out, format, &Profile::default(), &key()).unwrap();
        assert_eq!(out, mask(body, &[usize::MAX]).0);
    }
    let error = "cbor".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("cbor") && Format::NAMES.iter().all(|name| error.contains(name)), "{error}");

    let mut out = Vec::new();
    let outcome = filter(&LIST[..2000], &mut out, Format::Json, &Profile::default(), &key());
    assert!(matches!(outcome, Err(MaskError::Json { offset: 2000, .. })));
    assert!(!String::from_utf8_lossy(&out).contains("FAKE"));
}

fn mask_gzip(body: &[u8], size: usize) -> (Vec<u8>, Result<(), MaskError>) {
    let mut masker =
        BodyMasker::new("application/json", "gzip", Profile::default().for_unknown(), &key()).unwrap();
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        if let Err(error) = masker.push(chunk, &mut out) {
            return (out, Err(error));
        }
    }
    let outcome = masker.finish(&mut out);
    (out, outcome)
}
