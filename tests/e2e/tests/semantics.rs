//! Kubernetes' own questions and lists, with the gate's answer in them: `kubectl auth can-i`, `kubectl auth whoami`, lists
//! that a role filters, exec by its command.

mod common;

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use common::{LIMIT, newest, patch, programs, recorded, requests, role, run};
use e2e::{ALICE, BOB, Running, Stage, StageOptions, installed, wait_for};
use serde_json::Value;

fn roles() -> String {
    [role(
"look",
r#"
  rules:
  - {apiGroups: [""], resources: [pods, pods/log], verbs: [get, list, watch], namespaces: [demo]}
  - {action: deny, apiGroups: [""], resources: [pods], verbs: [delete], reason: not by hand}
"#,
),
role(
"team",
r#"
  rules:
  - {apiGroups: [""], resources: [pods, secrets], verbs: [get, list, watch], namespaces: [demo], filter: true}
  - {apiGroups: [""], resources: [configmaps], verbs: [create, delete], namespaces: [prod]}
"#,
),
role(
"enter",
r#"
  rules:
  - {apiGroups: [""], resources: [pods], verbs: [get], namespaces: [demo]}
  - {apiGroups: [""], resources: [pods/exec], verbs: [create], namespaces: [demo], command: ["echo *", "sh -c *"]}
  - {action: deny, apiGroups: [""], resources: [pods/exec], verbs: [create], command: [rm], reason: nothing is removed}
"#,
),
role(
"issue",
r#"
  presentAs: impersonate
  rules:
  - {apiGroups: [""], resources: [serviceaccounts/token], verbs: [create], namespaces: [demo]}
"#,
),
role(
"debug",
r#"
  rules:
  - {apiGroups: [""], resources: [pods], verbs: [get, list, watch], namespaces: [demo]}
  - {action: review, apiGroups: [""], resources: [pods/ephemeralcontainers], verbs: [patch], namespaces: [demo]}
"#,
),
]
.join("---\n")
}

/// A stage on which other namespaces hold more than `demo`.
fn stage() -> Result<Stage> {
    let cluster_args = vec!["--bulk-pods".to_owned(), "30".to_owned()];
    Stage::set(&programs()?, &StageOptions { cluster_args, ..StageOptions::with_roles(&roles()) })
}

#[test]
fn can_i_tells_the_truth() -> Result<()> {
    let stage = stage()?;
    let kubectls = installed()?;
    for kubectl in &kubectls {
        let no = run(&stage, kubectl, &["auth", "can-i", "get", "pods", "-n", "demo"])?;
        assert_eq!(no.code, 1, "{}", no.all());
        assert!(
            no.stdout.starts_with("no - portcullis: denied: alice may not get pods in namespace \"demo\""),
            "{}",
            no.all()
        );
        assert!(no.stdout.contains("portcullis request --from d-"), "{}", no.all());
    }
    let asked = stage.cluster().requests()?;
    let reviews = asked.iter().filter(|request| request.to_string().contains("selfsubject")).count();
    assert_eq!(reviews, 0, "without a grant nothing goes upstream");

    stage.grant(ALICE, "look", "1h")?;
    stage.grant(ALICE, "issue", "1h")?;
    for kubectl in &kubectls {
        let can_i = |args: &[&str]| run(&stage, kubectl, &[&["auth", "can-i"], args].concat());
        let yes = can_i(&["get", "pods", "-n", "demo"])?;
        assert_eq!((yes.code, yes.stdout.trim()), (0, "yes"), "{}", yes.all());
        let all = can_i(&["list", "pods", "-A"])?;
        assert!(
            all.stdout.contains("Your grant covers it in namespace demo: name one with -n"),
            "{}",
            all.all()
        );
        let denied = can_i(&["delete", "pods", "-n", "demo"])?;
        assert!(denied.stdout.contains("rule 2 of role look forbids it: not by hand"), "{}", denied.all());
        let everything = can_i(&["*", "*", "-n", "demo"])?;
        assert_eq!(everything.code, 1, "{}", everything.all());
        let open = can_i(&["get", "/version"])?;
        assert_eq!((open.code, open.stdout.trim()), (0, "yes"), "{}", open.all());
        // The gate would let it pass, and the cluster would not.
        let both = can_i(&["create", "serviceaccounts", "--subresource=token", "-n", "demo"])?;
        assert_eq!(both.code, 1, "{}", both.all());
        assert!(both.stdout.contains("but target demo does not let it be done"), "{}", both.all());

        let listed = can_i(&["--list", "-n", "demo"])?;
        let line = |resource: &str| {
            let line = listed.stdout.lines().find(|line| line.split_whitespace().next() == Some(resource));
            line.with_context(|| format!("{resource} is not in {}", listed.all()))
        };
        assert!(line("pods")?.ends_with("[get list watch]"), "{}", listed.stdout);
        assert!(line("pods/log")?.ends_with("[get list watch]"), "{}", listed.stdout);
        assert!(line("selfsubjectreviews.authentication.k8s.io")?.ends_with("[create]"), "{}", listed.stdout);
        assert!(listed.stdout.contains("/openapi/*"), "{}", listed.stdout);
    }
    assert!(recorded(&stage)?.contains("selfsubjectaccessreviews"), "questions are on record");
    Ok(())
}

#[test]
fn whoami_is_who_the_gate_knows() -> Result<()> {
    let stage = stage()?;
    let kubectls = installed()?;
    let nobody = run(&stage, kubectls.last().context("no kubectl")?, &["auth", "whoami", "-o", "json"])?;
    let nobody: Value = serde_json::from_str(&nobody.stdout).with_context(|| nobody.all())?;
    assert_eq!(nobody["status"]["userInfo"]["extra"].get("portcullis.dev/grant"), None);
    let grant = stage.grant(ALICE, "look", "1h")?;
    for kubectl in &kubectls {
        let words = run(&stage, kubectl, &["auth", "whoami"])?;
        let compact = words.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words.code, 0, "{}", words.all());
        assert!(compact.contains("Username alice"), "kubectl {}: {}", kubectl.version, words.all());
        assert!(compact.contains("Groups [dev]"), "kubectl {}: {}", kubectl.version, words.all());
        assert!(compact.contains(&format!("Extra: portcullis.dev/grant [{grant}]")), "{}", words.all());
    }
    Ok(())
}

#[test]
fn a_list_over_all_namespaces_shows_what_the_role_covers() -> Result<()> {
    let stage = stage()?;
    stage.grant(ALICE, "team", "1h")?;
    for kubectl in &installed()? {
        let table = run(&stage, kubectl, &["get", "pods", "-A"])?;
        assert_eq!(table.code, 0, "{}", table.all());
        let rows: Vec<&str> = table.stdout.lines().skip(1).collect();
        assert!(!rows.is_empty() && rows.iter().all(|row| row.starts_with("demo ")), "{}", table.all());
        assert!(
            table
                .stderr
                .contains("Warning: role team shows only objects in namespaces demo; others are left out"),
            "{}",
            table.all()
        );
        let paged = run(&stage, kubectl, &["get", "pods", "-A", "--chunk-size=7"])?;
        assert_eq!(paged.stdout.lines().count(), table.stdout.lines().count(), "{}", paged.all());
        let json = run(&stage, kubectl, &["get", "pods", "-A", "-o", "json"])?;
        let json: Value = serde_json::from_str(&json.stdout).with_context(|| json.all())?;
        let items = json["items"].as_array().context("items")?;
        assert_eq!(items.len(), rows.len());
        assert!(items.iter().all(|item| item["metadata"]["namespace"] == "demo"));
        // Masked as ever.
        let secrets = run(&stage, kubectl, &["get", "secrets", "-A", "-o", "yaml"])?;
        assert!(secrets.stdout.contains("db-credentials") && !secrets.stdout.contains("payment-key"));
        assert!(!secrets.stdout.contains("RkFLRS"), "{}", secrets.all());

        let other = run(&stage, kubectl, &["get", "pods", "-n", "bulk"])?;
        assert!(other.stderr.contains("portcullis: denied"), "{}", other.all());
        let bare = run(&stage, kubectl, &["get", "--raw", "/api/v1/pods?includeObject=None"])?;
        assert!(bare.stderr.contains("leave includeObject out"), "{}", bare.all());

        let args = ["get", "secrets", "-A", "--watch", "-o", "name"];
        let mut watching = Running::start(&mut stage.kubectl(ALICE, kubectl, &args))?;
        watching.wait_for_stdout("secret/db-credentials", LIMIT)?;
        let seen = watching.terminate(LIMIT)?;
        ensure!(!seen.stdout.contains("payment-key"), "{}", seen.all());
    }
    let recorded = recorded(&stage)?;
    assert!(recorded.contains("\"leftOut\":30"), "what was left out is counted");
    assert!(!recorded.contains("pod-00029"), "and recorded is what was seen");
    Ok(())
}

#[test]
fn a_watch_over_all_namespaces_shows_events_of_what_the_role_covers() -> Result<()> {
    let stage = stage()?;
    stage.grant(ALICE, "team", "1h")?;
    let (watch, legacy) = ("/api/v1/pods?watch=true", "/api/v1/watch/pods");
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (number, (protocol, target, accept)) in [
        ("--http2", watch, "application/json"),
        ("--http1.1", watch, "application/json"),
        ("--http2", legacy, "application/json;stream=watch"),
        ("--http2", watch, table),
        ("--http1.1", watch, "application/vnd.kubernetes.protobuf;stream=watch, application/json"),
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("{protocol} {target} {accept}");
        let mut curl = stage.command(ALICE, Path::new("/usr/bin/curl"));
        curl.args(["-sSNk", protocol, "-H", &format!("Accept: {accept}")]);
        curl.arg(format!("{}{target}", stage.endpoint()));
        let mut watching = Running::start(curl.stdin(Stdio::null()))?;
        watching.wait_for_stdout("\"shell\"", LIMIT)?;
        // What happens elsewhere happens first, so that it would have come before what is waited for.
        let mark = format!("marked-{number}");
        let label = format!(r#"{{"metadata":{{"labels":{{"mark":"{mark}"}}}}}}"#);
        for pod in ["bulk/pods/pod-00003", "demo/pods/shell"] {
            patch(&stage, &format!("/api/v1/namespaces/{pod}"), &label)?;
        }
        watching.wait_for_stdout(&mark, LIMIT)?;
        watching.kill();
        let seen = watching.stdout();
        let (whole, _) = seen.rsplit_once('\n').with_context(|| seen.clone())?;
        for line in whole.lines() {
            let event: Value = serde_json::from_str(line).with_context(|| format!("{what}: {line}"))?;
            let object = &event["object"];
            let objects: Vec<&Value> = match object["rows"].as_array() {
                Some(rows) => rows.iter().map(|row| &row["object"]).collect(),
                None => vec![object],
            };
            let covered = objects.iter().all(|object| object["metadata"]["namespace"] == "demo");
            ensure!(covered && event["type"] != "ERROR", "{what}: {line}");
        }
        ensure!(!seen.contains("pod-00003"), "{what}: {seen}");
    }
    Ok(())
}

#[test]
fn whoever_agrees_to_a_debug_container_sees_what_it_runs() -> Result<()> {
    let stage = stage()?;
    stage.grant(ALICE, "debug", "1h")?;
    let kubectl = newest()?;
    let debug = [
        "debug",
        "shell",
        "-n",
        "demo",
        "--image=registry.example.test/tools:1",
        "--",
        "dig",
        "db.example.test",
    ];
    let mut running = Running::start(&mut stage.kubectl(ALICE, &kubectl, &debug))?;
    let held = wait_for("a hold", LIMIT, || requests(&stage, BOB, "h-", false).ok()?.pop())?;
    let diff = held["diff"].as_str().with_context(|| held.to_string())?;
    for shown in ["+    - dig", "+    - db.example.test", "+    image: registry.example.test/tools:1"] {
        assert!(diff.contains(shown), "{shown} is not in {diff}");
    }
    let id = held["id"].as_str().context("id")?;
    stage.portcullis(BOB, &["approve", id])?;
    let done = running.wait(LIMIT)?;
    assert_eq!(done.code, 0, "{}", done.all());
    Ok(())
}

#[test]
fn exec_goes_by_its_command() -> Result<()> {
    let stage = stage()?;
    stage.grant(ALICE, "enter", "1h")?;
    for kubectl in &installed()? {
        let exec = |command: &[&str]| {
            run(&stage, kubectl, &[&["exec", "shell", "-n", "demo", "--"], command].concat())
        };
        let fine = exec(&["echo", "hello there"])?;
        assert_eq!((fine.code, fine.stdout.trim()), (0, "hello there"), "{}", fine.all());
        let other = exec(&["cat", "/etc/passwd"])?;
        assert!(
            other.stderr.contains("Your grant covers it for command: echo *, sh -c *."),
            "{}",
            other.all()
        );
        for removal in [&["rm", "x"][..], &["sh", "-c", "cd / && /bin/rm x"], &["sh", "-c", "r\\m x"]] {
            let refused = exec(removal)?;
            assert!(
                refused.stderr.contains("rule 3 of role enter forbids it: nothing is removed"),
                "{removal:?}: {}",
                refused.all()
            );
        }
    }
    let recorded = recorded(&stage)?;
    assert!(
        recorded.contains("\"command\":[\"sh\",\"-c\",\"cd / && /bin/rm x\"]"),
        "a denied command is on record"
    );
    let explained = stage.portcullis(
        ALICE,
        &[
            "policy",
            "explain",
            "--live",
            "--target",
            "demo",
            "create",
            "pods/exec",
            "shell",
            "-n",
            "demo",
            "--",
            "rm",
        ],
    )?;
    assert!(explained.stdout.contains("nothing is removed"), "{}", explained.all());
    Ok(())
}
