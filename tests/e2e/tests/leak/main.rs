//! None of three hundred planted values leaves the gate toward a client or reaches the disk, in whatever way the API
//! server is asked and whatever becomes of its answers; and all of them are found when nothing is masked, so it is not
//! the search that misses them.

mod ask;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod look;
mod matrix;
mod plant;
mod said;
mod search;
mod values;

use std::time::Instant;

use anyhow::{Result, ensure};
use ask::{Answered, Ask, ask};
use client::{MASKED, SEER, kubectls};
use common::{everything_role, oldest_and_newest, programs};
use e2e::{Kubectl, Person, Stage, StageOptions};
use look::{Shown, below, written};
use search::Searcher;
use values::planted;

/// Everything for one person masked, and for the other as it is.
fn roles() -> String {
    let unmasked = everything_role()
        .replace("name: everything", "name: unmasked")
        .replace("  rules:", "  obligations: {mask: none}\n  rules:");
    let review = format!(
        "  - {{action: review, apiGroups: [\"\"], resources: [secrets], verbs: [patch], resourceNames: [{}], review: {{wait: 1m}}}}\n",
        said::HELD
    );
    format!("{}{review}---\n{unmasked}", everything_role())
}

/// What took how long.
struct Clock(Instant);

impl Clock {
    #[allow(clippy::print_stdout, reason = "the test runner keeps it for a failure")]
    fn tell(&mut self, what: &str) {
        println!("{:>6.1} s {what}", self.0.elapsed().as_secs_f32());
        self.0 = Instant::now();
    }
}

/// Asks for everything in every way (or in each second, third …), and then lets `kubectls` do so.
fn show(
    stage: &Stage,
    person: Person,
    each: usize,
    kubectl: &[Kubectl],
    clock: &mut Clock,
) -> Result<Vec<Shown>> {
    let mut shown = Vec::new();
    for (what, asks, at_once) in [
        ("reads", matrix::reads(), 8),
        ("watches", matrix::watches(), 100),
        ("sockets", matrix::sockets(), 40),
        ("logs", matrix::logs(), 8),
        ("writes", matrix::writes(), 4),
    ] {
        let asks: Vec<Ask> = asks.into_iter().step_by(each).collect();
        let answered = ask(stage, person, stage.endpoint(), &asks, at_once)?;
        clock.tell(&format!("{what}: {}", summary(&answered)));
        ensure!(what != "reads" || answered.iter().any(|one| one.packed), "nothing came compressed");
        // Where nothing is answered nothing leaks, which would prove nothing.
        let fine = answered.iter().filter(|one| matches!(one.status, 101 | 200..=299)).count();
        ensure!(fine * 2 > answered.len(), "only {fine} {what} were answered: {}", summary(&answered));
        shown.extend(answered.into_iter().map(|one| one.shown));
    }
    shown.extend(kubectls(stage, person, kubectl)?);
    clock.tell("kubectl");
    Ok(shown)
}

/// Deletes what is planted, since that answers with it.
fn deleted(stage: &Stage, person: Person, shown: &mut Vec<Shown>) -> Result<()> {
    let answered = ask(stage, person, stage.endpoint(), &matrix::deletes(), 1)?;
    shown.extend(answered.into_iter().map(|one| one.shown));
    Ok(())
}

/// What the gate asked the cluster for in forms that it could not mask. (This cluster may not have them; a newer one
/// does.) A log is text whatever is asked for.
fn unmaskable(stage: &Stage) -> Result<Vec<String>> {
    let asked = stage.cluster().requests()?.into_iter().filter(|request| {
        let headers = request["headers"].to_string().to_ascii_lowercase();
        headers.contains("application/cbor") || headers.contains("application/yaml")
    });
    let asked = asked.map(|request| format!("{} [{}]", request["target"], request["headers"]));
    Ok(asked.filter(|request| !request.contains("/log?")).collect())
}

fn summary(answered: &[Answered]) -> String {
    let mut codes = std::collections::BTreeMap::new();
    for one in answered {
        *codes.entry(one.status).or_insert(0) += 1;
    }
    format!("{codes:?}, {} bytes", answered.iter().map(|one| one.shown.bytes.len()).sum::<usize>())
}

#[test]
fn no_planted_value_leaves_the_gate_or_reaches_the_disk() -> Result<()> {
    let mut clock = Clock(Instant::now());
    let values = planted();
    let searcher = Searcher::new(&values);
    clock.tell(&format!("{} needles", searcher.len()));
    let environment = vec![("RUST_LOG".to_owned(), "debug".to_owned())];
    let options = StageOptions { environment, ..StageOptions::with_roles(&roles()) };
    let mut stage = Stage::set(&programs()?, &options)?;
    stage.grant(MASKED, "everything", "1h")?;
    stage.grant(SEER, "unmasked", "1h")?;
    plant::plant(&stage, &values)?;
    clock.tell("planted");

    let kubectl = oldest_and_newest()?;
    let mut shown = show(&stage, MASKED, 1, &kubectl, &mut clock)?;
    shown.extend(said::say(&stage, MASKED, &values, true)?);
    clock.tell("what clients say");
    deleted(&stage, MASKED, &mut shown)?;
    let toward_clients = searcher.look_at(&shown);
    clock.tell(&format!("searched {} bytes toward clients", toward_clients.searched));
    let left = written(&mut stage)?;
    clock.tell("read what was written");
    let on_disk = searcher.look_at(&left);
    clock.tell(&format!("searched {} bytes on disk", on_disk.searched));

    let unmaskable = unmaskable(&stage)?;

    plant::uproot(&stage)?;
    plant::plant(&stage, &values)?;
    let mut shown = show(&stage, SEER, 2, &kubectl[kubectl.len() - 1..], &mut clock)?;
    shown.extend(said::say(&stage, SEER, &values, false)?);
    deleted(&stage, SEER, &mut shown)?;
    let control = searcher.look_at(&shown);
    clock.tell(&format!("searched {} bytes that are not masked", control.searched));
    let blind = control.without(&shown);
    let mut recorded = Vec::new();
    below(&stage.recordings(), &mut recorded)?;
    recorded.retain(|one| left.iter().all(|known| known.what != one.what));
    let recorded = searcher.look_at(&recorded);
    clock.tell(&format!("searched {} bytes of recordings", recorded.searched));
    // Its log is long, and a panic would print it.
    drop(stage);

    println!("toward clients:\n{}\n\non disk:\n{}", toward_clients.report(&values), on_disk.report(&values));
    assert!(toward_clients.hits.is_empty() && on_disk.hits.is_empty(), "values leaked, see above");
    assert!(unmaskable.is_empty(), "asked for what cannot be masked: {unmaskable:#?}");
    // Without masks all of it is found, so it is not the search that misses it, nor the requests.
    for (what, found) in [("clients", &control), ("recordings", &recorded)] {
        let missed = found.missed(&values, 95);
        assert!(missed.is_empty(), "not found where nothing is masked, in {what}: {missed:?}");
    }
    assert!(
        blind.len() * 5 < shown.len(),
        "{} of {} ways show nothing: {blind:#?}",
        blind.len(),
        shown.len()
    );
    Ok(())
}
