//! A masked value that comes back in a write would destroy the secret: where it stands as it stood, the live value takes its
//! place, on every way of writing that kubectl has; anywhere else it is refused.

mod common;

use std::fs;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{LIMIT, everything_role, newest, own, programs, recorded, run};
use e2e::{ALICE, Kubectl, Stage, StageOptions, installed, output};
use serde_json::{Value, json};

fn stage() -> Result<Stage> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    Ok(stage)
}

/// The secret as it is in the cluster, read behind the gate's back.
fn real(stage: &Stage) -> Result<Value> {
    let kubectl = newest()?;
    let mut command = std::process::Command::new(&kubectl.path);
    command.env("KUBECONFIG", stage.cluster().file("admin.kubeconfig")).env("HOME", stage.dir());
    let shown = output(command.args(["get", "secret", "db-credentials", "-n", "demo", "-o", "json"]), LIMIT)?;
    ensure!(shown.code == 0, "{}", shown.all());
    Ok(serde_json::from_str(&shown.stdout)?)
}

/// Saves the secret as alice sees it, through `change`.
fn save(stage: &Stage, kubectl: &Kubectl, change: impl Fn(&str) -> String) -> Result<()> {
    let got = run(stage, kubectl, &["get", "secret", "db-credentials", "-o", "yaml"])?;
    ensure!(got.code == 0, "{}", got.all());
    let home = stage.home(ALICE);
    fs::write(home.join("masked.yaml"), change(&got.stdout))?;
    own(&home, ALICE)
}

/// Replaces what stands after `key: ` in YAML.
fn with(yaml: &str, key: &str, value: &str) -> String {
    let start = format!("  {key}: ");
    let line =
        |line: &str| if line.starts_with(&start) { format!("{start}{value}\n") } else { format!("{line}\n") };
    yaml.lines().map(line).collect()
}

fn shows_no_secret(text: &str) -> bool {
    ["FAKE-s3cr3t", "RkFLRS1zM2Ny", "shop_rw"].iter().all(|secret| !text.contains(secret))
}

/// How a masked file is changed, what is done with it, and the field that the refusal names.
type Case<'a> = (&'a dyn Fn(&str) -> String, Vec<String>, &'a str);

#[test]
fn a_saved_object_is_written_back_with_one_key_changed() -> Result<()> {
    let stage = stage()?;
    let before = real(&stage)?;
    let mut expected = before["data"].clone();
    for kubectl in installed()? {
        for (number, args) in [
            &["replace", "-f", "masked.yaml"] as &[&str],
            &["apply", "-f", "masked.yaml"],
            // Now that there is a copy in an annotation.
            &["apply", "-f", "masked.yaml"],
            &["apply", "--server-side", "--force-conflicts", "-f", "masked.yaml"],
            &["replace", "-f", "masked.yaml"],
        ]
        .into_iter()
        .enumerate()
        {
            let what = format!("kubectl {} {args:?}", kubectl.version);
            let fresh = STANDARD.encode(format!("rotated-{}-{number}", kubectl.version));
            save(&stage, &kubectl, |yaml| with(yaml, "password", &fresh))?;
            let written = run(&stage, &kubectl, args)?;
            assert_eq!(written.code, 0, "{what}: {}", written.all());
            assert!(shows_no_secret(&written.all()), "{what}: {}", written.all());
            expected["password"] = json!(fresh);
            let after = real(&stage)?;
            assert_eq!(after["data"], expected, "{what}");
            let copy = &after["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
            if let Some(copy) = copy.as_str() {
                assert!(!copy.contains("portcullis"), "{what}: {copy}");
            }
        }
    }
    let recorded = recorded(&stage)?;
    assert!(recorded.contains(r#""paths":["data.dsn","data.username"]"#), "{recorded}");
    assert!(shows_no_secret(&recorded), "a record shows a restored value");
    // What the gate itself reads to restore from, too.
    let all = stage.cluster().requests()?;
    let through: Vec<&Value> =
        all.iter().filter(|request| request.to_string().contains("portcullis (alice;")).collect();
    assert!(!through.is_empty());
    for request in through {
        let id = request["auditId"].as_str().context("auditId")?;
        assert!(recorded.contains(id), "no evidence of {request}");
    }
    Ok(())
}

#[test]
fn a_patch_brings_masks_back() -> Result<()> {
    let stage = stage()?;
    let before = real(&stage)?;
    for kubectl in installed()? {
        let got = run(&stage, &kubectl, &["get", "secret", "db-credentials", "-o", "json"])?;
        let shown: Value = serde_json::from_str(&got.stdout)?;
        let data = json!({"data": shown["data"]}).to_string();
        let plain = String::from_utf8(STANDARD.decode(shown["data"]["dsn"].as_str().context("dsn")?)?)?;
        let json_patch =
            json!([{"op": "replace", "path": "/data/dsn", "value": shown["data"]["dsn"]}]).to_string();
        let string_data = json!({"stringData": {"dsn": plain}}).to_string();
        for (kind, patch) in
            [("merge", &data), ("strategic", &data), ("json", &json_patch), ("strategic", &string_data)]
        {
            let args = ["patch", "secret", "db-credentials", "--type", kind, "-p", patch];
            let patched = run(&stage, &kubectl, &args)?;
            assert_eq!(patched.code, 0, "kubectl {} {kind}: {}", kubectl.version, patched.all());
            assert_eq!(real(&stage)?["data"], before["data"], "kubectl {} {kind}", kubectl.version);
        }
    }
    Ok(())
}

#[test]
fn a_mask_anywhere_else_is_refused_with_its_field() -> Result<()> {
    let stage = stage()?;
    let before = real(&stage)?;
    for kubectl in installed()? {
        let got = run(&stage, &kubectl, &["get", "secret", "db-credentials", "-o", "json"])?;
        let shown: Value = serde_json::from_str(&got.stdout)?;
        let mask = shown["data"]["password"].as_str().context("password")?;
        let plain = String::from_utf8(STANDARD.decode(mask)?)?;
        let copied =
            |yaml: &str| with(yaml, "name", "copy").replace("  resourceVersion", "  # resourceVersion");
        let swapped = |yaml: &str| with(yaml, "username", mask);
        let patch = |patch: &Value| {
            vec!["patch".into(), "secret".into(), "db-credentials".into(), "-p".into(), patch.to_string()]
        };
        let file =
            |args: &[&str]| args.iter().chain(&["-f", "masked.yaml"]).map(|arg| (*arg).to_owned()).collect();
        let cases: Vec<Case<'_>> = vec![
            (&copied, file(&["create"]), "data.dsn"),
            (&copied, file(&["apply"]), "data"),
            (&copied, file(&["apply", "--server-side"]), "data.dsn"),
            (&swapped, file(&["replace"]), "data.username"),
            (&swapped, file(&["apply"]), "data.username"),
            (&swapped, file(&["apply", "--server-side", "--force-conflicts"]), "data.username"),
            (
                &str::to_owned,
                patch(&json!({"metadata": {"labels": {"leak": "x", "mask": plain}}})),
                "metadata.labels.mask",
            ),
            (
                &str::to_owned,
                patch(&json!({"metadata": {"annotations": {"mask": mask}}})),
                "metadata.annotations.mask",
            ),
            (&str::to_owned, patch(&json!({"stringData": {"username": plain}})), "stringData.username"),
        ];
        for (change, args, field) in cases {
            save(&stage, &kubectl, change)?;
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let refused = run(&stage, &kubectl, &args)?;
            let what = format!("kubectl {} {args:?}: {}", kubectl.version, refused.all());
            assert_eq!(refused.code, 1, "{what}");
            assert!(
                refused.stderr.contains("masked value") && refused.stderr.contains(field),
                "{field}: {what}"
            );
            assert_eq!(real(&stage)?["data"], before["data"], "{what}");
        }
    }
    Ok(())
}

#[test]
fn an_object_that_changed_meanwhile_is_a_conflict() -> Result<()> {
    let stage = stage()?;
    for kubectl in installed()? {
        save(&stage, &kubectl, str::to_owned)?;
        let relabelled = run(
            &stage,
            &kubectl,
            &["label", "secret", "db-credentials", "--overwrite", &format!("by=k{}", kubectl.version)],
        )?;
        assert_eq!(relabelled.code, 0, "{}", relabelled.all());
        for args in [
            &["replace", "-f", "masked.yaml"] as &[&str],
            &["apply", "--server-side", "--force-conflicts", "-f", "masked.yaml"],
        ] {
            let refused = run(&stage, &kubectl, args)?;
            assert_eq!(refused.code, 1, "{}", refused.all());
            assert!(refused.stderr.contains("the object has been modified"), "{}", refused.all());
        }
    }
    Ok(())
}

#[test]
fn an_error_quotes_no_restored_value() -> Result<()> {
    let stage = stage()?;
    for kubectl in installed()? {
        let got = run(&stage, &kubectl, &["get", "secret", "db-credentials", "-o", "json"])?;
        let shown: Value = serde_json::from_str(&got.stdout)?;
        let patch = json!({"data": shown["data"], "immutable": "perhaps"}).to_string();
        let refused = run(&stage, &kubectl, &["patch", "secret", "db-credentials", "-p", &patch])?;
        assert_eq!(refused.code, 1, "{}", refused.all());
        assert!(refused.stderr.contains("withheld"), "{}", refused.all());
        assert!(shows_no_secret(&refused.all()), "{}", refused.all());
        // What quotes nothing is passed on.
        let patch = json!({"data": {"dsn": shown["data"]["dsn"], "a key": "eA=="}}).to_string();
        let refused = run(&stage, &kubectl, &["patch", "secret", "db-credentials", "-p", &patch])?;
        assert!(refused.code == 1 && refused.stderr.contains("a key"), "{}", refused.all());
    }
    assert!(shows_no_secret(&recorded(&stage)?));
    Ok(())
}

#[test]
fn one_key_can_be_edited_and_the_others_stay() -> Result<()> {
    let stage = stage()?;
    let before = real(&stage)?["data"].clone();
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
        let after = &real(&stage)?["data"];
        assert_eq!(after["password"], fresh.as_str(), "kubectl {}", kubectl.version);
        for key in ["username", "dsn"] {
            assert_eq!(after[key], before[key], "kubectl {} changed {key}", kubectl.version);
        }
    }
    Ok(())
}
