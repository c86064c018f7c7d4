//! A masked value that comes back in a write would destroy the secret: it is refused, and what the engineer means to change
//! can still be changed.

mod common;

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{everything_role, own, programs};
use e2e::{ALICE, Stage, StageOptions, installed, output};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// The secret as it is in the cluster, read behind the gate's back.
fn real_data(stage: &Stage) -> Result<Value> {
    let kubectl = installed()?.pop().context("kubectl")?;
    let mut command = Command::new(&kubectl.path);
    command.env("KUBECONFIG", stage.cluster().file("admin.kubeconfig")).env("HOME", stage.dir());
    let shown = output(command.args(["get", "secret", "db-credentials", "-n", "demo", "-o", "json"]), LIMIT)?;
    ensure!(shown.code == 0, "{}", shown.all());
    Ok(serde_json::from_str::<Value>(&shown.stdout)?["data"].clone())
}

#[test]
fn a_masked_value_is_never_written() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    let before = real_data(&stage)?;
    let home = stage.home(ALICE);
    for kubectl in installed()? {
        let got = output(
            &mut stage.kubectl(ALICE, &kubectl, &["get", "secret", "db-credentials", "-o", "yaml"]),
            LIMIT,
        )?;
        fs::write(home.join("masked.yaml"), &got.stdout)?;
        // As `stringData` the placeholder stands in plain text.
        let masked =
            got.stdout.lines().find_map(|line| line.trim().strip_prefix("password: ")).context("password")?;
        let plain = String::from_utf8(STANDARD.decode(masked)?)?;
        let as_text = serde_json::json!({ "stringData": { "password": plain } }).to_string();
        own(&home, ALICE)?;
        for args in [
            vec!["replace", "-f", "masked.yaml"],
            vec!["apply", "--server-side", "--force-conflicts", "-f", "masked.yaml"],
            vec!["patch", "secret", "db-credentials", "-p", &as_text],
        ] {
            let refused = output(&mut stage.kubectl(ALICE, &kubectl, &args), LIMIT)?;
            assert_eq!(refused.code, 1, "kubectl {} {args:?}: {}", kubectl.version, refused.all());
            assert!(
                refused.stderr.contains("masked value"),
                "kubectl {} {args:?}: {}",
                kubectl.version,
                refused.stderr
            );
            assert_eq!(real_data(&stage)?, before, "kubectl {} {args:?}", kubectl.version);
        }
    }
    Ok(())
}

#[test]
fn one_key_can_be_edited_and_the_others_stay() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    let before = real_data(&stage)?;
    let home = stage.home(ALICE);
    for (number, kubectl) in installed()?.iter().enumerate() {
        let fresh = STANDARD.encode(format!("rotated-{number}"));
        fs::write(
            home.join("editor.sh"),
            format!("#!/bin/sh\nsed -i 's|^  password: .*|  password: {fresh}|' \"$1\"\n"),
        )?;
        own(&home, ALICE)?;
        let mut edit = stage.kubectl(ALICE, kubectl, &["edit", "secret", "db-credentials"]);
        let edited = output(edit.env("EDITOR", "/bin/sh ./editor.sh"), LIMIT)?;
        assert_eq!(edited.code, 0, "kubectl {}: {}", kubectl.version, edited.all());
        let after = real_data(&stage)?;
        assert_eq!(after["password"], fresh.as_str(), "kubectl {}", kubectl.version);
        for key in ["username", "dsn"] {
            assert_eq!(after[key], before[key], "kubectl {} changed {key}", kubectl.version);
        }
    }
    Ok(())
}
