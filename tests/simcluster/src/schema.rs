//! What the server knows of its types: one table read by everything that must understand objects.
//!
//! Field order (Go encodes structs in declaration order), protobuf numbers, strategic-merge keys, list keys
//! for server-side apply, required fields. `schema/*.txt` hold it as text, because it is data.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// All types, by name such as `core.v1.Pod`.
pub(crate) struct Schema {
    types: HashMap<&'static str, Type>,
}

/// One object type.
#[derive(Debug)]
pub(crate) struct Type {
    /// Name with its package, such as `core.v1.PodSpec`.
    pub name: &'static str,
    /// Server-side apply owns the whole object, never a part of it (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Fields in the order Go encodes them.
    pub fields: Vec<Field>,
}

/// One field of a type.
#[derive(Debug)]
pub(crate) struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// Number in protobuf.
    pub number: u32,
    /// One value, a list, or a map from strings.
    pub shape: Shape,
    /// What the value, element or map value is.
    pub kind: Kind,
    /// Must be present.
    pub required: bool,
    /// A message of its own in protobuf whose fields stand in the parent in JSON.
    pub inline: bool,
    /// Strategic merge: the key that identifies an element of the list.
    pub merge_key: Option<&'static str>,
    /// Strategic merge: the `patchStrategy` tag.
    pub strategy: Option<&'static str>,
    /// Server-side apply: the keys that identify an element (`listType: map`).
    pub keys: Vec<&'static str>,
    /// Server-side apply: elements are identified by their value (`listType: set`).
    pub set: bool,
    /// Server-side apply owns the whole value.
    pub atomic: bool,
    /// What an absent value means, where it is part of a list key.
    pub default: Option<&'static str>,
}

/// How often a field's value occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Once.
    One,
    /// A list.
    List,
    /// A map with string keys.
    Map,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// UTF-8 text.
    String,
    /// Bytes; base64 in JSON.
    Bytes,
    /// true or false.
    Bool,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// `resource.Quantity`: a string such as `100m`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `FieldsV1`: any JSON, as bytes in protobuf.
    Fields,
    /// `RawExtension`: any JSON.
    Raw,
    /// A list of strings wrapped in a message (`ExtraValue`).
    Strings,
    /// An object of this type.
    Object(&'static str),
}

/// A field of a body that the schema does not know, as the strict decoder names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownField(pub String);

/// A value of the wrong JSON type, worded as Go's decoder does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch(pub String);

/// The one schema of this server.
pub(crate) fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
        Schema::parse(&[
            include_str!("../schema/meta.v1.txt"),
            include_str!("../schema/core.v1.txt"),
            include_str!("../schema/apps.v1.txt"),
            include_str!("../schema/autoscaling.v1.txt"),
            include_str!("../schema/authentication.v1.txt"),
            include_str!("../schema/authorization.v1.txt"),
            include_str!("../schema/policy.v1.txt"),
        ])
    });
    &SCHEMA
}

impl Schema {
    fn parse(texts: &[&'static str]) -> Schema {
        let mut types: HashMap<&'static str, Type> = HashMap::new();
        for text in texts {
            let mut current = "";
            for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let mut words = line.split_whitespace();
                let first = words.next().expect("a line with a word");
                if line.starts_with(' ') {
                    let field = Field::parse(first, words);
                    types.get_mut(current).expect("a field after its type").fields.push(field);
                } else {
                    current = first;
                    let atomic = words.next() == Some("atomic");
                    types.insert(first, Type { name: first, atomic, fields: Vec::new() });
                }
            }
        }
        Schema { types }
    }

    /// The type of that name.
    ///
    /// # Panics
    /// When there is none: names come from the tables of this crate, never from a request.
    pub(crate) fn get(&self, name: &str) -> &Type {
        self.types.get(name).unwrap_or_else(|| panic!("schema lacks {name}"))
    }

    /// `roots` and every type they reach, sorted by name.
    pub(crate) fn closure(&'static self, roots: impl IntoIterator<Item: AsRef<str>>) -> Vec<&'static Type> {
        let mut found: Vec<&'static Type> = Vec::new();
        let mut queue: Vec<&Type> = roots.into_iter().map(|name| self.get(name.as_ref())).collect();
        while let Some(object) = queue.pop() {
            if found.iter().any(|known| known.name == object.name) {
                continue;
            }
            found.push(object);
            queue.extend(object.fields.iter().filter_map(Field::object));
        }
        found.sort_by_key(|object| object.name);
        found
    }
}

impl Type {
    /// The field of that JSON name, looking through inlined messages.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        let this = schema().get(self.name);
        this.fields.iter().find_map(|field| match (field.inline, field.kind) {
            (true, Kind::Object(inner)) => schema().get(inner).field(name),
            _ => (field.name == name).then_some(field),
        })
    }

    /// All fields as JSON shows them, inlined messages opened up.
    pub(crate) fn json_fields(&self) -> Vec<&'static Field> {
        let this = schema().get(self.name);
        let mut fields = Vec::with_capacity(this.fields.len());
        for field in &this.fields {
            match (field.inline, field.kind) {
                (true, Kind::Object(inner)) => fields.extend(schema().get(inner).json_fields()),
                _ => fields.push(field),
            }
        }
        fields
    }

    /// `value` as a typed server would store and print it: fields in order, maps sorted, nulls and empty lists
    /// and maps gone, unknown fields dropped and reported.
    ///
    /// # Errors
    /// A value whose JSON type does not fit its field.
    pub(crate) fn conform(&self, value: Value, unknown: &mut Vec<UnknownField>) -> Result<Value, Mismatch> {
        self.conform_at(value, "", unknown)
    }

    fn conform_at(&self, value: Value, path: &str, unknown: &mut Vec<UnknownField>) -> Result<Value, Mismatch> {
        let Value::Object(mut object) = value else {
            return Err(mismatch(&value, path, self.go_name()));
        };
        let mut ordered = Map::new();
        if path.is_empty() {
            for key in ["kind", "apiVersion"] {
                ordered.extend(object.shift_remove(key).map(|value| (key.to_owned(), value)));
            }
        }
        for field in self.json_fields() {
            let Some(value) = object.shift_remove(field.name) else { continue };
            let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
            if let Some(value) = field.conform(value, &path, unknown)? {
                ordered.insert(field.name.to_owned(), value);
            }
        }
        // An embedded object (a RawExtension's content) may repeat its kind.
        for key in object.keys().filter(|key| !matches!(key.as_str(), "kind" | "apiVersion")) {
            unknown.push(UnknownField(if path.is_empty() { key.clone() } else { format!("{path}.{key}") }));
        }
        Ok(Value::Object(ordered))
    }

    /// Type name as Go's decoder prints it: `v1.PodSpec`.
    fn go_name(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, rest)| rest)
    }
}

impl Field {
    fn parse(number: &str, mut words: std::str::SplitWhitespace<'static>) -> Field {
        let name = words.next().expect("a field's name");
        let type_name = words.next().expect("a field's type");
        let (shape, element) = match type_name.split_at(2.min(type_name.len())) {
            ("[]", element) => (Shape::List, element),
            ("{}", element) => (Shape::Map, element),
            _ => (Shape::One, type_name),
        };
        let mut field = Field {
            name,
            number: number.parse().expect("a field's number"),
            shape,
            kind: Kind::parse(element),
            required: false,
            inline: false,
            merge_key: None,
            strategy: None,
            keys: Vec::new(),
            set: false,
            atomic: false,
            default: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("merge", key)) => field.merge_key = Some(key),
                Some(("strategy", strategy)) => field.strategy = Some(strategy),
                Some(("keys", keys)) => field.keys = keys.split(',').collect(),
                Some(("default", value)) => field.default = Some(value),
                None if word == "required" => field.required = true,
                None if word == "inline" => field.inline = true,
                None if word == "set" => field.set = true,
                None if word == "atomic" => field.atomic = true,
                _ => panic!("schema: {name}: unknown attribute {word}"),
            }
        }
        field
    }

    /// The type of the value or element, where it is an object.
    pub(crate) fn object(&self) -> Option<&'static Type> {
        match self.kind {
            Kind::Object(name) => Some(schema().get(name)),
            _ => None,
        }
    }

    fn conform(&self, value: Value, path: &str, unknown: &mut Vec<UnknownField>) -> Result<Option<Value>, Mismatch> {
        match (self.shape, value) {
            (_, Value::Null) => Ok(None),
            (Shape::One, value) => self.conform_one(value, path, unknown).map(Some),
            (Shape::List, Value::Array(list)) if list.is_empty() && !self.required => Ok(None),
            (Shape::List, Value::Array(list)) => list
                .into_iter()
                .enumerate()
                .map(|(index, value)| self.conform_one(value, &format!("{path}[{index}]"), unknown))
                .collect::<Result<_, _>>()
                .map(|list| Some(Value::Array(list))),
            (Shape::Map, Value::Object(map)) if map.is_empty() => Ok(None),
            (Shape::Map, Value::Object(map)) => {
                let mut entries: Vec<_> = map.into_iter().collect();
                entries.sort_by(|left, right| left.0.cmp(&right.0));
                entries
                    .into_iter()
                    .map(|(key, value)| Ok((key.clone(), self.conform_entry(value, &format!("{path}.{key}"), unknown)?)))
                    .collect::<Result<Map<_, _>, _>>()
                    .map(|map| Some(Value::Object(map)))
            }
            (_, value) => Err(mismatch(&value, path, "list or map")),
        }
    }

    /// A map's value: null means the zero value there, as in Go.
    fn conform_entry(&self, value: Value, path: &str, unknown: &mut Vec<UnknownField>) -> Result<Value, Mismatch> {
        match (value, self.kind) {
            (Value::Null, Kind::String | Kind::Bytes) => Ok(Value::String(String::new())),
            (value, _) => self.conform_one(value, path, unknown),
        }
    }

    fn conform_one(&self, value: Value, path: &str, unknown: &mut Vec<UnknownField>) -> Result<Value, Mismatch> {
        let fits = match self.kind {
            Kind::Object(name) => return schema().get(name).conform_at(value, path, unknown),
            Kind::String | Kind::Bytes | Kind::Time | Kind::MicroTime => value.is_string(),
            Kind::Bool => value.is_boolean(),
            Kind::Int32 | Kind::Int64 => value.is_i64() || value.is_u64(),
            Kind::Quantity | Kind::IntOrString => value.is_string() || value.is_number(),
            Kind::Strings => value.is_array(),
            Kind::Fields | Kind::Raw => true,
        };
        match (fits, self.kind, value) {
            // A quantity is printed as a string, however it was written.
            (true, Kind::Quantity, Value::Number(number)) => Ok(Value::String(number.to_string())),
            (true, _, value) => Ok(value),
            (false, kind, value) => Err(mismatch(&value, path, kind.go_name())),
        }
    }
}

impl Kind {
    fn parse(word: &'static str) -> Kind {
        match word {
            "string" => Kind::String,
            "bytes" => Kind::Bytes,
            "bool" => Kind::Bool,
            "int32" => Kind::Int32,
            "int64" => Kind::Int64,
            "time" => Kind::Time,
            "microtime" => Kind::MicroTime,
            "quantity" => Kind::Quantity,
            "intorstring" => Kind::IntOrString,
            "fields" => Kind::Fields,
            "raw" => Kind::Raw,
            "items" => Kind::Strings,
            object => Kind::Object(object),
        }
    }

    fn go_name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Bytes => "[]uint8",
            Kind::Strings => "[]string",
            _ => "string",
        }
    }
}

fn mismatch(value: &Value, path: &str, wanted: &str) -> Mismatch {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Mismatch(format!("json: cannot unmarshal {found} into Go struct field .{path} of type {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_named_type_exists() {
        let roots: Vec<&str> = schema().types.keys().copied().collect();
        assert_eq!(schema().closure(roots.iter().copied()).len(), roots.len());
    }

    #[test]
    fn conform_orders_sorts_and_reports() {
        let mut unknown = Vec::new();
        let pod = schema().get("core.v1.Pod");
        let value = json!({
            "spec": {"containers": [{"image": "i", "name": "c", "nme": 1}], "volumes": [{"emptyDir": {}, "name": "v"}]},
            "metadata": {"labels": {"b": "2", "a": "1"}, "name": "p", "creationTimestamp": null, "annotations": {}},
            "apiVersion": "v1", "kind": "Pod", "datum": 1,
        });
        let conformed = pod.conform(value, &mut unknown).expect("fits");
        assert_eq!(
            conformed.to_string(),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","labels":{"a":"1","b":"2"}},"spec":{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"c","image":"i"}]}}"#
        );
        assert_eq!(unknown, [UnknownField("spec.containers[0].nme".into()), UnknownField("datum".into())]);
        assert!(pod.conform(json!({"spec": {"containers": "x"}}), &mut unknown).is_err());
    }
}
