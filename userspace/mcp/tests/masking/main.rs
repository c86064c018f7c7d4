//! Every shape of message that a server can send, with every kind of secret in it: nothing of it reaches the client, in
//! any spelling, and all else does, byte for byte.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod shapes;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use portcullis_mask::{MaskKey, Profile};
use portcullis_mcp::{BlobPolicy, MessageMasker};
use proptest::prelude::*;
use serde_json::{Value, json};

use shapes::{PNG, encoded, planted, result, shapes};

static MASKER: LazyLock<MessageMasker> = LazyLock::new(|| {
    let key = MaskKey::from_bytes(*b"a key that only the tests are on");
    MessageMasker::new(&Profile::default(), &key, &BlobPolicy::default())
});

fn masked(message: &str) -> String {
    let mut out = Vec::new();
    MASKER.mask(message.as_bytes(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Whether `secret` is in `text`: as it is, in base64 at any alignment, in hex, and in the same in what base64 there stands for.
fn shows(text: &str, secret: &str, depth: u8) -> bool {
    let plain = text.replace('\\', "");
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = (0..3).map(|before| {
        let spelled = STANDARD_NO_PAD.encode([&b"\0\0"[..before], secret.as_bytes()].concat());
        // Characters that hold bits of neighbours say nothing.
        spelled[(before * 8_usize).div_ceil(6)..(before + secret.len()) * 8 / 6].to_owned()
    });
    if [secret.to_owned(), hex].into_iter().chain(base64).any(|form| plain.contains(&form)) {
        return true;
    }
    let is_base64 = |character: char| character.is_ascii_alphanumeric() || "+/=-_".contains(character);
    depth < 3
        && plain.split(|character| !is_base64(character)).filter(|run| run.len() > 8).any(|run| {
            let run = run.trim_end_matches('=');
            STANDARD_NO_PAD
                .decode(run)
                .is_ok_and(|decoded| shows(&String::from_utf8_lossy(&decoded), secret, depth + 1))
        })
}

/// Whether `after` has the types of `before` all through.
fn same_types(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            before.len() == after.len()
                && before.values().zip(after.values()).all(|(before, after)| same_types(before, after))
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len()
                && before.iter().zip(after).all(|(before, after)| same_types(before, after))
        }
        _ => std::mem::discriminant(before) == std::mem::discriminant(after),
    }
}

#[test]
fn no_secret_shows_in_any_shape() {
    for (text, secret) in planted() {
        for (shape, message) in shapes(&text) {
            if ["polyglot image", "structured key"].contains(&shape) && secret == "plainword" {
                // Only a name tells that it is one, and there are none in a picture or a key.
                continue;
            }
            let spelled = message.to_string();
            assert!(shows(&spelled, &secret, 0), "{shape}: {secret} was not there to begin with");
            let out = masked(&spelled);
            assert!(!shows(&out, &secret, 0), "{shape}, {text}:\n{out}");
            assert_eq!(masked(&spelled), out, "{shape}: the same each time");
            assert!(same_types(&message, &serde_json::from_str(&out).unwrap()), "{shape}:\n{out}");
        }
    }
}

#[test]
fn what_has_no_secret_comes_out_byte_for_byte() {
    for text in
        ["all is well", "", "{\"rows\": [1, \"é\", null]}", "[INFO] data: {\"a\", 1}", "a\n\"quoted\" \\ <b>"]
    {
        for (shape, message) in shapes(text) {
            if shape.contains("image")
                || [
                    "audio",
                    "embedded binary",
                    "resources/read pdf",
                    "prompts/get",
                    "unknown content",
                    "elicitation",
                    "input required",
                    "tools/list",
                ]
                .contains(&shape)
            {
                continue;
            }
            let spelled = message.to_string();
            assert_eq!(masked(&spelled), spelled, "{shape}");
        }
    }
    let png = encoded(PNG);
    for message in [
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"image","data":"{png}","mimeType":"image/png"}}]}}}}"#),
        format!(r#"{{"result":{{"contents":[{{"uri":"x:y","blob":"{}","mimeType":"image/png"}}]}}}}"#, png.replace('/', "\\/")),
        format!(r#" {{ "result" : {{ "icons": [{{"src": "data:image\/png;base64,{png}"}}], "n": 1.50e+3 }} }}"#),
        r#"{"result":{"content":[{"type":"text","text":"{\"a\":\"\\u00e9\\/\",\"b\" :1}\n"}]}}"#.to_owned(),
        r#"{"result":{"structuredContent":{"data":"hello123","blob":"deadbeef","type":"blob"}}}"#.to_owned(),
        r#"{"id":"data:text/plain;base64,cGFzc3dvcmQ9aHVudGVyMg==","result":{"nextCursor":"data:text/plain;base64,cGFzc3dvcmQ9aHVudGVyMg==","requestState":"data:,a%20b"}}"#.to_owned(),
        r#"{"method":"notifications/progress","params":{"progressToken":"data:text/plain;base64,cGFzc3dvcmQ9aHVudGVyMg=="}}"#.to_owned(),
    ] {
        assert_eq!(masked(&message), message);
    }
}

#[test]
fn blobs_keep_what_is_no_secret() {
    let blob = |media: &str, bytes: &[u8]| {
        let message =
            result(&json!({"contents": [{"uri": "x:y", "mimeType": media, "blob": encoded(bytes)}]}));
        let out: Value = serde_json::from_str(&masked(&message.to_string())).unwrap();
        let shown = out["result"]["contents"][0]["blob"].as_str().unwrap().to_owned();
        String::from_utf8(STANDARD.decode(shown).unwrap()).unwrap()
    };
    let shown = blob("text/plain", b"a=1\npassword=hunter2hunter2\nb=2\n");
    assert!(shown.starts_with("a=1\npassword=portcullis-masked:") && shown.ends_with("\nb=2\n"), "{shown}");
    let shown: Value =
        serde_json::from_str(&blob("application/json", br#"{"password": "x", "n": 1, "id": "y"}"#)).unwrap();
    assert_eq!((&shown["n"], &shown["id"]), (&json!(1), &json!("y")));
    assert!(shown["password"].as_str().unwrap().starts_with("portcullis-masked:"));
    for (media, bytes) in [
        ("application/pdf", &b"%PDF-1.7"[..]),
        ("image/png", b"no picture"),
        ("text/plain", b"\xff\xfep\0a\0"),
        ("application/octet-stream", b"\0\x01"),
    ] {
        assert!(blob(media, bytes).starts_with("portcullis-masked:withheld: "), "{media}");
    }
}

#[test]
fn what_is_no_json_is_an_error_and_nothing_is_given() {
    for message in ["", "{", "{\"a\":1", "{\"a\":\"\u{1}\"}", "nonsense"] {
        let mut out = b"before".to_vec();
        let outcome = MASKER.mask(message.as_bytes(), &mut out);
        assert_eq!(out, b"before", "{message}");
        assert!(outcome.is_err() || message.is_empty(), "{message}");
    }
}

#[test]
fn without_a_mask_everything_passes() {
    let message = r#"{"result":{"password":"hunter2"}}"#;
    let mut out = Vec::new();
    MessageMasker::unmasked().mask(message.as_bytes(), &mut out).unwrap();
    assert_eq!(out, message.as_bytes());
}

fn document() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        prop::sample::select(vec!["image", "image/png", "text/plain", "application/json", "{", "[1]", "é\\"])
            .prop_map(str::to_owned),
        prop::sample::select(vec!["password=hunter2hunter2", "{\"password\":1}", "\u{1}"]).prop_map(encoded),
        "[a-z ]{0,4}data:(text/plain|image/png|)(;base64)?,[a-zA-Z0-9%/=]{0,12}[ )\"]",
        Just(encoded(PNG)),
    ];
    let leaf = prop_oneof![4 => text.prop_map(Value::from), 1 => any::<i32>().prop_map(Value::from), 1 => Just(Value::Null)];
    let key = prop::sample::select(vec![
        "data", "blob", "mimeType", "type", "uri", "Blob", "result", "contents", "password", "text",
    ]);
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let object = prop::collection::vec((key.clone(), inner.clone()), 0..6)
            .prop_map(|fields| Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()));
        prop_oneof![
            4 => object.clone(),
            2 => prop::collection::vec(inner, 0..4).prop_map(Value::Array),
            2 => object.clone().prop_map(|object| Value::from(object.to_string())),
            1 => object.prop_map(|object| Value::from(format!("data:application/json;base64,{}", encoded(object.to_string())))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn any_message_keeps_its_types_and_shows_no_secret(document in document()) {
        let out = masked(&document.to_string());
        prop_assert!(same_types(&document, &serde_json::from_str(&out).unwrap()), "{}", out);
        prop_assert!(!out.contains("hunter2"), "{}", out);
    }
}

/// The corpus of the fuzz target: types stay, and equal messages come out equal.
#[test]
fn the_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/mask_mcp");
    let mut seeds = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let seed = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let out = masked(&seed);
        let [before, after] = [&seed, &out].map(|text| serde_json::from_str(text).unwrap());
        assert!(same_types(&before, &after), "{seed}\n{out}");
        assert_ne!(out, seed);
        assert_eq!(masked(&seed), out);
        seeds += 1;
    }
    assert!(seeds > 3);
}
