//! Whose an object is: as much of it as has to be read.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::ListFault;

/// An object, or what stands for one: `PartialObjectMetadata`, a Table, a `Status`.
#[derive(Deserialize)]
pub(super) struct Object<'a> {
    #[serde(borrow, default)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default, rename = "apiVersion")]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) metadata: Members<Metadata<'a>>,
}

#[derive(Default, Deserialize)]
pub(super) struct Metadata<'a> {
    #[serde(borrow, default)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) namespace: Cow<'a, str>,
}

/// A row of a Table.
#[derive(Deserialize)]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    object: Option<Members<Object<'a>>>,
}

/// What only a Table has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Table<'a> {
    #[serde(borrow)]
    pub(super) rows: Option<Vec<Members<Row<'a>>>>,
    pub(super) column_definitions: Option<IgnoredAny>,
}

/// An event of a watch.
#[derive(Deserialize)]
pub(super) struct Event<'a, O> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    pub(super) object: Members<O>,
}

impl Object<'_> {
    /// Whether it is a Table of the API server's own, and not somebody's object of that kind.
    pub(super) fn is_table(&self) -> bool {
        self.kind == "Table" && self.api_version.starts_with("meta.k8s.io/")
    }

    pub(super) fn is_status(&self) -> bool {
        self.kind == "Status" && self.api_version == "v1"
    }
}

impl Row<'_> {
    /// Of the object that it is about.
    pub(super) fn metadata(&self) -> Result<&Metadata<'_>, ListFault> {
        self.object.as_ref().map(|object| &object.0.metadata.0).ok_or(ListFault::BareRow)
    }
}

/// Reads one element of a list. A member that is there twice is an error: each reader would take its own.
pub(super) fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, ListFault> {
    serde_json::from_slice(json).map(|Members(object)| object).map_err(|_| ListFault::NotAnObject)
}

/// What is written with its members' names. serde takes an array for a struct as well, by position, and nobody else does.
#[derive(Default)]
pub(super) struct Members<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ByName<T> {
            type Value = Members<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Members)
            }
        }

        deserializer.deserialize_map(ByName(PhantomData))
    }
}
