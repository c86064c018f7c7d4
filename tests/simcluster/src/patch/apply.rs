//! Server-side apply: merge what a manager declares, remove what it declared before and no longer does, and refuse
//! to change what others own unless forced.

use serde_json::{Value, json};

use crate::fields::{Entry, FieldSet, Writer, display, key_step, lookup, remove};
use crate::schema::{Field, Shape, Type};
use crate::status::Status;

/// Where kubectl's client-side apply notes what it declared.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Applies `declared` to `live` (`None` creates) and books the ownership in the result.
///
/// # Errors
/// 409 naming each field that another manager owns with a different value, unless forced. kubectl may take over
/// what it declared itself when it still applied on the client's side.
pub(crate) fn apply(
    live: Option<&Value>,
    declared: &Value,
    object_type: &'static Type,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Status> {
    let before =
        live.filter(|_| writer.manager == "kubectl").and_then(|live| last_applied(live, object_type));
    let wanted = FieldSet::of(declared, object_type);
    let mut entries = live.map(Entry::read).unwrap_or_default();
    let previous =
        entries.iter().find(|entry| writer.wrote(entry, "Apply")).map(|entry| entry.fields.clone());
    let unchanged = entries.clone();
    entries.retain(|entry| !writer.wrote(entry, "Apply"));

    let mut conflicts = Vec::new();
    for entry in &mut entries {
        let contested: Vec<Vec<String>> = entry
            .fields
            .common(&wanted)
            .paths()
            .filter(|path| differs(live, declared, path))
            .map(<[String]>::to_vec)
            .collect();
        for path in contested {
            if !before.as_ref().is_some_and(|before| before.reaches(&path)) {
                conflicts.push((entry.owner(), display(&path)));
            }
            let set = FieldSet::from_value(&path_tree(&path));
            entry.fields = entry.fields.minus(&set);
        }
    }
    if !conflicts.is_empty() && !force {
        return Err(Status::apply_conflict(&conflicts));
    }

    let mut merged = merge_object(live.unwrap_or(&json!({})), declared, object_type);
    let dropped = previous.clone().unwrap_or_default().minus(&wanted);
    for path in dropped.paths() {
        let owned = entries.iter().any(|entry| entry.fields.reaches(path));
        if !owned && !wanted.reaches(path) {
            remove(&mut merged, path);
        }
    }
    let same = previous.as_ref() == Some(&wanted)
        && live.is_some_and(|live| without_entries(live) == without_entries(&merged));
    if same {
        entries = unchanged;
    } else {
        entries.push(writer.entry("Apply", wanted));
    }
    Entry::write(entries, &mut merged);
    Ok(merged)
}

/// Whether the declared value at a path is another than the live one. List elements that both have are merged, so
/// they never differ as a whole.
fn differs(live: Option<&Value>, declared: &Value, path: &[String]) -> bool {
    let (old, new) = (live.and_then(|live| lookup(live, path)), lookup(declared, path));
    let is_element = path.last().is_some_and(|step| step.starts_with("k:"));
    old != new && !(is_element && old.is_some() && new.is_some())
}

/// The fields that client-side apply declared last.
fn last_applied(live: &Value, object_type: &'static Type) -> Option<FieldSet> {
    let noted = live["metadata"]["annotations"][LAST_APPLIED].as_str()?;
    Some(FieldSet::of(&serde_json::from_str(noted).ok()?, object_type))
}

fn merge_object(live: &Value, declared: &Value, object_type: &'static Type) -> Value {
    let mut merged = live.clone();
    let Some(fields) = declared.as_object() else { return declared.clone() };
    for (name, value) in fields {
        let Some(field) = object_type.field(name) else {
            merged[name] = value.clone();
            continue;
        };
        merged[name] = match live.get(name) {
            Some(old) => merge_field(old, value, field),
            None => value.clone(),
        };
    }
    merged
}

fn merge_field(live: &Value, declared: &Value, field: &'static Field) -> Value {
    match (field.shape, field.object(), live, declared) {
        (Shape::One, Some(inner), Value::Object(_), Value::Object(_)) if !field.atomic && !inner.atomic => {
            merge_object(live, declared, inner)
        }
        (Shape::Map, _, Value::Object(old), Value::Object(new)) if !field.atomic => {
            let mut map = old.clone();
            map.extend(new.clone());
            Value::Object(map)
        }
        (Shape::List, Some(inner), Value::Array(old), Value::Array(new)) if !field.keys.is_empty() => {
            let mut list: Vec<Value> = Vec::new();
            for element in new {
                let step = key_step(element, field);
                let known = old.iter().find(|candidate| key_step(candidate, field) == step);
                list.push(known.map_or_else(|| element.clone(), |known| merge_object(known, element, inner)));
            }
            let steps: Vec<String> = new.iter().map(|element| key_step(element, field)).collect();
            list.extend(old.iter().filter(|element| !steps.contains(&key_step(element, field))).cloned());
            Value::Array(list)
        }
        (Shape::List, None, Value::Array(old), Value::Array(new)) if field.set => {
            let mut list = new.clone();
            list.extend(old.iter().filter(|element| !new.contains(element)).cloned());
            Value::Array(list)
        }
        _ => declared.clone(),
    }
}

fn path_tree(path: &[String]) -> Value {
    path.iter().rev().fold(json!({}), |tree, step| json!({ step: tree }))
}

fn without_entries(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("managedFields");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::track_update;
    use crate::schema::schema;

    fn writer(manager: &str) -> Writer<'_> {
        Writer { manager, api_version: "v1".to_owned(), subresource: "" }
    }

    fn configmap(data: &Value) -> Value {
        json!({"metadata": {"name": "c"}, "data": data})
    }

    #[test]
    fn what_is_no_longer_declared_goes() {
        let object_type = schema().get("core.v1.ConfigMap");
        let me = writer("me");
        let first =
            apply(None, &configmap(&json!({"a": "1", "b": "2"})), object_type, &me, false).expect("created");
        let second =
            apply(Some(&first), &configmap(&json!({"a": "1"})), object_type, &me, false).expect("applied");
        assert_eq!(second["data"], json!({"a": "1"}));
        let same =
            apply(Some(&second), &configmap(&json!({"a": "1"})), object_type, &me, false).expect("applied");
        assert_eq!(same, second);
    }

    #[test]
    fn others_fields_conflict_unless_forced() {
        let object_type = schema().get("core.v1.ConfigMap");
        let mut live = configmap(&json!({"a": "1", "z": "9"}));
        track_update(None, &mut live, object_type, &writer("kubectl-create"));
        let declared = configmap(&json!({"a": "2"}));
        let refusal = apply(Some(&live), &declared, object_type, &writer("me"), false).unwrap_err();
        assert_eq!(
            refusal.message,
            r#"Apply failed with 1 conflict: conflict with "kubectl-create" using v1: .data.a"#
        );
        let forced = apply(Some(&live), &declared, object_type, &writer("me"), true).expect("forced");
        assert_eq!(forced["data"], json!({"a": "2", "z": "9"}));
        let shared = apply(Some(&live), &configmap(&json!({"a": "1"})), object_type, &writer("me"), false);
        assert_eq!(
            shared.expect("equal values do not conflict")["metadata"]["managedFields"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn kubectl_takes_over_from_its_client_side_self() {
        let object_type = schema().get("core.v1.ConfigMap");
        let mut live = configmap(&json!({"a": "1"}));
        live["metadata"]["annotations"] = json!({ LAST_APPLIED: r#"{"data":{"a":"1"}}"# });
        track_update(None, &mut live, object_type, &writer("kubectl-client-side-apply"));
        let declared = configmap(&json!({"a": "2"}));
        assert!(apply(Some(&live), &declared, object_type, &writer("kubectl"), false).is_ok());
        assert!(apply(Some(&live), &declared, object_type, &writer("me"), false).is_err());
    }

    #[test]
    fn list_elements_merge_by_their_keys() {
        let object_type = schema().get("core.v1.Pod");
        let container = |name: &str, image: &str| json!({"name": name, "image": image});
        let pod = |containers: &Value| json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
        let first = pod(&json!([container("a", "1"), container("b", "1")]));
        let live = apply(None, &first, object_type, &writer("me"), false).expect("created");
        let other = pod(&json!([container("c", "3")]));
        let live = apply(Some(&live), &other, object_type, &writer("you"), false).expect("applied");
        let mine = pod(&json!([container("a", "2")]));
        let live = apply(Some(&live), &mine, object_type, &writer("me"), false).expect("applied");
        assert_eq!(live["spec"]["containers"], json!([container("a", "2"), container("c", "3")]));
    }
}
