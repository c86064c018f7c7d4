//! OpenAPI documents made from the schema: enough for kubectl's apply, edit, diff, explain and validation.

mod v2;
mod v3;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use crate::cluster::Call;
use crate::kinds::{RESOURCES, Resource, groups};
use crate::respond::{self, Body, json_bytes};
use crate::schema::{Type, schema};
use crate::status::Status;

/// The documents, made once.
pub(crate) struct Documents {
    v2: Document,
    /// By path below `/openapi/v3/`, such as `apis/apps/v1`.
    v3: Vec<(String, Document)>,
}

struct Document {
    bytes: Vec<u8>,
    hash: String,
}

const V2_ACCEPTED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const V2_ANSWERED: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

impl Default for Documents {
    fn default() -> Documents {
        let v3 = groups().into_iter().map(|(group, version)| {
            let path = prefix(group, version).trim_start_matches('/').to_owned();
            (path, Document::new(json_bytes(&v3::document(group, version), false)))
        });
        Documents { v2: Document::new(v2::document()), v3: v3.collect() }
    }
}

impl Document {
    fn new(bytes: Vec<u8>) -> Document {
        Document { hash: hash(&bytes), bytes }
    }

    /// The document, or 304 for a client that has it.
    fn answer(&self, call: &Call, content_type: &'static str, cache: &'static str) -> Response<Body> {
        let etag = format!("\"{}\"", self.hash);
        let known = call.headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
        let gzip = call.headers.get(http::header::ACCEPT_ENCODING).is_some_and(|value| value == "gzip");
        let (code, bytes) =
            if known { (StatusCode::NOT_MODIFIED, Vec::new()) } else { (StatusCode::OK, self.bytes.clone()) };
        let mut response = respond::bytes_response(code, content_type, bytes, gzip);
        let headers = response.headers_mut();
        headers.insert(ETAG, HeaderValue::from_str(&etag).expect("a hash is ASCII"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        if known {
            headers.remove(CONTENT_TYPE);
        }
        response
    }
}

/// Answers a path below `/openapi`.
///
/// # Errors
/// 404; 406 for an encoding of the old document other than protobuf.
pub(crate) fn serve(documents: &Documents, call: &Call, parts: &[&str]) -> Result<Response<Body>, Status> {
    match parts {
        ["v2"] => {
            let accepted = call.headers.get(http::header::ACCEPT).is_some_and(|value| value == V2_ACCEPTED);
            if !accepted {
                return Err(Status::not_acceptable());
            }
            Ok(documents.v2.answer(call, V2_ANSWERED, "no-cache, private"))
        }
        ["v3"] => {
            let paths: serde_json::Map<String, Value> = documents
                .v3
                .iter()
                .map(|(path, document)| {
                    let url = format!("/openapi/v3/{path}?hash={}", document.hash);
                    (path.clone(), json!({"serverRelativeURL": url}))
                })
                .collect();
            let index = json_bytes(&json!({ "paths": paths }), false);
            Ok(respond::bytes_response(StatusCode::OK, "text/plain; charset=utf-8", index, false))
        }
        ["v3", path @ ..] => {
            let path = path.join("/");
            let (_, document) =
                documents.v3.iter().find(|(known, _)| *known == path).ok_or_else(Status::no_such_resource)?;
            let cache =
                if call.query.get("hash").is_some() { "public, immutable" } else { "no-cache, private" };
            Ok(document.answer(call, "application/json", cache))
        }
        _ => Err(Status::no_such_resource()),
    }
}

/// Upper-case hexadecimal SHA-512, as the real server names its documents.
pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Path under which a group's resources stand.
fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// A type's name in OpenAPI: `io.k8s.api.core.v1.Pod`.
fn full_name(name: &str) -> String {
    match name.strip_prefix("meta.v1.") {
        Some(name) => format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"),
        None => format!("io.k8s.api.{name}"),
    }
}

/// The types that documents about these resources need.
fn types(resources: &[&'static Resource]) -> Vec<&'static Type> {
    let stored = resources.iter().filter(|resource| resource.verbs.contains(&"list"));
    let lists = stored.map(|resource| format!("{}List", resource.schema));
    let always = ["meta.v1.DeleteOptions", "meta.v1.Status"].map(str::to_owned);
    schema().closure(resources.iter().map(|resource| resource.schema.to_owned()).chain(lists).chain(always))
}

/// The resource whose objects are of that type.
fn resource_of(object_type: &Type) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| resource.schema == object_type.name)
}

/// The paths of a resource: its collection and one object, each with its OpenAPI methods and their verbs.
fn paths(resource: &'static Resource) -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{}{scope}/{}", prefix(resource.group, resource.version), resource.plural);
    let methods = |known: &[(&'static str, &'static str)]| {
        known.iter().copied().filter(|(_, verb)| resource.verbs.contains(verb)).collect::<Vec<_>>()
    };
    vec![
        (collection.clone(), methods(&[("get", "list"), ("post", "create"), ("delete", "deletecollection")])),
        (
            format!("{collection}/{{name}}"),
            methods(&[("get", "get"), ("put", "update"), ("patch", "patch"), ("delete", "delete")]),
        ),
    ]
}

/// Query parameters that kubectl looks for before it relies on them.
fn parameters(verb: &str) -> &'static [&'static str] {
    match verb {
        "create" | "update" => &["dryRun", "fieldManager", "fieldValidation"],
        "patch" => &["dryRun", "fieldManager", "fieldValidation", "force"],
        "delete" | "deletecollection" => &["dryRun"],
        _ => &[],
    }
}
