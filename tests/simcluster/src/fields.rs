//! Field ownership: `managedFields` and the sets of fields in it (`FieldsV1`).
//!
//! A set is kept as the JSON tree that the API shows: `f:` a field, `k:` a list element by its keys, `v:` one by its
//! value, `.` the element itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::object;
use crate::schema::{Field, Shape, Type};

/// A set of fields of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet(BTreeSet<Vec<String>>);

/// Who owns which fields of an object, by one way of writing.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Field manager.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: &'static str,
    /// Group and version used.
    pub api_version: String,
    /// Subresource written through, empty for the object itself.
    pub subresource: String,
    /// When.
    pub time: String,
    /// What.
    pub fields: FieldSet,
}

/// Who writes, and how.
#[derive(Debug, Clone)]
pub(crate) struct Writer<'a> {
    /// Field manager.
    pub manager: &'a str,
    /// Group and version used.
    pub api_version: String,
    /// Subresource written through.
    pub subresource: &'a str,
}

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

impl Entry {
    /// The entries of an object.
    pub(crate) fn read(object: &Value) -> Vec<Entry> {
        let entries = object["metadata"]["managedFields"].as_array();
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        entries
            .into_iter()
            .flatten()
            .map(|entry| Entry {
                manager: text(entry, "manager"),
                operation: if entry["operation"] == "Apply" { "Apply" } else { "Update" },
                api_version: text(entry, "apiVersion"),
                subresource: text(entry, "subresource"),
                time: text(entry, "time"),
                fields: FieldSet::from_value(&entry["fieldsV1"]),
            })
            .collect()
    }

    /// Replaces the object's entries by those that still own something: applied first, as the API sorts them.
    pub(crate) fn write(mut entries: Vec<Entry>, object: &mut Value) {
        entries.retain(|entry| !entry.fields.is_empty());
        entries.sort_by_key(|entry| (entry.operation != "Apply", entry.time.clone()));
        let list: Vec<Value> = entries.iter().map(Entry::to_value).collect();
        let metadata = object::meta_mut(object);
        if list.is_empty() {
            metadata.shift_remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), json!(list));
        }
    }

    /// How conflicts name the owner.
    pub(crate) fn owner(&self) -> String {
        let subresource =
            if self.subresource.is_empty() { String::new() } else { format!(" with subresource {:?}", self.subresource) };
        match self.operation {
            "Apply" => format!("{:?}{subresource}", self.manager),
            _ => format!("{:?}{subresource} using {}", self.manager, self.api_version),
        }
    }

    fn to_value(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_value(),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }
}

impl Writer<'_> {
    /// An entry of this writer, made now.
    pub(crate) fn entry(&self, operation: &'static str, fields: FieldSet) -> Entry {
        Entry {
            manager: self.manager.to_owned(),
            operation,
            api_version: self.api_version.clone(),
            subresource: self.subresource.to_owned(),
            time: object::now(),
            fields,
        }
    }

    /// Whether that entry is this writer's for the operation.
    pub(crate) fn wrote(&self, entry: &Entry, operation: &str) -> bool {
        (entry.manager.as_str(), entry.operation, entry.subresource.as_str())
            == (self.manager, operation, self.subresource)
    }
}

/// Books what an update changed: the writer owns it from now on, nobody owns what is gone.
///
/// `new` may bring entries of its own (kubectl rewrites them when it migrates to server-side apply); where it brings
/// none, those of `old` stand.
pub(crate) fn track_update(old: Option<&Value>, new: &mut Value, object_type: &Type, writer: &Writer<'_>) {
    let brought = new["metadata"].get("managedFields").is_some();
    let base = if brought { &*new } else { old.unwrap_or(&Value::Null) };
    let mut entries = Entry::read(base);
    let now_set = FieldSet::collected(new, object_type, Containers::Always);
    let changed = match old {
        None => now_set.clone(),
        Some(old) => changed_fields(old, new, object_type),
    };
    for entry in &mut entries {
        entry.fields = entry.fields.common(&now_set);
        if !writer.wrote(entry, "Update") {
            entry.fields = entry.fields.minus(&changed);
        }
    }
    if !changed.is_empty() {
        let mine = entries.iter_mut().find(|entry| writer.wrote(entry, "Update"));
        match mine {
            Some(entry) => {
                entry.fields = entry.fields.plus(&changed);
                entry.time = object::now();
            }
            None => entries.push(writer.entry("Update", changed)),
        }
    }
    Entry::write(entries, new);
}

/// The fields whose value in `new` is not that in `old`.
pub(crate) fn changed_fields(old: &Value, new: &Value, object_type: &Type) -> FieldSet {
    let before = values(old, object_type);
    let after = values(new, object_type);
    let changed = after.into_iter().filter(|(path, value)| before.get(path) != Some(value));
    FieldSet(changed.map(|(path, _)| path).filter(|path| !is_unmanaged(path)).collect())
}

/// The value at each field of the object; lists and maps that are owned by element have none of their own.
fn values(object: &Value, object_type: &Type) -> BTreeMap<Vec<String>, Value> {
    let set = FieldSet::collected(object, object_type, Containers::Always).0;
    let is_inner = |path: &Vec<String>| set.range(path.clone()..).nth(1).is_some_and(|next| next.starts_with(path));
    let value = |path: &Vec<String>| if is_inner(path) { None } else { lookup(object, path).cloned() };
    set.iter().map(|path| (path.clone(), value(path).unwrap_or_default())).collect()
}

/// The value at a path, if the object has it.
pub(crate) fn lookup<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| {
        if let Some(name) = step.strip_prefix("f:") {
            return value.get(name);
        }
        let list = value.as_array()?;
        if let Some(keys) = step.strip_prefix("k:") {
            let keys: Value = serde_json::from_str(keys).ok()?;
            return list.iter().find(|element| has_keys(element, &keys));
        }
        let wanted: Value = serde_json::from_str(step.strip_prefix("v:")?).ok()?;
        list.iter().find(|element| **element == wanted)
    })
}

/// Removes the value at a path, if the object has it; list elements go as a whole.
pub(crate) fn remove(object: &mut Value, path: &[String]) {
    let Some((step, [])) = path.split_first() else {
        if let Some((step, rest)) = path.split_first()
            && let Some(child) = child_mut(object, step)
        {
            remove(child, rest);
        }
        return;
    };
    match (object, step.split_once(':')) {
        (Value::Object(map), Some(("f", name))) => {
            map.shift_remove(name);
        }
        (Value::Array(list), Some((kind, json))) => {
            let Ok(wanted) = serde_json::from_str::<Value>(json) else { return };
            list.retain(|element| if kind == "k" { !has_keys(element, &wanted) } else { *element != wanted });
        }
        _ => {}
    }
}

/// How conflicts print a path: `.spec.containers[name="c"].image`.
pub(crate) fn display(path: &[String]) -> String {
    path.iter()
        .map(|step| match step.split_once(':') {
            Some(("f", name)) => format!(".{name}"),
            Some(("k", keys)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let list: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("[{}]", list.join(","))
            }
            Some(("v", value)) => format!("[={value}]"),
            _ => String::new(),
        })
        .collect()
}

/// The step that names a list element by its keys.
pub(crate) fn key_step(element: &Value, field: &Field) -> String {
    let defaults = field.object();
    let mut keys: Vec<(&str, Value)> = field
        .keys
        .iter()
        .filter_map(|key| {
            let default = defaults.and_then(|object| object.field(key)).and_then(|field| field.default);
            let value = element.get(*key).cloned().or_else(|| default.map(|text| json!(text)))?;
            Some((*key, value))
        })
        .collect();
    keys.sort_by_key(|(key, _)| *key);
    let keys: Map<String, Value> = keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    format!("k:{}", Value::Object(keys))
}

fn child_mut<'a>(value: &'a mut Value, step: &str) -> Option<&'a mut Value> {
    if let Some(name) = step.strip_prefix("f:") {
        return value.get_mut(name);
    }
    let keys: Value = serde_json::from_str(step.strip_prefix("k:")?).ok()?;
    value.as_array_mut()?.iter_mut().find(|element| has_keys(element, &keys))
}

fn has_keys(element: &Value, keys: &Value) -> bool {
    let matches = |(key, value): (&String, &Value)| match element.get(key) {
        Some(found) => found == value,
        // Only the protocol of a port has a default that is part of a key.
        None => key == "protocol" && value == "TCP",
    };
    keys.as_object().is_some_and(|keys| keys.iter().all(matches))
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
            (Shape::One, Value::Object(map), Some(inner)) if !field.atomic && !inner.atomic && !map.is_empty() => {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::schema;

    fn writer(manager: &str) -> Writer<'_> {
        Writer { manager, api_version: "v1".to_owned(), subresource: "" }
    }

    /// As captured: kubectl-create makes a secret, kubectl-patch then changes its one value.
    #[test]
    fn updates_move_ownership_as_the_real_server_does() {
        let secret = schema().get("core.v1.Secret");
        let mut first = json!({"metadata": {"name": "watched"}, "data": {"pw": "MQ=="}, "type": "Opaque"});
        track_update(None, &mut first, secret, &writer("kubectl-create"));
        let fields = |object: &Value, index: usize| object["metadata"]["managedFields"][index]["fieldsV1"].clone();
        assert_eq!(fields(&first, 0), json!({"f:data": {".": {}, "f:pw": {}}, "f:type": {}}));
        let mut second = first.clone();
        second["data"]["pw"] = json!("Mg==");
        track_update(Some(&first), &mut second, secret, &writer("kubectl-patch"));
        assert_eq!(fields(&second, 0), json!({"f:data": {}, "f:type": {}}));
        assert_eq!(fields(&second, 1), json!({"f:data": {"f:pw": {}}}));
    }

    #[test]
    fn paths_find_list_elements_by_their_keys() {
        let pod = schema().get("core.v1.Pod");
        let mut object = json!({"spec": {"containers": [
            {"name": "a", "image": "x", "ports": [{"containerPort": 80}]}, {"name": "b", "image": "y"}]}});
        let set = FieldSet::of(&object, pod);
        let port = set.paths().find(|path| path.last().is_some_and(|step| step == "f:containerPort")).expect("a port");
        assert_eq!(display(port), r#".spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].containerPort"#);
        assert_eq!(lookup(&object, port), Some(&json!(80)));
        assert_eq!(FieldSet::from_value(&set.to_value()), set);
        let element = &port[..port.len() - 1].to_vec();
        remove(&mut object, element);
        assert_eq!(object["spec"]["containers"][0]["ports"], json!([]));
    }
}
