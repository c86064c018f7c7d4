//! Checking policy, and how requests are read.

use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::PolicyVerb;
use crate::config::Config;
use crate::print::{self, Format};

pub(crate) fn run(verb: &PolicyVerb, config: &Path, format: Format) -> Result<()> {
    match verb {
        PolicyVerb::Check => check(config, format),
        PolicyVerb::Classify => classify(),
    }
}

/// What a check found to be in order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    targets: Vec<String>,
    roles: Vec<String>,
}

fn check(path: &Path, format: Format) -> Result<()> {
    let config = Config::read(path)?;
    let roles = portcullis_access::load_roles(&config.roles)?;
    let checked = Checked {
        targets: config.targets.keys().cloned().collect(),
        roles: roles.iter().map(|role| role.name.to_string()).collect(),
    };
    print::data(format, &checked, |checked| {
        format!("In order: targets {}; roles {}", checked.targets.join(", "), checked.roles.join(", "))
    })
}

/// A filter over JSON lines, so that other tools can compare their reading with ours.
fn classify() -> Result<()> {
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.context("cannot read standard input")?;
        if line.trim().is_empty() {
            continue;
        }
        let read = portcullis_kube::classify_line(&line).with_context(|| format!("line {}", number + 1))?;
        print::stdout(&read)?;
    }
    Ok(())
}
