//! What the client says itself: on its command line, in bodies that are echoed or quoted, into a terminal, in a write
//! that is held. It knows these values; nobody else is to find them in what is left.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use e2e::{BOB, Person, Running, Stage, output, wait_for};
use serde_json::json;

use crate::ask::{Ask, ask};
use crate::client::typed;
use crate::common::{LIMIT, newest, requests};
use crate::look::Shown;
use crate::plant::RUNNER;
use crate::values::{Place, Planted};

/// The Secret whose patches are held.
pub(crate) const HELD: &str = "applied-3";

/// Says each of the values of [`Place::Said`] in its own way, and keeps what is answered.
///
/// # Errors
/// When a way does not exist any more.
pub(crate) fn say(stage: &Stage, person: Person, values: &[Planted], held: bool) -> Result<Vec<Shown>> {
    let here = |planted: &&Planted| matches!(planted.place, Place::Said | Place::Credential);
    let words: Vec<String> = values.iter().filter(here).map(Planted::text).collect();
    let [literal, argument, review, broken, invalid, terminal, patch, written, bearer, query] =
        words.as_slice()
    else {
        anyhow::bail!("{} words", words.len());
    };
    let kubectl = newest()?;
    let mut shown = Vec::new();
    let literal = format!("--from-literal=password={literal}");
    let echo = format!("echo DB_PASSWORD={argument}");
    let patch = json!({"data": {"db.password": patch}}).to_string();
    for args in [
        vec!["create", "secret", "generic", "said", &literal, "--dry-run=server", "-o", "yaml"],
        vec!["exec", RUNNER, "-c", "main", "--", "sh", "-c", &echo],
        vec![
            "patch",
            "configmap",
            "planted-keys",
            "--type=merge",
            "--dry-run=server",
            "-o",
            "yaml",
            "-p",
            &patch,
        ],
    ] {
        let ran = output(&mut stage.kubectl(person, &kubectl, &args), LIMIT)?;
        ensure!(ran.code == 0, "{}", ran.all());
        shown.push(Shown::of(format!("kubectl {}", args[..2].join(" ")), &ran));
    }
    let json = |target: &str, body: String| {
        let ask = Ask { method: "POST", target: target.to_owned(), body, ..Ask::default() };
        ask.with("Content-Type: application/json").with("Accept: application/json")
    };
    let token_review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": review}});
    let labelled = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "said"}, "spec": {
        "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": invalid}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let asks = [
        json("/apis/authentication.k8s.io/v1/tokenreviews", token_review.to_string()),
        Ask {
            method: "PUT",
            ..json("/api/v1/namespaces/demo/secrets/planted-1", format!("{{\"password\":\"{broken}"))
        },
        json("/apis/apps/v1/namespaces/demo/deployments", labelled.to_string()),
        Ask::get("/api/v1/namespaces/demo/secrets?limit=1", "application/json")
            .with(&format!("Authorization: Bearer {bearer}")),
        Ask::get(
            format!("/api/v1/namespaces/demo/pods?access_token={query}&password={query}"),
            "application/json",
        ),
    ];
    shown.extend(ask(stage, person, stage.endpoint(), &asks, 1)?.into_iter().map(|one| one.shown));
    let line = format!("export DB_PASSWORD={terminal}; echo password=$DB_PASSWORD; echo at-the-end; exit\n");
    shown.push(typed(stage, person, &kubectl, line.as_bytes())?);
    shown.extend(write(stage, person, written, held)?);
    Ok(shown)
}

/// A write; where it is held, looked at by who is to agree to it.
fn write(stage: &Stage, person: Person, word: &str, held: bool) -> Result<Vec<Shown>> {
    let patch = json!({"stringData": {"new": word}}).to_string();
    let args = ["patch", "secret", HELD, "-o", "yaml", "-p", &patch];
    let mut running = Running::start(stage.kubectl(person, &newest()?, &args).stdin(Stdio::null()))?;
    let mut shown = Vec::new();
    if held {
        let held = wait_for("a held request", LIMIT, || requests(stage, BOB, "h-", false).ok()?.pop())?;
        let id = held["id"].as_str().context("id")?;
        shown.push(Shown { what: "requests".to_owned(), bytes: held.to_string().into_bytes() });
        shown.push(Shown::of("requests", &stage.portcullis(BOB, &["requests"])?));
        shown.push(Shown::of("approve", &stage.portcullis(BOB, &["approve", id])?));
    }
    let ran = running.wait(LIMIT)?;
    ensure!(ran.code == 0, "{}", ran.all());
    shown.push(Shown::of("kubectl patch", &ran));
    Ok(shown)
}
