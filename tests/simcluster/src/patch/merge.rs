//! JSON merge patch (RFC 7386).

use serde_json::{Map, Value};

/// Applies `patch` to `target`: null removes, objects merge, everything else replaces.
pub(crate) fn apply(target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut object = match target {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    for (key, change) in changes {
        if change.is_null() {
            object.shift_remove(key);
        } else {
            let old = object.get(key).cloned().unwrap_or(Value::Null);
            object.insert(key.clone(), apply(old, change));
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_rfc_example() {
        let target =
            json!({"title": "Goodbye!", "author": {"givenName": "John", "familyName": "Doe"}, "tags": ["a"]});
        let patch = json!({"title": "Hello!", "phone": "1", "author": {"familyName": null}, "tags": ["b"]});
        let wanted = json!({"title": "Hello!", "author": {"givenName": "John"}, "tags": ["b"], "phone": "1"});
        assert_eq!(apply(target, &patch), wanted);
        assert_eq!(apply(json!(1), &json!({"a": {"b": null}})), json!({"a": {}}));
    }
}
