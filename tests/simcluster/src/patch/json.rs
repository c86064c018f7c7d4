//! JSON patch (RFC 6902).

use serde_json::Value;

/// Applies the operations in order.
///
/// # Errors
/// A message for the 422 when an operation is malformed, its path is missing, or a test fails.
pub(crate) fn apply(mut target: Value, patch: &Value) -> Result<Value, String> {
    let operations = patch.as_array().ok_or("a JSON patch is a list of operations")?;
    for operation in operations {
        let text = |key: &str| {
            operation[key].as_str().ok_or_else(|| format!("operation lacks {key:?}: {operation}"))
        };
        let value = || {
            operation.get("value").cloned().ok_or_else(|| format!("operation lacks \"value\": {operation}"))
        };
        let path = text("path")?;
        match text("op")? {
            "add" => add(&mut target, path, value()?)?,
            "remove" => drop(remove(&mut target, path)?),
            "replace" => {
                let place = target.pointer_mut(path).ok_or_else(|| missing("replace", path))?;
                *place = value()?;
            }
            "move" => {
                let moved = remove(&mut target, text("from")?)?;
                add(&mut target, path, moved)?;
            }
            "copy" => {
                let from = text("from")?;
                let copied = target.pointer(from).cloned().ok_or_else(|| missing("copy", from))?;
                add(&mut target, path, copied)?;
            }
            "test" => {
                if target.pointer(path).unwrap_or(&Value::Null)
                    != operation.get("value").unwrap_or(&Value::Null)
                {
                    return Err(format!("testing path {path} failed"));
                }
            }
            other => return Err(format!("Unexpected kind: {other}")),
        }
    }
    Ok(target)
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let Some((parent, last)) = split(path) else {
        *target = value;
        return Ok(());
    };
    match target.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(last, value);
        }
        Some(Value::Array(list)) if last == "-" => list.push(value),
        Some(Value::Array(list)) => {
            let index =
                last.parse().ok().filter(|index| *index <= list.len()).ok_or_else(|| missing("add", path))?;
            list.insert(index, value);
        }
        _ => return Err(missing("add", path)),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<Value, String> {
    let (parent, last) = split(path).ok_or("remove operation on the whole document")?;
    let removed = match target.pointer_mut(parent) {
        Some(Value::Object(map)) => map.shift_remove(&last),
        Some(Value::Array(list)) => {
            last.parse().ok().filter(|index| *index < list.len()).map(|index: usize| list.remove(index))
        }
        _ => None,
    };
    removed.ok_or_else(|| missing("remove", path))
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn missing(operation: &str, path: &str) -> String {
    format!("{operation} operation does not apply: doc is missing path: {path}: missing value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations() {
        let target = json!({"a": {"b/c": 1}, "l": [1, 3]});
        let patch = json!([
            {"op": "test", "path": "/a/b~1c", "value": 1},
            {"op": "add", "path": "/l/1", "value": 2},
            {"op": "add", "path": "/l/-", "value": 4},
            {"op": "move", "from": "/a/b~1c", "path": "/m"},
            {"op": "copy", "from": "/m", "path": "/n"},
            {"op": "replace", "path": "/n", "value": null},
            {"op": "remove", "path": "/a"},
        ]);
        assert_eq!(apply(target.clone(), &patch), Ok(json!({"l": [1, 2, 3, 4], "m": 1, "n": null})));
        for wrong in [
            json!([{"op": "remove", "path": "/x"}]),
            json!([{"op": "test", "path": "/l", "value": 1}]),
            json!({}),
        ] {
            assert!(apply(target.clone(), &wrong).is_err(), "{wrong}");
        }
    }
}
