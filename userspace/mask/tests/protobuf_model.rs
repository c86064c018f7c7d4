//! Protobuf held against JSON: objects made up by the tables are masked alike in both, however they are cut, and noise does
//! no harm.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

#[path = "support/protobuf.rs"]
mod codec;
mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use codec::{EVENTS, OBJECT, TYPES, mask_as, masked, of_kind, short, varint};

const LIST: &[u8] = include_bytes!("fixtures/secrets-list.pb");
const WATCH: &[u8] = include_bytes!("fixtures/secrets-watch.pb");

/// Makes up objects by the tables.
struct Inventor(u64);

impl Inventor {
    fn below(&mut self, limit: u64) -> u64 {
        // An LCG (Knuth's), of which the upper bits are good enough here.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn word(&mut self) -> &'static str {
        const WORDS: [&str; 12] = [
            "",
            "a",
            "data",
            "stringData",
            "name",
            "hunter2",
            "aHVudGVyMg==",
            "kubectl.kubernetes.io/last-applied-configuration",
            "objectset.rio.cattle.io/applied",
            "{\"data\":{\"a\":\"aHVudGVyMg==\"},\"metadata\":{\"annotations\":{}}}\n",
            "{\"not json",
            "é€😀",
        ];
        WORDS[self.below(WORDS.len() as u64) as usize]
    }

    /// A key. Under some, what the two formats have in place of a value differs: numbers are taken out of protobuf, and
    /// bytes are never a placeholder in base64 there.
    fn key(&mut self, kind: &str) -> String {
        match (kind, self.word()) {
            ("string", word) => word.to_owned(),
            ("bytes", word) if word != "stringData" => word.to_owned(),
            _ => format!("k{}", self.below(3)),
        }
    }

    fn object(&mut self, name: &str, depth: u32) -> Value {
        let mut object = Map::new();
        for field in TYPES.fields(name) {
            if field.inline {
                object.extend(self.object(&field.kind, depth).as_object().unwrap().clone());
            } else if depth > 0 && self.below(4) == 0 || name.ends_with("Secret") || field.name == "metadata"
            {
                let count = 1 + self.below(3);
                let value = match field.shape {
                    "[]" => (0..count).map(|_| self.value(&field.kind, depth)).collect(),
                    "{}" => {
                        (0..count).map(|_| (self.key(&field.kind), self.value(&field.kind, depth))).collect()
                    }
                    _ => self.value(&field.kind, depth),
                };
                object.insert(field.name.clone(), value);
            }
        }
        Value::Object(object)
    }

    fn value(&mut self, kind: &str, depth: u32) -> Value {
        match kind {
            "string" | "quantity" | "intorstring" => json!(self.word()),
            "bytes" => json!(STANDARD.encode(self.word())),
            "bool" | "int32" | "int64" => json!(self.below(u64::MAX)),
            "time" | "microtime" => json!(self.below(1 << 33).to_string()),
            "raw" | "fields" => {
                json!({self.word(): {self.word(): self.word()}, "data": {"b": self.word(), "c": [1, "x"]}})
            }
            "items" => (0..2).map(|_| self.word()).collect(),
            name => self.object(name, depth.saturating_sub(1)),
        }
    }
}

const KINDS: [(&str, &str, &str); 14] = [
    ("v1", "Secret", "core.v1.Secret"),
    ("v1", "SecretList", "core.v1.SecretList"),
    ("v1", "ConfigMapList", "core.v1.ConfigMapList"),
    ("v1", "List", "core.v1.List"),
    ("v1", "Pod", "core.v1.Pod"),
    ("v1", "PodList", "core.v1.PodList"),
    ("v1", "Event", "core.v1.Event"),
    ("v1", "Status", "meta.v1.Status"),
    ("apps/v1", "DeploymentList", "apps.v1.DeploymentList"),
    ("apps/v1", "ControllerRevision", "apps.v1.ControllerRevision"),
    ("batch/v1", "CronJob", "batch.v1.CronJob"),
    ("authentication.k8s.io/v1", "TokenReview", "authentication.v1.TokenReview"),
    ("certificates.k8s.io/v1", "CertificateSigningRequest", "certificates.v1.CertificateSigningRequest"),
    ("meta.k8s.io/v1", "PartialObjectMetadataList", "meta.v1.PartialObjectMetadataList"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The two maskers say the same of one object.
    #[test]
    fn protobuf_is_masked_as_json_is(seed in any::<u64>(), kind in prop::sample::select(&KINDS[..])) {
        let (api_version, kind, name) = kind;
        let object = Inventor(seed).object(name, 5);
        let body = TYPES.enveloped(api_version, kind, name, &object);
        // What a codec has no place for (nothing in a RawExtension) is no difference.
        let (_, object) = TYPES.open(&body);
        let (_, after) = TYPES.open(&masked(&body));
        // Objects say there what they are, in protobuf their envelopes do.
        let mut document = json!({"kind": kind, "apiVersion": api_version});
        document.as_object_mut().unwrap().extend(object.as_object().unwrap().clone());
        let (json, outcome) = support::mask(document.to_string().as_bytes(), &[usize::MAX]);
        outcome.unwrap();
        let mut json: Map<String, Value> = serde_json::from_slice(&json).unwrap();
        json.retain(|name, _| object.get(name).is_some());
        prop_assert_eq!(after, Value::Object(json));
    }

    #[test]
    fn any_cut_gives_the_same(seeds in prop::collection::vec(any::<u64>(), 1..4), size in 1..300_usize) {
        let mut watch = Vec::new();
        for seed in seeds {
            let (api_version, kind, name) = KINDS[(seed % KINDS.len() as u64) as usize];
            let object = TYPES.enveloped(api_version, kind, name, &Inventor(seed).object(name, 4));
            prop_assert_eq!(mask_as(OBJECT, "", &object, size).0, masked(&object));
            let event = [short(1, b"ADDED"), short(2, &short(1, &object))].concat();
            watch.extend((event.len() as u32).to_be_bytes());
            watch.extend(event);
        }
        let (out, outcome) = mask_as(EVENTS, "", &watch, size);
        outcome.unwrap();
        prop_assert_eq!(out, mask_as(EVENTS, "", &watch, usize::MAX).0);
    }

    /// Whatever comes, in any chunks: the same outcome, no panic.
    #[test]
    fn noise_is_refused_or_masked(at in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 0..20), size in 1..50_usize) {
        for (content_type, body) in [(OBJECT, LIST), (EVENTS, WATCH)] {
            let at = at.index(body.len());
            let damaged = [&body[..at], &noise, &body[(at + noise.len()).min(body.len())..]].concat();
            let (out, outcome) = mask_as(content_type, "", &damaged, size);
            let (whole, same) = mask_as(content_type, "", &damaged, usize::MAX);
            prop_assert_eq!(outcome.map_err(|error| error.to_string()), same.map_err(|error| error.to_string()));
            prop_assert_eq!(out, whole);
        }
    }

    #[test]
    fn every_varint_is_kept(number in 16..1000_u64, value in any::<u64>()) {
        let mut metadata = Vec::new();
        varint(number << 3, &mut metadata);
        varint(value, &mut metadata);
        let secret = of_kind("v1", "Secret", &short(1, &metadata));
        // 17 is managedFields, which is no number; what is not masked is not read either.
        prop_assert_eq!(masked(&secret), secret);
    }
}
