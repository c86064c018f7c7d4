//! Discovery: which groups, versions and resources there are, plain and aggregated, and the paths beside them.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::cluster::{Call, Cluster};
use crate::kinds::{RESOURCES, Resource, Subresource, groups};
use crate::negotiate::aggregated_discovery;
use crate::openapi;
use crate::respond::{self, Body, json_bytes};
use crate::status::Status;

/// Answers a path that is no resource.
///
/// # Errors
/// 404, 405, 406.
pub(crate) fn serve(cluster: &Cluster, call: &Call) -> Result<Response<Body>, Status> {
    let path = call.info.path.trim_end_matches('/');
    if call.info.verb != "get" {
        return Err(Status::method_not_allowed());
    }
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let known_group = |group: &str| groups().into_iter().find(|(name, _)| *name == group);
    match parts[..] {
        [root @ ("api" | "apis")] => match aggregated_discovery(&call.headers) {
            Some(version) => Ok(aggregated(root, version, call)),
            None if root == "api" => Ok(answer(
                call,
                &json!({
                    "kind": "APIVersions", "versions": ["v1"],
                    "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}],
                }),
            )),
            None => {
                let named = groups().into_iter().filter(|(name, _)| !name.is_empty());
                let list: Vec<Value> = named.map(|(name, version)| group(name, version)).collect();
                Ok(answer(call, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list})))
            }
        },
        ["api", "v1"] => Ok(answer(call, &resources("", "v1"))),
        ["apis", name] => {
            let (name, version) = known_group(name).ok_or_else(Status::no_such_resource)?;
            let mut one = json!({"kind": "APIGroup", "apiVersion": "v1"});
            one.as_object_mut().into_iter().for_each(|one| {
                one.extend(group(name, version).as_object().cloned().unwrap_or_default());
            });
            Ok(answer(call, &one))
        }
        ["apis", name, version] => match known_group(name) {
            Some((name, known)) if known == version => Ok(answer(call, &resources(name, known))),
            _ => Err(Status::no_such_resource()),
        },
        ["openapi", ..] => openapi::serve(&cluster.openapi, call, &parts[1..]),
        ["version"] => Ok(respond::bytes_response(
            StatusCode::OK,
            "application/json",
            json_bytes(&version(), true),
            false,
        )),
        ["healthz" | "livez" | "readyz"] => Ok(respond::text(StatusCode::OK, &health(call, parts[0]))),
        ["api" | "apis", ..] => Err(Status::no_such_resource()),
        _ => Ok(respond::text(StatusCode::NOT_FOUND, "404 page not found\n")),
    }
}

/// What `/version` says; kubectl warns about the skew, as it does with the real one.
fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35", "gitVersion": "v1.36.2",
        "gitCommit": "0000000000000000000000000000000000000000", "gitTreeState": "clean",
        "buildDate": "2026-08-21T00:00:00Z", "goVersion": "go1.27.3", "compiler": "gc", "platform": "linux/amd64",
    })
}

fn health(call: &Call, check: &str) -> String {
    if call.query.get("verbose").is_some() {
        format!("[+]ping ok\n{check} check passed\n")
    } else {
        "ok".to_owned()
    }
}

fn answer(call: &Call, value: &Value) -> Response<Body> {
    let agent =
        call.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let pretty = agent.starts_with("curl");
    respond::bytes_response(StatusCode::OK, "application/json", json_bytes(value, pretty), false)
}

fn group(name: &str, version: &str) -> Value {
    let known = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [known], "preferredVersion": known})
}

fn of_group(group: &str, version: &str) -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().filter(move |known| (known.group, known.version) == (group, version))
}

fn resources(group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for resource in of_group(group, version) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": resource.verbs,
        });
        if !resource.short.is_empty() {
            entry["shortNames"] = json!(resource.short);
        }
        if resource.in_all {
            entry["categories"] = json!(["all"]);
        }
        list.push(entry);
        list.extend(resource.subresources.iter().map(|sub| subresource(resource, sub)));
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut answer = json!({"kind": "APIResourceList"});
    if !group.is_empty() {
        answer["apiVersion"] = json!("v1");
    }
    answer["groupVersion"] = json!(group_version);
    answer["resources"] = json!(list);
    answer
}

fn subresource(resource: &Resource, sub: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, sub.name), "singularName": "", "namespaced": resource.namespaced,
    });
    if let Some((group, version)) = sub.foreign {
        entry["group"] = json!(group);
        entry["version"] = json!(version);
    }
    entry["kind"] = json!(sub.kind);
    entry["verbs"] = json!(sub.verbs);
    entry
}

fn aggregated(root: &str, version: &'static str, call: &Call) -> Response<Body> {
    let wanted = groups().into_iter().filter(|(name, _)| name.is_empty() == (root == "api"));
    let items: Vec<Value> = wanted
        .map(|(name, group_version)| {
            let resources: Vec<Value> = of_group(name, group_version).map(aggregated_resource).collect();
            let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
            let versions =
                json!([{"version": group_version, "resources": resources, "freshness": "Current"}]);
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {},
        "items": items,
    });
    let bytes = json_bytes(&list, false);
    let etag = format!("\"{}\"", openapi::hash(&bytes));
    let known = call
        .headers
        .get(http::header::IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let (code, bytes) = if known { (StatusCode::NOT_MODIFIED, Vec::new()) } else { (StatusCode::OK, bytes) };
    let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let mut response = respond::bytes_response(code, &media, bytes, false);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(ETAG, HeaderValue::from_str(&etag).expect("a hash is ASCII"));
    if known {
        headers.remove(CONTENT_TYPE);
    }
    response
}

fn aggregated_resource(resource: &'static Resource) -> Value {
    let kind = |name: &str| json!({"group": "", "version": "", "kind": name});
    let mut entry = json!({
        "resource": resource.plural, "responseKind": kind(resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": resource.verbs,
    });
    if !resource.short.is_empty() {
        entry["shortNames"] = json!(resource.short);
    }
    if resource.in_all {
        entry["categories"] = json!(["all"]);
    }
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|sub| {
            let (group, version) = sub.foreign.unwrap_or(("", ""));
            let response = json!({"group": group, "version": version, "kind": sub.kind});
            json!({"subresource": sub.name, "responseKind": response, "verbs": sub.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    entry
}
