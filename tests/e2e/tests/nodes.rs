//! Two bastions on one PostgreSQL: what is decided on one is so on the other within a second, and without the database
//! nothing is allowed for long.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Result;
use common::{LIMIT, LOOK, id_of, newest, parsed, programs};
use e2e::{ALICE, BOB, Output, Postgres, Running, Stage, StageOptions, output, wait_for};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

/// Two stages that share a database. It goes last, after those who use it.
struct Nodes {
    a: Stage,
    b: Stage,
    database: Postgres,
}

fn nodes() -> Result<Nodes> {
    let database = Postgres::start()?;
    let options = StageOptions {
        config: json!({ "access": { "store": database.store(), "maxSnapshotAge": "2s" } }),
        ..StageOptions::with_roles(LOOK)
    };
    let programs = programs()?;
    Ok(Nodes { a: Stage::set(&programs, &options)?, b: Stage::set(&programs, &options)?, database })
}

fn get_pods(stage: &Stage) -> Result<Output> {
    output(&mut stage.kubectl(ALICE, &newest()?, &["get", "pods"]), LIMIT)
}

#[test]
fn what_one_bastion_decides_the_other_knows_within_a_second() -> Result<()> {
    let Nodes { a, b, database: _running } = nodes()?;
    assert_eq!(get_pods(&b)?.code, 1);
    let asked = a.portcullis(
        ALICE,
        &["request", "--role", "look", "--for", "1h", "--reason", "end-to-end test", "-o", "json"],
    )?;
    let request = id_of(&asked)?;
    let approved = a.portcullis(BOB, &["approve", &request, "-o", "json"])?;
    let since = Instant::now();
    let approved = parsed(&approved)?;
    let grant = approved["grant"].as_str().unwrap_or_default();
    let known =
        || b.portcullis(ALICE, &["grants", "-o", "json"]).is_ok_and(|listed| listed.stdout.contains(grant));
    wait_for("the grant on the other bastion", LIMIT, || known().then_some(()))?;
    assert!(since.elapsed() < SECOND, "approving took {:?}", since.elapsed());
    let works = get_pods(&b)?;
    assert_eq!(works.code, 0, "{}", works.all());

    let follow = ["logs", "-f", "shell"];
    let mut running = Running::start(b.kubectl(ALICE, &newest()?, &follow).stdin(Stdio::null()))?;
    running.wait_for_stdout("\n", LIMIT)?;
    let revoked = a.portcullis(BOB, &["revoke", grant, "--reason", "lunch time"])?;
    let since = Instant::now();
    assert_eq!(revoked.code, 0, "{}", revoked.all());
    let cut = running.wait(LIMIT)?;
    assert!(since.elapsed() < SECOND, "cutting took {:?}", since.elapsed());
    assert!(cut.all().contains("lunch time"), "{cut:?}");
    assert_eq!(get_pods(&a)?.code, 1);

    // A request on either is decided on either.
    let asked = b.portcullis(
        ALICE,
        &["request", "--role", "look", "--for", "1h", "--reason", "end-to-end test", "-o", "json"],
    )?;
    let request = id_of(&asked)?;
    let seen = || a.portcullis(BOB, &["requests"]).is_ok_and(|listed| listed.stdout.contains(&request));
    wait_for("the request on the other bastion", LIMIT, || seen().then_some(()))?;
    assert_eq!(a.portcullis(BOB, &["approve", &request])?.code, 0);
    let twice = b.portcullis(BOB, &["approve", &request])?;
    assert_eq!(twice.code, 1, "an approval is spent once, wherever: {}", twice.all());
    Ok(())
}

#[test]
fn without_the_database_nothing_is_allowed_for_long() -> Result<()> {
    let Nodes { a, b, mut database } = nodes()?;
    a.grant(ALICE, "look", "1h")?;
    wait_for("the grant on the other bastion", LIMIT, || {
        get_pods(&b).is_ok_and(|got| got.code == 0).then_some(())
    })?;
    database.stop()?;
    for stage in [&a, &b] {
        let refused = wait_for("a refusal", LIMIT, || {
            get_pods(stage).ok().filter(|got| got.stderr.contains("store has not answered"))
        })?;
        assert_eq!(refused.code, 1);
        let unasked =
            stage.portcullis(ALICE, &["request", "--role", "look", "--for", "1h", "--reason", "x"])?;
        assert_eq!(unasked.code, 1, "{}", unasked.all());
        assert!(!unasked.all().contains("FAKE-postgres-password"), "{}", unasked.all());
    }
    database.serve()?;
    for stage in [&a, &b] {
        wait_for("the database's return", LIMIT, || {
            get_pods(stage).is_ok_and(|got| got.code == 0).then_some(())
        })?;
    }
    Ok(())
}
