//! Who owns which fields: the entries of `managedFields`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Containers, FieldSet, is_unmanaged, lookup};
use crate::object;
use crate::schema::Type;

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
        let subresource = if self.subresource.is_empty() {
            String::new()
        } else {
            format!(" with subresource {:?}", self.subresource)
        };
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
    let is_inner =
        |path: &Vec<String>| set.range(path.clone()..).nth(1).is_some_and(|next| next.starts_with(path));
    let value = |path: &Vec<String>| if is_inner(path) { None } else { lookup(object, path).cloned() };
    set.iter().map(|path| (path.clone(), value(path).unwrap_or_default())).collect()
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
        let fields =
            |object: &Value, index: usize| object["metadata"]["managedFields"][index]["fieldsV1"].clone();
        assert_eq!(fields(&first, 0), json!({"f:data": {".": {}, "f:pw": {}}, "f:type": {}}));
        let mut second = first.clone();
        second["data"]["pw"] = json!("Mg==");
        track_update(Some(&first), &mut second, secret, &writer("kubectl-patch"));
        assert_eq!(fields(&second, 0), json!({"f:data": {}, "f:type": {}}));
        assert_eq!(fields(&second, 1), json!({"f:data": {"f:pw": {}}}));
    }
}
