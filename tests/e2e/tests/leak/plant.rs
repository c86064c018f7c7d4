//! Puts the values into the cluster behind the gate's back: into objects, the pods' files and their logs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::{Kubectl, Output, Stage, output};
use serde_json::{Map, Value, json};

use crate::common::{LIMIT, newest};
use crate::values::{Place, Planted};

/// The pod that logs, runs commands, is attached to and answers on a port.
pub(crate) const RUNNER: &str = "runner";

/// What environment variables with secrets are called.
const VARIABLES: [&str; 10] = [
    "DB_PASSWORD",
    "API_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "SMTP_PASS",
    "OAUTH_CLIENT_SECRET",
    "GIT_CREDENTIALS",
    "PAYMENT_APIKEY",
    "SIGNING_PRIVATE_KEY",
    "STORAGE_CONNECTION_STRING",
    "SSH_PASSPHRASE",
];

/// What keys of ConfigMaps with secrets are called.
const KEYS: [&str; 24] = [
    "password",
    "db-password",
    "api.token",
    "client_secret",
    "tls.key",
    "keystore.jks",
    "store.p12",
    "id_rsa",
    "id_ed25519.old",
    "kubeconfig",
    "config.kubeconfig",
    ".pgpass",
    ".dockerconfigjson",
    "users.htpasswd",
    "ADMIN_PASSWORD",
    "smtp_pwd",
    "imap-pass",
    "aws_access_key",
    "azure-connection-string",
    "gpg.passphrase",
    "service-credentials",
    "stripe.apikey",
    "session-secret",
    "signing.privatekey",
];

/// The planted values, place by place.
struct Stock<'a>(Vec<&'a Planted>);

impl<'a> Stock<'a> {
    fn take(&mut self, place: Place, count: usize) -> Vec<&'a Planted> {
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for planted in self.0.drain(..) {
            if planted.place == place && taken.len() < count {
                taken.push(planted);
            } else {
                left.push(planted);
            }
        }
        self.0 = left;
        assert_eq!(taken.len(), count, "{place:?}");
        taken
    }

    fn one(&mut self, place: Place) -> &'a Planted {
        self.take(place, 1)[0]
    }
}

/// Plants everything that can be planted; what the client says itself is left.
///
/// # Errors
/// When the cluster does not take it.
pub(crate) fn plant(stage: &Stage, values: &[Planted]) -> Result<()> {
    let mut stock = Stock(values.iter().collect());
    let (created, applied) = objects(&mut stock);
    create(stage, "create", &created)?;
    create(stage, "apply", &applied)?;
    tell_status(stage, &mut stock)?;
    files(stage, &mut stock)?;
    let left: Vec<Place> = stock.0.iter().map(|planted| planted.place).collect();
    ensure!(
        left.iter().all(|place| matches!(place, Place::Said | Place::Credential)),
        "not planted: {left:?}"
    );
    Ok(())
}

/// Takes away what deletions may have left, so that all can be planted again.
///
/// # Errors
/// When kubectl cannot be run.
pub(crate) fn uproot(stage: &Stage) -> Result<()> {
    let kinds = "secrets,configmaps,pods,deployments,statefulsets,daemonsets,replicasets,jobs,cronjobs,services,events";
    for namespace in ["demo", "prod"] {
        let gone = ["delete", kinds, "-n", namespace, "-l", "planted=yes", "--force", "--grace-period=0"];
        admin(stage, &gone)?;
    }
    admin(stage, &["delete", "csr", "-l", "planted=yes"])?;
    Ok(())
}

/// kubectl as the cluster's own administrator.
///
/// # Errors
/// When it cannot be run.
pub(crate) fn admin(stage: &Stage, args: &[&str]) -> Result<Output> {
    let Kubectl { path, .. } = newest()?;
    let mut command = Command::new(path);
    command
        .env("KUBECONFIG", stage.cluster().file("admin.kubeconfig"))
        .env("HOME", stage.cluster().file("admin"));
    output(command.args(args), LIMIT)
}

fn done(stage: &Stage, args: &[&str]) -> Result<Output> {
    let ran = admin(stage, args)?;
    ensure!(ran.code == 0, "kubectl {args:?}: {}", ran.all());
    Ok(ran)
}

fn create(stage: &Stage, verb: &str, objects: &[Value]) -> Result<()> {
    let file = stage.cluster().file("planted.json");
    fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())?;
    let file = file.to_string_lossy();
    done(stage, &[verb, "--validate=false", "-f", &file]).map(drop)
}

/// What is created, and what is applied.
fn objects(stock: &mut Stock<'_>) -> (Vec<Value>, Vec<Value>) {
    let mut created = Vec::new();
    for number in 0..6 {
        let data = data(stock.take(Place::SecretData, 10));
        created.push(object(
            "v1",
            "Secret",
            &format!("planted-{number}"),
            "demo",
            json!({"type": "Opaque", "data": data}),
        ));
    }
    let data = data(stock.take(Place::Large, 3));
    created.push(object("v1", "Secret", "planted-large", "prod", json!({"data": data})));
    for number in 0..8 {
        let release = stock.one(Place::Release).text();
        let name = format!("sh.helm.release.v1.app{number}.v1");
        let of = json!({"type": "helm.sh/release.v1", "stringData": {"release": release}});
        created.push(object("v1", "Secret", &name, "demo", of));
    }
    for number in 0..4 {
        let release = stock.one(Place::Release).text();
        let name = format!("sh.helm.release.v1.map{number}.v1");
        created.push(object("v1", "ConfigMap", &name, "demo", json!({"data": {"release": release}})));
    }
    for number in 0..2 {
        let message = stock.one(Place::PodText).text();
        let of = json!({
            "involvedObject": {"kind": "Pod", "namespace": "demo", "name": RUNNER, "apiVersion": "v1"},
            "reason": "Unhealthy", "message": format!("Liveness probe failed: {message}"), "type": "Warning", "count": 1,
            "source": {"component": "kubelet", "host": "node1"}, "firstTimestamp": "2026-11-22T22:25:08Z",
            "lastTimestamp": "2026-11-22T22:25:08Z", "reportingComponent": "kubelet", "reportingInstance": "node1",
        });
        created.push(object("v1", "Event", &format!("planted.{number}"), "demo", of));
    }

    let mut applied = Vec::new();
    for number in 0..4 {
        let texts = texts(stock.take(Place::Applied, 6));
        applied.push(object(
            "v1",
            "Secret",
            &format!("applied-{number}"),
            "demo",
            json!({"stringData": texts}),
        ));
    }
    applied.extend(typed(stock));
    let keys: Map<String, Value> = KEYS
        .into_iter()
        .zip(stock.take(Place::ConfigMapKey, KEYS.len()))
        .map(|(key, value)| (key.to_owned(), value.text().into()))
        .collect();
    applied.push(object("v1", "ConfigMap", "planted-keys", "demo", json!({"data": keys})));
    for number in 0..3 {
        let texts = texts(stock.take(Place::ConfigMapText, 9));
        applied.push(object(
            "v1",
            "ConfigMap",
            &format!("planted-texts-{number}"),
            "demo",
            json!({"data": texts}),
        ));
    }
    applied.extend(workloads(stock));
    applied.push(runner(stock));
    let request = stock.one(Place::CertificateRequest).base64();
    let of = json!({"spec": {"request": request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}});
    applied.push(object("certificates.k8s.io/v1", "CertificateSigningRequest", "planted", "", of));
    (created, applied)
}

fn typed(stock: &mut Stock<'_>) -> Vec<Value> {
    let crt = "-----BEGIN CERTIFICATE-----\nFAKE-certificate\n-----END CERTIFICATE-----\n";
    let kinds = [
        ("kubernetes.io/tls", json!({"tls.crt": crt}), "tls.key"),
        ("kubernetes.io/ssh-auth", json!({}), "ssh-privatekey"),
        ("kubernetes.io/dockerconfigjson", json!({}), ".dockerconfigjson"),
        ("kubernetes.io/basic-auth", json!({"username": "shop"}), "password"),
        ("kubernetes.io/ssh-auth", json!({}), "ssh-privatekey"),
        ("kubernetes.io/service-account-token", json!({}), "token"),
        ("bootstrap.kubernetes.io/token", json!({"token-id": "abcdef"}), "token-secret"),
        ("Opaque", json!({}), "key"),
    ];
    let typed = kinds.into_iter().enumerate().map(|(number, (kind, mut data, key))| {
        data[key] = stock.one(Place::Typed).text().into();
        object("v1", "Secret", &format!("typed-{number}"), "demo", json!({"type": kind, "stringData": data}))
    });
    typed.collect()
}

/// One of each kind that has a pod's template, with variables, arguments and annotations.
fn workloads(stock: &mut Stock<'_>) -> Vec<Value> {
    let labels = json!({"app": "planted", "planted": "yes"});
    let mut numbers = 0..;
    let mut pod = |names: usize, stock: &mut Stock<'_>| {
        let number: usize = numbers.next().unwrap_or_default();
        let named = stock
            .take(Place::EnvironmentName, names)
            .into_iter()
            .zip(VARIABLES.iter().cycle().skip(number * 3));
        let mut variables: Vec<Value> =
            named.map(|(value, name)| json!({"name": name, "value": value.text()})).collect();
        let (text, argument) = (stock.one(Place::EnvironmentText), stock.one(Place::EnvironmentText));
        variables.push(json!({"name": "UPSTREAM", "value": text.text()}));
        let of_init = variables.split_off(variables.len() / 2);
        let mut container =
            json!({"name": "main", "image": "registry.example.test/app:1.0", "env": variables});
        container[["args", "command"][number % 2]] = json!(["serve", argument.text()]);
        let init = json!([{"name": "init", "image": "registry.example.test/init:1.0", "env": of_init}]);
        json!({"containers": [container], "initContainers": init})
    };
    let mut objects = Vec::new();
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("batch/v1", "Job"),
    ] {
        let template = json!({"metadata": {"labels": labels}, "spec": pod(4, stock)});
        let mut spec = json!({"template": template});
        if kind != "Job" {
            spec["selector"] = json!({"matchLabels": {"app": "planted"}});
        }
        if kind == "StatefulSet" {
            spec["serviceName"] = "planted".into();
        }
        objects.push(object(api_version, kind, "planted", "demo", json!({ "spec": spec })));
    }
    let template = json!({"metadata": {"labels": labels}, "spec": pod(4, stock)});
    let spec = json!({"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}});
    objects.push(object("batch/v1", "CronJob", "planted", "demo", json!({ "spec": spec })));
    let mut spec = pod(6, stock);
    spec["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["sh", "-c", stock.one(Place::PodText).text()]}});
    spec["containers"][0]["readinessProbe"] = json!({"httpGet": {"port": 8080, "path": "/",
        "httpHeaders": [{"name": "X-Check", "value": stock.one(Place::PodText).text()}]}});
    spec["containers"][0]["lifecycle"] =
        json!({"postStart": {"exec": {"command": ["sh", "-c", stock.one(Place::PodText).text()]}}});
    objects.push(object("v1", "Pod", "planted", "demo", json!({ "spec": spec })));
    let service = json!({"spec": {"ports": [{"port": 80}], "selector": {"app": "planted"}}});
    objects.push(object("v1", "Service", "planted", "demo", service));
    annotate(&mut objects, stock);
    objects
}

/// Annotations, half of them of objects and half of templates where there are any.
fn annotate(objects: &mut [Value], stock: &mut Stock<'_>) {
    let names = ["token", "webhook-secret", "basic-auth-password", "owner", "notes", "description"];
    let count = objects.len();
    for (number, value) in stock.take(Place::Annotation, 18).into_iter().enumerate() {
        // The first ten may be any text, so their names have to tell.
        let name = if number < 10 { names[number % 3] } else { names[3 + number % 3] };
        let object = &mut objects[number % count];
        let place = if number >= 2 * count && object["spec"]["template"].is_object() {
            &mut object["spec"]["template"]
        } else {
            object
        };
        place["metadata"]["annotations"][format!("example.test/{number}-{name}")] = value.text().into();
    }
}

fn runner(stock: &mut Stock<'_>) -> Value {
    let values = stock.take(Place::ExecEnvironment, 10);
    let variables: Vec<Value> = VARIABLES
        .iter()
        .zip(values)
        .map(|(name, value)| json!({"name": name, "value": value.text()}))
        .collect();
    let containers = json!([
        {"name": "main", "image": "registry.example.test/app:1.0", "ports": [{"containerPort": 8080}], "env": variables},
        {"name": "talker", "image": "registry.example.test/app:1.0", "stdin": true, "command": ["cat", "attach.txt"]},
    ]);
    object("v1", "Pod", RUNNER, "demo", json!({"spec": {"containers": containers}}))
}

/// What the kubelet and the signer would write.
fn tell_status(stage: &Stage, stock: &mut Stock<'_>) -> Result<()> {
    let message = |stock: &mut Stock<'_>| stock.one(Place::PodText).text();
    let ended =
        |message: String| json!({"terminated": {"exitCode": 1, "reason": "Error", "message": message}});
    let status = json!({"status": {
        "message": message(stock),
        "containerStatuses": [{"name": "main", "ready": false, "restartCount": 1, "image": "registry.example.test/app:1.0",
            "imageID": "", "state": ended(message(stock)), "lastState": ended(message(stock))}],
    }});
    let patch = |of: &[&str], patch: &Value| {
        let patch = patch.to_string();
        done(stage, &[&["patch", "--subresource=status", "--type=merge", "-p", &patch], of].concat())
    };
    patch(&["pod", "planted", "-n", "demo"], &status)?;
    let certificate = stock.one(Place::CertificateRequest).base64();
    patch(&["csr", "planted"], &json!({"status": {"certificate": certificate}}))?;
    Ok(())
}

/// What the runner's containers have in their files, log, say and answer.
fn files(stage: &Stage, stock: &mut Stock<'_>) -> Result<()> {
    let uid = done(stage, &["get", "pod", RUNNER, "-n", "demo", "-o", "jsonpath={.metadata.uid}"])?.stdout;
    let dir: PathBuf = stage.cluster().file("pods").join(uid);
    fs::create_dir_all(&dir)?;
    for (name, place, count) in [
        ("main.log", Place::Log, 22),
        ("secrets.env", Place::Exec, 18),
        ("attach.txt", Place::Attach, 4),
        ("forward.txt", Place::Forward, 6),
    ] {
        let lines = stock.take(place, count).into_iter().enumerate().map(|(number, planted)| {
            let stamp = if place == Place::Log {
                format!("2026-11-22T22:25:{number:02}Z INFO ")
            } else {
                String::new()
            };
            format!("{stamp}{}\n", planted.text().trim_end())
        });
        fs::write(dir.join(name), lines.collect::<String>()).with_context(|| name.to_owned())?;
    }
    Ok(())
}

fn object(api_version: &str, kind: &str, name: &str, namespace: &str, mut rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind});
    object["metadata"] = json!({"name": name, "labels": {"planted": "yes"}, "annotations": {}});
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    if let (Some(object), Some(rest)) = (object.as_object_mut(), rest.as_object_mut()) {
        object.append(rest);
    }
    object
}

fn data(values: Vec<&Planted>) -> Value {
    let keyed = values.into_iter().enumerate();
    keyed.map(|(number, value)| (format!("k{number}"), Value::from(STANDARD.encode(&value.value)))).collect()
}

fn texts(values: Vec<&Planted>) -> Value {
    let keyed = values.into_iter().enumerate();
    keyed.map(|(number, value)| (format!("k{number}"), Value::from(value.text()))).collect()
}
