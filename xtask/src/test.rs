//! `cargo xtask test`: everything that can be tested, on the real kernel and with real kubectl.

use std::process::Command;

use anyhow::Result;

use crate::build::{self, Built};
use crate::{machine, step, tools, workspace};

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    machine::check()?;
    tools::ensure()?;
    let Built { dir, .. } = build::ensure_built(false)?;
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()).args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    if let Some(filter) = &args.filter {
        cargo.args(["--", filter]);
    }
    cargo.env("PORTCULLIS_PROGRAMS", &dir).env("PATH", tools::path()?);
    step::openly("Run the tests", &mut cargo)
}
