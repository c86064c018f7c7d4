//! MCP servers behind the gate: clients of others' SDKs, in both eras, get what they get without it, but for what is masked.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::mcp::{
    Ask, ERAS, SECRET, begin, called, calling, differences, echo, everything_on_tools, is_masked, open_stage,
    planted, play, printed, stage, text,
};
use common::{LIMIT, own};
use e2e::{ALICE, McpEverything, McpServer, Seat, output};
use serde_json::{Value, json};

/// That what the client got through the gate is what it gets without, but for masked values, what is binary and not shown,
/// and for whom lists are.
fn assert_same(what: &str, direct: &Value, through: &Value) {
    let unexpected: Vec<_> = differences(direct, through)
        .into_iter()
        .filter(|(path, direct, through)| {
            let scope =
                path.ends_with("/cacheScope") && (direct, through) == (&json!("public"), &json!("private"));
            let hidden = shows(direct) || path.ends_with("/blob");
            !(scope || hidden && is_masked(through))
        })
        .collect();
    // Where one exchange is missing, all after it differ.
    let first = &unexpected[..unexpected.len().min(5)];
    assert!(unexpected.is_empty(), "{what}: {} differences, first {first:#?}", unexpected.len());
}

/// Whether a value has the secret in it, as it is or in base64.
fn shows(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    let decoded = STANDARD.decode(text).unwrap_or_default();
    text.contains(SECRET) || String::from_utf8_lossy(&decoded).contains(SECRET)
}

#[test]
fn two_runs_without_the_gate_print_the_same() -> Result<()> {
    // Else a difference with the gate would say nothing.
    let server = McpServer::start(&[])?;
    for mode in ERAS {
        let scenarios = ["hello", "tools", "offers", "questions", "news", "cancel"];
        let run = || play(Seat::Direct, server.url(), mode, &scenarios, &[]);
        assert_eq!(differences(&run()?, &run()?), [], "{mode}");
    }
    Ok(())
}

#[test]
fn a_client_of_either_era_gets_what_it_gets_without_the_gate() -> Result<()> {
    let (_dir, file) = planted()?;
    let server = McpServer::start(&["--planted", &file])?;
    let stage = open_stage(server.url())?;
    for mode in ERAS {
        let mut scenarios = vec!["hello", "tools", "offers", "questions", "news", "cancel"];
        if mode == "legacy" {
            scenarios.push("resume");
        }
        let values = ["--values", "0"];
        let direct = play(Seat::Direct, server.url(), mode, &scenarios, &values)?;
        let through = play(Seat::On(&stage, ALICE), server.url(), mode, &scenarios, &values)?;
        for scenario in &scenarios {
            assert_eq!(direct[*scenario]["failure"], Value::Null, "{mode} {scenario} without the gate");
            assert_same(&format!("{mode} {scenario}"), &direct[*scenario], &through[*scenario]);
        }
        assert!(shows(&json!(direct.to_string())) && !shows(&json!(through.to_string())), "{mode}");
        let masked =
            differences(&direct, &through).iter().filter(|(_, _, through)| is_masked(through)).count();
        assert!(masked > 40, "{mode}: only {masked} values are masked");
    }
    assert_eq!(
        server.slow_calls()?,
        ["cancelled"; 4],
        "who closes the stream has given up, through the gate too"
    );
    Ok(())
}

#[test]
fn the_reference_server_is_walked_through_as_without_the_gate() -> Result<()> {
    let (everything, server) = (McpEverything::start()?, McpServer::start(&[])?);
    for url in [everything.url(), server.url()] {
        let stage = open_stage(url)?;
        for generation in ["1", "2"] {
            let walk = |seat: Seat<'_>| -> Result<Value> {
                printed(&output(&mut seat.walk(&[url, generation])?, LIMIT * 3)?)
            };
            let (direct, through) = (walk(Seat::Direct)?, walk(Seat::On(&stage, ALICE))?);
            assert_same(&format!("generation {generation} at {url}"), &direct, &through);
        }
    }
    Ok(())
}

#[test]
fn older_revisions_are_spoken_too() -> Result<()> {
    let server = McpServer::start(&[])?;
    let stage = open_stage(server.url())?;
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let session = begin(&stage, ALICE, server.url(), version)?;
        let ask =
            Ask::legacy(&session, 1, "tools/call", &json!({"name": "echo", "arguments": {"v": version}}));
        // The header is of 2025-06-18 and later.
        let ask = match version {
            "2025-03-26" => ask.without("MCP-Protocol-Version"),
            _ => ask.without("MCP-Protocol-Version").with(&format!("MCP-Protocol-Version: {version}")),
        };
        let answered = ask.send(&stage, ALICE, server.url())?;
        assert!(text(&json!(answered.result()?)).contains(version), "{answered:?}");
        let mut end = Ask::get().in_session(&session);
        end.method = "DELETE";
        assert_eq!(end.send(&stage, ALICE, server.url())?.status, 200);
        let over = ask.send(&stage, ALICE, server.url())?;
        assert_eq!(over.status, 404, "{version}: a session that is over is not known: {over:?}");
    }
    Ok(())
}

#[test]
fn the_gate_presents_its_own_token_over_tls() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (cert, key) = certificate(dir.path())?;
    let upstream = "FAKE-upstream-token-7Qm2";
    let token = dir.path().join("token");
    fs::write(&token, upstream)?;
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let server = McpServer::start(&["--tls", &cert, &key, "--require-bearer", upstream])?;
    let settings = json!({
        "certificateAuthority": dir.path().join("ca.crt"),
        "credential": {"none": null, "bearerTokenFile": token},
    });
    let stage = stage(server.url(), &everything_on_tools("all", "{}"), &settings)?;
    stage.grant_on("tools", ALICE, "all", "1h")?;
    let ca = stage.home(ALICE).join("gate.crt");
    fs::copy(stage.dir().join("state/ca.crt"), &ca)?;
    own(&stage.home(ALICE), ALICE)?;
    let (ca, theirs) = (ca.display().to_string(), "FAKE-client-token-5Rt8");
    for mode in ERAS {
        let mut command = calling(Seat::On(&stage, ALICE), server.url(), mode, "echo", &json!({}))?;
        command.args(["--ca", &ca]).env("BEARER", theirs);
        let played = printed(&output(&mut command, LIMIT)?)?;
        assert_eq!(text(&called(&played, "echo")?), "{}", "{mode}: {played}");
        assert!(!played.to_string().contains(upstream), "{mode}");
    }
    // HTTP/2 as well, and whatever the client would take compressed: the gate has to read the answer.
    let asked =
        echo("over-h2").with("Accept-Encoding: gzip, br").with(&format!("Authorization: Bearer {theirs}"));
    let mut curl = stage.command(ALICE, Path::new("/usr/bin/curl"));
    curl.args(["-sS", "--http2", "--cacert", &ca, "-w", "\n%{http_version}", "-d"]);
    curl.arg(String::from_utf8(asked.body)?);
    for header in &asked.headers {
        curl.args(["-H", header]);
    }
    let answered = output(curl.arg(server.url()), LIMIT)?;
    assert!(answered.stdout.contains("over-h2") && answered.stdout.ends_with("\n2"), "{}", answered.all());
    let requests = server.requests()?;
    let coded = requests.iter().filter_map(|request| request["headers"]["accept-encoding"].as_str());
    assert!(coded.clone().all(|coding| coding == "identity"), "{:?}", coded.collect::<Vec<_>>());
    let presented: Vec<&str> =
        requests.iter().filter_map(|request| request["headers"]["authorization"].as_str()).collect();
    assert!(
        !presented.is_empty() && presented.iter().all(|it| *it == format!("Bearer {upstream}")),
        "{presented:?}"
    );
    assert!(server.reached(theirs)?.is_empty(), "the client's token went upstream");
    Ok(())
}

/// A certificate for loopback, and its key, by a CA of its own: `ca.crt`.
fn certificate(dir: &Path) -> Result<(String, String)> {
    let path = |name: &str| -> PathBuf { dir.join(name) };
    fs::write(path("leaf.ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
    for args in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test-ca -keyout ca.key -out ca.crt",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 -keyout leaf.key -out leaf.csr",
        "x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 -extfile leaf.ext -out leaf.crt",
    ] {
        let made = output(Command::new("openssl").args(args.split(' ')).current_dir(dir), LIMIT)?;
        ensure!(made.code == 0, "{}", made.all());
    }
    Ok((path("leaf.crt").display().to_string(), path("leaf.key").display().to_string()))
}
