//! Kubernetes' protobuf encoding of objects, driven by the schema: `k8s\0`, then a `runtime.Unknown` envelope.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::schema::{Field, Kind, Shape, Type, schema};

const MAGIC: &[u8] = b"k8s\0";

/// What a body in protobuf holds.
pub(crate) struct Decoded {
    /// The object as JSON, kind and version included.
    pub object: Value,
}

/// A body that is not the protobuf it claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Encodes an object of that type with its envelope. `object` carries kind and apiVersion.
pub(crate) fn encode(object: &Value, object_type: &Type) -> Vec<u8> {
    let mut type_meta = Vec::new();
    put_bytes(&mut type_meta, 1, object["apiVersion"].as_str().unwrap_or_default().as_bytes());
    put_bytes(&mut type_meta, 2, object["kind"].as_str().unwrap_or_default().as_bytes());
    let mut envelope = MAGIC.to_vec();
    put_bytes(&mut envelope, 1, &type_meta);
    put_bytes(&mut envelope, 2, &message(object, object_type));
    put_bytes(&mut envelope, 3, b"");
    put_bytes(&mut envelope, 4, b"");
    envelope
}

/// One frame of a watch: four bytes of length, then a `WatchEvent` whose object is an encoded object.
pub(crate) fn watch_frame(event: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    put_bytes(&mut raw, 1, object);
    let mut body = Vec::new();
    put_bytes(&mut body, 1, event.as_bytes());
    put_bytes(&mut body, 2, &raw);
    let mut frame = u32::try_from(body.len()).expect("a frame is under 4 GiB").to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}

/// Decodes an enveloped object of that type.
///
/// # Errors
/// Anything that is no well-formed envelope or message.
pub(crate) fn decode(body: &[u8], object_type: &Type) -> Result<Decoded, Malformed> {
    let mut envelope = Reader(body.strip_prefix(MAGIC).ok_or(Malformed)?);
    let (mut type_meta, mut raw) = (&b""[..], &b""[..]);
    while let Some((number, value)) = envelope.next()? {
        match (number, value) {
            (1, Wire::Bytes(bytes)) => type_meta = bytes,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut object = json!({"kind": "", "apiVersion": ""});
    let mut type_meta = Reader(type_meta);
    while let Some((number, value)) = type_meta.next()? {
        match (number, value) {
            (1, Wire::Bytes(bytes)) => object["apiVersion"] = json!(text(bytes)?),
            (2, Wire::Bytes(bytes)) => object["kind"] = json!(text(bytes)?),
            _ => {}
        }
    }
    let fields = read_message(raw, object_type)?;
    object.as_object_mut().expect("made as an object").extend(fields);
    Ok(Decoded { object })
}

fn message(object: &Value, object_type: &Type) -> Vec<u8> {
    let mut out = Vec::new();
    for field in &object_type.fields {
        if let (true, Some(inner)) = (field.inline, field.object()) {
            put_bytes(&mut out, field.number, &message(object, inner));
            continue;
        }
        match (field.shape, &object[field.name]) {
            (_, Value::Null) => {}
            (Shape::One, value) => put_value(&mut out, field, field.number, value),
            (Shape::List, Value::Array(list)) => {
                list.iter().for_each(|value| put_value(&mut out, field, field.number, value));
            }
            (Shape::Map, Value::Object(map)) => {
                for (key, value) in map {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, 1, key.as_bytes());
                    put_value(&mut entry, field, 2, value);
                    put_bytes(&mut out, field.number, &entry);
                }
            }
            _ => {}
        }
    }
    out
}

fn put_value(out: &mut Vec<u8>, field: &Field, number: u32, value: &Value) {
    let string = value.as_str().unwrap_or_default();
    match field.kind {
        Kind::String => put_bytes(out, number, string.as_bytes()),
        Kind::Bytes => put_bytes(out, number, &BASE64.decode(string).unwrap_or_default()),
        Kind::Bool => put_number(out, number, u64::from(value.as_bool().unwrap_or_default())),
        Kind::Int32 | Kind::Int64 => {
            put_number(out, number, value.as_i64().unwrap_or_default().cast_unsigned());
        }
        Kind::Time | Kind::MicroTime => {
            let at: Timestamp = string.parse().unwrap_or(Timestamp::UNIX_EPOCH);
            let mut time = Vec::new();
            put_number(&mut time, 1, at.as_second().cast_unsigned());
            put_number(&mut time, 2, u64::try_from(at.subsec_nanosecond()).unwrap_or_default());
            put_bytes(out, number, &time);
        }
        Kind::Quantity => {
            let mut quantity = Vec::new();
            put_bytes(&mut quantity, 1, string.as_bytes());
            put_bytes(out, number, &quantity);
        }
        Kind::IntOrString => {
            let mut either = Vec::new();
            put_number(&mut either, 1, u64::from(value.is_string()));
            put_number(&mut either, 2, value.as_i64().unwrap_or_default().cast_unsigned());
            put_bytes(&mut either, 3, string.as_bytes());
            put_bytes(out, number, &either);
        }
        Kind::Fields | Kind::Raw => {
            let mut raw = Vec::new();
            put_bytes(&mut raw, 1, value.to_string().as_bytes());
            put_bytes(out, number, &raw);
        }
        Kind::Strings => {
            let mut items = Vec::new();
            for item in value.as_array().into_iter().flatten() {
                put_bytes(&mut items, 1, item.as_str().unwrap_or_default().as_bytes());
            }
            put_bytes(out, number, &items);
        }
        Kind::Object(name) => put_bytes(out, number, &message(value, schema().get(name))),
    }
}

fn read_message(bytes: &[u8], object_type: &Type) -> Result<Map<String, Value>, Malformed> {
    let mut reader = Reader(bytes);
    let mut object = Map::new();
    while let Some((number, wire)) = reader.next()? {
        let Some(field) = object_type.fields.iter().find(|field| field.number == number) else { continue };
        if let (true, Some(inner), Wire::Bytes(bytes)) = (field.inline, field.object(), wire) {
            object.extend(read_message(bytes, inner)?);
            continue;
        }
        match field.shape {
            Shape::One => {
                if let Some(value) = read_value(field, wire)? {
                    object.insert(field.name.to_owned(), value);
                }
            }
            Shape::List => {
                let list = object.entry(field.name).or_insert_with(|| json!([]));
                let value = read_value(field, wire)?.unwrap_or_else(|| empty(field));
                list.as_array_mut().ok_or(Malformed)?.push(value);
            }
            Shape::Map => {
                let Wire::Bytes(entry) = wire else { return Err(Malformed) };
                let (key, value) = read_entry(field, entry)?;
                let map = object.entry(field.name).or_insert_with(|| json!({}));
                map.as_object_mut().ok_or(Malformed)?.insert(key, value);
            }
        }
    }
    Ok(object)
}

fn read_entry(field: &Field, entry: &[u8]) -> Result<(String, Value), Malformed> {
    let mut reader = Reader(entry);
    let (mut key, mut value) = (String::new(), empty(field));
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?,
            (2, wire) => value = read_value(field, wire)?.unwrap_or(value),
            _ => {}
        }
    }
    Ok((key, value))
}

/// The JSON value, or nothing where Go writes an empty value that means "not set".
fn read_value(field: &Field, wire: Wire<'_>) -> Result<Option<Value>, Malformed> {
    let value = match (field.kind, wire) {
        (Kind::String, Wire::Bytes(bytes)) => json!(text(bytes)?),
        (Kind::Bytes, Wire::Bytes(bytes)) => json!(BASE64.encode(bytes)),
        (Kind::Bool, Wire::Number(number)) => json!(number != 0),
        (Kind::Int32 | Kind::Int64, Wire::Number(number)) => json!(number.cast_signed()),
        (Kind::Time | Kind::MicroTime, Wire::Bytes(bytes)) => {
            let seconds = first_number(bytes, 1)?.cast_signed();
            if bytes.is_empty() {
                return Ok(None);
            }
            json!(crate::object::timestamp(Timestamp::from_second(seconds).map_err(|_| Malformed)?))
        }
        (Kind::Quantity, Wire::Bytes(bytes)) => json!(text(first_bytes(bytes, 1)?)?),
        (Kind::IntOrString, Wire::Bytes(bytes)) if first_number(bytes, 1)? == 1 => {
            json!(text(first_bytes(bytes, 3)?)?)
        }
        (Kind::IntOrString, Wire::Bytes(bytes)) => json!(first_number(bytes, 2)?.cast_signed()),
        (Kind::Fields | Kind::Raw, Wire::Bytes(bytes)) => {
            serde_json::from_slice(first_bytes(bytes, 1)?).map_err(|_| Malformed)?
        }
        (Kind::Strings, Wire::Bytes(bytes)) => {
            let mut reader = Reader(bytes);
            let mut items = Vec::new();
            while let Some((_, wire)) = reader.next()? {
                let Wire::Bytes(item) = wire else { return Err(Malformed) };
                items.push(text(item)?);
            }
            json!(items)
        }
        (Kind::Object(name), Wire::Bytes(bytes)) => Value::Object(read_message(bytes, schema().get(name))?),
        _ => return Err(Malformed),
    };
    // Go writes every field that is no pointer, also when it is empty.
    let unset = value == json!("") || value == json!(0) && !field.required;
    Ok((field.shape != Shape::One || !unset).then_some(value))
}

fn empty(field: &Field) -> Value {
    match field.kind {
        Kind::Object(_) => json!({}),
        Kind::Strings => json!([]),
        _ => json!(""),
    }
}

#[derive(Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let field = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.number()?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return Err(Malformed),
        };
        Ok(Some((field, wire)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

fn first_bytes(message: &[u8], wanted: u32) -> Result<&[u8], Malformed> {
    let mut reader = Reader(message);
    while let Some((number, wire)) = reader.next()? {
        if let (true, Wire::Bytes(bytes)) = (number == wanted, wire) {
            return Ok(bytes);
        }
    }
    Ok(b"")
}

fn first_number(message: &[u8], wanted: u32) -> Result<u64, Malformed> {
    let mut reader = Reader(message);
    while let Some((number, wire)) = reader.next()? {
        if let (true, Wire::Number(value)) = (number == wanted, wire) {
            return Ok(value);
        }
    }
    Ok(0)
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

/// Appends a length-delimited field; also the OpenAPI document's encoder uses it.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint field.
pub(crate) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body kubectl 1.33 sends for `create secret generic made --from-literal=pw=FAKE-made-1`.
    #[test]
    fn reads_what_kubectl_sends() {
        let body = b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\x2b\x0a\x14\x0a\x04made\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x11\x0a\x02pw\x12\x0bFAKE-made-1\x1a\x00\x1a\x00\"\x00";
        let secret = decode(body, schema().get("core.v1.Secret")).expect("decodes").object;
        assert_eq!(secret["metadata"], json!({"name": "made"}));
        assert_eq!(secret["data"], json!({"pw": "RkFLRS1tYWRlLTE="}));
        assert_eq!((secret["kind"].as_str(), secret.get("type")), (Some("Secret"), None));
    }

    #[test]
    fn objects_survive_the_round_trip() {
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "p", "creationTimestamp": "2026-11-22T22:25:08Z", "labels": {"a": "b"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]},
            "spec": {
                "volumes": [{"name": "v", "secret": {"secretName": "s", "optional": true}}],
                "containers": [{"name": "c", "ports": [{"containerPort": 8080}],
                    "resources": {"limits": {"cpu": "100m"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 3}}],
            },
        });
        let object_type = schema().get("core.v1.Pod");
        let decoded = decode(&encode(&pod, object_type), object_type).expect("decodes").object;
        let ordered = object_type.conform(decoded, &mut Vec::new()).expect("fits");
        assert_eq!(ordered, object_type.conform(pod, &mut Vec::new()).expect("fits"));
    }

    #[test]
    fn damage_is_an_error_not_a_panic() {
        let object_type = schema().get("core.v1.Secret");
        let whole =
            encode(&json!({"kind": "Secret", "apiVersion": "v1", "data": {"a": "eA=="}}), object_type);
        for length in 0..whole.len() {
            let _: Result<Decoded, Malformed> = decode(&whole[..length], object_type);
        }
        assert!(decode(b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", object_type).is_err());
    }
}
