//! A planted secret value leaves the proxy in no byte toward a client, and stands in no file of the recordings or the log,
//! over every representation that can be asked for.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use common::{everything_role, programs};
use e2e::{ALICE, Output, Running, Stage, StageOptions, installed, output};

const LIMIT: Duration = Duration::from_secs(30);

/// Long and odd enough to stand nowhere by chance; the second makes JSON escape, the third is binary-ish.
const PLANTED: [&str; 4] = [
    "planted-Zq7xK2mVw9-alpha",
    "planted \"Wm4\" \\ quoted-é<&>",
    "-----BEGIN PRIVATE KEY-----\nplantedMIIEvQkY8\n-----END PRIVATE KEY-----\n",
    "planted-stringdata-Jh5Tn8",
];

struct Leaks {
    needles: Vec<(String, Vec<u8>)>,
    found: Vec<String>,
    looked_at: usize,
}

impl Leaks {
    fn new() -> Self {
        let mut needles = Vec::new();
        for value in PLANTED {
            let mut add = |form: &str, bytes: Vec<u8>| needles.push((format!("{value:?} as {form}"), bytes));
            add("text", value.into());
            add("JSON text", serde_json::to_string(value).unwrap_or_default().trim_matches('"').into());
            add("base64", STANDARD_NO_PAD.encode(value).into());
            add("base64url", URL_SAFE.encode(value).trim_end_matches('=').into());
            // Inside other base64 the same bytes look different by where they begin.
            for shift in 1..3 {
                let shifted = STANDARD_NO_PAD.encode([&vec![b'"'; shift], value.as_bytes()].concat());
                add("base64, shifted", shifted.as_bytes()[4..shifted.len() - 4].to_vec());
            }
            let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
            add("hex", hex.into());
            add("reversed", value.bytes().rev().collect());
        }
        Self { needles, found: Vec::new(), looked_at: 0 }
    }

    fn look(&mut self, at: &str, bytes: &[u8]) {
        self.looked_at += 1;
        for (form, needle) in &self.needles {
            if bytes.windows(needle.len()).any(|window| window == needle) {
                self.found.push(format!("{form} in {at}"));
            }
        }
    }

    fn look_at(&mut self, at: &str, output: &Output) {
        self.look(at, output.all().as_bytes());
    }

    fn look_below(&mut self, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                self.look_below(&path)?;
            } else {
                self.look(&path.display().to_string(), &fs::read(&path)?);
            }
        }
        Ok(())
    }
}

/// Puts the values into the cluster behind the gate's back.
fn plant(stage: &Stage) -> Result<()> {
    let data = |value: &str| STANDARD.encode(value);
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "planted", "namespace": "demo", "labels": {"planted": "yes"}},
        "data": {"a": data(PLANTED[0]), "b": data(PLANTED[1]), "tls.key": data(PLANTED[2])},
    });
    let copy = object.to_string();
    let mut object = object;
    object["metadata"]["annotations"] =
        serde_json::json!({ "kubectl.kubernetes.io/last-applied-configuration": copy });
    let file = stage.dir().join("planted.json");
    fs::write(&file, object.to_string())?;
    let kubectl = installed()?.pop().context("kubectl")?;
    let mut command = Command::new(&kubectl.path);
    command.env("KUBECONFIG", stage.cluster().file("admin.kubeconfig")).env("HOME", stage.dir());
    let planted = output(command.args(["create", "--validate=false", "-f"]).arg(&file), LIMIT)?;
    anyhow::ensure!(planted.code == 0, "{}", planted.all());
    fs::remove_file(file)?;
    Ok(())
}

fn curl(stage: &Stage, path: &str, args: &[&str]) -> Result<Output> {
    let mut command = stage.command(ALICE, Path::new("/usr/bin/curl"));
    command.args(["-sS", "-k", "-i", "--compressed", "--max-time", "3"]).args(args);
    command.arg(format!("{}{path}", stage.endpoint()));
    output(&mut command, LIMIT)
}

#[test]
fn no_planted_value_leaves_the_gate_or_reaches_the_disk() -> Result<()> {
    let bulk = vec!["--bulk-secrets".to_owned(), "400".to_owned()];
    let options = StageOptions { cluster_args: bulk, ..StageOptions::with_roles(&everything_role()) };
    let stage = Stage::set(&programs()?, &options)?;
    stage.grant(ALICE, "everything", "1h")?;
    plant(&stage)?;
    let mut leaks = Leaks::new();

    let accepts = [
        "application/json",
        "*/*",
        "application/vnd.kubernetes.protobuf",
        "application/vnd.kubernetes.protobuf,application/json",
        "application/vnd.kubernetes.protobuf;stream=watch",
        "application/json;stream=watch",
        "application/yaml",
        "application/cbor",
        "application/cbor-seq",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
        "text/html, application/json;q=0.1",
    ];
    let paths = [
        "/api/v1/namespaces/demo/secrets/planted",
        "/api/v1/namespaces/demo/secrets",
        "/api/v1/namespaces/demo/secrets/",
        "/api/v1/secrets",
        "/api/v1/secrets?labelSelector=planted%3Dyes",
        "/api/v1/namespaces/demo/secrets?fieldSelector=metadata.name%3Dplanted",
        "/api/v1/namespaces/demo/secrets?includeObject=Object",
        "/api/v1/namespaces/demo/secrets?includeObject=Metadata",
        "/api/v1/namespaces/demo/secrets?limit=1",
        "/api/v1/namespaces/demo/secrets?pretty=true",
        "/api/v1/namespaces/demo/secrets?watch=true&timeoutSeconds=1",
        "/api/v1/namespaces/demo/secrets?watch=1&timeoutSeconds=1&includeObject=Object",
        "/api/v1/namespaces/demo/secrets?watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        "/api/v1/watch/namespaces/demo/secrets?timeoutSeconds=1",
        "/api/v1/watch/namespaces/demo/secrets/planted?timeoutSeconds=1",
    ];
    // The watches take their second each: all at once.
    std::thread::scope(|scope| -> Result<()> {
        let stage = &stage;
        let asking: Vec<_> = paths
            .into_iter()
            .map(|path| {
                scope.spawn(move || -> Result<Vec<(String, Output)>> {
                    let ask = |accept| {
                        let accept = format!("Accept: {accept}");
                        Ok((format!("GET {path} {accept}"), curl(stage, path, &["-H", &accept])?))
                    };
                    accepts.into_iter().map(ask).collect()
                })
            })
            .collect();
        for answers in asking {
            for (at, answered) in answers.join().expect("no panic while asking")? {
                leaks.look_at(&at, &answered);
            }
        }
        Ok(())
    })?;
    compressed(&stage)?;
    // What writes answer.
    let patch = r#"{"metadata":{"labels":{"touched":"yes"}}}"#;
    let one = paths[0];
    for (what, args) in [
        ("merge patch", vec!["-X", "PATCH", "-H", "Content-Type: application/merge-patch+json", "-d", patch]),
        (
            "strategic patch",
            vec!["-X", "PATCH", "-H", "Content-Type: application/strategic-merge-patch+json", "-d", patch],
        ),
        (
            "failing json patch",
            vec![
                "-X",
                "PATCH",
                "-H",
                "Content-Type: application/json-patch+json",
                "-d",
                r#"[{"op":"test","path":"/data/a","value":"x"}]"#,
            ],
        ),
        ("bad body", vec!["-X", "PUT", "-H", "Content-Type: application/json", "-d", "{\"kind\":"]),
        (
            "dry run delete",
            vec![
                "-X",
                "DELETE",
                "-H",
                "Content-Type: application/json",
                "-d",
                r#"{"dryRun":["All"],"propagationPolicy":"Orphan"}"#,
            ],
        ),
    ] {
        let answered = curl(&stage, one, &args)?;
        leaks.look_at(what, &answered);
    }
    kubectls(&stage, &mut leaks)?;

    // Deleting answers with the object, one by one and as a collection.
    leaks.look_at(
        "deletecollection",
        &curl(&stage, "/api/v1/namespaces/demo/secrets?labelSelector=planted%3Dyes", &["-X", "DELETE"])?,
    );

    leaks.look_below(&stage.recordings())?;
    let mut stage = stage;
    let log = stage.daemon().log();
    leaks.look("the daemon's log", log.as_bytes());
    println!("{} outputs and files searched for {} spellings", leaks.looked_at, leaks.needles.len());
    assert!(leaks.found.is_empty(), "{}", leaks.found.join("\n"));
    // The search itself works: what is not masked is found.
    leaks.look("itself", PLANTED[0].as_bytes());
    assert!(!leaks.found.is_empty());
    Ok(())
}

/// From 128 KiB on the API server compresses what it answers to those who accept it.
fn compressed(stage: &Stage) -> Result<()> {
    let path = "/api/v1/namespaces/bulk/secrets";
    let answered = curl(stage, path, &["-H", "Accept: application/json"])?;
    let (head, body) = answered.stdout.split_once("\r\n\r\n").context("no body")?;
    assert!(head.to_ascii_lowercase().contains("content-encoding: gzip"), "{head}");
    let list: serde_json::Value = serde_json::from_str(body)?;
    let items = list["items"].as_array().context("no items")?;
    assert_eq!(items.len(), 400);
    let values = items.iter().filter_map(|item| item["data"].as_object()).flat_map(|data| data.values());
    let mut masked = 0;
    for value in values.filter_map(serde_json::Value::as_str) {
        assert!(STANDARD.decode(value)?.starts_with(b"portcullis-masked:"), "{value} is not masked");
        masked += 1;
    }
    assert!(masked >= 400, "only {masked} values were looked at");
    Ok(())
}

/// kubectl with the bodies that it received printed in full (`-v=10`).
fn kubectls(stage: &Stage, leaks: &mut Leaks) -> Result<()> {
    let manifest = stage.home(ALICE).join("applied.yaml");
    fs::write(
        &manifest,
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: applied, namespace: demo, labels: {{planted: \"yes\"}}}}\nstringData: {{s: {}}}\n",
            PLANTED[3]
        ),
    )?;
    for kubectl in installed()? {
        for args in [
            vec!["get", "secret", "planted", "-o", "yaml"],
            vec!["get", "secrets", "-o", "json"],
            vec!["get", "secrets", "-o", "wide"],
            vec!["get", "secrets", "-A"],
            vec!["get", "secret", "planted", "-o", "jsonpath={.data.a}"],
            vec!["get", "secret", "planted", "-o", "go-template={{.data.b}}"],
            vec!["get", "--raw", "/api/v1/namespaces/demo/secrets/planted"],
            vec!["describe", "secret", "planted"],
            vec!["label", "secret", "planted", "--overwrite", "seen=yes"],
            vec!["get", "secrets", "--chunk-size=1", "-o", "yaml"],
        ] {
            let mut verbose = args.clone();
            verbose.push("-v=10");
            let shown = output(&mut stage.kubectl(ALICE, &kubectl, &verbose), LIMIT)?;
            leaks.look_at(&format!("kubectl {} {}", kubectl.version, args.join(" ")), &shown);
        }
        // Its own manifest stands in what it sends, so only what it received is looked at: without -v.
        let applied = output(
            &mut stage.kubectl(ALICE, &kubectl, &["apply", "-f", "applied.yaml", "-o", "json"]),
            LIMIT,
        )?;
        assert_eq!(applied.code, 0, "{}", applied.all());
        leaks.look_at(&format!("kubectl {} apply", kubectl.version), &applied);
        let watch = ["get", "secrets", "-w", "-o", "json"];
        let mut running = Running::start(stage.kubectl(ALICE, &kubectl, &watch).stdin(Stdio::null()))?;
        running.wait_for_stdout("planted", LIMIT)?;
        leaks.look("kubectl get -w", running.stdout().as_bytes());
    }
    Ok(())
}
