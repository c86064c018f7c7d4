//! The verbs on stored objects. Here get, create, update and patch; list and delete have modules of their own.

mod delete;
mod list;

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{Decoder, Validation, parse_yaml};
use crate::cluster::{Call, Cluster};
use crate::fields::{Writer, track_update};
use crate::kinds::Resource;
use crate::lifecycle;
use crate::object;
use crate::patch::{self, apply::LAST_APPLIED};
use crate::respond::{self, Body, Client};
use crate::schema::schema;
use crate::status::Status;
use crate::store::Next;
use crate::validate::validate;

/// Answers a verb on a resource, or on its `status`.
///
/// # Errors
/// Whatever the API server would refuse with.
pub(crate) async fn serve(
    cluster: &Arc<Cluster>,
    call: &Call,
    resource: &'static Resource,
) -> Result<Response<Body>, Status> {
    let client = Client::new(&call.headers, &call.query)?;
    match call.info.verb.as_str() {
        "get" => {
            let object = cluster.store.read(resource, scope(resource, call), &call.info.name)?;
            Ok(client.object(StatusCode::OK, resource, &object))
        }
        "list" => list::list(cluster, call, resource, &client).await,
        "create" => create(cluster, call, resource, &client),
        "update" => update(cluster, call, resource, &client),
        "patch" => patch(cluster, call, resource, &client),
        "delete" => delete::delete(cluster, call, resource, &client),
        "deletecollection" => delete::delete_collection(cluster, call, resource, &client),
        _ => Err(Status::method_not_allowed()),
    }
}

fn create(
    cluster: &Cluster,
    call: &Call,
    resource: &'static Resource,
    client: &Client,
) -> Result<Response<Body>, Status> {
    let mut decoder = Decoder::new(resource, Validation::of(&call.query)?);
    let mut object = decoder.decode(&call.headers, &call.body)?;
    check_identity(call, resource, &mut object)?;
    let stored = insert(cluster, call, resource, object)?;
    Ok(respond::warn(client.object(StatusCode::CREATED, resource, &stored), decoder.warnings))
}

/// Stamps and stores a new object.
fn insert(
    cluster: &Cluster,
    call: &Call,
    resource: &'static Resource,
    mut object: Value,
) -> Result<Arc<Value>, Status> {
    if resource.namespaced {
        let namespace = cluster.store.read(Resource::core("namespaces"), "", &call.info.namespace)?;
        if object::is_terminating(&namespace) {
            let why = format!(
                "unable to create new content in namespace {} because it is being terminated",
                call.info.namespace
            );
            return Err(Status::conflict(resource, object::name(&object), &why));
        }
    }
    let metadata = object::meta_mut(&mut object);
    let generate = metadata.get("generateName").and_then(Value::as_str).map(str::to_owned);
    if let (None, Some(prefix)) = (metadata.get("name"), generate) {
        metadata.insert("name".to_owned(), json!(format!("{prefix}{}", object::name_suffix())));
    }
    metadata.shift_remove("resourceVersion");
    metadata.shift_remove("deletionTimestamp");
    metadata.insert("uid".to_owned(), json!(object::uid()));
    metadata.insert("creationTimestamp".to_owned(), json!(object::now()));
    lifecycle::settle(resource, None, &mut object);
    validate(resource, None, &object)?;
    let manager = call.manager();
    if object["metadata"].get("managedFields").is_none() {
        track_update(None, &mut object, schema().get(resource.schema), &writer(&manager, resource, ""));
    }
    let object = ordered(resource, object);
    if call.is_dry_run() {
        let name = object::name(&object);
        return match cluster.store.get(resource, object::namespace(&object), name) {
            Some(_) => Err(Status::already_exists(resource, name)),
            None => Ok(Arc::new(object)),
        };
    }
    cluster.store.create(resource, object)
}

fn update(
    cluster: &Cluster,
    call: &Call,
    resource: &'static Resource,
    client: &Client,
) -> Result<Response<Body>, Status> {
    let mut decoder = Decoder::new(resource, Validation::of(&call.query)?);
    let mut object = decoder.decode(&call.headers, &call.body)?;
    check_identity(call, resource, &mut object)?;
    let stored = replace(cluster, call, resource, |_| Ok(object))?;
    Ok(respond::warn(client.object(StatusCode::OK, resource, &stored), decoder.warnings))
}

fn patch(
    cluster: &Cluster,
    call: &Call,
    resource: &'static Resource,
    client: &Client,
) -> Result<Response<Body>, Status> {
    let content_type =
        call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parsed = || -> Result<Value, Status> {
        serde_json::from_slice(&call.body)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
    };
    let mut decoder = Decoder::new(resource, Validation::of(&call.query)?);
    let object_type = schema().get(resource.schema);
    let media = content_type.split(';').next().unwrap_or_default();
    let (code, stored) = match media {
        "application/merge-patch+json" => {
            let patch = parsed()?;
            let change = |old: &Value| decoder.accept(patch::merge::apply(old.clone(), &patch));
            (StatusCode::OK, replace(cluster, call, resource, change)?)
        }
        "application/strategic-merge-patch+json" => {
            let patch = parsed()?;
            let change = |old: &Value| {
                let merged = patch::strategic::apply(old.clone(), &patch, Some(object_type));
                decoder.accept(merged.map_err(Status::unprocessable)?).map_err(|error| error.quoting(&patch))
            };
            (StatusCode::OK, replace(cluster, call, resource, change)?)
        }
        "application/json-patch+json" => {
            let patch = parsed()?;
            let change = |old: &Value| {
                let typed = object::typed(resource, old);
                decoder.accept(patch::json::apply(typed, &patch).map_err(Status::unprocessable)?)
            };
            (StatusCode::OK, replace(cluster, call, resource, change)?)
        }
        "application/apply-patch+yaml" => apply(cluster, call, resource, &mut decoder)?,
        _ => {
            return Err(Status::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json, application/apply-patch+yaml",
            ));
        }
    };
    Ok(respond::warn(client.object(code, resource, &stored), decoder.warnings))
}

fn apply(
    cluster: &Cluster,
    call: &Call,
    resource: &'static Resource,
    decoder: &mut Decoder,
) -> Result<(StatusCode, Arc<Value>), Status> {
    let manager = call
        .query
        .filled("fieldManager")
        .ok_or_else(|| Status::unprocessable("PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"))?;
    let parsed =
        parse_yaml(&call.body).ok_or_else(|| Status::bad_request("error decoding YAML: not a document"))?;
    let mut declared = decoder.accept(parsed)?;
    check_identity(call, resource, &mut declared)?;
    let object_type = schema().get(resource.schema);
    let force = call.query.is_true("force");
    let by = writer(manager, resource, &call.info.subresource);
    if cluster.store.get(resource, scope(resource, call), &call.info.name).is_none() {
        let object = patch::apply::apply(None, &declared, object_type, &by, force)?;
        return Ok((StatusCode::CREATED, insert(cluster, call, resource, object)?));
    }
    let stored = change(cluster, call, resource, |old| {
        let wanted = object::meta(&declared, "resourceVersion");
        if !wanted.is_empty() && wanted != object::meta(old, "resourceVersion") {
            return Err(Status::modified(resource, object::name(old)));
        }
        let mut new = patch::apply::apply(Some(old), &declared, object_type, &by, force)?;
        if manager == "kubectl" && new["metadata"]["annotations"].get(LAST_APPLIED).is_some() {
            let noted = format!("{}\n", object::typed(resource, &declared));
            new["metadata"]["annotations"][LAST_APPLIED] = json!(noted);
        }
        lifecycle::settle(resource, Some(old), &mut new);
        validate(resource, Some(old), &new)?;
        Ok(new)
    })?;
    Ok((StatusCode::OK, stored))
}

/// Stores what `make` makes of the live object, with the checks of an update.
fn replace(
    cluster: &Cluster,
    call: &Call,
    resource: &'static Resource,
    make: impl FnOnce(&Value) -> Result<Value, Status>,
) -> Result<Arc<Value>, Status> {
    let manager = call.manager();
    change(cluster, call, resource, |old| {
        let mut new = make(old)?;
        let wanted = object::meta(&new, "resourceVersion");
        if !wanted.is_empty() && wanted != object::meta(old, "resourceVersion") {
            return Err(Status::modified(resource, object::name(old)));
        }
        keep_identity(old, &mut new);
        if call.info.subresource == "status" {
            let status = new["status"].clone();
            new = old.clone();
            new["status"] = status;
        } else if resource.subresource("status").is_some() {
            new["status"] = old["status"].clone();
        }
        if call.info.subresource.is_empty() {
            lifecycle::settle(resource, Some(old), &mut new);
        }
        validate(resource, Some(old), &new)?;
        let by = writer(&manager, resource, &call.info.subresource);
        track_update(Some(old), &mut new, schema().get(resource.schema), &by);
        Ok(new)
    })
}

/// Stores the outcome of `make`, unless it changes nothing or this is a dry run; lets go of an object whose last
/// finalizer went.
fn change(
    cluster: &Cluster,
    call: &Call,
    resource: &'static Resource,
    make: impl FnOnce(&Value) -> Result<Value, Status>,
) -> Result<Arc<Value>, Status> {
    cluster.store.update(resource, scope(resource, call), &call.info.name, |old| {
        let new = ordered(resource, make(old)?);
        Ok(match () {
            () if call.is_dry_run() => Next::Answer(new),
            () if object::is_terminating(&new)
                && object::has_finalizers(old)
                && !object::has_finalizers(&new) =>
            {
                Next::Remove(new)
            }
            () => Next::Put(new),
        })
    })
}

/// The body must be about the object of the path; what it leaves out is filled in.
fn check_identity(call: &Call, resource: &Resource, object: &mut Value) -> Result<(), Status> {
    let info = &call.info;
    let metadata = object::meta_mut(object);
    if resource.namespaced {
        let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
        if !namespace.is_empty() && namespace != info.namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        metadata.insert("namespace".to_owned(), json!(info.namespace));
    } else {
        metadata.shift_remove("namespace");
    }
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    if !info.name.is_empty() && !name.is_empty() && name != info.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            info.name
        )));
    }
    if !info.name.is_empty() {
        metadata.insert("name".to_owned(), json!(info.name));
    }
    Ok(())
}

fn keep_identity(old: &Value, new: &mut Value) {
    let metadata = object::meta_mut(new);
    for key in [
        "uid",
        "creationTimestamp",
        "resourceVersion",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        match old["metadata"].get(key) {
            Some(value) => metadata.insert(key.to_owned(), value.clone()),
            None => metadata.shift_remove(key),
        };
    }
}

/// The namespace under which the object is stored.
fn scope<'a>(resource: &Resource, call: &'a Call) -> &'a str {
    if resource.namespaced { &call.info.namespace } else { "" }
}

fn writer<'a>(manager: &'a str, resource: &Resource, subresource: &'a str) -> Writer<'a> {
    Writer { manager, api_version: resource.api_version(), subresource }
}

fn ordered(resource: &Resource, object: Value) -> Value {
    schema()
        .get(resource.schema)
        .conform(object, &mut Vec::new())
        .expect("the object conformed when it was decoded")
}
