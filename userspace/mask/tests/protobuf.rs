//! Protobuf, masked: bodies that a real API server (v1.36.2) sent, objects made up by the tables, and what is refused.
//! What comes out is read by a codec of the tests' own.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

#[path = "support/protobuf.rs"]
mod codec;
mod support;

use std::io::Read;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use portcullis_mask::{
    BodyMasker, Format, MaskError, PROTOBUF_LIMIT, Profile, ProtobufFault, ProtobufMasker, filter,
};
use serde_json::{Value, json};

use codec::{EVENTS, OBJECT, RULES, TYPES, mask_as, masked, of_kind, short};
use support::{key, placeholder, placeholder_base64, shows};

const SECRET: &[u8] = include_bytes!("fixtures/secret.pb");
const LIST: &[u8] = include_bytes!("fixtures/secrets-list.pb");
const LIST_GZIP: &[u8] = include_bytes!("fixtures/secrets-list.pb.gz");
const LIST_JSON: &[u8] = include_bytes!("fixtures/secrets-list.json");
const PARTIAL: &[u8] = include_bytes!("fixtures/secrets-partial-metadata.pb");
const CREATED: &[u8] = include_bytes!("fixtures/secret-created.pb");
const WATCH: &[u8] = include_bytes!("fixtures/secrets-watch.pb");
const WATCH_LIST: &[u8] = include_bytes!("fixtures/secrets-watch-list.pb");
const STATUS: &[u8] = include_bytes!("fixtures/status-404.pb");
const CONFIG_MAPS: &[u8] = include_bytes!("fixtures/configmaps-list.pb");
const PODS: &[u8] = include_bytes!("fixtures/pods-list.pb");
const TOKEN_REQUEST: &[u8] = include_bytes!("fixtures/token-request.pb");
const REVIEW: &[u8] = include_bytes!("fixtures/self-subject-review.pb");

/// What the cluster of the captures held.
const SECRETS: [&[u8]; 11] = [
    b"FAKE-APIKEY-0123456789abcdef",
    b"{\"token\":\"FAKE-json-token\",\"n\":1}\n",
    b"FAKE-applied-token-1",
    b"FAKE-applied-token-2",
    b"FAKE-basic-pass",
    b"FAKE-made-1",
    b"robot\"",
    b"postgres://shop_rw:FAKE-s3cr3t-passw0rd-1@db.kubernetes.local:5432/shop",
    b"FAKE-s3cr3t-passw0rd-1",
    b"shop_rw",
    b"\x00\x01\x02\x03\xff\xfe\xfd\xfc\x80\x81",
];

/// As the answer about a resource.
fn masked_for(group: &str, resource: &str, subresource: &str, body: &[u8]) -> Vec<u8> {
    let rules = Profile::default().for_request(group, resource, subresource).unwrap();
    let mut masker = ProtobufMasker::object(rules, &key());
    let mut out = Vec::new();
    masker.push(body, &mut out).and_then(|()| masker.finish(&mut out)).unwrap();
    out
}

/// What is wrong with a body, and where.
fn refused(content_type: &str, body: &[u8]) -> (u64, ProtobufFault) {
    match mask_as(content_type, "", body, 7) {
        (out, Err(MaskError::Protobuf { offset, fault })) if out.is_empty() => (offset, fault),
        (_, outcome) => panic!("{outcome:?}"),
    }
}

/// Values compared leaf by leaf: only what was masked may differ.
fn assert_same_shape(before: &Value, after: &Value, path: &str) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            assert!(before.keys().eq(after.keys()), "fields and their order at {path}");
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

fn assert_hidden(out: &[u8]) {
    assert!(!String::from_utf8_lossy(out).contains("FAKE"));
    for secret in SECRETS {
        assert!(!shows(out, secret), "{}", String::from_utf8_lossy(secret));
    }
}

#[test]
fn secrets_lose_their_values_and_nothing_else() {
    for body in [SECRET, LIST, PARTIAL, CREATED] {
        for size in [1, 7, usize::MAX] {
            let (out, outcome) = mask_as(OBJECT, "", body, size);
            outcome.unwrap();
            assert_ne!(out, body);
            assert_hidden(&out);
            let ((kind, before), (same_kind, after)) = (TYPES.open(body), TYPES.open(&out));
            assert_eq!(kind, same_kind);
            assert_same_shape(&before, &after, "");
        }
    }
}

#[test]
fn events_lose_their_values_and_nothing_else() {
    for body in [WATCH, WATCH_LIST] {
        for size in [1, 7, 1000, usize::MAX] {
            let (out, outcome) = mask_as(EVENTS, "", body, size);
            outcome.unwrap();
            assert_hidden(&out);
            let (before, after) = (TYPES.events(body), TYPES.events(&out));
            assert!(before.len() >= 8);
            assert_same_shape(&json!(before), &json!(after), "");
        }
    }
}

#[test]
fn an_event_is_given_as_soon_as_it_is_whole() {
    let mut masker = ProtobufMasker::watch(Arc::clone(&RULES), &key());
    let mut rest = WATCH;
    while let Some(length) = rest.first_chunk() {
        let (event, after) = rest.split_at(4 + u32::from_be_bytes(*length) as usize);
        let mut out = Vec::new();
        masker.push(&event[..event.len() - 1], &mut out).unwrap();
        assert!(out.is_empty());
        masker.push(&event[event.len() - 1..], &mut out).unwrap();
        assert_eq!(TYPES.events(&out).len(), 1);
        rest = after;
    }
    masker.finish(&mut Vec::new()).unwrap();
}

#[test]
fn what_holds_no_secrets_comes_out_as_it_was() {
    let reviews = "authentication.k8s.io";
    assert_eq!(masked_for("", "secrets", "", STATUS), STATUS);
    assert_eq!(masked_for(reviews, "selfsubjectreviews", "", REVIEW), REVIEW);
    let (out, outcome) = mask_as(EVENTS, "", &[0, 0, 0, 0], 1);
    outcome.unwrap();
    assert_eq!(out, [0, 0, 0, 0], "an event of nothing");
    assert!(masked(b"").is_empty());
}

#[test]
fn tokens_and_the_environment_of_containers_are_masked() {
    let out = masked_for("", "serviceaccounts", "token", TOKEN_REQUEST);
    let ((_, before), (_, mut after)) = (TYPES.open(TOKEN_REQUEST), TYPES.open(&out));
    let token = before["status"]["token"].as_str().unwrap();
    assert!(token.starts_with("eyJ") && !shows(&out, token.as_bytes()));
    assert_eq!(after["status"]["token"], placeholder(token.as_bytes()));
    after["status"]["token"] = json!(token);
    assert_eq!(before, after);

    let (_, pods) = TYPES.open(PODS);
    let (_, masked) = TYPES.open(&masked_for("", "pods", "", PODS));
    let variables = |pods: &Value| {
        let containers = pods["items"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|pod| pod["spec"]["containers"].as_array().unwrap());
        let variables =
            containers.flat_map(|container| container["env"].as_array().cloned().unwrap_or_default());
        variables
            .map(|variable| (variable["name"].to_string(), variable["value"].clone()))
            .collect::<Vec<_>>()
    };
    let (before, after) = (variables(&pods), variables(&masked));
    assert!(!before.is_empty());
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        if name.contains("PASS") && before != "" {
            assert_eq!(*after, placeholder(before.as_str().unwrap().as_bytes()), "{name}");
        } else {
            assert_eq!(after, before, "{name}");
        }
    }
}

#[test]
fn detectors_look_at_what_passes() {
    const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let map = json!({"metadata": {"name": "a"}, "data": {"script": format!("curl -H 'x: {TOKEN}'"), "db.pass.word": "x"}});
    let pod = json!({"spec": {"containers": [{"name": "a", "args": ["-t", TOKEN], "env": [{"name": "A", "value": TOKEN}]}]}});
    for (resource, kind, name, object) in
        [("configmaps", "ConfigMap", "core.v1.ConfigMap", map), ("pods", "Pod", "core.v1.Pod", pod)]
    {
        let out = masked_for("", resource, "", &TYPES.enveloped("v1", kind, name, &object));
        assert!(!shows(&out, TOKEN.as_bytes()));
        let mut json = Vec::new();
        let rules = Profile::default().for_request("", resource, "").unwrap();
        let mut masker = portcullis_mask::JsonMasker::new(rules, &key());
        masker
            .push(object.to_string().as_bytes(), &mut json)
            .and_then(|()| masker.finish(&mut json))
            .unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let (_, decoded) = TYPES.open(&out);
        for (field, value) in json.as_object().unwrap() {
            assert_eq!(decoded[field], *value);
        }
        assert!(out.windows(18).any(|window| window == b"portcullis-masked:"));
    }
}

#[test]
fn an_error_quotes_no_secret() {
    let status = json!({"status": "Failure", "message": "json: cannot unmarshal \"FAKE-quoted-value\" into Go", "code": 400});
    let body = TYPES.enveloped("v1", "Status", "meta.v1.Status", &status);
    let out = masked_for("", "secrets", "", &body);
    assert!(!shows(&out, b"FAKE-quoted-value"));
    let (json, outcome) = support::mask(
        br#"{"kind":"Status","message":"json: cannot unmarshal \"FAKE-quoted-value\" into Go"}"#,
        &[9],
    );
    outcome.unwrap();
    assert_eq!(TYPES.open(&out).1["message"], serde_json::from_slice::<Value>(&json).unwrap()["message"]);
    // Nothing else that has a message is one.
    let condition = json!({"metadata": {"name": "a"}, "message": "\"FAKE-quoted-value\""});
    let body = TYPES.enveloped("v1", "Event", "core.v1.Event", &condition);
    assert_eq!(masked_for("", "pods", "", &body), body);
}

#[test]
fn a_value_has_one_placeholder_in_every_format() {
    let (_, list) = TYPES.open(&masked(LIST));
    let (json, outcome) = support::mask(LIST_JSON, &[usize::MAX]);
    outcome.unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let data = |list: &Value| {
        let named = |item: &Value| {
            (
                item["metadata"]["name"].to_string(),
                (item["data"].clone(), item["metadata"]["annotations"].clone()),
            )
        };
        list["items"].as_array().unwrap().iter().map(named).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (protobuf, json) = (data(&list), data(&json));
    let common: Vec<_> = protobuf.keys().filter(|name| json.contains_key(*name)).collect();
    assert!(common.len() >= 4, "{common:?}");
    for name in common {
        assert_eq!(protobuf[name], json[name], "{name}");
    }
    // In a ConfigMap the values are text, which is read as the base64 that it would be in a Secret.
    let (_, maps) = TYPES.open(&masked(CONFIG_MAPS));
    let value = maps["items"][0]["data"].as_object().unwrap().values().next().unwrap();
    assert!(STANDARD.decode(value.as_str().unwrap()).unwrap().starts_with(b"portcullis-masked:"));
}

#[test]
fn gzip_comes_out_as_gzip_and_only_at_the_end() {
    let unpacked = |body: &[u8]| {
        let mut unpacked = Vec::new();
        MultiGzDecoder::new(body).read_to_end(&mut unpacked).unwrap();
        unpacked
    };
    for size in [1, 1000, usize::MAX] {
        let mut masker = BodyMasker::new(OBJECT, "gzip", Arc::clone(&RULES), &key()).unwrap();
        assert!(masker.is_whole());
        let mut out = Vec::new();
        for chunk in LIST_GZIP.chunks(size) {
            masker.push(chunk, &mut out).unwrap();
            assert!(out.is_empty());
        }
        assert_eq!(masker.held(), unpacked(LIST_GZIP).len());
        masker.finish(&mut out).unwrap();
        assert_eq!(unpacked(&out), masked(&unpacked(LIST_GZIP)));
    }
}

/// A field whose length takes two bytes where one would do.
fn long(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8 | 0x80, 0][..], bytes].concat()
}

/// A Secret spelled as no server spells it: fields out of order and twice, a key after its value, numbers in more bytes
/// than they need, a field of a newer server in its metadata. `spell` is for the value and what it is in.
fn odd_secret(value: &[u8], spell: fn(u8, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let entry = [spell(2, value), long(1, b"key")].concat();
    let metadata = [long(1, b"odd"), b"\xfa\x06\x03new".to_vec(), b"\xf8\x06\x85\x00".to_vec()].concat();
    let secret =
        [b"\x28\x81\x00".to_vec(), spell(2, &entry), long(3, b"Opaque"), long(1, &metadata), long(1, b"")];
    let type_meta = [long(2, b"Secret"), long(1, b"v1")].concat();
    [b"k8s\0".to_vec(), long(4, b""), long(1, &type_meta), spell(2, &secret.concat())].concat()
}

#[test]
fn all_but_values_and_lengths_stays_as_it_is_spelled() {
    let expected = odd_secret(placeholder(b"FAKE").as_bytes(), short);
    assert_eq!(masked(&odd_secret(b"FAKE", long)), expected);
    let empty = odd_secret(b"", long);
    assert_eq!(masked(&empty), empty, "an empty value stays empty");
    // As long as what takes its place, which keeps what it is in as long as it was.
    let same = odd_secret(&[b'x'; 42], long);
    let expected = odd_secret(placeholder(&[b'x'; 42]).as_bytes(), long);
    assert_eq!(masked(&same), expected);
}

#[test]
fn what_is_not_known_passes_only_where_no_rule_could_apply() {
    let metadata = [short(1, b"name"), short(99, b"anything")].concat();
    let newer = of_kind("v1", "Secret", &[short(1, &metadata), b"\x80\x02\x01".to_vec()].concat());
    assert_eq!(
        masked_for("", "secrets", "", &newer),
        newer,
        "only annotations are masked in metadata, and a number is no secret of any field"
    );
    // It could be a map called data, or hold one.
    let unknown = of_kind("v1", "Secret", &short(32, b"FAKE"));
    assert_eq!(refused(OBJECT, &unknown), (20, ProtobufFault::UnknownField));
    for (api_version, kind) in
        [("v1", "Sekret"), ("v2", "Secret"), ("secrets.example.test/v1", "Secret"), ("", "")]
    {
        let (_, fault) = refused(OBJECT, &of_kind(api_version, kind, b"\x0a\x00"));
        assert_eq!(fault, ProtobufFault::UnknownKind, "{api_version} {kind}");
    }
}

#[test]
fn objects_inside_of_objects_are_masked() {
    let json = br#"{"kind":"Secret","data":{"a":"RkFLRQ=="}}"#;
    let secret = of_kind("v1", "Secret", &short(2, &[short(1, b"a"), short(2, b"FAKE")].concat()));
    let items = [&json[..], &secret, b"", b" {} "].map(|raw| short(2, &short(1, raw)));
    let (_, list) = TYPES.open(&masked(&of_kind("v1", "List", &items.concat())));
    let hidden = json!(placeholder_base64(b"FAKE"));
    assert_eq!(list["items"][0]["data"]["a"], hidden);
    assert_eq!(list["items"][1]["data"]["a"], hidden);
    assert_eq!(list["items"][2], Value::Null);
    assert_eq!(list["items"][3], json!({}));
    for raw in [&b"FAKE"[..], b"{", b"\xa1\x64data\xa0"] {
        let (_, fault) = refused(OBJECT, &of_kind("v1", "List", &short(2, &short(1, raw))));
        assert_eq!(fault, ProtobufFault::Extension, "{raw:?}");
    }
}

#[test]
fn damage_is_named() {
    let secret = |data: &[u8]| of_kind("v1", "Secret", data);
    let deep = (0..40).fold(b"{}".to_vec(), |inner, _| of_kind("v1", "List", &short(2, &short(1, &inner))));
    for (body, expected) in [
        (b"{}".to_vec(), ProtobufFault::Envelope),
        (WATCH.to_vec(), ProtobufFault::Envelope),
        ([b"k8s\0", &short(4, b"application/json")[..]].concat(), ProtobufFault::Envelope),
        ([b"k8s\0", &short(3, b"gzip")[..]].concat(), ProtobufFault::Envelope),
        ([b"k8s\0", &short(5, b"")[..]].concat(), ProtobufFault::UnknownField),
        ([SECRET, &short(2, b"")].concat(), ProtobufFault::Repeated),
        (SECRET[..SECRET.len() - 5].to_vec(), ProtobufFault::Truncated),
        (
            secret(&short(2, &[short(1, b"a"), short(2, b"b"), short(2, b"c")].concat())),
            ProtobufFault::Repeated,
        ),
        (secret(&short(2, &short(3, b"a"))), ProtobufFault::UnknownField),
        (secret(&short(2, b"\x0a\x05")), ProtobufFault::Truncated),
        (secret(b"\x10\x01"), ProtobufFault::WireType),
        (secret(b"\x13\x14"), ProtobufFault::WireType),
        (secret(b"\x02\x00"), ProtobufFault::FieldNumber),
        (secret(b"\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), ProtobufFault::Varint),
        (deep, ProtobufFault::TooDeep),
    ] {
        assert_eq!(refused(OBJECT, &body).1, expected, "{body:?}");
    }
    let (_, outcome) = mask_as(EVENTS, "", &WATCH[..WATCH.len() - 1], 100);
    assert!(
        matches!(outcome, Err(MaskError::Protobuf { fault: ProtobufFault::Truncated, .. })),
        "{outcome:?}"
    );
    assert_eq!(refused(EVENTS, &[&[0, 0, 0, 1][..], SECRET].concat()).1, ProtobufFault::WireType);
}

#[test]
fn nothing_follows_an_error() {
    let mut masker = BodyMasker::new(EVENTS, "", Arc::clone(&RULES), &key()).unwrap();
    let mut out = Vec::new();
    assert!(masker.push(&[0, 0, 0, 1, 7], &mut out).is_err());
    assert!(matches!(masker.push(WATCH, &mut out), Err(MaskError::Over)));
    assert!(matches!(masker.finish(&mut out), Err(MaskError::Over)));
    assert!(out.is_empty());
}

#[test]
fn more_than_is_held_is_refused() {
    let too_large = |content_type, coding, body: &[u8]| {
        let (out, outcome) = mask_as(content_type, coding, body, 64 * 1024);
        assert!(out.is_empty());
        matches!(outcome, Err(MaskError::TooLarge { limit: PROTOBUF_LIMIT }))
    };
    let value = vec![b'x'; PROTOBUF_LIMIT];
    let secret = |length: usize| {
        of_kind("v1", "Secret", &short(2, &[short(1, b"a"), short(2, &value[..length])].concat()))
    };
    let over = secret(PROTOBUF_LIMIT).len() - PROTOBUF_LIMIT;
    let largest = secret(PROTOBUF_LIMIT - over);
    assert_eq!(largest.len(), PROTOBUF_LIMIT);
    assert!(masked(&largest).len() < 100);
    assert!(too_large(OBJECT, "", &secret(PROTOBUF_LIMIT - over + 1)));
    assert!(too_large(EVENTS, "", &(PROTOBUF_LIMIT as u32 + 1).to_be_bytes()));
    assert!(too_large(EVENTS, "", &[0xff; 4]));
    // A bomb, and a body that grows nine times.
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packer, &secret(PROTOBUF_LIMIT)).unwrap();
    assert!(too_large(OBJECT, "gzip", &packer.finish().unwrap()));
    let many = short(2, &[short(1, b"a"), short(2, b"b")].concat()).repeat(PROTOBUF_LIMIT / 9);
    assert!(too_large(OBJECT, "", &of_kind("v1", "Secret", &many)));
}

/// The fuzz target's corpus: sliced as it says, the same as whole, and what comes out goes in again.
#[test]
fn the_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/mask_protobuf");
    let mut read = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let file = std::fs::read(file.unwrap().path()).unwrap();
        let [size, watch, body @ ..] = &file[..] else { panic!("{file:?}") };
        let content_type = if watch & 1 == 1 { EVENTS } else { OBJECT };
        let (out, outcome) = mask_as(content_type, "", body, usize::from(*size).max(1));
        outcome.unwrap();
        assert_eq!(out, mask_as(content_type, "", body, usize::MAX).0);
        mask_as(content_type, "", &out, usize::MAX).1.unwrap();
        read += 1;
    }
    assert!(read >= 5);
}

#[test]
fn the_filter_masks_it_too() {
    for (name, content_type, body) in [("protobuf", OBJECT, LIST), ("watch-protobuf", EVENTS, WATCH)] {
        let format: Format = name.parse().unwrap();
        assert!(Format::NAMES.contains(&name));
        let mut out = Vec::new();
        filter(body, &mut out, format, &Profile::default(), &key()).unwrap();
        assert_eq!(out, mask_as(content_type, "", body, usize::MAX).0);
    }
}
