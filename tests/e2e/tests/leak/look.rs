//! What clients received and what lies on the disk, held against the planted values.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use e2e::{Output, Stage};

use crate::common::parsed;
use crate::search::{Hit, Searcher};
use crate::values::{Place, Planted};

/// Something that somebody was shown, or that was left somewhere.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// What it is, for a report.
    pub(crate) what: String,
    pub(crate) bytes: Vec<u8>,
}

/// Of all that was shown, what was found where.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Each value in each thing that it was found in.
    pub(crate) hits: Vec<Sighting>,
    /// Which values were found at all.
    pub(crate) values: HashSet<usize>,
    /// Bytes that were searched.
    pub(crate) searched: usize,
}

/// A value in something.
#[derive(Debug)]
pub(crate) struct Sighting {
    what: String,
    hit: Hit,
    /// The bytes around it.
    around: String,
}

impl Shown {
    pub(crate) fn of(what: impl Into<String>, output: &Output) -> Self {
        Self { what: what.into(), bytes: output.all().into_bytes() }
    }
}

impl Sighting {
    fn of(hit: Hit, shown: &Shown) -> Self {
        let around = &shown.bytes[hit.at.saturating_sub(60)..shown.bytes.len().min(hit.at + 20)];
        Self { what: shown.what.clone(), hit, around: around.escape_ascii().to_string() }
    }
}

impl Searcher {
    /// Searches everything, on all processors. The same bytes are searched once.
    pub(crate) fn look_at(&self, shown: &[Shown]) -> Found {
        let (found, next) = (Mutex::new(Found::default()), AtomicUsize::new(0));
        let seen = Mutex::new(HashSet::new());
        let work = || {
            while let Some(shown) = shown.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut hasher = DefaultHasher::new();
                shown.bytes.hash(&mut hasher);
                if !seen.lock().expect("no panic").insert(hasher.finish()) {
                    continue;
                }
                let hits = self.look(&shown.bytes);
                let mut found = found.lock().expect("no panic");
                found.searched += shown.bytes.len();
                found.values.extend(hits.iter().map(|hit| hit.value));
                found.hits.extend(hits.into_iter().map(|hit| Sighting::of(hit, shown)));
            }
        };
        std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
        found.into_inner().expect("no panic")
    }
}

impl Found {
    /// What was found, sorted by value, a line each with one place where it was seen and how many more there are.
    pub(crate) fn report(&self, values: &[Planted]) -> String {
        let mut by_value: BTreeMap<usize, Vec<&Sighting>> = BTreeMap::new();
        for found in &self.hits {
            by_value.entry(found.hit.value).or_default().push(found);
        }
        let lines = by_value.into_iter().map(|(value, found)| {
            let Sighting { what, hit, around } = found[0];
            let (title, more) = (values[value].title(), found.len() - 1);
            format!(
                "#{value}, {title}, as {:?} at byte {} of {what} and in {more} more: {around}",
                hit.form, hit.at
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Those things in which nothing was found.
    pub(crate) fn without(&self, shown: &[Shown]) -> Vec<String> {
        let with: HashSet<&str> = self.hits.iter().map(|found| found.what.as_str()).collect();
        shown.iter().filter(|one| !with.contains(one.what.as_str())).map(|one| one.what.clone()).collect()
    }

    /// The places of which too few values were seen.
    pub(crate) fn missed(&self, values: &[Planted], percent: usize) -> Vec<String> {
        let mut places: BTreeMap<Place, (usize, usize)> = BTreeMap::new();
        let shown = |(_, planted): &(usize, &Planted)| planted.place != Place::Credential;
        for (number, planted) in values.iter().enumerate().filter(shown) {
            let (seen, all) = places.entry(planted.place).or_default();
            *seen += usize::from(self.values.contains(&number));
            *all += 1;
        }
        let few = |(_, (seen, all)): &(Place, (usize, usize))| seen * 100 < all * percent;
        places
            .into_iter()
            .filter(few)
            .map(|(place, (seen, all))| format!("{place:?}: {seen} of {all}"))
            .collect()
    }
}

/// All that the daemon wrote: its state, its recordings as they are and as its own commands show them, its log.
///
/// # Errors
/// When something cannot be read.
pub(crate) fn written(stage: &mut Stage) -> Result<Vec<Shown>> {
    let mut shown = Vec::new();
    for folder in ["state", "recordings", "run"] {
        below(&stage.dir().join(folder), &mut shown)?;
    }
    let sessions = parsed(&stage.operator(&["sessions", "list", "-o", "json"])?)?;
    let sessions: Vec<&str> =
        sessions.as_array().context("a list")?.iter().filter_map(|one| one["id"].as_str()).collect();
    ensure!(!sessions.is_empty(), "nothing was recorded");
    shown.push(Shown::of("sessions list", &stage.operator(&["sessions", "list"])?));
    let (all, next) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let work = || -> Result<()> {
        while let Some(id) = sessions.get(next.fetch_add(1, Ordering::Relaxed)) {
            for args in [
                vec!["export", id, "--format", "jsonl"],
                vec!["play", id, "--speed", "100000", "--max-idle", "0"],
            ] {
                let output = stage.operator(&[&["sessions"], args.as_slice()].concat())?;
                let what = format!("sessions {}", args.join(" "));
                all.lock().expect("no panic").push(Shown::of(what, &output));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })?;
    shown.append(&mut all.into_inner().expect("no panic"));
    shown.push(Shown { what: "the daemon's log".to_owned(), bytes: stage.daemon().log().into_bytes() });
    Ok(shown)
}

/// Every file below a folder.
pub(crate) fn below(dir: &Path, shown: &mut Vec<Shown>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            below(&path, shown)?;
        } else if kind.is_file() {
            shown.push(Shown { what: path.display().to_string(), bytes: fs::read(&path)? });
        }
    }
    Ok(())
}
