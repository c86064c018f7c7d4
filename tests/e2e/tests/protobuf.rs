//! Protobuf through the gate: clients that ask for it get it, without the secrets in it; what is too large to be masked in
//! it comes in JSON, or is refused in words.

mod common;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use common::{LIMIT, everything_role, programs, recorded};
use e2e::{ALICE, BOB, Kubectl, Running, Stage, StageOptions, installed, output, wait_for};
use serde_json::Value;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const EITHER: &str = "application/vnd.kubernetes.protobuf,application/json";

/// What the demo's Secrets hold.
const PASSWORD: &[u8] = b"FAKE-s3cr3t-passw0rd-1";

struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn is(&self, status: u16, content_type: &str) -> bool {
        let lines: Vec<String> = self.head.lines().map(str::to_ascii_lowercase).collect();
        lines[0].contains(&format!(" {status}"))
            && lines.iter().any(|line| *line == format!("content-type: {content_type}"))
    }

    fn holds(&self, needle: &[u8]) -> bool {
        self.body.windows(needle.len()).any(|window| window == needle)
    }

    fn is_masked(&self) -> bool {
        self.holds(b"portcullis-masked:")
            && !self.holds(b"FAKE")
            && !self.holds(STANDARD_NO_PAD.encode(PASSWORD).as_bytes())
    }
}

fn curl(stage: &Stage, accept: &str, path: &str, args: &[&str]) -> Result<Answer> {
    let home = stage.home(ALICE);
    let mut command = stage.command(ALICE, Path::new("/usr/bin/curl"));
    command.args([
        "-sS",
        "-k",
        "--max-time",
        "10",
        "-D",
        "head",
        "-o",
        "body",
        "-H",
        &format!("Accept: {accept}"),
    ]);
    command.args(args).arg(format!("{}{path}", stage.endpoint())).current_dir(&home);
    let answered = output(&mut command, LIMIT)?;
    ensure!(answered.code == 0, "{}", answered.all());
    Ok(Answer { head: fs::read_to_string(home.join("head"))?, body: fs::read(home.join("body"))? })
}

#[test]
fn who_takes_protobuf_gets_it_masked() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    let secrets = "/api/v1/namespaces/demo/secrets";
    for http in ["--http1.1", "--http2"] {
        for accept in [PROTOBUF, EITHER] {
            for path in ["/db-credentials", "", "?limit=1", "?labelSelector=app%3Dshop"] {
                let answer = curl(&stage, accept, &format!("{secrets}{path}"), &[http])?;
                ensure!(answer.is(200, PROTOBUF), "{path} {accept}: {}", answer.head);
                ensure!(answer.body.starts_with(b"k8s\0"), "{path} {accept}");
                ensure!(answer.is_masked() || path == "?limit=1", "{path} {accept}");
            }
        }
        let pods = curl(&stage, PROTOBUF, "/api/v1/namespaces/demo/pods", &[http])?;
        ensure!(
            pods.is(200, PROTOBUF) && pods.holds(b"INLINE_PASSWORD") && pods.is_masked(),
            "{}",
            pods.head
        );
        let missing = curl(&stage, PROTOBUF, &format!("{secrets}/nosuch"), &[http])?;
        ensure!(missing.is(404, PROTOBUF) && missing.holds(b"NotFound"), "{}", missing.head);
        // A watch says so in its type, asked for or not.
        let watch = format!(
            "{secrets}?watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        );
        for accept in [PROTOBUF, "application/vnd.kubernetes.protobuf;stream=watch"] {
            let events = curl(&stage, accept, &watch, &[http])?;
            ensure!(events.is(200, "application/vnd.kubernetes.protobuf;stream=watch"), "{}", events.head);
            ensure!(events.is_masked() && events.holds(b"ADDED"), "{accept}");
        }
        // A watch that may be in JSON is: no event of it can turn out to be too large, or too new.
        let events = curl(&stage, EITHER, &watch, &[http])?;
        ensure!(events.is(200, "application/json"), "{}", events.head);
        let packed = curl(&stage, PROTOBUF, secrets, &[http, "-H", "Accept-Encoding: gzip", "--compressed"])?;
        ensure!(packed.is(200, PROTOBUF) && packed.is_masked(), "{}", packed.head);
    }
    let yaml = curl(&stage, "application/yaml", secrets, &[])?;
    ensure!(yaml.is(406, "application/json") && yaml.holds(b"as JSON or protobuf only"), "{}", yaml.head);
    Ok(())
}

#[test]
fn what_is_too_large_in_protobuf_comes_in_json() -> Result<()> {
    let bulk = vec!["--bulk-secrets".to_owned(), "1200".to_owned()];
    let options = StageOptions { cluster_args: bulk, ..StageOptions::with_roles(&everything_role()) };
    let stage = Stage::set(&programs()?, &options)?;
    stage.grant(ALICE, "everything", "1h")?;
    let bulk = "/api/v1/namespaces/bulk/secrets";
    for args in [&["--http1.1"][..], &["--http2"], &["--compressed"]] {
        let requests = stage.cluster().requests()?.len();
        let answer = curl(&stage, EITHER, bulk, args)?;
        ensure!(answer.is(200, "application/json"), "{args:?}: {}", answer.head);
        let list: Value = serde_json::from_slice(&answer.body)?;
        ensure!(list["items"].as_array().map(Vec::len) == Some(1200));
        ensure!(!answer.holds(b"FAKE") && !answer.holds(b"RkFLRS"));
        let asked: Vec<Value> = stage.cluster().requests()?.split_off(requests);
        let of_bulk: Vec<_> = asked.iter().filter(|request| request["target"] == bulk).collect();
        ensure!(of_bulk.len() == 2, "asked twice: {asked:?}");
        ensure!(of_bulk[0]["auditId"] == of_bulk[1]["auditId"], "as one request");

        let answer = curl(&stage, PROTOBUF, bulk, args)?;
        ensure!(answer.is(406, "application/json"), "{args:?}: {}", answer.head);
        let status: Value = serde_json::from_slice(&answer.body)?;
        ensure!(status["message"].as_str().is_some_and(|message| message.contains("limit")), "{status}");
    }
    let answer = curl(&stage, PROTOBUF, &format!("{bulk}?limit=500"), &[])?;
    ensure!(
        answer.is(200, PROTOBUF) && answer.holds(b"portcullis-masked:") && !answer.holds(b"FAKE"),
        "{}",
        answer.head
    );

    let recorded = recorded(&stage)?;
    ensure!(!recorded.contains("FAKE-bulk") && !recorded.contains("RkFLRS1idWxr"));
    Ok(())
}

#[test]
fn kubectl_reads_what_it_gets() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    let new: Vec<Kubectl> =
        installed()?.into_iter().filter(|kubectl| kubectl.version.as_str() >= "1.32").collect();
    ensure!(!new.is_empty(), "protobuf is what kubectl 1.32 and later asks for");
    for kubectl in new {
        let run = |args: &[&str]| {
            let done = output(&mut stage.kubectl(ALICE, &kubectl, args), LIMIT)?;
            ensure!(!done.all().contains("FAKE-"), "{args:?}: {}", done.all());
            Ok::<_, anyhow::Error>(done)
        };
        let requests = stage.cluster().requests()?.len();
        let described = run(&["describe", "secret", "db-credentials"])?;
        ensure!(
            described.code == 0 && described.stdout.contains("password:  42 bytes"),
            "{}",
            described.all()
        );
        let asked = stage.cluster().requests()?.split_off(requests);
        let accepted = |request: &Value| {
            let headers = request["headers"].as_array().cloned().unwrap_or_default();
            headers.iter().any(|header| {
                header[0] == "accept" && header[1].as_str().is_some_and(|accept| accept.contains(PROTOBUF))
            })
        };
        ensure!(asked.iter().any(accepted), "protobuf was asked for: {asked:?}");

        let token = run(&["create", "token", "robot"])?;
        ensure!(token.code == 0 && token.stdout.starts_with("portcullis-masked:"), "{}", token.all());
        let whoami = run(&["auth", "whoami"])?;
        ensure!(whoami.code == 0, "{}", whoami.all());
        let name = format!("made-{}", kubectl.version.replace('.', "-"));
        let made = run(&["create", "secret", "generic", &name, "--from-literal=pw=x"])?;
        ensure!(made.code == 0 && made.stdout.contains("created"), "{}", made.all());
        let again = run(&["create", "secret", "generic", &name, "--from-literal=pw=x"])?;
        ensure!(again.code == 1 && again.stderr.contains("already exists"), "{}", again.all());
        let described = run(&["describe", "pods"])?;
        ensure!(
            described.code == 0 && described.stdout.contains("portcullis-masked:"),
            "{}",
            described.all()
        );
        // A refusal of the gate's own is in JSON, and read all the same.
        let refused = run(&["describe", "secret", "nosuch"])?;
        ensure!(refused.code == 1 && refused.stderr.contains("not found"), "{}", refused.all());
    }
    let log = recorded(&stage).context("recorded")?;
    ensure!(!log.contains("FAKE-s3cr3t"));
    Ok(())
}

#[test]
fn a_watch_says_why_it_ends() -> Result<()> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    let grant = stage.grant(ALICE, "everything", "1h")?;
    let mut command = stage.command(ALICE, Path::new("/usr/bin/curl"));
    command.args(["-sSNk", "--max-time", "20", "-o", "events", "-H", &format!("Accept: {PROTOBUF}")]);
    command.arg(format!("{}/api/v1/namespaces/demo/secrets?watch=true", stage.endpoint()));
    let events = stage.home(ALICE).join("events");
    let mut watch = Running::start(command.current_dir(stage.home(ALICE)))?;
    let holds = |needle: &[u8]| {
        let events = fs::read(&events).unwrap_or_default();
        events.windows(needle.len()).any(|window| window == needle).then_some(())
    };
    wait_for("an event", LIMIT, || holds(b"ADDED"))?;
    stage.portcullis(BOB, &["revoke", &grant, "--reason", "lunch time"])?;
    let ended = watch.wait(LIMIT)?;
    ensure!(ended.code == 0, "{}", ended.all());
    ensure!(holds(b"ERROR").is_some() && holds(b"access ended").is_some() && holds(b"FAKE").is_none());
    Ok(())
}
