//! The `scale` subresource of deployments and replica sets.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{Decoder, Validation};
use crate::cluster::{Call, Cluster};
use crate::fields::{Writer, track_update};
use crate::kinds::Resource;
use crate::lifecycle;
use crate::object;
use crate::patch;
use crate::respond::{Body, Client};
use crate::schema::schema;
use crate::status::Status;
use crate::store::Next;

const API_VERSION: &str = "autoscaling/v1";

/// Answers get, update and patch of a scale.
///
/// # Errors
/// 400, 404, 409, 415.
pub(crate) fn serve(
    cluster: &Arc<Cluster>,
    call: &Call,
    resource: &'static Resource,
) -> Result<Response<Body>, Status> {
    let client = Client::new(&call.headers, &call.query)?;
    let scale_type = schema().get("autoscaling.v1.Scale");
    let mut decoder =
        Decoder::of_kind("Scale", API_VERSION.to_owned(), scale_type, Validation::of(&call.query)?);
    let (namespace, name) = (&call.info.namespace, &call.info.name);
    let manager = call.manager();
    let object = match call.info.verb.as_str() {
        "get" => cluster.store.read(resource, namespace, name)?,
        _ => cluster.store.update(resource, namespace, name, |old| {
            let scale = changed(call, &mut decoder, old)?;
            let wanted = object::meta(&scale, "resourceVersion");
            if !wanted.is_empty() && wanted != object::meta(old, "resourceVersion") {
                return Err(Status::modified(resource, name));
            }
            let mut new = old.clone();
            new["spec"]["replicas"] = scale["spec"].get("replicas").cloned().unwrap_or_else(|| json!(0));
            lifecycle::settle(resource, Some(old), &mut new);
            let writer =
                Writer { manager: &manager, api_version: resource.api_version(), subresource: "scale" };
            track_update(Some(old), &mut new, schema().get(resource.schema), &writer);
            Ok(if call.is_dry_run() { Next::Answer(new) } else { Next::Put(new) })
        })?,
    };
    let typed = object::typed_as("Scale", API_VERSION, &scale_of(&object));
    Ok(client.foreign(StatusCode::OK, &typed, scale_type.name))
}

fn changed(call: &Call, decoder: &mut Decoder, old: &Value) -> Result<Value, Status> {
    if call.info.verb == "update" {
        return decoder.decode(&call.headers, &call.body);
    }
    let patch: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let content_type =
        call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let patched = match content_type {
        "application/json-patch+json" => {
            patch::json::apply(scale_of(old), &patch).map_err(Status::unprocessable)?
        }
        _ => patch::merge::apply(scale_of(old), &patch),
    };
    decoder.accept(patched)
}

fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut kept = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        kept[key] = metadata[key].clone();
    }
    let labels = object["spec"]["selector"]["matchLabels"].as_object();
    let selector: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    json!({
        "metadata": kept, "spec": {"replicas": object["spec"]["replicas"]},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or_default(), "selector": selector.join(",")},
    })
}
