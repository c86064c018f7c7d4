//! Sets of fields of an object (`FieldsV1`), and in the modules below: the paths in them, and who owns what.
//!
//! A set is kept as the JSON tree that the API shows: `f:` a field, `k:` a list element by its keys, `v:` one by its
//! value, `.` the element itself.

mod managers;
mod path;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

pub(crate) use managers::{Entry, Writer, track_update};
pub(crate) use path::{display, key_step, lookup, remove};

use crate::schema::{Field, Shape, Type};

/// A set of fields of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet(BTreeSet<Vec<String>>);

/// Metadata that the server owns, or that identifies the object: nobody manages it.
const UNMANAGED: &[&str] = &[
    "name",
    "namespace",
    "generateName",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

impl FieldSet {
    /// All fields that `object` declares, as an apply owns them.
    pub(crate) fn of(object: &Value, object_type: &Type) -> FieldSet {
        FieldSet::collected(object, object_type, Containers::WhenEmpty)
    }

    fn collected(object: &Value, object_type: &Type, containers: Containers) -> FieldSet {
        let mut walk = Walk { containers, path: Vec::new(), set: BTreeSet::new() };
        walk.object(object, object_type);
        walk.set.retain(|path| !is_unmanaged(path));
        FieldSet(walk.set)
    }

    /// Those of `self` that are not in `other`.
    pub(crate) fn minus(&self, other: &FieldSet) -> FieldSet {
        FieldSet(self.0.difference(&other.0).cloned().collect())
    }

    /// Those in both.
    pub(crate) fn common(&self, other: &FieldSet) -> FieldSet {
        FieldSet(self.0.intersection(&other.0).cloned().collect())
    }

    /// Those in either.
    pub(crate) fn plus(&self, other: &FieldSet) -> FieldSet {
        FieldSet(self.0.union(&other.0).cloned().collect())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths, parents before children.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &[String]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Whether that path or anything below it is in the set.
    pub(crate) fn reaches(&self, path: &[String]) -> bool {
        self.0.range(path.to_vec()..).next().is_some_and(|found| found.starts_with(path))
    }

    /// As `fieldsV1`.
    pub(crate) fn to_value(&self) -> Value {
        let mut tree = Tree::default();
        for path in &self.0 {
            let mut node = &mut tree;
            for step in path {
                node = node.children.entry(step.clone()).or_default();
            }
            node.member = true;
        }
        tree.to_value()
    }

    /// From `fieldsV1`.
    pub(crate) fn from_value(value: &Value) -> FieldSet {
        fn walk(value: &Value, path: &mut Vec<String>, set: &mut BTreeSet<Vec<String>>) {
            let children = value.as_object();
            if children.is_none_or(Map::is_empty) && !path.is_empty() {
                set.insert(path.clone());
            }
            for (step, child) in children.into_iter().flatten() {
                if step == "." {
                    set.insert(path.clone());
                    continue;
                }
                path.push(step.clone());
                walk(child, path, set);
                path.pop();
            }
        }
        let mut set = BTreeSet::new();
        walk(value, &mut Vec::new(), &mut set);
        FieldSet(set)
    }
}

#[derive(Default)]
struct Tree {
    member: bool,
    children: BTreeMap<String, Tree>,
}

impl Tree {
    fn to_value(&self) -> Value {
        let mut object = Map::new();
        if self.member && !self.children.is_empty() {
            object.insert(".".to_owned(), json!({}));
        }
        object.extend(self.children.iter().map(|(step, child)| (step.clone(), child.to_value())));
        Value::Object(object)
    }
}

fn is_unmanaged(path: &[String]) -> bool {
    match path {
        [only] => only == "f:metadata",
        [first, second, ..] if first == "f:metadata" => {
            second.strip_prefix("f:").is_some_and(|name| UNMANAGED.contains(&name))
        }
        _ => false,
    }
}

/// Whether a list or map whose elements are owned one by one is itself in a set: for an update always, since who adds
/// it owns it; for an apply only when there is no element to own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Containers {
    Always,
    WhenEmpty,
}

/// A walk through an object that notes the path of each field.
struct Walk {
    containers: Containers,
    path: Vec<String>,
    set: BTreeSet<Vec<String>>,
}

impl Walk {
    fn object(&mut self, object: &Value, object_type: &Type) {
        for field in object_type.json_fields() {
            let Some(value) = object.get(field.name) else { continue };
            self.below(format!("f:{}", field.name), |walk| walk.field(value, field));
        }
    }

    fn field(&mut self, value: &Value, field: &Field) {
        match (field.shape, value, field.object()) {
            (Shape::One, Value::Object(map), Some(inner))
                if !field.atomic && !inner.atomic && !map.is_empty() =>
            {
                self.object(value, inner);
            }
            (Shape::List, Value::Array(list), Some(inner)) if !field.keys.is_empty() => {
                self.container(list.is_empty());
                for element in list {
                    self.below(key_step(element, field), |walk| {
                        walk.note();
                        walk.object(element, inner);
                    });
                }
            }
            (Shape::List, Value::Array(list), None) if field.set => {
                self.container(list.is_empty());
                for element in list {
                    self.below(format!("v:{element}"), Walk::note);
                }
            }
            (Shape::Map, Value::Object(map), None) if !field.atomic => {
                self.container(map.is_empty());
                for key in map.keys() {
                    self.below(format!("f:{key}"), Walk::note);
                }
            }
            _ => self.note(),
        }
    }

    fn below(&mut self, step: String, walk: impl FnOnce(&mut Walk)) {
        self.path.push(step);
        walk(self);
        self.path.pop();
    }

    fn container(&mut self, is_empty: bool) {
        if is_empty || self.containers == Containers::Always {
            self.note();
        }
    }

    fn note(&mut self) {
        self.set.insert(self.path.clone());
    }
}
