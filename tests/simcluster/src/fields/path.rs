//! Paths in a field set: how they are made, followed, cut off and printed.

use serde_json::{Map, Value, json};

use crate::schema::Field;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldSet;
    use crate::schema::schema;

    #[test]
    fn paths_find_list_elements_by_their_keys() {
        let pod = schema().get("core.v1.Pod");
        let mut object = json!({"spec": {"containers": [
            {"name": "a", "image": "x", "ports": [{"containerPort": 80}]}, {"name": "b", "image": "y"}]}});
        let set = FieldSet::of(&object, pod);
        let port = set
            .paths()
            .find(|path| path.last().is_some_and(|step| step == "f:containerPort"))
            .expect("a port");
        assert_eq!(
            display(port),
            r#".spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].containerPort"#
        );
        assert_eq!(lookup(&object, port), Some(&json!(80)));
        assert_eq!(FieldSet::from_value(&set.to_value()), set);
        let element = &port[..port.len() - 1].to_vec();
        remove(&mut object, element);
        assert_eq!(object["spec"]["containers"][0]["ports"], json!([]));
    }
}
