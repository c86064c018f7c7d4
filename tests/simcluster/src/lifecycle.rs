//! What happens to an object besides being stored: defaults, and the status that controllers and the kubelet would
//! write. Nothing here runs on its own: a pod runs from the moment it is made, a deployment is always rolled out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::kinds::Resource;
use crate::object::{self, child_mut, set_default};

/// Fills in what a write leaves out and derives the status. `old` is `None` on create.
pub(crate) fn settle(resource: &Resource, old: Option<&Value>, new: &mut Value) {
    let labels = object::meta_mut(new).get("labels").cloned().unwrap_or_default();
    match resource.plural {
        "secrets" => settle_secret(new),
        "namespaces" => settle_namespace(new),
        "pods" => settle_pod(new),
        "services" => settle_service(new),
        "deployments" | "replicasets" => {}
        _ => return,
    }
    if matches!(resource.plural, "pods" | "deployments" | "replicasets") {
        if resource.plural == "deployments" {
            default_deployment(child_mut(new, "spec"), &labels);
        }
        let generation = old.map_or(0, |old| old["metadata"]["generation"].as_i64().unwrap_or_default());
        let respecified = old.is_none_or(|old| old["spec"] != new["spec"]);
        object::meta_mut(new).insert("generation".to_owned(), json!(generation + i64::from(respecified)));
    }
    match resource.plural {
        "deployments" => roll_out(new),
        "replicasets" => {
            let replicas = new["spec"]["replicas"].clone();
            set_default(child_mut(new, "status"), "replicas", replicas);
        }
        _ => {}
    }
}

/// Marks a pod's only process as ended, as the kubelet does for one that is not restarted.
pub(crate) fn finish_pod(pod: &mut Value, exit_code: i32) {
    let (phase, reason) = if exit_code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let started = pod["status"]["startTime"].clone();
    let status = child_mut(pod, "status");
    status.insert("phase".to_owned(), json!(phase));
    for state in status.get_mut("containerStatuses").and_then(Value::as_array_mut).into_iter().flatten() {
        state["ready"] = json!(false);
        state["started"] = json!(false);
        state["state"] = json!({"terminated": {
            "exitCode": exit_code, "reason": reason, "startedAt": started, "finishedAt": object::now(),
        }});
    }
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if matches!(condition["type"].as_str(), Some("Ready" | "ContainersReady")) {
            condition["status"] = json!("False");
            condition["reason"] = json!("PodCompleted");
        }
    }
}

fn settle_secret(secret: &mut Value) {
    let plain = secret.as_object_mut().and_then(|fields| fields.shift_remove("stringData"));
    if let Some(Value::Object(plain)) = plain {
        let data = child_mut(secret, "data");
        data.extend(
            plain
                .into_iter()
                .map(|(key, text)| (key, json!(BASE64.encode(text.as_str().unwrap_or_default())))),
        );
        data.sort_keys();
    }
    if secret["type"].as_str().unwrap_or_default().is_empty() {
        secret["type"] = json!("Opaque");
    }
}

fn settle_namespace(namespace: &mut Value) {
    let name = object::name(namespace).to_owned();
    let labels = object::meta_mut(namespace).entry("labels").or_insert_with(|| json!({}));
    labels["kubernetes.io/metadata.name"] = json!(name);
    if !object::is_terminating(namespace) {
        set_default(child_mut(namespace, "spec"), "finalizers", json!(["kubernetes"]));
        set_default(child_mut(namespace, "status"), "phase", "Active");
    }
}

fn settle_pod(pod: &mut Value) {
    default_pod_spec(child_mut(pod, "spec"));
    let spec = child_mut(pod, "spec");
    set_default(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    set_default(spec, "serviceAccount", account);
    set_default(spec, "nodeName", "node1");
    set_default(spec, "enableServiceLinks", true);
    set_default(spec, "preemptionPolicy", "PreemptLowerPriority");
    set_default(spec, "priority", 0);
    if pod["status"].get("phase").is_none() {
        run_pod(pod);
    }
}

fn default_pod_spec(spec: &mut Map<String, Value>) {
    set_default(spec, "restartPolicy", "Always");
    set_default(spec, "terminationGracePeriodSeconds", 30);
    set_default(spec, "dnsPolicy", "ClusterFirst");
    set_default(spec, "securityContext", json!({}));
    set_default(spec, "schedulerName", "default-scheduler");
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
            let latest =
                image.ends_with(":latest") || !image.rsplit('/').next().unwrap_or_default().contains(':');
            set_default(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
            set_default(container, "resources", json!({}));
            set_default(container, "terminationMessagePath", "/dev/termination-log");
            set_default(container, "terminationMessagePolicy", "File");
            for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                port.as_object_mut().into_iter().for_each(|port| set_default(port, "protocol", "TCP"));
            }
        }
    }
}

fn run_pod(pod: &mut Value) {
    let now = object::now();
    let uid = object::meta(pod, "uid").to_owned();
    // A stable address of the pod network, derived from the uid.
    let octet = uid.bytes().fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)).max(2);
    let ip = format!("10.244.0.{octet}");
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let containers: Vec<Value> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| {
            json!({
                "name": container["name"], "state": {"running": {"startedAt": now}}, "lastState": {}, "ready": true,
                "restartCount": 0, "image": container["image"], "imageID": format!("simulated://{uid}"),
                "containerID": format!("simulated://{uid}/{}", container["name"].as_str().unwrap_or_default()),
                "started": true,
            })
        })
        .collect();
    pod["status"] = json!({
        "phase": "Running",
        "conditions": [
            condition("PodReadyToStartContainers"), condition("Initialized"), condition("Ready"),
            condition("ContainersReady"), condition("PodScheduled"),
        ],
        "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}], "podIP": ip, "podIPs": [{"ip": ip}],
        "startTime": now, "containerStatuses": containers, "qosClass": "BestEffort",
    });
}

fn settle_service(service: &mut Value) {
    let spec = child_mut(service, "spec");
    set_default(spec, "type", "ClusterIP");
    set_default(spec, "sessionAffinity", "None");
    set_default(spec, "internalTrafficPolicy", "Cluster");
    set_default(spec, "clusterIP", "10.96.0.20");
    let address = spec["clusterIP"].clone();
    set_default(spec, "clusterIPs", json!([address]));
    set_default(spec, "ipFamilies", json!(["IPv4"]));
    set_default(spec, "ipFamilyPolicy", "SingleStack");
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(port) = port.as_object_mut() else { continue };
        set_default(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        set_default(port, "targetPort", number);
    }
    set_default(child_mut(service, "status"), "loadBalancer", json!({}));
}

fn default_deployment(spec: &mut Map<String, Value>, labels: &Value) {
    set_default(spec, "replicas", 1);
    set_default(spec, "revisionHistoryLimit", 10);
    set_default(spec, "progressDeadlineSeconds", 600);
    set_default(
        spec,
        "strategy",
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}),
    );
    if spec.get("strategy").is_some_and(|strategy| strategy.get("type").is_none()) {
        spec["strategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}});
    }
    let template = spec.entry("template").or_insert_with(|| json!({"metadata": {"labels": labels}}));
    default_pod_spec(child_mut(template, "spec"));
}

fn roll_out(deployment: &mut Value) {
    let annotations = object::meta_mut(deployment).entry("annotations").or_insert_with(|| json!({}));
    if annotations.get("deployment.kubernetes.io/revision").is_none() {
        annotations["deployment.kubernetes.io/revision"] = json!("1");
    }
    let replicas = deployment["spec"]["replicas"].clone();
    let since = deployment["status"]["conditions"][0]["lastTransitionTime"].as_str().map(str::to_owned);
    let since = since.unwrap_or_else(object::now);
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": "True", "lastUpdateTime": since, "lastTransitionTime": since,
            "reason": reason, "message": message})
    };
    let mut status = json!({"observedGeneration": deployment["metadata"]["generation"]});
    if replicas != json!(0) {
        for count in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
            status[count] = replicas.clone();
        }
    }
    status["conditions"] = json!([
        condition("Available", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        condition("Progressing", "NewReplicaSetAvailable", "The rollout has finished."),
    ]);
    deployment["status"] = status;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_rolled_out_at_once() {
        let resource = Resource::find("apps", "v1", "deployments").expect("known");
        let mut first = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "template": {"spec": {"containers": []}}}});
        settle(resource, None, &mut first);
        assert_eq!(
            (&first["metadata"]["generation"], &first["status"]["observedGeneration"]),
            (&json!(1), &json!(1))
        );
        let mut second = first.clone();
        second["spec"]["replicas"] = json!(3);
        settle(resource, Some(&first), &mut second);
        assert_eq!(second["status"]["observedGeneration"], json!(2));
        assert_eq!(second["status"]["availableReplicas"], json!(3));
    }

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"metadata": {}, "stringData": {"b": "x"}, "data": {"c": "eQ=="}});
        settle(Resource::core("secrets"), None, &mut secret);
        assert_eq!(secret, json!({"metadata": {}, "data": {"b": "eA==", "c": "eQ=="}, "type": "Opaque"}));
    }
}
