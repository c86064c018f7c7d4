//! What the server knows of its types: one table read by everything that must understand objects.
//!
//! Field order (Go encodes structs in declaration order), protobuf numbers, strategic-merge keys, list keys
//! for server-side apply, required fields. `schema/*.txt` hold it as text, because it is data.

mod conform;

use std::collections::HashMap;
use std::sync::LazyLock;

pub(crate) use conform::{Mismatch, UnknownField};

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

/// The one schema of this server.
pub(crate) fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
        Schema::parse(&[
            include_str!("../../../../userspace/mask/schema/meta.v1.txt"),
            include_str!("../../../../userspace/mask/schema/core.v1.txt"),
            include_str!("../../../../userspace/mask/schema/apps.v1.txt"),
            include_str!("../../../../userspace/mask/schema/autoscaling.v1.txt"),
            include_str!("../../../../userspace/mask/schema/authentication.v1.txt"),
            include_str!("../../../../userspace/mask/schema/authorization.v1.txt"),
            include_str!("../../../../userspace/mask/schema/batch.v1.txt"),
            include_str!("../../../../userspace/mask/schema/certificates.v1.txt"),
            include_str!("../../../../userspace/mask/schema/policy.v1.txt"),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_type_exists() {
        let roots: Vec<&str> = schema().types.keys().copied().collect();
        assert_eq!(schema().closure(roots.iter().copied()).len(), roots.len());
    }
}
