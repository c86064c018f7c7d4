//! One request at a time: what a role reviews waits until somebody else agrees to that very request. kubectl just takes
//! longer.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use common::{LIMIT, hang_up, held, newest, own, programs, requests, role, run, write_fixtures};
use e2e::{ALICE, BOB, CAROL, Kubectl, Output, Running, Stage, StageOptions, installed, output, wait_for};
use serde_json::Value;

fn roles() -> String {
    role(
        "careful",
        r#"
  rules:
  - {apiGroups: ["", apps], resources: ["*"], verbs: [get, list, watch]}
  - {action: review, apiGroups: [""], resources: [pods], verbs: [delete], review: {wait: 1m}}
  - {action: review, apiGroups: [""], resources: [pods/exec], verbs: [create], review: {wait: 1m}}
  - {action: review, apiGroups: ["", apps], resources: [configmaps, secrets, deployments, deployments/scale], verbs: [create, patch, update], review: {wait: 1m}}
  - {action: review, apiGroups: [""], resources: [services], verbs: [delete], review: {wait: 2s}}
"#,
    )
}

/// A stage on which alice holds the role; also the grant.
fn stage() -> Result<(Stage, String)> {
    let bulk = vec!["--bulk-pods".to_owned(), "20".to_owned()];
    let stage =
        Stage::set(&programs()?, &StageOptions { cluster_args: bulk, ..StageOptions::with_roles(&roles()) })?;
    let grant = stage.grant(ALICE, "careful", "1h")?;
    Ok((stage, grant))
}

fn start(stage: &Stage, kubectl: &Kubectl, args: &[&str]) -> Result<Running> {
    Running::start(stage.kubectl(ALICE, kubectl, args).stdin(Stdio::null()))
}

fn id(hold: &Value) -> Result<&str> {
    hold["id"].as_str().context("id")
}

/// Has bob say no, and waits for what kubectl says to that.
fn deny(stage: &Stage, running: &mut Running, hold: &Value) -> Result<Output> {
    let denied = stage.portcullis(BOB, &["deny", id(hold)?, "--comment", "not today"])?;
    assert_eq!(denied.code, 0, "{}", denied.all());
    running.wait(LIMIT)
}

#[test]
fn a_delete_waits_until_somebody_else_agrees() -> Result<()> {
    let (stage, grant) = stage()?;
    for (number, kubectl) in installed()?.iter().enumerate() {
        let pod = format!("pod-{number:05}");
        let mut running = start(&stage, kubectl, &["delete", "pod", &pod, "-n", "bulk", "--wait=false"])?;
        let hold = held(&stage)?;
        let hold_id = id(&hold)?;
        let operation = &hold["operation"];
        for (field, value) in
            [("verb", "delete"), ("resource", "pods"), ("namespace", "bulk"), ("name", pod.as_str())]
        {
            assert_eq!(operation[field], value, "{hold}");
        }
        assert_eq!((&hold["grant"], &hold["target"]), (&grant.as_str().into(), &"demo".into()));
        assert!(hold["command"].to_string().contains(&pod), "{hold}");
        let listed = stage.portcullis(BOB, &["requests"])?;
        for part in [hold_id, "alice", "delete", &pod] {
            assert!(listed.stdout.contains(part), "{part:?} is not in {}", listed.stdout);
        }
        for not_theirs in [ALICE, CAROL] {
            let refused = stage.portcullis(not_theirs, &["approve", hold_id])?;
            assert_eq!(refused.code, 1, "{}: {}", not_theirs.name, refused.all());
        }
        assert!(!running.ended(), "it waits");
        assert!(
            stage.cluster().requests()?.iter().all(|request| request["method"] != "DELETE"
                || !request["target"].as_str().is_some_and(|target| target.contains(&pod))),
            "nothing was sent yet"
        );
        let approved = stage.portcullis(BOB, &["approve", hold_id])?;
        assert_eq!(approved.code, 0, "{}", approved.all());
        let deleted = running.wait(LIMIT)?;
        assert_eq!(deleted.code, 0, "kubectl {}: {}", kubectl.version, deleted.all());
        assert!(deleted.stdout.contains("deleted"), "{}", deleted.all());
        assert_eq!(stage.portcullis(BOB, &["approve", hold_id])?.code, 1, "it is spent");
    }
    let all = requests(&stage, BOB, "h-", true)?;
    assert_eq!(all.len(), installed()?.len(), "one hold an action: {all:?}");
    Ok(())
}

#[test]
fn a_no_reaches_kubectl_with_its_reason() -> Result<()> {
    let (stage, _) = stage()?;
    for kubectl in installed()? {
        let mut running = start(&stage, &kubectl, &["delete", "pod", "web", "--wait=false"])?;
        let hold = held(&stage)?;
        let refused = deny(&stage, &mut running, &hold)?;
        assert_eq!(refused.code, 1);
        for part in ["not today", "bob"] {
            assert!(
                refused.stderr.contains(part),
                "kubectl {}: {part:?}: {}",
                kubectl.version,
                refused.stderr
            );
        }
    }
    let shown = output(&mut stage.kubectl(ALICE, &newest()?, &["get", "pod", "web"]), LIMIT)?;
    assert_eq!(shown.code, 0, "the pod is still there: {}", shown.all());
    Ok(())
}

#[test]
fn nobody_answers_in_time() -> Result<()> {
    let (stage, _) = stage()?;
    for kubectl in installed()? {
        let mut running = start(&stage, &kubectl, &["delete", "service", "web", "--wait=false"])?;
        let hold = held(&stage)?;
        let over = running.wait(LIMIT)?;
        assert_eq!(over.code, 1);
        assert!(over.stderr.contains(id(&hold)?), "kubectl {}: {}", kubectl.version, over.stderr);
        assert!(
            over.stderr.contains("2s"),
            "kubectl {} is not told for how long: {}",
            kubectl.version,
            over.stderr
        );
        let late = stage.portcullis(BOB, &["approve", id(&hold)?])?;
        assert_eq!(late.code, 1, "{}", late.all());
    }
    Ok(())
}

#[test]
fn an_exec_is_held_once_however_often_kubectl_tries() -> Result<()> {
    let (stage, _) = stage()?;
    let mut held_so_far = 0;
    for kubectl in installed()? {
        for _again in 0..2 {
            // A terminal of its own, as `-t` wants one.
            let exec = format!("{} exec -it shell -- sh -c 'echo in; exit 3'", kubectl.path.display());
            let mut command = stage.command(ALICE, std::path::Path::new("/usr/bin/script"));
            command.args(["-qec", &exec, "/dev/null"]);
            let mut running = Running::start(command.stdin(Stdio::piped()))?;
            let hold = held(&stage)?;
            assert_eq!(hold["operation"]["subresource"], "exec");
            stage.portcullis(BOB, &["approve", id(&hold)?])?;
            let ended = running.wait(LIMIT)?;
            assert_eq!(ended.code, 3, "kubectl {}: {}", kubectl.version, ended.all());
            assert!(ended.stdout.contains("in"), "{}", ended.all());
            held_so_far += 1;
            let all = requests(&stage, BOB, "h-", true)?;
            assert_eq!(all.len(), held_so_far, "kubectl {}: {all:?}", kubectl.version);
        }
        // A refused WebSocket comes back over SPDY: to the same no, and not to another question.
        let mut running = start(&stage, &kubectl, &["exec", "shell", "--", "true"])?;
        let hold = held(&stage)?;
        let refused = deny(&stage, &mut running, &hold)?;
        held_so_far += 1;
        assert_eq!((refused.code, refused.stderr.matches("not today").count()), (1, 1), "{}", refused.stderr);
        assert_eq!(requests(&stage, BOB, "h-", true)?.len(), held_so_far, "kubectl {}", kubectl.version);
    }
    Ok(())
}

#[test]
fn who_gives_up_waits_no_longer() -> Result<()> {
    let (stage, grant) = stage()?;
    let kubectl = newest()?;
    let mut running = start(&stage, &kubectl, &["delete", "pod", "web", "--wait=false"])?;
    let hold = held(&stage)?;
    let interrupted = Command::new("kill").args(["-INT", &running.pid().to_string()]).status()?;
    assert!(interrupted.success());
    running.wait(LIMIT)?;
    wait_for("the hold to end", LIMIT, || {
        requests(&stage, BOB, "h-", false).is_ok_and(|held| held.is_empty()).then_some(())
    })?;
    assert_eq!(stage.portcullis(BOB, &["approve", id(&hold)?])?.code, 1);

    // Alice withdraws one herself; and one ends with the grant that it is under.
    let mut running = start(&stage, &kubectl, &["delete", "pod", "web", "--wait=false"])?;
    stage.portcullis(ALICE, &["deny", id(&held(&stage)?)?])?;
    assert_eq!(running.wait(LIMIT)?.code, 1);
    let mut running = start(&stage, &kubectl, &["delete", "pod", "shell", "--wait=false"])?;
    held(&stage)?;
    stage.portcullis(BOB, &["revoke", &grant, "--reason", "lunch time"])?;
    let ended = running.wait(LIMIT)?;
    assert!(ended.stderr.contains("lunch time"), "{}", ended.stderr);
    Ok(())
}

#[test]
fn what_is_agreed_to_is_decided_by_the_roles_of_then() -> Result<()> {
    let (mut stage, _) = stage()?;
    let kubectl = newest()?;
    let role = stage.dir().join("roles/roles.yaml");
    let of_pods = "resources: [pods], verbs: [delete], review: {wait: 1m}}";
    assert!(roles().contains(of_pods));
    for (instead, said) in [
        (
            "resources: [pods], verbs: [delete], review: {wait: 1m, required: 2}}",
            "has changed since it was agreed to",
        ),
        (
            "resources: [pods], verbs: [delete], review: {wait: 1m}}\n  - {action: deny, apiGroups: [\"\"], resources: [pods], verbs: [delete], reason: not any more}",
            "not any more",
        ),
    ] {
        let mut running = start(&stage, &kubectl, &["delete", "pod", "web", "--wait=false"])?;
        let hold = held(&stage)?;
        fs::write(&role, roles().replace(of_pods, instead))?;
        hang_up(&mut stage, "reloaded\"")?;
        assert_eq!(stage.portcullis(BOB, &["approve", id(&hold)?])?.code, 0);
        let refused = running.wait(LIMIT)?;
        assert_eq!(refused.code, 1, "{}", refused.all());
        assert!(refused.stderr.contains(said), "{said:?} is not in {}", refused.stderr);
        fs::write(&role, roles())?;
        hang_up(&mut stage, "reloaded\"")?;
    }
    assert!(
        stage.cluster().requests()?.iter().all(|request| request["method"] != "DELETE"),
        "nothing was deleted"
    );
    Ok(())
}

#[test]
fn a_write_shows_what_it_would_change() -> Result<()> {
    let (stage, _) = stage()?;
    let home = stage.home(ALICE);
    write_fixtures(&home)?;
    own(&home, ALICE)?;
    let secret = r#"{"stringData":{"password":"FAKE-next-password"}}"#;
    for kubectl in installed()? {
        let saved = run(&stage, &kubectl, &["get", "secret", "db-credentials", "-o", "yaml"])?;
        let labelled = saved.stdout.replace("    app: shop\n", "    app: shop\n    seen: \"yes\"\n");
        fs::write(home.join("masked.yaml"), labelled)?;
        own(&home, ALICE)?;
        for (args, shown) in [
            (&["apply", "-f", "applied.yaml"] as &[&str], vec!["+  k: v"]),
            (
                &["patch", "configmap", "app-config", "-p", r#"{"data":{"color":"green"}}"#],
                vec!["-  color: blue", "+  color: green"],
            ),
            (&["scale", "deployment", "web", "--replicas=5"], vec!["-  replicas: 2", "+  replicas: 5"]),
            (&["patch", "secret", "db-credentials", "-p", secret], vec!["password"]),
            (&["replace", "-f", "masked.yaml"], vec!["+    seen: "]),
        ] {
            let mut running = start(&stage, &kubectl, args)?;
            let hold = held(&stage)?;
            let diff = hold["diff"].as_str().with_context(|| format!("{args:?}: no diff in {hold}"))?;
            for part in shown {
                assert!(
                    diff.contains(part),
                    "kubectl {} {args:?}: {part:?} is not in\n{diff}",
                    kubectl.version
                );
            }
            // As text, and as the base64 that stands in the object.
            for value in ["FAKE-next-password", "RkFLRS1uZXh0LXBhc3N3b3Jk", "FAKE-s3cr3t", "RkFLRS1zM2NyM3Q"]
            {
                assert!(!diff.contains(value), "{value} is shown in\n{diff}");
                assert!(!stage.portcullis(BOB, &["requests"])?.all().contains(value), "{value} is listed");
            }
            if args[0] == "replace" {
                let changes = diff.lines().skip(2).filter(|line| line.starts_with(['+', '-'])).count();
                assert_eq!(changes, 1, "masks that come back change nothing:\n{diff}");
            }
            assert_eq!(deny(&stage, &mut running, &hold)?.code, 1);
        }
    }
    Ok(())
}
