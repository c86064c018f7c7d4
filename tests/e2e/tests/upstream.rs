//! What the API server sees: the gate's credential and nothing of the client's, and the person where asked for.

mod common;

use std::path::Path;

use anyhow::{Context, Result};
use common::{LIMIT, everything_role, newest, programs};
use e2e::{ALICE, Output, Stage, StageOptions, installed, output, wait_for};
use serde_json::Value;

fn curl(stage: &Stage, args: &[&str]) -> Result<Output> {
    let mut command = stage.command(ALICE, Path::new("/usr/bin/curl"));
    command.args(["-sS", "-k", "--path-as-is"]).args(args);
    output(&mut command, LIMIT)
}

fn headers(request: &Value) -> Vec<(String, String)> {
    let pairs = request["headers"].as_array().into_iter().flatten();
    pairs
        .filter_map(|pair| Some((pair[0].as_str()?.to_ascii_lowercase(), pair[1].as_str()?.to_owned())))
        .collect()
}

#[test]
fn nothing_that_speaks_of_identity_passes() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    let url = format!("{}/api/v1/namespaces/demo/pods?marker=strip", stage.endpoint());
    let sent = [
        "Authorization: Bearer stolen-token",
        "X-Remote-User: system:admin",
        "X-Remote-Group: system:masters",
        "X-Remote-Extra-Scopes: all",
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-User: root",
        "Forwarded: for=10.0.0.1",
        "Audit-ID: mine",
        "Cookie: session=stolen-cookie",
        "Proxy-Authorization: Basic c3RvbGVu",
    ];
    for version in ["--http1.1", "--http2"] {
        let mut args = vec![version, url.as_str()];
        args.extend(sent.iter().flat_map(|header| ["-H", header]));
        let answered = curl(&stage, &args)?;
        assert!(answered.stdout.contains("PodList"), "{answered:?}");
    }
    let seen: Vec<Value> = stage
        .cluster()
        .requests()?
        .into_iter()
        .filter(|request| request["target"].as_str().is_some_and(|target| target.contains("marker=strip")))
        .collect();
    assert_eq!(seen.len(), 2);
    for request in &seen {
        let text = request.to_string();
        assert!(!text.contains("stolen") && !text.contains("system:admin"), "{text}");
        for (name, value) in headers(request) {
            assert!(!name.starts_with("x-remote-") && !name.starts_with("x-forwarded-"), "{name}: {value}");
            if name == "audit-id" {
                assert!(value.starts_with("portcullis-"), "{value}");
            }
        }
        assert!(headers(request).iter().any(|(name, _)| name == "audit-id"));
        assert_eq!(request["user"]["name"], "admin", "the gate's own credential");
    }
    Ok(())
}

#[test]
fn a_client_certificate_is_presented_as_well_as_a_token() -> Result<()> {
    let options = StageOptions { client_certificate: true, ..StageOptions::with_roles(&everything_role()) };
    let stage = Stage::set(&programs()?, &options)?;
    stage.grant(ALICE, "everything", "1h")?;
    for kubectl in installed()? {
        for args in [vec!["get", "pods"], vec!["exec", "shell", "--", "true"]] {
            let ran = output(&mut stage.kubectl(ALICE, &kubectl, &args), LIMIT)?;
            assert_eq!(ran.code, 0, "kubectl {} {args:?}: {}", kubectl.version, ran.all());
        }
    }
    for request in stage.cluster().requests()? {
        let Some(user) = request.get("user") else { continue };
        assert_eq!(user["name"], "admin", "{request}");
        assert!(!headers(&request).iter().any(|(name, _)| name == "authorization"), "{request}");
    }
    Ok(())
}

#[test]
fn a_rotated_token_is_presented_without_a_restart() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    let kubectl = newest()?;
    let get = || output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT);
    assert_eq!(get()?.code, 0);
    let file = stage.cluster().file("upstream.token");
    std::fs::write(&file, "token-nobody-0001")?;
    wait_for("the new token to be presented", LIMIT, || {
        get().ok().filter(|output| output.stderr.contains("nobody")).map(drop)
    })?;
    std::fs::remove_file(&file)?;
    wait_for("the missing token to be noticed", LIMIT, || {
        get().ok().filter(|output| output.stderr.contains("no credential for target demo")).map(drop)
    })
}

#[test]
fn impersonation_by_the_client_is_refused() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    let kubectl = newest()?;
    let refused =
        output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods", "--as", "system:admin"]), LIMIT)?;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("impersonation"), "{}", refused.stderr);
    Ok(())
}

#[test]
fn the_person_is_named_upstream_where_the_cluster_wants_it() -> Result<()> {
    let options = StageOptions { impersonate: true, ..StageOptions::with_roles(&everything_role()) };
    let stage = Stage::set(&programs()?, &options)?;
    let grant = stage.grant(ALICE, "everything", "1h")?;
    let url = format!("{}/api/v1/namespaces/demo/pods?marker=who", stage.endpoint());
    curl(&stage, &[&url])?;
    let requests = stage.cluster().requests()?;
    let seen = requests
        .iter()
        .find(|request| request["target"].as_str().is_some_and(|target| target.contains("marker=who")))
        .context("nothing reached the cluster")?;
    let headers = headers(seen);
    let value =
        |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    assert_eq!(value("impersonate-user"), Some("alice"));
    assert_eq!(value("impersonate-group"), Some("dev"));
    assert_eq!(value("impersonate-extra-portcullis.dev%2fgrant"), Some(grant.as_str()));
    assert!(
        value("impersonate-extra-portcullis.dev%2fsession").is_some_and(|session| session.starts_with("s-"))
    );
    Ok(())
}

#[test]
fn doubtful_spellings_reach_nobody() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    for path in [
        "/api/v1/namespaces/demo//secrets",
        "/api/v1/namespaces/demo/../prod/secrets",
        "/api/v1/namespaces/demo/./secrets",
        "/api/v1/namespaces/demo/%73ecrets",
        "/api/v1/namespaces/demo/secrets%2Fapi-key",
        "/api/v1/namespaces/demo/%2e%2e/secrets",
        "/api/v1/namespaces/demo/secrets;x=y",
    ] {
        let answered =
            curl(&stage, &["-o", "/dev/null", "-w", "%{http_code}", &format!("{}{path}", stage.endpoint())])?;
        assert_eq!(answered.stdout, "400", "{path}");
    }
    let reached = stage.cluster().requests()?;
    assert!(
        !reached
            .iter()
            .any(|request| request["target"].as_str().is_some_and(|target| target.contains("ecrets"))),
        "{reached:?}"
    );
    Ok(())
}

#[test]
fn a_leaf_is_made_for_targets_only() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    let port = stage.endpoint().rsplit(':').next().context("port")?.to_owned();
    let resolve = format!("evil.example.test:{port}:127.0.0.1");
    let answered =
        curl(&stage, &["--resolve", &resolve, &format!("https://evil.example.test:{port}/version")])?;
    assert_ne!(answered.code, 0, "a name that is no target got a certificate: {answered:?}");
    Ok(())
}
