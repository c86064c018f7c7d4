//! `/openapi/v2` as kubectl up to 1.27 wants it: gnostic's protobuf form of a Swagger document.
//!
//! Field numbers: <https://github.com/google/gnostic/blob/main/openapiv2/OpenAPIv2.proto>.

use serde_json::json;

use super::v3::extensions;
use super::{full_name, parameters, paths, resource_of, types};
use crate::kinds::{RESOURCES, Resource};
use crate::protobuf::{put_bytes, put_number};
use crate::schema::{Field, Kind, Shape, Type};

/// The whole document.
pub(super) fn document() -> Vec<u8> {
    let resources: Vec<&'static Resource> = RESOURCES.iter().collect();
    let mut info = Vec::new();
    put_bytes(&mut info, 1, b"Kubernetes");
    put_bytes(&mut info, 2, b"1.36");
    let mut all_paths = Vec::new();
    for (resource, (path, methods)) in
        resources.iter().flat_map(|known| paths(known).into_iter().map(move |one| (known, one)))
    {
        let mut item = Vec::new();
        for (method, verb) in methods {
            let number = match method {
                "get" => 2,
                "put" => 3,
                "post" => 4,
                "delete" => 5,
                _ => 8,
            };
            put_bytes(&mut item, number, &operation(resource, verb));
        }
        put_bytes(&mut all_paths, 2, &named(&path, &item));
    }
    let mut definitions = Vec::new();
    for object_type in types(&resources) {
        put_bytes(&mut definitions, 1, &named(&full_name(object_type.name), &object(object_type)));
    }
    let mut document = Vec::new();
    put_bytes(&mut document, 1, b"2.0");
    put_bytes(&mut document, 2, &info);
    put_bytes(&mut document, 8, &all_paths);
    put_bytes(&mut document, 9, &definitions);
    document
}

fn operation(resource: &Resource, verb: &str) -> Vec<u8> {
    let mut operation = Vec::new();
    for name in parameters(verb) {
        let mut query = Vec::new();
        put_bytes(&mut query, 2, b"query");
        put_bytes(&mut query, 4, name.as_bytes());
        put_bytes(&mut query, 6, b"string");
        put_number(&mut query, 20, 1);
        // ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema.
        put_bytes(&mut operation, 8, &nested(&[1, 2, 3], &query));
    }
    let action = match verb {
        "create" => "post",
        "update" => "put",
        other => other,
    };
    put_bytes(&mut operation, 13, &extension("x-kubernetes-action", action));
    put_bytes(&mut operation, 13, &extension("x-kubernetes-group-version-kind", &gvk(resource).to_string()));
    operation
}

fn gvk(resource: &Resource) -> serde_json::Value {
    json!({"group": resource.group, "kind": resource.kind, "version": resource.version})
}

fn object(object_type: &Type) -> Vec<u8> {
    let mut properties = Vec::new();
    if resource_of(object_type).is_some() {
        for name in ["apiVersion", "kind"] {
            put_bytes(&mut properties, 1, &named(name, &scalar("string", "")));
        }
    }
    let mut schema = Vec::new();
    for field in object_type.json_fields() {
        put_bytes(&mut properties, 1, &named(field.name, &property(field)));
        if field.required {
            put_bytes(&mut schema, 19, field.name.as_bytes());
        }
    }
    schema.extend(scalar("object", ""));
    put_bytes(&mut schema, 25, &properties);
    if let Some(resource) = resource_of(object_type) {
        let list = json!([gvk(resource)]).to_string();
        put_bytes(&mut schema, 31, &extension("x-kubernetes-group-version-kind", &list));
    }
    schema
}

fn property(field: &Field) -> Vec<u8> {
    let mut schema = Vec::new();
    match field.shape {
        Shape::One => schema = value(field.kind),
        Shape::List => {
            schema.extend(scalar("array", ""));
            put_bytes(&mut schema, 23, &nested(&[1], &value(field.kind)));
        }
        Shape::Map => {
            schema.extend(scalar("object", ""));
            put_bytes(&mut schema, 21, &nested(&[1], &value(field.kind)));
        }
    }
    for (name, value) in extensions(field) {
        let yaml = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        put_bytes(&mut schema, 31, &extension(name, &yaml));
    }
    schema
}

fn value(kind: Kind) -> Vec<u8> {
    match kind {
        Kind::Object(name) => {
            let mut schema = Vec::new();
            put_bytes(&mut schema, 1, format!("#/definitions/{}", full_name(name)).as_bytes());
            schema
        }
        Kind::Time | Kind::MicroTime => scalar("string", "date-time"),
        Kind::IntOrString => scalar("string", "int-or-string"),
        Kind::String | Kind::Quantity => scalar("string", ""),
        Kind::Bytes => scalar("string", "byte"),
        Kind::Bool => scalar("boolean", ""),
        Kind::Int32 => scalar("integer", "int32"),
        Kind::Int64 => scalar("integer", "int64"),
        Kind::Fields | Kind::Raw => scalar("object", ""),
        Kind::Strings => {
            let mut schema = scalar("array", "");
            put_bytes(&mut schema, 23, &nested(&[1], &scalar("string", "")));
            schema
        }
    }
}

/// A schema's `type` and `format`.
fn scalar(type_name: &str, format: &str) -> Vec<u8> {
    let mut schema = Vec::new();
    if !format.is_empty() {
        put_bytes(&mut schema, 2, format.as_bytes());
    }
    put_bytes(&mut schema, 22, &nested(&[1], type_name.as_bytes()));
    schema
}

/// A `NamedAny` whose value is YAML.
fn extension(name: &str, yaml: &str) -> Vec<u8> {
    named(name, &nested(&[2], format!("{yaml}\n").as_bytes()))
}

/// A message of a name and a value, as gnostic makes of each map entry.
fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut pair = Vec::new();
    put_bytes(&mut pair, 1, name.as_bytes());
    put_bytes(&mut pair, 2, value);
    pair
}

/// `value` wrapped in messages of one field each, outermost first.
fn nested(numbers: &[u32], value: &[u8]) -> Vec<u8> {
    numbers.iter().rev().fold(value.to_vec(), |inner, number| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, *number, &inner);
        outer
    })
}
