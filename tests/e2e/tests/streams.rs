//! Streams through the gate, with kubectl over SPDY and over WebSocket: what a command prints is masked on its way, on
//! the engineer's screen and in the recording, and all else stays as it is.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{LIMIT, everything_role, oldest_and_newest, own, programs, recorded};
use e2e::{ALICE, BOB, Kubectl, Output, Running, Stage, StageOptions, output, wait_for};

/// It looks like a key, and opens nothing.
const SECRET: &str = "AKIAIOSFODNN7EXAMPLE";
/// What it is covered with where nothing may change its place.
const COVER: &str = "********************";

/// A stage on which ALICE may do everything, and her grant.
fn granted(roles: &str) -> Result<(Stage, String)> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(roles))?;
    let grant = stage.grant(ALICE, "everything", "1h")?;
    Ok((stage, grant))
}

fn exec(stage: &Stage, kubectl: &Kubectl, flags: &[&str], script: &str) -> Command {
    let args = [&["exec"], flags, &["shell", "-c", "sh", "--", "sh", "-c", script]].concat();
    stage.kubectl(ALICE, kubectl, &args)
}

/// Runs a command on a pseudo-terminal, which util-linux's `script` provides.
fn on_terminal(inner: &Command) -> Command {
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let quoted: Vec<String> =
        words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))).collect();
    let mut command = Command::new("script");
    command.args(["-qec", &quoted.join(" "), "/dev/null"]).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = inner.get_current_dir() {
        command.current_dir(dir);
    }
    command
}

#[test]
fn what_a_command_prints_is_masked_on_the_screen_and_in_the_recording() -> Result<()> {
    let (stage, _) = granted(&everything_role())?;
    for kubectl in oldest_and_newest()? {
        let version = &kubectl.version;
        // In one write, in two, and on stderr; the code stays the command's own. (What was typed on the command line is
        // recorded as such, so the secret is put together by the shell.)
        let script = "a=AKIAIOSF; b=ODNN7EXAMPLE; printf \"id: $a$b.\\n\"; printf \"two $a\"; printf \"$b \\n\"; \
                      printf \"err $a$b;\" >&2; exit 7";
        let ran = output(&mut exec(&stage, &kubectl, &[], script), LIMIT)?;
        assert_eq!(ran.stdout, format!("id: {COVER}.\ntwo {COVER} \n"), "{version}");
        assert!(ran.stderr.starts_with(&format!("err {COVER};")), "{version}: {}", ran.stderr);
        assert_eq!(ran.code, 7, "{version}");

        // On a terminal, with a shell that somebody types into.
        let mut shell = stage.kubectl(ALICE, &kubectl, &["exec", "-it", "shell", "-c", "sh", "--", "sh"]);
        shell.env("PS1", "$ ");
        let mut running = Running::start(on_terminal(&shell).stdin(Stdio::piped()))?;
        let mut stdin = running.child().stdin.take().context("stdin")?;
        stdin.write_all(b"a=AKIAIOSF; b=ODNN7EXAMPLE; echo got-$a$b-end; exit 3\n")?;
        running.wait_for_stdout("-end\r\n", LIMIT)?;
        let shown = running.wait(LIMIT)?;
        drop(stdin);
        assert_eq!(shown.code, 3, "{version}: {}", shown.all());
        assert!(shown.stdout.contains("got-portcullis-masked:"), "{version}: {}", shown.stdout);
        assert!(!shown.stdout.contains(SECRET), "{version}: {}", shown.stdout);
    }
    let evidence = recorded(&stage)?;
    assert!(!evidence.contains(SECRET), "a secret was recorded");
    // What `play` shows is what the engineer saw.
    let sessions = common::parsed(&stage.operator(&["sessions", "list", "-o", "json"])?)?;
    let mut played = String::new();
    for session in sessions.as_array().context("sessions")? {
        let id = session["id"].as_str().context("id")?;
        played.push_str(&stage.operator(&["sessions", "play", id, "--speed", "1000"])?.stdout);
    }
    assert!(
        played.contains(&format!("id: {COVER}.")) && played.contains("got-portcullis-masked:"),
        "{played}"
    );
    assert!(!played.contains(SECRET), "{played}");
    let verified = stage.operator(&["sessions", "verify"])?;
    assert_eq!(verified.code, 0, "{}", verified.all());
    Ok(())
}

#[test]
fn a_role_without_a_mask_sees_what_is_there() -> Result<()> {
    let unmasked = everything_role().replace("  rules:", "  obligations: {mask: none}\n  rules:");
    let (stage, _) = granted(&unmasked)?;
    for kubectl in oldest_and_newest()? {
        let ran = output(&mut exec(&stage, &kubectl, &[], &format!("echo {SECRET}")), LIMIT)?;
        assert_eq!(ran.stdout, format!("{SECRET}\n"), "{}", kubectl.version);
    }
    Ok(())
}

#[test]
fn a_prompt_without_a_line_end_does_not_wait() -> Result<()> {
    let (stage, _) = granted(&everything_role())?;
    for kubectl in oldest_and_newest()? {
        let mut command = exec(&stage, &kubectl, &["-i"], "printf 'key AKIA'; read answer; echo $answer");
        let mut running = Running::start(command.stdin(Stdio::piped()))?;
        running.wait_for_stdout("key AKIA", LIMIT)?;
        let mut stdin = running.child().stdin.take().context("stdin")?;
        stdin.write_all(b"yes\n")?;
        drop(stdin);
        let ran = running.wait(LIMIT)?;
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "key AKIAyes\n"), "{}", kubectl.version);
    }
    Ok(())
}

/// An archive stays an archive: what is covered keeps its length, and what is no secret is the same byte for byte.
#[test]
fn files_are_copied_whole() -> Result<()> {
    let (stage, _) = granted(&everything_role())?;
    let home = stage.home(ALICE);
    let binary: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(home.join("binary"), &binary)?;
    std::fs::write(home.join("config"), format!("before\nkey: {SECRET}\nafter\n"))?;
    own(&home, ALICE)?;
    for kubectl in oldest_and_newest()? {
        let copy = |from: &str, to: &str| -> Result<Output> {
            output(&mut stage.kubectl(ALICE, &kubectl, &["cp", from, to, "-c", "sh"]), LIMIT)
        };
        for (name, expected) in
            [("binary", binary.clone()), ("config", format!("before\nkey: {COVER}\nafter\n").into_bytes())]
        {
            let up = copy(name, &format!("shell:{name}-up"))?;
            ensure!(up.code == 0, "{}: {}", kubectl.version, up.all());
            copy(&format!("shell:{name}-up"), &format!("{name}-down"))?;
            let down = std::fs::read(home.join(format!("{name}-down")))?;
            assert!(down == expected, "kubectl {} cp {name}: {} bytes", kubectl.version, down.len());
        }
    }
    Ok(())
}

#[test]
fn attach_shows_the_output_of_a_container() -> Result<()> {
    let (stage, _) = granted(&everything_role())?;
    for kubectl in oldest_and_newest()? {
        let mut command = stage.kubectl(ALICE, &kubectl, &["attach", "web", "-c", "web"]);
        let mut running = Running::start(command.stdin(Stdio::null()))?;
        running.wait_for_stdout("line 23\n", LIMIT)?;
        assert!(running.stdout().contains("line 22\nline 23\n"), "{}", running.stdout());
        running.kill();
    }
    Ok(())
}

#[test]
fn forwarded_http_is_masked_and_keeps_its_length() -> Result<()> {
    let (stage, grant) = granted(&everything_role())?;
    for kubectl in oldest_and_newest()? {
        let mut command = stage.kubectl(ALICE, &kubectl, &["port-forward", "web", ":8080"]);
        let mut running = Running::start(command.stdin(Stdio::null()))?;
        running.wait_for_stdout("Forwarding from 127.0.0.1:", LIMIT)?;
        let shown = running.stdout();
        let (_, rest) = shown.split_once("127.0.0.1:").context("no port")?;
        let port: u16 = rest.split([' ', '\n']).next().context("no port")?.parse()?;
        let ask = |request: &str| -> Result<String> {
            let mut tcp = TcpStream::connect(("127.0.0.1", port))?;
            tcp.set_read_timeout(Some(LIMIT))?;
            tcp.write_all(request.as_bytes())?;
            let mut answer = String::new();
            tcp.read_to_string(&mut answer)?;
            Ok(answer)
        };
        for _ in 0..2 {
            let path = format!("/say/{{\"key\":\"{SECRET}\"}}");
            let answer = ask(&format!("GET {path} HTTP/1.1\r\nHost: web\r\nAccept-Encoding: gzip\r\n\r\n"))?;
            let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
            assert_eq!(body, format!("{{\"key\":\"{COVER}\"}}\n"), "{}", kubectl.version);
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        }
        if kubectl == oldest_and_newest()?.pop().context("kubectl")? {
            let revoked = stage.portcullis(BOB, &["revoke", &grant, "--reason", "enough"])?;
            ensure!(revoked.code == 0, "{}", revoked.all());
            wait_for("the forward to end", LIMIT, || running.ended().then_some(()))?;
        }
        running.kill();
    }
    let evidence = recorded(&stage)?;
    assert!(evidence.contains("hello") || evidence.contains("/say/"), "what was asked is recorded");
    assert!(!evidence.contains(&format!("\\\"{SECRET}")), "a secret was recorded");
    Ok(())
}

/// curl by ALICE with the headers of a WebSocket: what came, head and frames, until it ended or two seconds were over.
fn websocket(stage: &Stage, path: &str, headers: &[&str]) -> Result<Running> {
    let mut command = stage.command(ALICE, Path::new("/usr/bin/curl"));
    command.args(["-sS", "-k", "-i", "-N", "--http1.1", "--max-time", "20"]);
    for header in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions: permessage-deflate",
    ]
    .iter()
    .chain(headers)
    {
        command.args(["-H", header]);
    }
    command.arg(format!("{}{path}", stage.endpoint())).stdin(Stdio::null());
    Running::start(&mut command)
}

#[test]
fn watches_and_logs_go_over_websocket() -> Result<()> {
    let (stage, grant) = granted(&everything_role())?;
    let secrets = "/api/v1/namespaces/demo/secrets";
    let watch = format!("{secrets}?watch=true");
    // A plain list with the headers of an upgrade is answered plainly.
    let listed = websocket(&stage, secrets, &[])?.wait(LIMIT)?;
    assert!(listed.stdout.starts_with("HTTP/1.1 200 OK") && listed.stdout.contains("\"SecretList\""));
    assert!(!listed.stdout.contains("RkFLRS"), "{}", listed.stdout);
    // Who may open a watch from where is the server's own rule.
    let refused = websocket(&stage, &watch, &[])?.wait(LIMIT)?;
    assert!(refused.stdout.starts_with("HTTP/1.1 403"), "{}", refused.stdout);

    let origin = "Origin: https://a";
    let log = "/api/v1/namespaces/demo/pods/shell/log?container=sh&follow=true&tailLines=2";
    let mut running = Vec::new();
    for (path, protocol, first) in [
        (watch.as_str(), None, "\"db-credentials\""),
        (&watch, Some("binary.k8s.io"), "\"db-credentials\""),
        (&watch, Some("base64.binary.k8s.io"), "\"db-credentials\""),
        (log, None, "line 22"),
        (log, Some("binary.k8s.io"), "line 22"),
        // `line 22`, in base64.
        (log, Some("base64.binary.k8s.io"), "bGluZSAyMgo="),
    ] {
        let offer = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}"));
        let headers: Vec<&str> = [origin].into_iter().chain(offer.as_deref()).collect();
        let mut one = websocket(&stage, path, &headers)?;
        one.wait_for_stdout(first, LIMIT)?;
        let came = one.stdout();
        assert!(came.starts_with("HTTP/1.1 101"), "{came}");
        assert!(!came.to_lowercase().contains("sec-websocket-extensions"), "{came}");
        assert!(!came.contains("RkFLRS"), "a secret came through: {came}");
        running.push((path, one));
    }
    let revoked = stage.portcullis(BOB, &["revoke", &grant, "--reason", "enough"])?;
    ensure!(revoked.code == 0, "{}", revoked.all());
    for (path, one) in &mut running {
        let ended = one.wait(Duration::from_secs(10))?;
        assert!(ended.stdout.contains("portcullis: access ended"), "{path}: {}", ended.stdout);
        assert_eq!(ended.stdout.contains("\"type\":\"ERROR\""), path.contains("watch="), "{path}");
    }
    let evidence = recorded(&stage)?;
    for part in ["db-credentials", "line 22", "access ended"] {
        assert!(evidence.contains(part), "{part} was not recorded");
    }
    assert!(!evidence.contains("RkFLRS"), "a secret was recorded");
    Ok(())
}
