//! A second reading of the tables and of the wire format, to check the masker's by: whole objects to JSON and back.

#![allow(dead_code, reason = "each test file takes what it needs of this")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_mask::{BodyMasker, MaskError, MaskKey, Profile, Rules};
use serde_json::{Map, Value, json};

use crate::support::KEY;

pub(crate) const OBJECT: &str = "application/vnd.kubernetes.protobuf";
pub(crate) const EVENTS: &str = "application/vnd.kubernetes.protobuf;stream=watch";

pub(crate) static TYPES: LazyLock<Types> = LazyLock::new(Types::read);
pub(crate) static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| Profile::default().for_unknown());

pub(crate) fn mask_as(
    content_type: &str,
    coding: &str,
    body: &[u8],
    size: usize,
) -> (Vec<u8>, Result<(), MaskError>) {
    let mut masker =
        BodyMasker::new(content_type, coding, Arc::clone(&RULES), &MaskKey::from_bytes(KEY)).unwrap();
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        if let Err(error) = masker.push(chunk, &mut out) {
            return (out, Err(error));
        }
    }
    let outcome = masker.finish(&mut out);
    (out, outcome)
}

pub(crate) fn masked(body: &[u8]) -> Vec<u8> {
    let (out, outcome) = mask_as(OBJECT, "", body, usize::MAX);
    outcome.unwrap();
    out
}

pub(crate) fn short(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(number.into(), bytes, &mut out);
    out
}

pub(crate) fn of_kind(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [short(1, api_version.as_bytes()), short(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), short(1, &type_meta), short(2, raw)].concat()
}

/// The tables, by the names of types.
pub(crate) struct Types(HashMap<String, Vec<Field>>);

#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) number: u64,
    pub(crate) name: String,
    /// `[]`, `{}` or nothing.
    pub(crate) shape: &'static str,
    pub(crate) kind: String,
    pub(crate) inline: bool,
}

impl Types {
    pub(crate) fn read() -> Self {
        let mut types: HashMap<String, Vec<Field>> = HashMap::new();
        for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/schema")).unwrap() {
            let mut fields = None;
            for line in fs::read_to_string(file.unwrap().path()).unwrap().lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words[..] {
                    [] | ["#", ..] => {}
                    [name] | [name, "atomic"] => fields = Some(types.entry(name.to_owned()).or_default()),
                    [number, name, kind, ref rest @ ..] => {
                        let shape =
                            ["[]", "{}"].into_iter().find(|shape| kind.starts_with(shape)).unwrap_or("");
                        fields.as_mut().unwrap().push(Field {
                            number: number.parse().unwrap(),
                            name: name.to_owned(),
                            shape,
                            kind: kind[shape.len()..].to_owned(),
                            inline: rest.contains(&"inline"),
                        });
                    }
                    _ => panic!("{line}"),
                }
            }
        }
        Self(types)
    }

    pub(crate) fn fields(&self, name: &str) -> &[Field] {
        &self.0[name]
    }

    /// `object` in its envelope.
    pub(crate) fn enveloped(&self, api_version: &str, kind: &str, name: &str, object: &Value) -> Vec<u8> {
        let mut type_meta = Vec::new();
        put(1, api_version.as_bytes(), &mut type_meta);
        put(2, kind.as_bytes(), &mut type_meta);
        let mut envelope = b"k8s\0".to_vec();
        put(1, &type_meta, &mut envelope);
        put(2, &self.encode(name, object), &mut envelope);
        put(3, b"", &mut envelope);
        put(4, b"", &mut envelope);
        envelope
    }

    pub(crate) fn encode(&self, name: &str, object: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        for field in self.fields(name) {
            if field.inline {
                put(field.number, &self.encode(&field.kind, object), &mut out);
                continue;
            }
            match (field.shape, &object[&field.name]) {
                (_, Value::Null) => {}
                ("[]", Value::Array(list)) => {
                    list.iter().for_each(|value| self.put(field, field.number, value, &mut out));
                }
                ("{}", Value::Object(map)) => {
                    for (key, value) in map {
                        let mut entry = Vec::new();
                        put(1, key.as_bytes(), &mut entry);
                        self.put(field, 2, value, &mut entry);
                        put(field.number, &entry, &mut out);
                    }
                }
                (_, value) => self.put(field, field.number, value, &mut out),
            }
        }
        out
    }

    fn put(&self, field: &Field, number: u64, value: &Value, out: &mut Vec<u8>) {
        let text = value.as_str().unwrap_or_default().as_bytes();
        let mut inner = Vec::new();
        match field.kind.as_str() {
            "string" => return put(number, text, out),
            "bytes" => return put(number, &STANDARD.decode(text).unwrap(), out),
            "bool" | "int32" | "int64" => {
                varint(number << 3, out);
                let number = value.as_u64().unwrap_or_else(|| u64::from(value.as_bool().unwrap()));
                return varint(number, out);
            }
            "time" | "microtime" => {
                varint(1 << 3, &mut inner);
                varint(value.as_str().unwrap().parse().unwrap(), &mut inner);
            }
            "quantity" => put(1, text, &mut inner),
            "intorstring" => put(3, text, &mut inner),
            "raw" | "fields" => put(1, value.to_string().as_bytes(), &mut inner),
            "items" => value
                .as_array()
                .unwrap()
                .iter()
                .for_each(|item| put(1, item.as_str().unwrap().as_bytes(), &mut inner)),
            name => inner = self.encode(name, value),
        }
        put(number, &inner, out);
    }

    /// What is in the envelope, with what its kind says it is.
    pub(crate) fn open(&self, body: &[u8]) -> (String, Value) {
        let (mut type_meta, mut raw) = (&[][..], &[][..]);
        for (number, value) in wire(body.strip_prefix(b"k8s\0").expect("an envelope")) {
            match number {
                1 => type_meta = value.bytes(),
                2 => raw = value.bytes(),
                3 | 4 => assert!(value.bytes().is_empty()),
                _ => panic!("field {number} of an envelope"),
            }
        }
        let words: Vec<&str> =
            wire(type_meta).into_iter().map(|(_, value)| str::from_utf8(value.bytes()).unwrap()).collect();
        let [api_version, kind] = words[..] else { panic!("{words:?}") };
        let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
        let name = format!("{}.{version}.{kind}", group.split('.').next().unwrap());
        let name = if self.0.contains_key(&name) { name } else { format!("meta.v1.{kind}") };
        (kind.to_owned(), self.decode(&name, raw))
    }

    pub(crate) fn decode(&self, name: &str, body: &[u8]) -> Value {
        let mut object = Map::new();
        for (number, value) in wire(body) {
            let field = self.fields(name).iter().find(|field| field.number == number);
            let field = field.unwrap_or_else(|| panic!("field {number} of {name}"));
            if field.inline {
                object.extend(self.decode(&field.kind, value.bytes()).as_object().unwrap().clone());
                continue;
            }
            match field.shape {
                "[]" => {
                    let list = object.entry(&field.name).or_insert_with(|| json!([]));
                    list.as_array_mut().unwrap().push(self.value(field, &value));
                }
                "{}" => {
                    let entry = wire(value.bytes());
                    let [(1, key), (2, value)] = &entry[..] else { panic!("entry of {name}.{}", field.name) };
                    let map = object.entry(&field.name).or_insert_with(|| json!({}));
                    let key = str::from_utf8(key.bytes()).unwrap();
                    map.as_object_mut().unwrap().insert(key.to_owned(), self.value(field, value));
                }
                _ => {
                    object.insert(field.name.clone(), self.value(field, &value));
                }
            }
        }
        Value::Object(object)
    }

    fn value(&self, field: &Field, value: &Wire<'_>) -> Value {
        let first = |bytes| wire(bytes).first().map_or(&b""[..], |(_, value)| value.bytes());
        let text = |bytes| json!(str::from_utf8(bytes).unwrap());
        match field.kind.as_str() {
            "string" => text(value.bytes()),
            "bytes" => json!(STANDARD.encode(value.bytes())),
            "bool" | "int32" | "int64" => json!(value.number()),
            "time" | "microtime" => wire(value.bytes())
                .first()
                .map_or(json!(""), |(_, seconds)| json!(seconds.number().to_string())),
            "quantity" => text(first(value.bytes())),
            "intorstring" => {
                let fields = wire(value.bytes());
                fields
                    .iter()
                    .find(|(number, _)| *number == 3)
                    .map_or(json!(""), |(_, value)| text(value.bytes()))
            }
            "raw" | "fields" => match first(value.bytes()) {
                raw if raw.starts_with(b"k8s\0") => self.open(raw).1,
                b"" => Value::Null,
                raw => serde_json::from_slice(raw).unwrap(),
            },
            "items" => wire(value.bytes()).iter().map(|(_, item)| text(item.bytes())).collect(),
            name => self.decode(name, value.bytes()),
        }
    }

    /// The events of a watch: their types and objects.
    pub(crate) fn events(&self, mut body: &[u8]) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some((length, rest)) = body.split_first_chunk() {
            let (event, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
            events.push(self.decode("meta.v1.WatchEvent", event));
            body = rest;
        }
        events
    }
}

#[derive(Debug)]
pub(crate) enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl<'b> Wire<'b> {
    fn number(&self) -> u64 {
        let Self::Number(number) = self else { panic!("bytes instead of a number") };
        *number
    }

    fn bytes(&self) -> &'b [u8] {
        let Self::Bytes(bytes) = self else { panic!("a number instead of bytes") };
        bytes
    }
}

/// The fields of a message. Kubernetes uses no others than these two types.
pub(crate) fn wire(mut body: &[u8]) -> Vec<(u64, Wire<'_>)> {
    let mut fields = Vec::new();
    while !body.is_empty() {
        let key = take_varint(&mut body);
        let value = take_varint(&mut body);
        fields.push(match key & 7 {
            0 => (key >> 3, Wire::Number(value)),
            2 => {
                let (bytes, rest) = body.split_at(value as usize);
                body = rest;
                (key >> 3, Wire::Bytes(bytes))
            }
            other => panic!("wire type {other}"),
        });
    }
    fields
}

fn take_varint(body: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = body.split_first().expect("a varint");
        *body = rest;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if *byte < 0x80 {
            return value;
        }
    }
}

pub(crate) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
