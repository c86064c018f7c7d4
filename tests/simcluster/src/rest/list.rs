//! Lists, page by page.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use serde_json::{Value, json};

use crate::cluster::{Call, Cluster};
use crate::kinds::Resource;
use crate::object;
use crate::respond::{Body, Client, Page};
use crate::selector::Selector;
use crate::status::Status;

/// Answers with a page of the selected objects.
///
/// # Errors
/// 400 for selectors and continue tokens that do not parse, 504 for a version that is not reached.
pub(super) async fn list(
    cluster: &Arc<Cluster>,
    call: &Call,
    resource: &'static Resource,
    client: &Client,
) -> Result<Response<Body>, Status> {
    let selector = Selector::new(resource, &call.info, &call.query)?;
    if let Some(wanted) = call.query.number::<u64>("resourceVersion") {
        wait_for_version(cluster, wanted, call.query.number("timeoutSeconds")).await?;
    }
    let start = call.query.filled("continue").map(read_continue).transpose()?;
    let start = start.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    let (objects, version) = cluster.store.list(resource, selector.namespace(), start);
    let mut selected: Vec<Arc<Value>> =
        objects.into_iter().filter(|object| selector.matches(object)).collect();
    let mut page = Page { version, ..Page::default() };
    let limit = call.query.number::<usize>("limit").filter(|limit| (1..selected.len()).contains(limit));
    if let Some(limit) = limit {
        page.remaining = (!selector.is_narrow()).then(|| selected.len() - limit);
        selected.truncate(limit);
        page.next = selected.last().map(|last| write_continue(version, last)).unwrap_or_default();
    }
    Ok(client.list(resource, selected.iter().map(AsRef::as_ref), &page))
}

/// Waits, as the watch cache does, for a version that has not been written yet.
async fn wait_for_version(cluster: &Cluster, wanted: u64, seconds: Option<u64>) -> Result<(), Status> {
    let mut versions = cluster.store.subscribe();
    let patience = Duration::from_secs(seconds.unwrap_or(3).min(3));
    let reached = tokio::time::timeout(patience, versions.wait_for(|version| *version >= wanted)).await;
    match reached {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Status::version_too_large(wanted, cluster.store.current())),
    }
}

fn write_continue(version: u64, last: &Value) -> String {
    let start = format!("{}/{}", object::namespace(last), object::name(last));
    let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": format!("{start}\u{0}")});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn read_continue(token: &str) -> Result<(String, String), Status> {
    let refused = || {
        Status::bad_request(
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 4",
        )
    };
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|_| refused())?;
    let start = token["start"].as_str().unwrap_or_default().trim_end_matches('\u{0}');
    let (namespace, name) = start.split_once('/').ok_or_else(refused)?;
    Ok((namespace.to_owned(), name.to_owned()))
}
