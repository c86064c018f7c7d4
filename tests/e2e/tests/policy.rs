//! Asking from a denial, revoking many grants at once, and asking what a policy means.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use common::{LIMIT, newest, programs, role};
use e2e::{ALICE, BOB, CAROL, Running, Stage, StageOptions, installed, output};
use serde_json::Value;

fn roles() -> String {
    [
        role(
            "look",
            r#"
  rules:
  - {apiGroups: [""], resources: [pods, pods/log], verbs: [get, list, watch], namespaces: [demo]}
"#,
        ),
        role(
            "enter",
            r#"
  rules:
  - {apiGroups: [""], resources: [pods/exec], verbs: [create], namespaces: [demo]}
  - {action: deny, apiGroups: [""], resources: [pods], verbs: [delete], reason: not by hand}
"#,
        )
        .replacen("2h", "10m", 1),
    ]
    .join("---\n")
}

fn stage() -> Result<Stage> {
    Stage::set(&programs()?, &StageOptions::with_roles(&roles()))
}

/// The id that a refusal offers, and what it would be asked from. The command stands last, so that it can be copied.
fn offered(refusal: &str) -> Result<(String, String)> {
    let (_, rest) = refusal.split_once("Ask for it (").with_context(|| refusal.to_owned())?;
    let (what, command) =
        rest.split_once("): portcullis request --from ").with_context(|| refusal.to_owned())?;
    let id = command.trim_end().strip_suffix(" --reason \"…\"").with_context(|| refusal.to_owned())?;
    Ok((id.to_owned(), what.to_owned()))
}

#[test]
fn a_denial_is_asked_from_by_whom_it_was_denied() -> Result<()> {
    let mut stage = stage()?;
    let kubectl = newest()?;
    let denied = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pod", "shell"]), LIMIT)?;
    let (id, what) = offered(&denied.stderr)?;
    assert_eq!(what, "role look on demo for 30m");
    let again = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pod", "shell"]), LIMIT)?;
    assert_eq!(offered(&again.stderr)?.0, id, "the same denial has the same id");

    for other in [BOB, CAROL] {
        let refused = stage.portcullis(other, &["request", "--from", &id, "--reason", "x"])?;
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains(&format!("no denial {id} of yours")), "{}", refused.stderr);
    }
    let unknown = stage.portcullis(ALICE, &["request", "--from", "d-000000", "--reason", "x"])?;
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("portcullis request --role ROLE"), "{}", unknown.stderr);
    for wrong in [
        &["request", "--from", &id, "--role", "look", "--reason", "x"] as &[&str],
        &["request", "--reason", "x"],
        &["request", "--role", "look", "--reason", "x"],
    ] {
        assert_eq!(stage.portcullis(ALICE, wrong)?.code, 2, "{wrong:?}");
    }

    let asked =
        stage.portcullis(ALICE, &["request", "--from", &id, "--reason", "web is slow", "-o", "json"])?;
    let request: Value = serde_json::from_str(&asked.stdout).context(asked.stderr)?;
    assert_eq!((&request["role"], &request["target"]), (&"look".into(), &"demo".into()));
    assert_eq!((&request["duration"], &request["state"]), (&"30m".into(), &"pending".into()));

    let listed = stage.portcullis(BOB, &["requests"])?;
    assert!(listed.stdout.contains("denied: get pods \"shell\" in namespace \"demo\""), "{}", listed.stdout);
    assert!(listed.stdout.contains("get pod shell"), "the command line is shown: {}", listed.stdout);
    let listed: Value = serde_json::from_str(&stage.portcullis(BOB, &["requests", "-o", "json"])?.stdout)?;
    let attempt = &listed[0]["denied"];
    assert_eq!(attempt["id"], id.as_str());
    let operation = &attempt["operation"];
    for (field, value) in [
        ("verb", "get"),
        ("apiGroup", ""),
        ("resource", "pods"),
        ("subresource", ""),
        ("namespace", "demo"),
        ("name", "shell"),
    ] {
        assert_eq!(operation[field], value, "{operation}");
    }
    let command = attempt["command"].as_array().context("command")?;
    assert_eq!(command[1..], ["get", "pod", "shell"].map(Value::from), "{attempt}");

    stage.portcullis(BOB, &["approve", request["id"].as_str().context("id")?])?;
    let works = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pod", "shell"]), LIMIT)?;
    assert_eq!(works.code, 0, "{}", works.all());

    let exported = stage.operator(&["sessions", "list", "-o", "json"])?;
    let sessions: Value = serde_json::from_str(&exported.stdout)?;
    let first = sessions.as_array().into_iter().flatten().find(|session| session["denied"] == 1);
    let session = first.and_then(|session| session["id"].as_str()).context("no session was denied")?;
    let recorded = stage.operator(&["sessions", "export", session, "--format", "jsonl"])?;
    assert!(recorded.stdout.contains(&format!("\"denial\":\"{id}\"")), "{}", recorded.stdout);

    // Denials live in memory alone.
    stage.kill_daemon();
    stage.start_daemon()?;
    let forgotten = stage.portcullis(ALICE, &["request", "--from", &id, "--reason", "x"])?;
    assert!(forgotten.stderr.contains("no denial"), "{}", forgotten.stderr);
    Ok(())
}

#[test]
fn a_refused_exec_and_its_retry_have_one_id() -> Result<()> {
    let stage = stage()?;
    stage.grant(ALICE, "look", "1h")?;
    for kubectl in installed()? {
        let exec: &[&str] = &["exec", "shell", "--", "echo", "--token", "FAKE-secret"];
        let denied = output(&mut stage.kubectl(ALICE, &kubectl, exec), LIMIT)?;
        let (id, what) = offered(&denied.stderr)?;
        assert_eq!(what, "role enter on demo for 10m");
        let listed = stage.operator(&["sessions", "list", "-o", "json"])?;
        let sessions: Vec<Value> = serde_json::from_str(&listed.stdout)?;
        let denials = sessions.iter().map(|session| session["denied"].as_u64());
        assert_eq!(denials.max().flatten(), Some(1), "kubectl {}: one denial a process", kubectl.version);

        let asked = stage
            .portcullis(ALICE, &["request", "--from", &id, "--for", "5m", "--reason", "x", "-o", "json"])?;
        let request: Value = serde_json::from_str(&asked.stdout).context(asked.stderr)?;
        assert_eq!((&request["role"], &request["duration"]), (&"enter".into(), &"5m".into()));
        assert_eq!(request["denied"]["operation"]["verb"], "create");
        assert!(!asked.stdout.contains("FAKE-secret"), "{}", asked.stdout);
        stage.portcullis(ALICE, &["deny", request["id"].as_str().context("id")?])?;
    }
    Ok(())
}

#[test]
fn many_grants_are_revoked_at_once_or_none() -> Result<()> {
    let stage = stage()?;
    let kubectl = newest()?;
    let looks = stage.grant(ALICE, "look", "1h")?;
    let enters = stage.grant(ALICE, "enter", "5m")?;
    let asked = stage
        .portcullis(BOB, &["request", "--role", "look", "--for", "1h", "--reason", "x", "-o", "json"])?;
    let bobs: Value = serde_json::from_str(&asked.stdout).context(asked.stderr)?;
    assert_eq!(bobs["state"], "pending", "bob cannot approve his own");
    let live = || -> Result<usize> {
        let listed: Value = serde_json::from_str(&stage.portcullis(BOB, &["grants", "-o", "json"])?.stdout)?;
        Ok(listed.as_array().context("a list")?.len())
    };

    let mut command = stage.kubectl(ALICE, &kubectl, &["logs", "-f", "shell"]);
    let mut running = Running::start(command.stdin(Stdio::null()))?;
    running.wait_for_stdout("\n", LIMIT)?;

    let refused = |person, args: &[&str]| -> Result<String> {
        let refused = stage.portcullis(person, args)?;
        assert_eq!(refused.code, 1, "{args:?}: {}", refused.all());
        Ok(refused.stderr)
    };
    let outsider = refused(CAROL, &["revoke", "--subject", "alice", "--reason", "x"])?;
    assert!(outsider.contains("nothing was revoked: carol may not revoke"), "{outsider}");
    assert!(outsider.contains(&looks) && outsider.contains(&enters), "{outsider}");
    let everything = refused(ALICE, &["revoke", "--all", "--reason", "x"])?;
    assert!(everything.contains("only members of adminGroups may"), "{everything}");
    let typo = refused(BOB, &["revoke", "--subject", "alcie", "--reason", "x"])?;
    assert!(typo.contains("no live grant is held by \"alcie\""), "{typo}");
    for wrong in [
        &["revoke", "--reason", "x"] as &[&str],
        &["revoke", "--all"],
        &["revoke", "--all", "--role", "look", "--reason", "x"],
        &["revoke", &looks, "--subject", "alice", "--reason", "x"],
    ] {
        assert_eq!(stage.portcullis(BOB, wrong)?.code, 2, "{wrong:?}");
    }
    assert_eq!(live()?, 2, "nothing was half done");

    let one = stage
        .portcullis(BOB, &["revoke", "--role", "enter", "--target", "demo", "--reason", "y", "-o", "json"])?;
    let ended: Value = serde_json::from_str(&one.stdout).context(one.stderr)?;
    assert_eq!((ended[0]["id"].as_str(), ended.as_array().map(Vec::len)), (Some(enters.as_str()), Some(1)));

    let lockdown = stage.portcullis(BOB, &["revoke", "--all", "--reason", "lockdown"])?;
    let since = Instant::now();
    assert_eq!(lockdown.code, 0, "{}", lockdown.all());
    assert!(
        lockdown.stdout.contains("1 grant is revoked") && lockdown.stdout.contains(&looks),
        "{}",
        lockdown.stdout
    );
    let cut = running.wait(LIMIT)?;
    assert!(since.elapsed() < Duration::from_secs(1), "cutting took {:?}", since.elapsed());
    assert!(cut.all().contains("lockdown"), "the stream says why: {cut:?}");
    assert_eq!(live()?, 0);
    let again = stage.portcullis(BOB, &["revoke", "--all", "--reason", "lockdown"])?;
    assert_eq!((again.code, again.stdout.trim_end()), (0, "No grants were live."));
    Ok(())
}

#[test]
fn a_policy_explains_itself() -> Result<()> {
    let stage = stage()?;
    let explain = ["policy", "explain", "--target", "demo"];
    let offline = |words: &[&str]| stage.operator(&[&explain[..], words].concat());
    let told = offline(&["--subject", "alice", "get", "pods/log", "shell", "-n", "demo"])?;
    assert_eq!(told.code, 0, "{}", told.all());
    for part in [
        "alice (in dev): get pods/log \"shell\" in namespace \"demo\" of target demo",
        "allow it: rule 1, ",
        "roles.yaml:10",
        "1 of leads",
        "say nothing",
        "Without a grant: portcullis: denied: alice may not get pods/log",
        "portcullis request --role look --target demo --for 30m",
    ] {
        assert!(told.stdout.contains(part), "{part:?} is not in {}", told.stdout);
    }
    let told =
        offline(&["--subject", "eve", "--groups", "dev,x", "-o", "json", "delete", "pods", "a", "-n", "b"])?;
    let json: Value = serde_json::from_str(&told.stdout).context(told.stderr)?;
    assert_eq!(json["roles"][0]["role"], "enter");
    assert_eq!(json["roles"][0]["verdict"]["says"], "deny");
    assert_eq!(json["roles"][0]["verdict"]["reason"], "not by hand");
    assert!(json["roles"][0]["verdict"]["at"].as_str().context("at")?.ends_with("roles.yaml:22"), "{json}");
    assert_eq!(json["withoutGrants"]["decision"], "deny");
    for (words, code, said) in [
        (&["--subject", "alice", "get", "pods"] as &[&str], 1, "give its name, or use list"),
        (&["--subject", "alice", "--target", "nowhere", "list", "pods"], 2, "cannot be used multiple times"),
        (&["list", "pods"], 2, "--subject"),
        (
            &["--subject", "alice", "--arguments", "{}", "list", "pods"],
            1,
            "only an MCP request has --arguments",
        ),
        (&["--subject", "alice", "--arguments", "[1]", "mcp", "tools/list"], 2, "--arguments"),
        (&["--live", "--subject", "alice", "list", "pods"], 2, "cannot be used with"),
    ] {
        let refused = offline(words)?;
        assert_eq!(refused.code, code, "{words:?}: {}", refused.all());
        assert!(refused.stderr.contains(said), "{words:?}: {}", refused.stderr);
    }
    let nowhere = stage.operator(&[
        "policy",
        "explain",
        "--subject",
        "alice",
        "--target",
        "nowhere",
        "list",
        "pods",
    ])?;
    assert!(nowhere.stderr.contains("there is no target \"nowhere\""), "{}", nowhere.all());

    let live = |words: &[&str]| stage.portcullis(ALICE, &[&explain[..], &["--live"], words].concat());
    let no = live(&["list", "pods", "-n", "demo"])?;
    assert!(no.stdout.contains("denied: alice may not list pods"), "{}", no.all());
    let grant = stage.grant(ALICE, "look", "1h")?;
    let yes = live(&["list", "pods", "-n", "demo"])?;
    assert_eq!(yes.code, 0);
    assert!(yes.stdout.contains("portcullis: alice may list pods in namespace \"demo\""), "{}", yes.stdout);
    assert!(yes.stdout.contains("rule 1 of role look (") && yes.stdout.contains(&grant), "{}", yes.stdout);
    let yes: Value = serde_json::from_str(&live(&["list", "pods", "-n", "demo", "-o", "json"])?.stdout)?;
    assert_eq!((&yes["allowed"], &yes["decision"]["role"]), (&true.into(), &"look".into()));
    Ok(())
}

#[test]
fn a_tool_call_is_explained_with_its_arguments() -> Result<()> {
    let stage = stage()?;
    let dir = stage.dir().join("mcp-roles");
    std::fs::create_dir_all(&dir)?;
    let role = "apiVersion: portcullis.dev/v1alpha1\nkind: Role\nmetadata: {name: files}\nspec:\n  targets: ['*']\n  \
                eligible: {groups: [dev]}\n  approval: {required: 0}\n  maxDuration: 1h\n  rules:\n  \
                - {mcp: {methods: [tools/call], tools: [read]}, when: 'request.arguments.path.startsWith(\"/srv/\")'}\n";
    std::fs::write(dir.join("files.yaml"), role)?;
    let says = |arguments: &[&str]| -> Result<String> {
        let roles = ["policy", "explain", "--roles", dir.to_str().context("path")?, "--target", "files"];
        let asked = ["--subject", "alice", "--groups", "dev", "-o", "json", "mcp", "tools/call", "read"];
        let told = stage.operator(&[&roles[..], &asked, arguments].concat())?;
        let json: Value = serde_json::from_str(&told.stdout).context(told.stderr)?;
        Ok(format!(
            "{} {}",
            json["roles"][0]["verdict"]["says"], json["roles"][0]["conditions"][0]["outcome"]["is"]
        ))
    };
    assert_eq!(says(&["--arguments", r#"{"path": "/srv/a"}"#])?, r#""allow" "true""#);
    assert_eq!(says(&["--arguments", r#"{"path": "/etc/a"}"#])?, r#""nothing" "false""#);
    assert_eq!(says(&["--facts", "{arguments: {path: 7}}"])?, r#""nothing" "error""#);
    assert_eq!(says(&[])?, r#""nothing" "error""#);
    Ok(())
}

#[test]
fn expectations_hold_or_are_named() -> Result<()> {
    let stage = stage()?;
    let file = stage.dir().join("expect.yaml");
    let path = file.to_str().context("path")?;
    let good = "apiVersion: portcullis.dev/v1alpha1\nkind: PolicyTest\ntests:\n- name: logs\n  subject: {name: zoe, groups: [dev]}\n  \
                holds: [look]\n  target: demo\n  request: get pods/log web -n demo\n  expect: allow\n  by: look/1\n";
    std::fs::write(&file, good)?;
    let holds = stage.operator(&["policy", "test", path])?;
    assert_eq!((holds.code, holds.stdout.as_str()), (0, "1 of 1 expectations hold.\n"), "{}", holds.stderr);

    let bad = "- name: no deletes\n  subject: {name: zoe}\n  holds: [enter]\n  target: demo\n  request: delete pods web -n demo\n  expect: allow\n";
    std::fs::write(&file, format!("{good}{bad}"))?;
    let roles = stage.dir().join("roles");
    for args in [
        &["policy", "test", path] as &[&str],
        &["policy", "test", "--roles", roles.to_str().context("path")?, path],
    ] {
        let fails = stage.operator(args)?;
        assert_eq!(fails.code, 1);
        let said = format!(
            "{path}:11: no deletes: zoe, delete pods \"web\" in namespace \"demo\" of target demo: expected allow, got deny by rule 2 of role enter ("
        );
        assert!(fails.stdout.starts_with(&said), "{}", fails.stdout);
        assert!(fails.stderr.contains("1 of 2 expectations fail"), "{}", fails.stderr);
    }
    std::fs::write(&file, good.replace("target: demo", "target: nowhere"))?;
    let elsewhere = stage.operator(&["policy", "test", path])?;
    assert!(elsewhere.stdout.contains("there is no target \"nowhere\""), "{}", elsewhere.all());
    std::fs::write(&file, good.replace("expect:", "expects:"))?;
    let malformed = stage.operator(&["policy", "test", path])?;
    assert!(
        malformed.stderr.contains(&format!("{path}:9: tests[0].expects: unknown field")),
        "{}",
        malformed.stderr
    );
    std::fs::write(&file, "# nothing\n")?;
    assert_eq!(stage.operator(&["policy", "test", path])?.code, 1, "nothing to check is a failure");
    Ok(())
}
