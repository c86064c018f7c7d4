//! Deletion: at once, or marked first when a finalizer, a process or a namespace's content has to go before.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{ordered, scope};
use crate::body::{Decoder, Validation, parse_yaml};
use crate::cluster::{Call, Cluster};
use crate::kinds::Resource;
use crate::object;
use crate::respond::{Body, Client, Page};
use crate::schema::schema;
use crate::selector::Selector;
use crate::status::Status;
use crate::store::Next;

/// How long a deleted pod or namespace takes to go: long enough that kubectl has to watch for it.
const TERMINATION: Duration = Duration::from_millis(100);

/// Answers a delete: with the object if it takes time to go, else with a `Status`.
///
/// # Errors
/// 400, 404, 409 when a precondition does not hold.
pub(super) fn delete(
    cluster: &Arc<Cluster>,
    call: &Call,
    resource: &'static Resource,
    client: &Client,
) -> Result<Response<Body>, Status> {
    let options = delete_options(call)?;
    let (namespace, name) = (scope(resource, call).to_owned(), call.info.name.clone());
    let existing = cluster.store.read(resource, &namespace, &name)?;
    if let Some(uid) =
        options["preconditions"]["uid"].as_str().filter(|uid| *uid != object::meta(&existing, "uid"))
    {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::meta(&existing, "uid")
        );
        return Err(Status::conflict(resource, &name, &why));
    }
    let dry_run = call.is_dry_run() || options["dryRun"][0] == "All";
    let deleted =
        if dry_run { existing } else { begin_delete(cluster, resource, &namespace, &name, &options)? };
    // Objects that take time to go are answered as they are now, others with a Status.
    if object::is_terminating(&deleted) || resource.plural == "pods" {
        return Ok(client.object(StatusCode::OK, resource, &deleted));
    }
    let status = Status::deleted(resource, &name, object::meta(&deleted, "uid"));
    Ok(client.foreign(StatusCode::OK, &status, "meta.v1.Status"))
}

/// Deletes what is selected, and answers with all of it.
///
/// # Errors
/// 400.
pub(super) fn delete_collection(
    cluster: &Arc<Cluster>,
    call: &Call,
    resource: &'static Resource,
    client: &Client,
) -> Result<Response<Body>, Status> {
    let options = delete_options(call)?;
    let selector = Selector::new(resource, &call.info, &call.query)?;
    let (objects, version) = cluster.store.list(resource, selector.namespace(), None);
    let selected: Vec<Arc<Value>> = objects.into_iter().filter(|object| selector.matches(object)).collect();
    if !call.is_dry_run() {
        for object in &selected {
            begin_delete(cluster, resource, object::namespace(object), object::name(object), &options)?;
        }
    }
    let page = Page { version, ..Page::default() };
    Ok(client.list(resource, selected.iter().map(AsRef::as_ref), &page))
}

/// Removes the object, or marks it as terminating when something has to happen first.
fn begin_delete(
    cluster: &Arc<Cluster>,
    resource: &'static Resource,
    namespace: &str,
    name: &str,
    options: &Value,
) -> Result<Arc<Value>, Status> {
    let grace = options["gracePeriodSeconds"].as_i64();
    let slow = match resource.plural {
        "pods" => grace != Some(0),
        plural => plural == "namespaces",
    };
    let marked = cluster.store.update(resource, namespace, name, |old| {
        if !slow && !object::has_finalizers(old) {
            return Ok(Next::Remove(old.clone()));
        }
        if object::is_terminating(old) {
            return Ok(Next::Answer(old.clone()));
        }
        let mut new = old.clone();
        let metadata = object::meta_mut(&mut new);
        metadata.insert("deletionTimestamp".to_owned(), json!(object::now()));
        if resource.plural == "pods" {
            metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace.unwrap_or(30)));
        }
        if resource.plural == "namespaces" {
            new["status"]["phase"] = json!("Terminating");
        }
        Ok(Next::Put(ordered(resource, new)))
    })?;
    if slow {
        let (cluster, namespace, name) = (cluster.clone(), namespace.to_owned(), name.to_owned());
        let uid = object::meta(&marked, "uid").to_owned();
        tokio::spawn(async move {
            tokio::time::sleep(TERMINATION).await;
            finish_delete(&cluster, resource, &namespace, &name, &uid);
        });
    }
    Ok(marked)
}

fn finish_delete(cluster: &Cluster, resource: &'static Resource, namespace: &str, name: &str, uid: &str) {
    if resource.plural == "namespaces" {
        for inside in crate::kinds::RESOURCES.iter().filter(|known| known.namespaced) {
            for object in cluster.store.list(inside, name, None).0 {
                // Somebody else may have deleted it meanwhile: gone is gone.
                cluster.store.remove(inside, name, object::name(&object)).ok();
            }
        }
    }
    let gone = cluster.store.update(resource, namespace, name, |old| {
        let same = object::meta(old, "uid") == uid;
        Ok(if same && !object::has_finalizers(old) {
            Next::Remove(old.clone())
        } else {
            Next::Answer(old.clone())
        })
    });
    if let Err(status) = gone {
        tracing::debug!(name, "deleted twice: {}", status.message);
    }
}

fn delete_options(call: &Call) -> Result<Value, Status> {
    if call.body.is_empty() {
        let grace = call.query.number::<i64>("gracePeriodSeconds");
        return Ok(grace.map_or_else(|| json!({}), |seconds| json!({"gracePeriodSeconds": seconds})));
    }
    // kubectl sends options of group meta.k8s.io/v1 or v1: the kind is what counts.
    let object_type = schema().get("meta.v1.DeleteOptions");
    let mut decoder = Decoder::of_kind("DeleteOptions", "v1".to_owned(), object_type, Validation::Ignore);
    let content_type =
        call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.starts_with("application/vnd.kubernetes.protobuf") {
        return decoder.decode(&call.headers, &call.body);
    }
    let mut options: Value =
        parse_yaml(&call.body).ok_or_else(|| Status::bad_request("DeleteOptions do not parse"))?;
    options["apiVersion"] = json!("v1");
    decoder.accept(options)
}
