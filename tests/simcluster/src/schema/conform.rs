//! Bringing a JSON value into the form that a typed server stores and prints.

use serde_json::{Map, Value};

use super::{Field, Kind, Shape, Type, schema};

/// A field of a body that the schema does not know, as the strict decoder names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownField(pub String);

/// A value of the wrong JSON type, worded as Go's decoder does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch(pub String);

impl Type {
    /// `value` as a typed server would store and print it: fields in order, maps sorted, nulls and empty lists
    /// and maps gone, unknown fields dropped and reported.
    ///
    /// # Errors
    /// A value whose JSON type does not fit its field.
    pub(crate) fn conform(&self, value: Value, unknown: &mut Vec<UnknownField>) -> Result<Value, Mismatch> {
        self.conform_at(value, "", unknown)
    }

    fn conform_at(
        &self,
        value: Value,
        path: &str,
        unknown: &mut Vec<UnknownField>,
    ) -> Result<Value, Mismatch> {
        let Value::Object(mut object) = value else {
            return Err(mismatch(&value, path, self.go_name()));
        };
        let mut ordered = Map::new();
        if path.is_empty() {
            for key in ["kind", "apiVersion"] {
                ordered.extend(object.shift_remove(key).map(|value| (key.to_owned(), value)));
            }
        }
        for field in self.json_fields() {
            let Some(value) = object.shift_remove(field.name) else { continue };
            let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
            if let Some(value) = field.conform(value, &path, unknown)? {
                ordered.insert(field.name.to_owned(), value);
            }
        }
        // An embedded object (a RawExtension's content) may repeat its kind.
        for key in object.keys().filter(|key| !matches!(key.as_str(), "kind" | "apiVersion")) {
            unknown.push(UnknownField(if path.is_empty() { key.clone() } else { format!("{path}.{key}") }));
        }
        Ok(Value::Object(ordered))
    }

    /// Type name as Go's decoder prints it: `v1.PodSpec`.
    fn go_name(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, rest)| rest)
    }
}

impl Field {
    fn conform(
        &self,
        value: Value,
        path: &str,
        unknown: &mut Vec<UnknownField>,
    ) -> Result<Option<Value>, Mismatch> {
        match (self.shape, value) {
            (_, Value::Null) => Ok(None),
            (Shape::One, value) => self.conform_one(value, path, unknown).map(Some),
            (Shape::List, Value::Array(list)) if list.is_empty() && !self.required => Ok(None),
            (Shape::List, Value::Array(list)) => list
                .into_iter()
                .enumerate()
                .map(|(index, value)| self.conform_one(value, &format!("{path}[{index}]"), unknown))
                .collect::<Result<_, _>>()
                .map(|list| Some(Value::Array(list))),
            (Shape::Map, Value::Object(map)) if map.is_empty() => Ok(None),
            (Shape::Map, Value::Object(map)) => {
                let mut entries: Vec<_> = map.into_iter().collect();
                entries.sort_by(|left, right| left.0.cmp(&right.0));
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        Ok((key.clone(), self.conform_entry(value, &format!("{path}.{key}"), unknown)?))
                    })
                    .collect::<Result<Map<_, _>, _>>()
                    .map(|map| Some(Value::Object(map)))
            }
            (_, value) => Err(mismatch(&value, path, "list or map")),
        }
    }

    /// A map's value: null means the zero value there, as in Go.
    fn conform_entry(
        &self,
        value: Value,
        path: &str,
        unknown: &mut Vec<UnknownField>,
    ) -> Result<Value, Mismatch> {
        match (value, self.kind) {
            (Value::Null, Kind::String | Kind::Bytes) => Ok(Value::String(String::new())),
            (value, _) => self.conform_one(value, path, unknown),
        }
    }

    fn conform_one(
        &self,
        value: Value,
        path: &str,
        unknown: &mut Vec<UnknownField>,
    ) -> Result<Value, Mismatch> {
        let fits = match self.kind {
            Kind::Object(name) => return schema().get(name).conform_at(value, path, unknown),
            Kind::String | Kind::Bytes | Kind::Time | Kind::MicroTime => value.is_string(),
            Kind::Bool => value.is_boolean(),
            Kind::Int32 | Kind::Int64 => value.is_i64() || value.is_u64(),
            Kind::Quantity | Kind::IntOrString => value.is_string() || value.is_number(),
            Kind::Strings => value.is_array(),
            Kind::Fields | Kind::Raw => true,
        };
        match (fits, self.kind, value) {
            // A quantity is printed as a string, however it was written.
            (true, Kind::Quantity, Value::Number(number)) => Ok(Value::String(number.to_string())),
            (true, _, value) => Ok(value),
            (false, kind, value) => Err(mismatch(&value, path, kind.go_name())),
        }
    }
}

impl Kind {
    fn go_name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Bytes => "[]uint8",
            Kind::Strings => "[]string",
            _ => "string",
        }
    }
}

fn mismatch(value: &Value, path: &str, wanted: &str) -> Mismatch {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Mismatch(format!("json: cannot unmarshal {found} into Go struct field .{path} of type {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conform_orders_sorts_and_reports() {
        let mut unknown = Vec::new();
        let pod = schema().get("core.v1.Pod");
        let value = json!({
            "spec": {"containers": [{"image": "i", "name": "c", "nme": 1}], "volumes": [{"emptyDir": {}, "name": "v"}]},
            "metadata": {"labels": {"b": "2", "a": "1"}, "name": "p", "creationTimestamp": null, "annotations": {}},
            "apiVersion": "v1", "kind": "Pod", "datum": 1,
        });
        let conformed = pod.conform(value, &mut unknown).expect("fits");
        assert_eq!(
            conformed.to_string(),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","labels":{"a":"1","b":"2"}},"spec":{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"c","image":"i"}]}}"#
        );
        assert_eq!(unknown, [UnknownField("spec.containers[0].nme".into()), UnknownField("datum".into())]);
        assert!(pod.conform(json!({"spec": {"containers": "x"}}), &mut unknown).is_err());
    }
}
