//! What the fields of protobuf messages are called in JSON, where rules name them: the types of the Kubernetes API, by
//! message and field number.
//!
//! `schema/*.txt` hold them as text, because they are data: a type's name, then a line for each field with its number,
//! its name in JSON and what it is, `[]` before it for lists and `{}` for maps from strings. What else is said of a field
//! is not needed here. A number that was given once never means anything else (Kubernetes API conventions), so that
//! tables of a newer server fit an older one; of a server newer than the tables, see [`super::walk`].

use std::collections::HashMap;
use std::sync::LazyLock;

macro_rules! table {
    ($api_version:literal, $package:literal) => {
        ($api_version, $package, include_str!(concat!("../../schema/", $package, ".txt")))
    };
}

/// The tables of one group and version: the `apiVersion` in objects, the prefix of its types, the table.
const TABLES: &[(&str, &str, &str)] = &[
    table!("v1", "core.v1"),
    table!("meta.k8s.io/v1", "meta.v1"),
    table!("admissionregistration.k8s.io/v1", "admissionregistration.v1"),
    table!("apps/v1", "apps.v1"),
    table!("authentication.k8s.io/v1", "authentication.v1"),
    table!("authorization.k8s.io/v1", "authorization.v1"),
    table!("autoscaling/v1", "autoscaling.v1"),
    table!("autoscaling/v2", "autoscaling.v2"),
    table!("batch/v1", "batch.v1"),
    table!("certificates.k8s.io/v1", "certificates.v1"),
    table!("certificates.k8s.io/v1alpha1", "certificates.v1alpha1"),
    table!("certificates.k8s.io/v1beta1", "certificates.v1beta1"),
    table!("coordination.k8s.io/v1", "coordination.v1"),
    table!("discovery.k8s.io/v1", "discovery.v1"),
    table!("events.k8s.io/v1", "events.v1"),
    table!("flowcontrol.apiserver.k8s.io/v1", "flowcontrol.v1"),
    table!("networking.k8s.io/v1", "networking.v1"),
    table!("node.k8s.io/v1", "node.v1"),
    table!("policy/v1", "policy.v1"),
    table!("rbac.authorization.k8s.io/v1", "rbac.v1"),
    table!("resource.k8s.io/v1", "resource.v1"),
    table!("scheduling.k8s.io/v1", "scheduling.v1"),
    table!("storage.k8s.io/v1", "storage.v1"),
];

/// The kinds that every group has (they come as `v1` or as `meta.k8s.io/v1`).
const EVERYWHERE: &str = "meta.v1";

/// A type of [`schema`].
pub(super) type TypeId = u16;

/// All types.
pub(super) struct Schema {
    types: Vec<Type>,
    kinds: HashMap<&'static str, TypeId>,
    packages: HashMap<&'static str, &'static str>,
}

/// A message.
#[derive(Default)]
pub(super) struct Type {
    fields: Vec<Field>,
    /// One more than the place in `fields` of each number; 0 for none.
    numbers: Vec<u8>,
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) number: u32,
    /// In JSON.
    pub(super) name: &'static str,
    /// A map from strings to what `kind` says.
    pub(super) map: bool,
    /// Its fields stand in its parent in JSON.
    pub(super) inline: bool,
    pub(super) kind: Kind,
}

/// What a value is on the wire, and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number, a truth value.
    Number,
    /// Text.
    String,
    /// Bytes; base64 in JSON.
    Bytes,
    /// A message that is a string or a number in JSON: a time, a quantity, a port by name or number.
    Scalar,
    /// A message around a list of strings, which is just that list in JSON.
    Strings,
    /// A message around an object of any kind (`RawExtension`), or around the names of fields (`FieldsV1`).
    Raw,
    /// A message.
    Message(TypeId),
}

/// The one schema.
pub(super) fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::parse);
    &SCHEMA
}

impl Schema {
    /// The message of a kind, if it is known.
    pub(super) fn message(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        let found = self.packages.get(api_version).and_then(|package| self.of_package(package, kind));
        found.or_else(|| self.of_package(EVERYWHERE, kind))
    }

    pub(super) fn get(&self, id: TypeId) -> &Type {
        &self.types[usize::from(id)]
    }

    /// Whether a field of a message has this name in JSON. What has metadata has a kind and a version there as well, which
    /// are in its envelope here.
    pub(super) fn has_name(&self, id: TypeId, name: &[u8]) -> bool {
        let is = |own: &str| name.eq_ignore_ascii_case(own.as_bytes());
        self.get(id).fields.iter().any(|field| match (field.inline, field.kind) {
            (true, Kind::Message(inner)) => self.has_name(inner, name),
            _ => is(field.name) || field.name == "metadata" && (is("kind") || is("apiVersion")),
        })
    }

    fn of_package(&self, package: &str, kind: &str) -> Option<TypeId> {
        self.kinds.get(format!("{package}.{kind}").as_str()).copied()
    }

    fn parse() -> Self {
        let texts = TABLES.iter().map(|(.., text)| *text);
        let lines =
            || texts.clone().flat_map(str::lines).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let names = lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next());
        let kinds: HashMap<&str, TypeId> = names.zip(0..).collect();
        let mut types: Vec<Type> = Vec::with_capacity(kinds.len());
        for line in lines() {
            match (line.strip_prefix("  "), types.last_mut()) {
                (Some(field), Some(message)) => message.fields.extend(Field::parse(field, &kinds)),
                _ => types.push(Type::default()),
            }
        }
        types.iter_mut().for_each(Type::number);
        let packages = TABLES.iter().map(|(api_version, package, _)| (*api_version, *package)).collect();
        Self { types, kinds, packages }
    }
}

impl Type {
    /// In the order of the table.
    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Where the field of that number is in [`fields`](Self::fields).
    #[inline]
    pub(super) fn index(&self, number: u32) -> Option<usize> {
        let found = *self.numbers.get(number as usize)?;
        usize::from(found).checked_sub(1)
    }

    fn number(&mut self) {
        let largest = self.fields.iter().map(|field| field.number).max().unwrap_or(0);
        self.numbers = vec![0; largest as usize + 1];
        for (field, place) in self.fields.iter().zip(1..) {
            self.numbers[field.number as usize] = place;
        }
    }
}

impl Field {
    /// Nothing of a line that is not understood: the field is one that is not known then.
    fn parse(line: &'static str, kinds: &HashMap<&'static str, TypeId>) -> Option<Self> {
        let mut words = line.split(' ');
        let (number, name, what) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        let (map, what) = what.strip_prefix("{}").map_or((false, what), |what| (true, what));
        let what = what.strip_prefix("[]").unwrap_or(what);
        let kind = match what {
            "bool" | "int32" | "int64" => Kind::Number,
            "string" => Kind::String,
            "bytes" => Kind::Bytes,
            "time" | "microtime" | "quantity" | "intorstring" => Kind::Scalar,
            "items" => Kind::Strings,
            "raw" | "fields" => Kind::Raw,
            message => Kind::Message(*kinds.get(message)?),
        };
        Some(Self { number, name, map, inline: words.any(|word| word == "inline"), kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        let lines = |fields: bool| {
            let lines = TABLES.iter().flat_map(|(.., text)| text.lines());
            lines
                .filter(|line| !line.is_empty() && !line.starts_with('#') && line.starts_with(' ') == fields)
                .count()
        };
        let schema = schema();
        assert_eq!(schema.types.len(), lines(false));
        assert_eq!(schema.types.iter().map(|message| message.fields.len()).sum::<usize>(), lines(true));
        assert_eq!(schema.kinds.len(), schema.types.len(), "no name stands twice");
        for message in &schema.types {
            let found: Vec<_> = message.fields.iter().map(|field| message.index(field.number)).collect();
            assert!(found.into_iter().eq((0..message.fields.len()).map(Some)), "{:?}", message.fields);
        }
    }

    #[test]
    fn kinds_are_found_by_the_exact_group() {
        let schema = schema();
        let field = |api_version, kind, number| {
            let message = schema.get(schema.message(api_version, kind)?);
            message.fields.iter().find(|field| field.number == number).map(|field| field.name)
        };
        assert_eq!(field("v1", "Secret", 2), Some("data"));
        assert_eq!(field("v1", "Status", 3), Some("message"));
        assert_eq!(field("v1", "List", 2), Some("items"));
        assert_eq!(field("meta.k8s.io/v1", "PartialObjectMetadataList", 2), Some("items"));
        assert_eq!(field("apps/v1", "Deployment", 2), Some("spec"));
        assert_eq!(field("rbac.authorization.k8s.io/v1", "Role", 2), Some("rules"));
        for (api_version, kind) in
            [("apps.example.test/v1", "Deployment"), ("v1", "Deployment"), ("", "Secret"), ("v2", "Secret")]
        {
            assert_eq!(schema.message(api_version, kind), None, "{api_version} {kind}");
        }
    }
}
