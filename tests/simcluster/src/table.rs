//! `meta.k8s.io/v1` Tables: the columns and cells that kubectl prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::Resource;
use crate::object;
use crate::respond::{Include, partial};

/// A column: name, type, format, priority (0 is always shown, 1 with `-o wide`).
type Column = (&'static str, &'static str, &'static str, i32);

const NAME: Column = ("Name", "string", "name", 0);
const AGE: Column = ("Age", "string", "", 0);

const fn text(name: &'static str) -> Column {
    (name, "string", "", 0)
}

const fn wide(name: &'static str) -> Column {
    (name, "string", "", 1)
}

const fn count(name: &'static str) -> Column {
    (name, "integer", "", 0)
}

/// A Table of those objects. Without `columns` the definitions are null, as after a watch's first event.
pub(crate) fn table<'a>(
    resource: &Resource,
    objects: impl Iterator<Item = &'a Value>,
    metadata: &Value,
    include: Include,
    columns: bool,
) -> Value {
    let definitions: Value = columns_of(resource)
        .iter()
        .map(|(name, kind, format, priority)| {
            json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority})
        })
        .collect();
    let rows: Vec<Value> = objects
        .map(|object| {
            let mut row = json!({"cells": cells(resource, object)});
            match include {
                Include::None => row["object"] = Value::Null,
                Include::Metadata => row["object"] = partial(object),
                Include::Object => row["object"] = object::typed(resource, object),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": if columns { definitions } else { Value::Null }, "rows": rows,
    })
}

fn columns_of(resource: &Resource) -> Vec<Column> {
    match resource.plural {
        "pods" => vec![
            NAME,
            text("Ready"),
            text("Status"),
            text("Restarts"),
            AGE,
            wide("IP"),
            wide("Node"),
            wide("Nominated Node"),
            wide("Readiness Gates"),
        ],
        "secrets" => vec![NAME, text("Type"), count("Data"), AGE],
        "configmaps" => vec![NAME, count("Data"), AGE],
        "namespaces" => vec![NAME, text("Status"), AGE],
        "nodes" => vec![
            NAME,
            text("Status"),
            text("Roles"),
            AGE,
            text("Version"),
            wide("Internal-IP"),
            wide("External-IP"),
            wide("OS-Image"),
            wide("Kernel-Version"),
            wide("Container-Runtime"),
        ],
        "services" => {
            vec![
                NAME,
                text("Type"),
                text("Cluster-IP"),
                text("External-IP"),
                text("Port(s)"),
                AGE,
                wide("Selector"),
            ]
        }
        "endpoints" => vec![NAME, text("Endpoints"), AGE],
        "events" => vec![
            text("Last Seen"),
            text("Type"),
            text("Reason"),
            text("Object"),
            wide("Subobject"),
            wide("Source"),
            text("Message"),
            wide("First Seen"),
            ("Count", "integer", "", 1),
            ("Name", "string", "name", 1),
        ],
        "serviceaccounts" => vec![NAME, count("Secrets"), AGE],
        "deployments" => vec![
            NAME,
            text("Ready"),
            text("Up-to-date"),
            text("Available"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector"),
        ],
        "replicasets" => vec![
            NAME,
            count("Desired"),
            count("Current"),
            count("Ready"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector"),
        ],
        _ => vec![NAME, ("Created At", "date", "", 0)],
    }
}

fn cells(resource: &Resource, object: &Value) -> Value {
    let name = json!(object::name(object));
    let age = json!(age(object["metadata"]["creationTimestamp"].as_str()));
    let (spec, status) = (&object["spec"], &object["status"]);
    match resource.plural {
        "pods" => pod_cells(object, &name, &age),
        "secrets" => json!([name, object["type"], entries(&object["data"]), age]),
        "configmaps" => json!([name, entries(&object["data"]) + entries(&object["binaryData"]), age]),
        "namespaces" => json!([name, status["phase"], age]),
        "nodes" => node_cells(object, &name, &age),
        "services" => {
            let ports =
                list(&spec["ports"], ",", |port| format!("{}/{}", port["port"], plain(&port["protocol"])));
            json!([
                name,
                spec["type"],
                or_none(plain(&spec["clusterIP"])),
                "<none>",
                or_none(ports),
                age,
                or_none(labels(&spec["selector"]))
            ])
        }
        "endpoints" => {
            let subset = &object["subsets"][0];
            let port = &subset["ports"][0]["port"];
            let addresses =
                list(&subset["addresses"], ",", |address| format!("{}:{port}", plain(&address["ip"])));
            json!([name, or_none(addresses), age])
        }
        "events" => event_cells(object),
        "serviceaccounts" => json!([name, object["secrets"].as_array().map_or(0, Vec::len), age]),
        "deployments" => {
            let number = |key: &str| status[key].as_i64().unwrap_or_default();
            let ready = format!("{}/{}", number("readyReplicas"), spec["replicas"]);
            let (containers, images) = containers(&spec["template"]["spec"]);
            json!([
                name,
                ready,
                number("updatedReplicas").to_string(),
                number("availableReplicas").to_string(),
                age,
                containers,
                images,
                or_none(labels(&spec["selector"]["matchLabels"]))
            ])
        }
        "replicasets" => {
            let number = |key: &str| status[key].as_i64().unwrap_or_default();
            let (containers, images) = containers(&spec["template"]["spec"]);
            json!([
                name,
                spec["replicas"],
                number("replicas"),
                number("readyReplicas"),
                age,
                containers,
                images,
                or_none(labels(&spec["selector"]["matchLabels"]))
            ])
        }
        _ => json!([name, object["metadata"]["creationTimestamp"]]),
    }
}

fn pod_cells(pod: &Value, name: &Value, age: &Value) -> Value {
    let status = &pod["status"];
    let states = status["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = states.iter().filter(|state| state["ready"] == json!(true)).count();
    let total = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let restarts: i64 = states.iter().filter_map(|state| state["restartCount"].as_i64()).sum();
    let ended = states.iter().find_map(|state| state["state"]["terminated"]["reason"].as_str());
    let phase = match (object::is_terminating(pod), ended) {
        (true, _) => "Terminating",
        (false, Some(reason)) => reason,
        (false, None) => status["phase"].as_str().unwrap_or("Pending"),
    };
    json!([
        name,
        format!("{ready}/{total}"),
        phase,
        restarts.to_string(),
        age,
        or_none(plain(&status["podIP"])),
        or_none(plain(&pod["spec"]["nodeName"])),
        "<none>",
        "<none>"
    ])
}

fn node_cells(node: &Value, name: &Value, age: &Value) -> Value {
    let info = &node["status"]["nodeInfo"];
    let ready = node["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let address = |kind: &str| {
        let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
        or_none(addresses.filter(|one| one["type"] == kind).map(|one| plain(&one["address"])).collect())
    };
    let roles: Vec<&str> = node["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    json!([
        name,
        if ready { "Ready" } else { "NotReady" },
        or_none(roles.join(",")),
        age,
        info["kubeletVersion"],
        address("InternalIP"),
        address("ExternalIP"),
        info["osImage"],
        info["kernelVersion"],
        info["containerRuntimeVersion"]
    ])
}

fn event_cells(event: &Value) -> Value {
    let about = &event["involvedObject"];
    let target = format!("{}/{}", plain(&about["kind"]).to_lowercase(), plain(&about["name"]));
    json!([
        age(event["lastTimestamp"].as_str()),
        event["type"],
        event["reason"],
        target,
        about["fieldPath"],
        plain(&event["source"]["component"]),
        plain(&event["message"]).trim(),
        age(event["firstTimestamp"].as_str()),
        event["count"],
        object::name(event)
    ])
}

fn containers(pod_spec: &Value) -> (String, String) {
    let names = list(&pod_spec["containers"], ",", |container| plain(&container["name"]));
    (names, list(&pod_spec["containers"], ",", |container| plain(&container["image"])))
}

fn labels(map: &Value) -> String {
    let pairs = map.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", plain(value)));
    pairs.collect::<Vec<_>>().join(",")
}

fn list(values: &Value, separator: &str, print: impl Fn(&Value) -> String) -> String {
    values.as_array().into_iter().flatten().map(print).collect::<Vec<_>>().join(separator)
}

fn plain(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

fn entries(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

/// The time since then, as `duration.HumanDuration` prints it.
fn age(since: Option<&str>) -> String {
    let Some(at) = since.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "<unknown>".to_owned();
    };
    human(Timestamp::now().as_second() - at.as_second())
}

fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: char, small: i64, below: char| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{below}") }
    };
    match seconds {
        ..0 => "<invalid>".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        for (seconds, wanted) in
            [(0, "0s"), (119, "119s"), (121, "2m1s"), (4_000, "66m"), (11_000, "3h3m"), (90_000, "25h")]
        {
            assert_eq!(human(seconds), wanted);
        }
    }

    #[test]
    fn every_row_has_a_cell_for_each_column() {
        for resource in crate::kinds::RESOURCES {
            let object = json!({"metadata": {"name": "x"}});
            assert_eq!(
                cells(resource, &object).as_array().unwrap().len(),
                columns_of(resource).len(),
                "{}",
                resource.plural
            );
        }
    }
}
