//! Clients other than kubectl: curl on HTTP/1.1 and h2, and the Python client.

mod common;

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use common::{LIMIT, everything_role, programs};
use e2e::{ALICE, Output, Stage, StageOptions, output, tools};

fn stage() -> Result<Stage> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    Ok(stage)
}

fn curl(stage: &Stage, args: &[&str], path: &str) -> Result<Output> {
    let mut command = stage.command(ALICE, Path::new("/usr/bin/curl"));
    command.args(["-sSkN", "-w", "\n%{http_version} %{http_code} %{num_connects}\n"]).args(args);
    output(command.arg(format!("{}{path}", stage.endpoint())), LIMIT)
}

#[test]
fn curl_reads_writes_and_watches_on_both_protocols() -> Result<()> {
    let stage = stage()?;
    let pods = "/api/v1/namespaces/demo/pods";
    let configmaps = "/api/v1/namespaces/demo/configmaps";
    let json = "Content-Type: application/json";
    for (protocol, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let name = format!("made-{}", &version[..1]);
        let one = format!("{configmaps}/{name}");
        let object = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}}}}"#);
        let merge = "Content-Type: application/merge-patch+json";
        let chunked = "Transfer-Encoding: chunked";
        let large = format!(r#"{{"data":{{"a":"{}"}}}}"#, "x".repeat(100_000));
        let steps: &[(&[&str], &str, &str, &str)] = &[
            (&[], pods, "200", "PodList"),
            (&[], "/version", "200", "gitVersion"),
            (&[], "/api/v1/namespaces/demo/pods/nosuch", "404", "NotFound"),
            (&["--compressed"], pods, "200", "PodList"),
            (&[], "/api/v1/namespaces/demo/pods?watch=1&timeoutSeconds=1", "200", "ADDED"),
            (&[], "/api/v1/namespaces/demo/pods/web/log?container=web&tailLines=1", "200", "line 20"),
            (&["-X", "POST", "-H", json, "-d", &object], configmaps, "201", &name),
            (&["-X", "POST", "-H", json, "-d", &object], configmaps, "409", "AlreadyExists"),
            (&["-X", "PATCH", "-H", merge, "-d", &large], &one, "200", "xxxx"),
            (
                &["-X", "PATCH", "-H", merge, "-H", "Expect: 100-continue", "-d", r#"{"data":{"b":"c"}}"#],
                &one,
                "200",
                "\"b\"",
            ),
            (&["-X", "DELETE"], &one, "200", ""),
        ];
        for (args, path, status, shown) in steps {
            let got = curl(&stage, &[&[protocol], *args].concat(), path)?;
            let wanted = format!("{version} {status} ");
            let line = got.stdout.trim_end().lines().last().unwrap_or_default().to_owned();
            ensure!(got.code == 0 && line.starts_with(&wanted), "{protocol} {args:?} {path}: {}", got.all());
            ensure!(got.all().contains(shown), "{protocol} {args:?} {path}: {}", got.all());
        }
        // One connection for all of them, chunked bodies included.
        let path = format!("{configmaps}?dryRun=All");
        let url = format!("{}{path}", stage.endpoint());
        let more = [protocol, "-X", "POST", "-H", json, "-H", chunked, "-d", &object, &url, &url];
        let again = curl(&stage, &more, &path)?;
        ensure!(again.stdout.matches(" 201 ").count() == 3, "{}", again.all());
        let connects: Vec<&str> =
            again.stdout.lines().filter(|line| line.starts_with(&format!("{version} "))).collect();
        ensure!(
            connects.iter().map(|line| line.trim_end().ends_with('1')).eq([true, false, false]),
            "{connects:?}"
        );
    }
    Ok(())
}

/// What the Python client is to do, and prints of it.
const PYTHON: &str = r#"
from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream, portforward

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
print("list", sorted(pod.metadata.name for pod in core.list_namespaced_pod("demo").items))
print("get", core.read_namespaced_config_map("app-config", "demo").metadata.name)
seen = [event["object"].metadata.name for event in watch.Watch().stream(core.list_namespaced_pod, "demo", timeout_seconds=1)]
print("watch", sorted(set(seen)))
made = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="of-python"), data={"a": "b"})
print("create", core.create_namespaced_config_map("demo", made).data)
print("patch", core.patch_namespaced_config_map("of-python", "demo", {"data": {"a": "c"}}).data)
print("scale", apps.patch_namespaced_deployment_scale("web", "demo", {"spec": {"replicas": 2}}).spec.replicas)
print("log", core.read_namespaced_pod_log("web", "demo", container="web", tail_lines=1).strip())
print("exec", stream(core.connect_get_namespaced_pod_exec, "shell", "demo", container="sh", command=["echo", "hello"],
                     stdout=True, stderr=True, stdin=False, tty=False).strip())
shell = stream(core.connect_get_namespaced_pod_exec, "shell", "demo", container="sh", command=["sh", "-c", "read a; echo got $a; exit 3"],
               stdout=True, stderr=True, stdin=True, tty=False, _preload_content=False)
shell.write_stdin("typed\n")
shell.run_forever(timeout=10)
print("shell", shell.read_stdout().strip(), shell.returncode)
forward = portforward(core.connect_get_namespaced_pod_portforward, "web", "demo", ports="8080")
socket = forward.socket(8080)
socket.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
socket.settimeout(10)
print("forward", socket.recv(12))
print("delete", core.delete_namespaced_config_map("of-python", "demo").status)
try:
    core.read_namespaced_pod("nosuch", "demo")
except ApiException as error:
    print("refused", error.status, error.reason)
"#;

#[test]
fn the_python_client_does_the_same_through_the_gate() -> Result<()> {
    let stage = stage()?;
    let python = tools::kubernetes_client()?;
    let script = stage.home(ALICE).join("script.py");
    fs::write(&script, PYTHON)?;
    let through = output(stage.command(ALICE, &python).arg(&script), LIMIT)?;
    let mut direct = std::process::Command::new(&python);
    let beside = stage.dir().join("direct");
    let cluster = e2e::Cluster::start(&programs()?.join("simcluster"), &beside, &["127.0.0.1:0"], &[])?;
    direct.arg(&script).env("KUBECONFIG", cluster.file("admin.kubeconfig"));
    let direct = output(&mut direct, LIMIT)?;
    ensure!(direct.code == 0, "{}", direct.all());
    ensure!(
        through.stdout == direct.stdout && through.code == 0,
        "direct:\n{}\nthrough:\n{}",
        direct.all(),
        through.all()
    );
    ensure!(
        through.stdout.contains("shell got typed 3") && through.stdout.contains("refused 404"),
        "{}",
        through.stdout
    );
    Ok(())
}
