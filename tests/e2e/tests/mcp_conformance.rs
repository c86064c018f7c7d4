//! The conformance suite of the project that MCP is from comes to the same verdict on a server with the gate in between as
//! without: every scenario, every check. (The gate turns foreign hosts away also where the server would not.)

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::LIMIT;
use common::mcp::open_stage;
use common::own;
use e2e::{ALICE, McpEverything, McpServer, Seat, output};
use serde_json::Value;

/// How many checks `tests/mcp/server.py` passes: all there are, but those that are of no verdict.
const PASSED: usize = 44;

/// What is checked, and the verdict.
type Check = (String, String);
/// The checks of each scenario.
type Score = BTreeMap<String, Vec<Check>>;

/// What the suite says of the server at `url`, with its results in `dir`.
fn score(seat: Seat<'_>, url: &str, dir: &Path) -> Result<Score> {
    fs::create_dir(dir)?;
    if let Seat::On(_, person) = seat {
        own(dir, person)?;
    }
    let results = dir.display().to_string();
    let args = ["server", "--url", url, "--suite", "all", "--output-dir", &results];
    let printed = output(&mut seat.conformance(&args)?, LIMIT * 6)?;
    let mut score = Score::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let folder = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // `server-ping-2026-03-01T12-00-00-000Z`
        let scenario =
            folder.get(..folder.len().saturating_sub(25)).context("a folder with a time")?.to_owned();
        let checks: Vec<Value> = serde_json::from_slice(&fs::read(path.join("checks.json"))?)?;
        let said = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
        score.insert(
            scenario,
            checks.iter().map(|check| (said(check, "id"), said(check, "status"))).collect(),
        );
    }
    ensure!(score.len() > 30, "{} scenarios ran: {}", score.len(), printed.all());
    Ok(score)
}

fn passed(score: &Score) -> usize {
    score.values().flatten().filter(|(_, status)| status == "SUCCESS").count()
}

#[test]
fn a_server_conforms_behind_the_gate_as_it_does_without() -> Result<()> {
    let (server, everything) = (McpServer::start(&[])?, McpEverything::start()?);
    let dir = tempfile::tempdir()?;
    for (what, url) in [("server", server.url()), ("everything", everything.url())] {
        let direct = score(Seat::Direct, url, &dir.path().join(what))?;
        let stage = open_stage(url)?;
        let through = score(Seat::On(&stage, ALICE), url, &stage.home(ALICE).join("results"))?;
        assert!(what != "server" || passed(&direct) == PASSED, "{direct:#?}");
        assert!(direct.keys().eq(through.keys()), "{what}: {through:?}");
        for (scenario, checks) in &direct {
            let better = |direct: &Check, through: &Check| {
                scenario.contains("dns-rebinding") && direct.0 == through.0 && through.1 == "SUCCESS"
            };
            let now = &through[scenario];
            let same = checks.len() == now.len()
                && checks
                    .iter()
                    .zip(now)
                    .all(|(direct, through)| direct == through || better(direct, through));
            assert!(same, "{what}: {scenario}: {checks:?} without the gate, {now:?} with it");
        }
    }
    Ok(())
}
