//! `/openapi/v3/…`: one JSON document a group.

use serde_json::{Map, Value, json};

use super::{full_name, parameters, paths, resource_of, types};
use crate::kinds::{RESOURCES, Resource};
use crate::schema::{Field, Kind, Shape, Type};

/// The document of a group.
pub(super) fn document(group: &str, version: &str) -> Value {
    let resources: Vec<&'static Resource> =
        RESOURCES.iter().filter(|known| (known.group, known.version) == (group, version)).collect();
    let mut all_paths = Map::new();
    for resource in &resources {
        for (path, methods) in paths(resource) {
            let operations: Map<String, Value> = methods
                .into_iter()
                .map(|(method, verb)| (method.to_owned(), operation(resource, verb)))
                .collect();
            all_paths.insert(path, Value::Object(operations));
        }
    }
    let mut schemas: Map<String, Value> =
        types(&resources).into_iter().map(|known| (full_name(known.name), object(known))).collect();
    schemas.extend(scalars());
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "1.36"}, "paths": all_paths,
        "components": {"schemas": schemas},
    })
}

fn operation(resource: &Resource, verb: &str) -> Value {
    let query: Vec<Value> = parameters(verb)
        .iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
        .collect();
    json!({
        "parameters": query, "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": match verb { "create" => "post", "update" => "put", other => other },
        "x-kubernetes-group-version-kind": gvk(resource),
    })
}

fn gvk(resource: &Resource) -> Value {
    json!({"group": resource.group, "kind": resource.kind, "version": resource.version})
}

fn object(object_type: &Type) -> Value {
    let mut properties = Map::new();
    if let Some(resource) = resource_of(object_type) {
        let fields = ["apiVersion", "kind"].map(|name| (name.to_owned(), json!({"type": "string"})));
        properties.extend(fields);
        properties.extend(fields_of(object_type));
        return json!({
            "description": format!("{} of {}.", resource.kind, resource.api_version()), "type": "object",
            "properties": properties, "x-kubernetes-group-version-kind": [gvk(resource)],
        });
    }
    properties.extend(fields_of(object_type));
    let mut schema = json!({"description": "", "type": "object", "properties": properties});
    let required: Vec<&str> = object_type
        .json_fields()
        .into_iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if object_type.atomic {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    schema
}

fn fields_of(object_type: &Type) -> impl Iterator<Item = (String, Value)> {
    object_type.json_fields().into_iter().map(|field| (field.name.to_owned(), property(field)))
}

fn property(field: &Field) -> Value {
    let mut schema = match field.shape {
        Shape::One => value(field.kind),
        Shape::List => json!({"type": "array", "items": value(field.kind)}),
        Shape::Map => json!({"type": "object", "additionalProperties": value(field.kind)}),
    };
    for (name, value) in extensions(field) {
        schema[name] = value;
    }
    schema
}

/// The `x-kubernetes-…` marks of a field, which merging goes by.
pub(super) fn extensions(field: &Field) -> Vec<(&'static str, Value)> {
    let mut marks = Vec::new();
    marks.extend(field.merge_key.map(|key| ("x-kubernetes-patch-merge-key", json!(key))));
    marks.extend(field.strategy.map(|strategy| ("x-kubernetes-patch-strategy", json!(strategy))));
    if !field.keys.is_empty() {
        marks.push(("x-kubernetes-list-map-keys", json!(field.keys)));
        marks.push(("x-kubernetes-list-type", json!("map")));
    } else if field.set {
        marks.push(("x-kubernetes-list-type", json!("set")));
    } else if field.shape == Shape::List {
        marks.push(("x-kubernetes-list-type", json!("atomic")));
    }
    if field.atomic {
        marks.push(("x-kubernetes-map-type", json!("atomic")));
    }
    marks
}

fn value(kind: Kind) -> Value {
    let reference = |name: String| json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]});
    match kind {
        Kind::Object(name) => reference(full_name(name)),
        Kind::Time => reference(full_name("meta.v1.Time")),
        Kind::MicroTime => reference(full_name("meta.v1.MicroTime")),
        Kind::Fields => reference(full_name("meta.v1.FieldsV1")),
        Kind::Quantity => reference("io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned()),
        Kind::IntOrString => reference("io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned()),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "format": "byte"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int32 => json!({"type": "integer", "format": "int32"}),
        Kind::Int64 => json!({"type": "integer", "format": "int64"}),
        Kind::Strings => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Raw => json!({"type": "object"}),
    }
}

fn scalars() -> [(String, Value); 5] {
    [
        (full_name("meta.v1.Time"), json!({"type": "string", "format": "date-time"})),
        (full_name("meta.v1.MicroTime"), json!({"type": "string", "format": "date-time"})),
        (full_name("meta.v1.FieldsV1"), json!({"type": "object"})),
        (
            "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ),
        (
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        ),
    ]
}
