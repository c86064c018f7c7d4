//! Just-in-time access end to end: denied, asked for, approved by somebody else, used, revoked, expired.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use common::{LIMIT, everything_role, newest, programs, role};
use e2e::{ALICE, BOB, CAROL, Running, Stage, StageOptions, installed, output};
use serde_json::Value;

fn roles() -> String {
    role(
        "look",
        r#"
  rules:
  - {apiGroups: [""], resources: [pods, pods/log], verbs: [get, list, watch], namespaces: [demo]}
  - {apiGroups: [""], resources: [pods/exec], verbs: [create], namespaces: [demo]}
  - {action: deny, apiGroups: ["*"], resources: ["*"], verbs: [delete], namespaces: [prod], reason: not by hand}
"#,
    )
}

fn stage(roles: &str) -> Result<Stage> {
    Stage::set(&programs()?, &StageOptions::with_roles(roles))
}

#[test]
fn a_denial_names_what_why_and_how_to_ask() -> Result<()> {
    let stage = stage(&roles())?;
    for kubectl in installed()? {
        let denied = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
        assert_eq!(denied.code, 1);
        for part in [
            "Forbidden",
            "list",
            "pods",
            "\"demo\"",
            "portcullis request --from d-",
            "role look on demo for 30m",
        ] {
            assert!(
                denied.stderr.contains(part),
                "kubectl {}: {part:?} is not in {}",
                kubectl.version,
                denied.stderr
            );
        }
    }
    Ok(())
}

#[test]
fn a_denied_watch_is_told_why_as_well() -> Result<()> {
    let stage = stage(&roles().replace("[get, list, watch]", "[get, list]"))?;
    stage.grant(ALICE, "look", "1h")?;
    for kubectl in installed()? {
        let denied = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods", "-w"]), LIMIT)?;
        assert_eq!(denied.code, 1);
        assert!(
            denied.stderr.contains("may not watch pods"),
            "kubectl {}: {}",
            kubectl.version,
            denied.stderr
        );
    }
    Ok(())
}

#[test]
fn the_printed_command_asks_and_another_person_approves() -> Result<()> {
    let stage = stage(&roles())?;
    let kubectl = newest()?;
    let asked = stage
        .portcullis(ALICE, &["request", "--role", "look", "--for", "30m", "--reason", "x", "-o", "json"])?;
    let request: Value = serde_json::from_str(&asked.stdout).context(asked.stderr)?;
    let id = request["id"].as_str().context("id")?;
    assert_eq!(request["state"], "pending");

    let own = stage.portcullis(ALICE, &["approve", id])?;
    assert_eq!(own.code, 1, "{}", own.all());
    let outsider = stage.portcullis(CAROL, &["approve", id])?;
    assert_eq!(outsider.code, 1, "{}", outsider.all());
    let still = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
    assert_eq!(still.code, 1);
    assert!(still.stderr.contains(id), "a denial names the request that waits: {}", still.stderr);

    assert_eq!(stage.portcullis(BOB, &["approve", id])?.code, 0);
    assert_eq!(stage.portcullis(BOB, &["approve", id])?.code, 1, "an approval is spent once");
    let works = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
    assert_eq!(works.code, 0, "{}", works.all());
    let not_granted = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "secrets"]), LIMIT)?;
    assert_eq!(not_granted.code, 1, "the grant covers what it covers");
    let elsewhere = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods", "-A"]), LIMIT)?;
    assert_eq!(elsewhere.code, 1, "{}", elsewhere.all());
    let others = output(&mut stage.kubectl(CAROL, &kubectl, &["get", "pods"]), LIMIT)?;
    assert_eq!(others.code, 1, "the grant is alice's alone");
    Ok(())
}

#[test]
fn a_deny_rule_wins_over_every_grant() -> Result<()> {
    let stage = stage(&format!(
        "{}---
{}",
        everything_role(),
        roles()
    ))?;
    let kubectl = newest()?;
    stage.grant(ALICE, "everything", "1h")?;
    stage.grant(ALICE, "look", "1h")?;
    let denied = output(
        &mut stage.kubectl(ALICE, &kubectl, &["delete", "configmap", "app-config", "-n", "prod"]),
        LIMIT,
    )?;
    assert_eq!(denied.code, 1);
    assert!(denied.stderr.contains("not by hand"), "{}", denied.stderr);
    assert!(!denied.stderr.contains("portcullis request"), "nothing can be asked for: {}", denied.stderr);
    Ok(())
}

#[test]
fn revocation_cuts_streams_within_a_second_and_says_why() -> Result<()> {
    let stage = stage(&roles())?;
    for kubectl in installed()? {
        for stream in [
            &["logs", "-f", "shell"] as &[&str],
            &["get", "pods", "-w"],
            &["exec", "shell", "--", "sh", "-c", "echo ready; sleep 60"],
            &["exec", "-i", "shell", "--", "sh", "-c", "echo ready; cat"],
        ] {
            let grant = stage.grant(ALICE, "look", "1h")?;
            let mut command = stage.kubectl(ALICE, &kubectl, stream);
            let mut running = Running::start(command.stdin(Stdio::piped()))?;
            running.wait_for_stdout("\n", LIMIT)?;
            let revoked = stage.portcullis(BOB, &["revoke", &grant, "--reason", "lunch time"])?;
            let since = Instant::now();
            assert_eq!(revoked.code, 0, "{}", revoked.all());
            let ended = running.wait(LIMIT)?;
            let took = since.elapsed();
            assert!(took < Duration::from_secs(1), "kubectl {} {stream:?} took {took:?}", kubectl.version);
            assert!(
                ended.all().contains("lunch time"),
                "kubectl {} {stream:?} does not say why: {ended:?}",
                kubectl.version
            );
        }
    }
    Ok(())
}

#[test]
fn expiry_cuts_streams_too() -> Result<()> {
    let stage = stage(&roles())?;
    let kubectl = newest()?;
    stage.grant(ALICE, "look", "3s")?;
    let mut command = stage.kubectl(ALICE, &kubectl, &["logs", "-f", "shell"]);
    let ended = Running::start(command.stdin(Stdio::null()))?.wait(LIMIT)?;
    assert!(ended.all().contains("expired"), "{ended:?}");
    let after = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
    assert!(after.stderr.contains("expired"), "{}", after.stderr);
    Ok(())
}

#[test]
fn the_last_five_minutes_carry_a_warning() -> Result<()> {
    let stage = stage(&roles())?;
    let kubectl = newest()?;
    let grant = stage.grant(ALICE, "look", "4m")?;
    let warned = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
    assert_eq!(warned.code, 0);
    assert!(warned.stderr.contains("Warning:") && warned.stderr.contains(&grant), "{}", warned.stderr);
    Ok(())
}

#[test]
fn grants_outlive_the_daemon_and_nothing_works_without_it() -> Result<()> {
    let mut stage = stage(&roles())?;
    let kubectl = newest()?;
    stage.grant(ALICE, "look", "1h")?;
    stage.kill_daemon();
    let closed = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
    assert_eq!(closed.code, 1);
    assert!(closed.stderr.contains("refused"), "{}", closed.stderr);
    stage.start_daemon()?;
    let works = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
    assert_eq!(works.code, 0, "{}", works.all());
    Ok(())
}

#[test]
fn a_denied_exec_is_denied_once() -> Result<()> {
    let stage = stage(&roles())?;
    for kubectl in installed()? {
        let denied = output(&mut stage.kubectl(ALICE, &kubectl, &["exec", "shell", "--", "true"]), LIMIT)?;
        assert_eq!(denied.code, 1);
        assert_eq!(denied.stderr.matches("portcullis: denied").count(), 1, "{}", denied.stderr);
    }
    // kubectl gets the pod first: that is one denial, and the exec is never tried. So allow the get.
    stage.grant(ALICE, "look", "1h")?;
    let sessions = |stage: &Stage| -> Result<Vec<Value>> {
        let listed = stage.operator(&["sessions", "list", "-o", "json"])?;
        Ok(serde_json::from_str(&listed.stdout)?)
    };
    let before: Vec<String> = sessions(&stage)?.iter().map(|session| session["id"].to_string()).collect();
    for kubectl in installed()? {
        let denied = output(&mut stage.kubectl(ALICE, &kubectl, &["attach", "web", "-c", "web"]), LIMIT)?;
        assert_eq!(denied.code, 1);
        assert_eq!(denied.stderr.matches("portcullis: denied").count(), 1, "{}", denied.stderr);
    }
    let after: Vec<Value> = sessions(&stage)?
        .into_iter()
        .filter(|session| !before.contains(&session["id"].to_string()))
        .collect();
    assert_eq!(after.len(), installed()?.len());
    for session in after {
        assert_eq!(
            session["denied"], 1,
            "one denial for the WebSocket attempt and its SPDY retry: {session}"
        );
    }
    Ok(())
}
