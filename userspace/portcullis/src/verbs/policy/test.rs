//! `policy test`: what roles are expected to do.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use portcullis_access::{PolicyTest, parse_policy_tests};
use serde::Serialize;

use super::Policy;
use crate::cli::TestArgs;
use crate::print::{self, Format};

/// What became of one expectation.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    file: String,
    line: u64,
    name: String,
    /// What was found instead; nothing when it holds.
    failure: Option<String>,
}

pub(super) fn run(args: &TestArgs, config: &Path, format: Format) -> Result<()> {
    let policy = Policy::read(&args.roles, config)?;
    let mut outcomes = Vec::new();
    for file in &args.files {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let tests = parse_policy_tests(&file.display().to_string(), &text)?;
        outcomes.extend(tests.into_iter().map(|test| outcome(test, &policy)));
    }
    // A suite that lost its expectations would pass for ever.
    ensure!(!outcomes.is_empty(), "the files hold no expectations");
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    print::data(format, &outcomes, |outcomes| told(outcomes))?;
    ensure!(failed == 0, "{failed} of {} expectations fail", outcomes.len());
    Ok(())
}

fn outcome(test: PolicyTest, policy: &Policy) -> Outcome {
    let failure = match policy.must_know(&test.target) {
        Ok(()) => test.run(&policy.roles, &policy.discovery).err(),
        Err(unknown) => Some(unknown.to_string()),
    };
    let PolicyTest { file, line, name, .. } = test;
    Outcome { file, line, name, failure }
}

fn told(outcomes: &[Outcome]) -> String {
    let failures: Vec<String> = outcomes
        .iter()
        .filter_map(|Outcome { file, line, name, failure }| {
            failure.as_ref().map(|failure| format!("{file}:{line}: {name}: {failure}"))
        })
        .collect();
    if failures.is_empty() {
        format!("{0} of {0} expectations hold.", outcomes.len())
    } else {
        failures.join("\n")
    }
}
