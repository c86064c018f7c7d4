//! Strategic merge patch: a merge patch that knows which lists are really maps.
//!
//! See <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>.

use serde_json::{Map, Value, json};

use crate::schema::{Field, Shape, Type};

/// Applies `patch` to an object of that type.
///
/// # Errors
/// A message for the 422 when a list element lacks its merge key or a directive is unknown.
pub(crate) fn apply(
    target: Value,
    patch: &Value,
    object_type: Option<&'static Type>,
) -> Result<Value, String> {
    let Value::Object(changes) = patch else { return Ok(patch.clone()) };
    match changes.get("$patch").and_then(Value::as_str) {
        Some("replace") => return Ok(without_directives(patch.clone())),
        Some("delete") => return Ok(json!({})),
        Some("merge") | None => {}
        Some(other) => return Err(format!("Unknown patch type: {other}")),
    }
    let mut object = match target {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    if let Some(retained) = changes.get("$retainKeys").and_then(Value::as_array) {
        object.retain(|key, _| retained.iter().any(|keep| keep == key));
    }
    for (key, values) in directives(changes, "$deleteFromPrimitiveList/") {
        if let Some(list) = object.get_mut(key).and_then(Value::as_array_mut) {
            list.retain(|element| !values.contains(element));
        }
    }
    for (key, change) in changes.iter().filter(|(key, _)| !key.starts_with('$')) {
        if change.is_null() {
            object.shift_remove(key);
            continue;
        }
        let field = object_type.and_then(|known| known.field(key));
        let old = object.get(key).cloned();
        object.insert(key.clone(), merge_field(old, change, field)?);
    }
    for (key, order) in directives(changes, "$setElementOrder/") {
        let field = object_type.and_then(|known| known.field(key));
        if let Some(list) = object.get_mut(key).and_then(Value::as_array_mut) {
            reorder(list, order, field.and_then(|field| field.merge_key));
        }
    }
    Ok(Value::Object(object))
}

fn merge_field(old: Option<Value>, change: &Value, field: Option<&'static Field>) -> Result<Value, String> {
    let merges = field
        .is_some_and(|field| field.strategy.is_some_and(|tags| tags.split(',').any(|tag| tag == "merge")));
    match (change, field) {
        (Value::Object(_), Some(field)) if field.shape == Shape::Map => {
            apply(old.unwrap_or_default(), change, None)
        }
        (Value::Object(_), field) => apply(old.unwrap_or_default(), change, field.and_then(Field::object)),
        (Value::Array(changes), Some(field)) if merges => {
            let list = match old {
                Some(Value::Array(list)) => list,
                _ => Vec::new(),
            };
            match field.merge_key {
                Some(key) => merge_list(list, changes, key, field.object()),
                None => Ok(Value::Array(union(list, changes))),
            }
        }
        (change, _) => Ok(without_directives(change.clone())),
    }
}

fn merge_list(
    mut list: Vec<Value>,
    changes: &[Value],
    key: &str,
    element_type: Option<&'static Type>,
) -> Result<Value, String> {
    if changes.iter().any(|change| change["$patch"] == "replace") {
        let kept = changes.iter().filter(|change| change["$patch"] != "replace");
        return Ok(Value::Array(kept.cloned().map(without_directives).collect()));
    }
    for change in changes {
        let id = change
            .get(key)
            .ok_or_else(|| format!("map: {change} does not contain declared merge key: {key}"))?;
        let place = list.iter().position(|element| element.get(key) == Some(id));
        if change["$patch"] == "delete" {
            list.retain(|element| element.get(key) != Some(id));
            continue;
        }
        match place {
            Some(index) => list[index] = apply(list[index].clone(), change, element_type)?,
            None => list.push(apply(json!({}), change, element_type)?),
        }
    }
    Ok(Value::Array(list))
}

fn union(mut list: Vec<Value>, changes: &[Value]) -> Vec<Value> {
    for change in changes {
        if !list.contains(change) {
            list.push(change.clone());
        }
    }
    list
}

/// Elements named in `order` first and in that order, the others after them as they were.
fn reorder(list: &mut [Value], order: &[Value], key: Option<&str>) {
    let place = |element: &Value| {
        order.iter().position(|wanted| match key {
            Some(key) => wanted.get(key) == element.get(key),
            None => wanted == element,
        })
    };
    list.sort_by_key(|element| place(element).unwrap_or(usize::MAX));
}

fn directives<'a>(
    changes: &'a Map<String, Value>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a str, &'a [Value])> {
    changes
        .iter()
        .filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_array()?.as_slice())))
}

fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
            .map(|(key, value)| (key, without_directives(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::schema;

    fn patched(patch: &Value) -> Value {
        let deployment = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y"]}, "spec": {"template": {"spec": {
            "containers": [
                {"name": "web", "image": "i:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
                {"name": "side", "image": "s:1"}],
            "volumes": [{"name": "v", "emptyDir": {}}]}}}});
        apply(deployment, patch, Some(schema().get("apps.v1.Deployment"))).expect("applies")
    }

    #[test]
    fn lists_merge_by_key() {
        let patch = json!({"metadata": {"labels": {"a": null}}, "spec": {"template": {"spec": {"containers": [
            {"name": "web", "env": [{"name": "B", "value": "3"}, {"name": "A", "$patch": "delete"}]},
            {"name": "new", "image": "n"}],
            "$setElementOrder/containers": [{"name": "new"}, {"name": "web"}, {"name": "side"}]}}}});
        let result = patched(&patch);
        assert_eq!(result["metadata"]["labels"], json!({"b": "2"}));
        let containers = &result["spec"]["template"]["spec"]["containers"];
        assert_eq!(
            *containers,
            json!([{"name": "new", "image": "n"},
                {"name": "web", "image": "i:1", "env": [{"name": "B", "value": "3"}]},
                {"name": "side", "image": "s:1"}])
        );
    }

    #[test]
    fn directives_replace_delete_and_retain() {
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]},
            "spec": {"template": {"spec": {
                "containers": [{"$patch": "replace"}, {"name": "only"}],
                "volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}}}});
        let result = patched(&patch);
        assert_eq!(result["metadata"]["finalizers"], json!(["y", "z"]));
        let spec = &result["spec"]["template"]["spec"];
        assert_eq!(spec["containers"], json!([{"name": "only"}]));
        assert_eq!(spec["volumes"], json!([{"name": "v", "secret": {"secretName": "s"}}]));
        let keyless = json!({"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}});
        assert!(apply(json!({}), &keyless, Some(schema().get("apps.v1.Deployment"))).is_err());
    }
}
