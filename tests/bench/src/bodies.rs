//! Answers as an API server gives them: lists of pods and of secrets, of about the size that is asked for.

use serde_json::{Value, json};

/// A small list, bytes: what `kubectl get pod -o json` brings for one or two pods.
pub(crate) const SMALL: usize = 4_900;
/// A large one, bytes.
pub(crate) const LARGE: usize = 1_000_000;
/// One of many, objects.
pub(crate) const MANY: usize = 5_000;

/// `kind` is `pods` or `secrets`; the list is the longest of whole objects that fits into `size` bytes.
pub(crate) fn list(kind: Kind, size: usize) -> Vec<u8> {
    let per_item = kind.item(0).to_string().len();
    list_of(kind, (size / per_item).max(1))
}

/// A list of `count` objects.
pub(crate) fn list_of(kind: Kind, count: usize) -> Vec<u8> {
    let items: Vec<Value> = (0..count).map(|number| kind.item(number)).collect();
    let name = match kind {
        Kind::Pods => "PodList",
        Kind::Secrets => "SecretList",
    };
    json!({ "kind": name, "apiVersion": "v1", "metadata": { "resourceVersion": "812345" }, "items": items })
        .to_string()
        .into_bytes()
}

/// The first event of a watch, to which nothing is ever added.
pub(crate) fn watch_event() -> Vec<u8> {
    let mut event = json!({ "type": "ADDED", "object": pod(0) }).to_string().into_bytes();
    event.push(b'\n');
    event
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pods,
    Secrets,
}

impl Kind {
    fn item(self, number: usize) -> Value {
        match self {
            Kind::Pods => pod(number),
            Kind::Secrets => secret(number),
        }
    }
}

fn pod(number: usize) -> Value {
    let name = format!("checkout-7d9c6b5f4-{number:05x}");
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "generateName": "checkout-7d9c6b5f4-",
            "namespace": "shop",
            "uid": format!("5b1d0c1e-4a61-4b3c-9c3a-{number:012x}"),
            "resourceVersion": (700_000 + number).to_string(),
            "creationTimestamp": "2026-11-02T08:15:30Z",
            "labels": { "app": "checkout", "pod-template-hash": "7d9c6b5f4", "tier": "backend" },
            "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": "9090" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "checkout-7d9c6b5f4",
                "uid": "0d9f3a52-91c7-4c1c-8f5e-2c9c5f0b7a11", "controller": true, "blockOwnerDeletion": true }],
        },
        "spec": {
            "containers": [{
                "name": "checkout", "image": "registry.example.test/shop/checkout:2026.11.2",
                "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
                "env": [{ "name": "LOG_LEVEL", "value": "info" }, { "name": "REGION", "value": "eu-central-1" }],
                "resources": { "limits": { "memory": "512Mi" }, "requests": { "cpu": "250m", "memory": "256Mi" } },
                "terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent",
            }],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccountName": "checkout",
            "nodeName": format!("ip-10-0-{}-17.eu-central-1.compute.internal", number % 256),
        },
        "status": {
            "phase": "Running", "hostIP": "10.0.3.17", "podIP": format!("10.1.{}.{}", number / 256 % 256, number % 256),
            "startTime": "2026-11-02T08:15:30Z",
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-02T08:15:41Z" }],
            "containerStatuses": [{ "name": "checkout", "ready": true, "restartCount": 0, "started": true,
                "state": { "running": { "startedAt": "2026-11-02T08:15:40Z" } } }],
            "qosClass": "Burstable",
        },
    })
}

fn secret(number: usize) -> Value {
    json!({
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {
            "name": format!("database-{number:05x}"),
            "namespace": "shop",
            "uid": format!("5b1d0c1e-4a61-4b3c-9c3a-{number:012x}"),
            "resourceVersion": (700_000 + number).to_string(),
            "creationTimestamp": "2026-11-02T08:15:30Z",
            "labels": { "app": "checkout" },
        },
        "type": "Opaque",
        "data": {
            "username": "Y2hlY2tvdXQ=",
            // The base64 of 32 digits that are different in every object.
            "password": base64_digits(number),
            "dsn": "cG9zdGdyZXM6Ly9jaGVja291dDpodW50ZXIyQGRiLmV4YW1wbGUudGVzdDo1NDMyL3Nob3A/c3NsbW9kZT12ZXJpZnktZnVsbA==",
        },
    })
}

/// Valid base64 (all of its letters are) of 24 bytes.
fn base64_digits(number: usize) -> String {
    format!("{number:032}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_of_the_size_asked_for() {
        for kind in [Kind::Pods, Kind::Secrets] {
            for size in [SMALL, LARGE] {
                let length = list(kind, size).len();
                assert!(length > size * 3 / 4 && length < size * 21 / 20, "{kind:?}: {length} for {size}");
            }
        }
    }
}
