//! A mask policy in force: what it masks, that it is read again, and what a role shows of it.

mod common;

use std::fs;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{LIMIT, hang_up, newest, programs};
use e2e::{ALICE, BOB, Stage, StageOptions, output};
use serde_json::{Value, json};

const POLICY: &str = "apiVersion: portcullis.dev/v1alpha1\nkind: MaskPolicy\n";

/// A role that reads Secrets, and one that is shown the names of users in them as well.
const ROLES: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: reader}
spec:
  targets: [demo]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 8h
  rules:
  - {apiGroups: [""], resources: [secrets, configmaps, pods], verbs: [get, list]}
---
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: user-reader}
spec:
  targets: [demo]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 8h
  obligations:
    unmask:
    - {resources: [secrets], paths: [data.username]}
  rules:
  - {apiGroups: [""], resources: [secrets], verbs: [get, list]}
"#;

fn read(stage: &Stage, resource: &str, name: &str) -> Result<Value> {
    let got = output(&mut stage.kubectl(ALICE, &newest()?, &["get", resource, name, "-o", "json"]), LIMIT)?;
    serde_json::from_str(&got.stdout).with_context(|| got.all())
}

fn decoded(secret: &Value, key: &str) -> Result<String> {
    let value = secret["data"][key].as_str().with_context(|| format!("no {key} in {secret}"))?;
    Ok(String::from_utf8(STANDARD.decode(value)?)?)
}

#[test]
fn a_policy_is_in_force_and_read_again() -> Result<()> {
    let files = tempfile::tempdir()?;
    let policy = files.path().join("mask.yaml");
    fs::write(&policy, format!("{POLICY}rules: [{{resources: [secrets], keep: [data.username]}}]\n"))?;
    let options = StageOptions { config: json!({ "maskPolicy": policy }), ..StageOptions::with_roles(ROLES) };
    let mut stage = Stage::set(&programs()?, &options)?;
    stage.grant(ALICE, "reader", "1h")?;

    let secret = read(&stage, "secret", "db-credentials")?;
    assert_eq!(decoded(&secret, "username")?, "shop_rw");
    assert!(decoded(&secret, "password")?.starts_with("portcullis-masked:"));

    fs::write(&policy, format!("{POLICY}rules: [{{resources: [secrets], mask: [data.*], how: drop}}]\n"))?;
    hang_up(&mut stage, "reloaded\"")?;
    assert_eq!(read(&stage, "secret", "db-credentials")?["data"], json!({}));

    fs::write(&policy, format!("{POLICY}rulez: []\n"))?;
    hang_up(&mut stage, "mask.yaml:3: rulez: unknown field")?;
    assert_eq!(read(&stage, "secret", "db-credentials")?["data"], json!({}), "the old one stays in force");
    Ok(())
}

#[test]
fn a_role_shows_a_field_loudly() -> Result<()> {
    let mut stage = Stage::set(&programs()?, &StageOptions::with_roles(ROLES))?;
    stage.grant(ALICE, "reader", "1h")?;
    let secret = read(&stage, "secret", "db-credentials")?;
    assert!(decoded(&secret, "username")?.starts_with("portcullis-masked:"));

    let asked = stage.portcullis(
        ALICE,
        &["request", "--role", "user-reader", "--for", "1h", "--reason", "test", "-o", "json"],
    )?;
    let request: Value = serde_json::from_str(&asked.stdout).with_context(|| asked.all())?;
    let listed = stage.portcullis(BOB, &["requests"])?;
    assert!(listed.stdout.contains("UNMASKS secrets: data.username"), "{}", listed.all());
    let approved = stage.portcullis(BOB, &["approve", request["id"].as_str().context("an id")?])?;
    assert!(approved.stdout.contains("It UNMASKS secrets: data.username"), "{}", approved.all());

    // Of the two grants the one counts that masks less.
    let secret = read(&stage, "secret", "db-credentials")?;
    assert_eq!(decoded(&secret, "username")?, "shop_rw");
    assert!(decoded(&secret, "password")?.starts_with("portcullis-masked:"));
    let log = stage.daemon().log();
    assert!(
        log.contains("fields are shown that are masked for others") && log.contains("data.username"),
        "{log}"
    );

    let sessions = stage.operator(&["sessions", "list", "-o", "json"])?;
    let sessions: Vec<Value> = serde_json::from_str(&sessions.stdout).with_context(|| sessions.all())?;
    let told = sessions.iter().filter_map(|session| session["id"].as_str()).any(|id| {
        stage
            .operator(&["sessions", "show", id])
            .is_ok_and(|shown| shown.stdout.contains("UNMASKED for alice by role user-reader: data.username"))
    });
    assert!(told, "no recording says what was shown");
    Ok(())
}
