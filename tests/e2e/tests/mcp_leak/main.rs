//! None of three hundred planted values leaves the gate toward an MCP client or reaches the disk, in whatever an answer holds
//! it and in either era; and all of them are found when nothing is masked, so it is not the search that misses them.

#[path = "../common/mod.rs"]
mod common;
#[path = "../leak/look.rs"]
#[allow(dead_code, reason = "it is shared with the test of Kubernetes")]
mod look;
#[path = "../leak/search.rs"]
#[allow(dead_code, reason = "it is shared with the test of Kubernetes")]
mod search;
#[path = "../leak/values.rs"]
mod values;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::mcp::{calling, everything_on_tools, options};
use common::{LIMIT, held, programs};
use e2e::{ALICE, BOB, MALLORY, McpServer, Person, Running, Seat, Stage, StageOptions, output};
use look::{Found, Shown, below, written};
use search::Searcher;
use serde_json::{Value, json};
use values::{Place, Planted, planted};

/// Whoever sees what is masked.
const MASKED: Person = ALICE;
/// Whoever sees everything.
const SEER: Person = MALLORY;

/// All values, first those whose looks give them away wherever they stand, and how many these are.
fn ordered() -> (Vec<Planted>, usize) {
    use Place::{Attach, ConfigMapText, EnvironmentText, Exec, Forward, Log, PodText};
    let telling = [ConfigMapText, EnvironmentText, PodText, Log, Exec, Attach, Forward];
    let (mut first, rest): (Vec<_>, Vec<_>) =
        planted().into_iter().partition(|planted| telling.contains(&planted.place));
    let count = first.len();
    first.extend(rest);
    (first, count)
}

/// `1,2,3`
fn numbers(range: std::ops::Range<usize>) -> String {
    range.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// Plays the client's scenarios in both eras; all that it got, byte by byte and as it understood it.
fn show(stage: &Stage, person: Person, url: &str, values: &[Planted], telling: usize) -> Result<Vec<Shown>> {
    let said: Vec<Value> = values
        .iter()
        .filter(|planted| planted.place == Place::Said)
        .map(|planted| json!({"user": "shop", "password": planted.text()}))
        .collect();
    let said = json!({"records": said}).to_string();
    let credential =
        values.iter().find(|planted| planted.place == Place::Credential).context("a credential")?;
    let credential = credential.text();
    let (telling, all) = (numbers(0..telling), numbers(0..values.len()));
    let mut shown = Vec::new();
    for mode in ["legacy", "modern"] {
        for (what, args) in [
            ("all shapes", vec!["tools", "offers", "questions", "news", "--values", &telling]),
            ("records", vec!["records", "--values", &all]),
            ("arguments", vec!["call"]),
        ] {
            let raw = stage.home(person).join(format!("{mode}-{}", what.replace(' ', "-")));
            let raw_text = raw.display().to_string();
            let args = [vec![url, "--mode", mode, "--raw", &raw_text], args].concat();
            let mut command = Seat::On(stage, person).client(&args)?;
            command.env("ARGUMENTS", &said).env("BEARER", &credential);
            let played = output(&mut command, LIMIT * 6)?;
            ensure!(played.code == 0, "{mode} {what}: {}", played.all());
            // What the SDK says when a stream broke or nothing came: nothing can be found in that.
            for broken in ["\"code\": -32000", "\"code\": -32001"] {
                ensure!(!played.stdout.contains(broken), "{mode} {what}: an answer did not come whole");
            }
            let title = format!("{mode}: {what}");
            // What it prints has also what it said itself.
            if what != "arguments" {
                shown.push(Shown::of(format!("{title}, as the client has it"), &played));
            }
            shown.push(Shown { what: title, bytes: fs::read(&raw)? });
        }
    }
    let mut curl = stage.command(person, Path::new("/usr/bin/curl"));
    let plain = url.replace("/mcp", &format!("/leaky?values={telling}"));
    shown.push(Shown::of("plain HTTP", &output(curl.args(["-sSi", &plain]), LIMIT)?));
    Ok(shown)
}

/// A tool that changes holds its next call; what approvers are shown of the change.
fn changed(stage: &Stage, server: &McpServer, values: &[Planted]) -> Result<Vec<Shown>> {
    server.define(&format!("Restarts another service. {}", values[2].text()))?;
    let mut list = Seat::On(stage, MASKED).client(&[server.url(), "call", "--mode", "modern", "--list"])?;
    output(&mut list, LIMIT)?;
    let mut call = calling(Seat::On(stage, MASKED), server.url(), "modern", "restart", &json!({}))?;
    let mut running = Running::start(call.stdin(Stdio::null()))?;
    let hold = held(stage)?;
    let id = hold["id"].as_str().context("id")?;
    let mut shown = vec![Shown { what: "a hold".to_owned(), bytes: hold.to_string().into_bytes() }];
    for args in [&["requests"][..], &["deny", id, "--comment", "no"], &["requests", "--all"]] {
        shown.push(Shown::of(args.join(" "), &stage.portcullis(BOB, args)?));
    }
    shown.push(Shown::of("a call that is denied", &running.wait(LIMIT)?));
    Ok(shown)
}

/// What `sessions show` tells of each session.
fn conversations(stage: &Stage) -> Result<Vec<Shown>> {
    let sessions = common::parsed(&stage.operator(&["sessions", "list", "-o", "json"])?)?;
    let ids = sessions.as_array().context("a list")?.iter().filter_map(|session| session["id"].as_str());
    ids.map(|id| Ok(Shown::of(format!("sessions show {id}"), &stage.operator(&["sessions", "show", id])?)))
        .collect()
}

fn nothing(what: &str, found: &Found, values: &[Planted]) {
    assert!(found.hits.is_empty(), "values leaked {what}:\n{}", found.report(values));
}

#[test]
fn no_planted_value_leaves_an_mcp_server_or_reaches_the_disk() -> Result<()> {
    let (values, telling) = ordered();
    let searcher = Searcher::new(&values);
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("planted.json");
    let encoded: Vec<String> = values.iter().map(Planted::base64).collect();
    fs::write(&file, json!(encoded).to_string())?;
    let server = McpServer::start(&["--planted", &file.display().to_string()])?;
    // What a tool says of itself is shown, and kept to be compared with what it says later.
    let as_pinned = format!("Restarts a service. {}", values[1].text());
    server.define(&as_pinned)?;

    let roles =
        format!("{}---{}", everything_on_tools("all", "{}"), everything_on_tools("seer", "{mask: none}"));
    let environment = vec![("RUST_LOG".to_owned(), "debug".to_owned())];
    let mut stage =
        Stage::set(&programs()?, &StageOptions { environment, ..options(server.url(), &roles, &json!({})) })?;
    stage.grant_on("tools", MASKED, "all", "1h")?;
    stage.grant_on("tools", SEER, "seer", "1h")?;

    let mut shown = show(&stage, MASKED, server.url(), &values, telling)?;
    shown.extend(changed(&stage, &server, &values)?);
    let mut left = written(&mut stage)?;
    left.extend(conversations(&stage)?);
    let (toward_clients, on_disk) = (searcher.look_at(&shown), searcher.look_at(&left));

    server.define(&as_pinned)?;
    let unmasked = show(&stage, SEER, server.url(), &values, telling)?;
    let control = searcher.look_at(&unmasked);
    let mut recorded = Vec::new();
    below(&stage.recordings(), &mut recorded)?;
    recorded.retain(|one| left.iter().all(|known| known.what != one.what));
    let recorded = searcher.look_at(&recorded);
    // Its log is long, and a panic would print it.
    drop(stage);

    nothing("toward clients", &toward_clients, &values);
    nothing("to the disk", &on_disk, &values);
    for (what, found) in [("clients", &control), ("recordings", &recorded)] {
        let missed = found.missed(&values, 95);
        assert!(missed.is_empty(), "not found where nothing is masked, in {what}: {missed:?}");
    }
    let blind = control.without(&unmasked);
    assert!(blind.is_empty(), "these show nothing: {blind:?}");
    let credentials = values.iter().filter(|planted| planted.place == Place::Credential);
    for credential in credentials {
        assert!(server.reached(&credential.text())?.is_empty(), "the client's token went upstream");
    }
    Ok(())
}

#[test]
fn values_that_their_looks_give_away_come_first() {
    let (values, telling) = ordered();
    assert_eq!(values.len(), values::VALUES);
    assert!(
        telling > 90 && values[..telling].iter().all(|planted| std::str::from_utf8(&planted.value).is_ok())
    );
    assert!(values[telling..].iter().any(|planted| STANDARD.encode(&planted.value).len() > 100_000));
}
