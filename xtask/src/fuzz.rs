//! `cargo xtask fuzz`: every fuzz target for a while, with cargo-fuzz; on nightly, or on the toolchain at hand.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{step, workspace};

/// Known to drive these targets; installed when there is none.
const CARGO_FUZZ: &str = "0.13.2";

/// What to fuzz.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this target
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let dir = workspace::root().join("tests/fuzz");
    if !cargo(&["fuzz", "--version"]).output().is_ok_and(|output| output.status.success()) {
        let mut install = Command::new(workspace::cargo());
        install.args(["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked"]);
        step::openly("Install cargo-fuzz", &mut install)?;
    }
    let mut targets = Vec::new();
    for entry in fs::read_dir(dir.join("fuzz_targets")).context("tests/fuzz/fuzz_targets")? {
        let path = entry?.path();
        targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    targets.retain(|target| args.target.as_ref().is_none_or(|wanted| wanted == target));
    ensure!(!targets.is_empty(), "no such fuzz target; they are in tests/fuzz/fuzz_targets");
    for target in targets {
        // What is found goes to the target directory; the committed corpus stays small and is only read.
        let found = workspace::target_dir().join("fuzz-corpus").join(&target);
        fs::create_dir_all(&found)?;
        // Without the address sanitizer: nothing that is fuzzed has `unsafe`, and it goes much further in the same time.
        let mut fuzz = cargo(&["fuzz", "run", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none", &target]);
        fuzz.arg(&found).arg(dir.join("corpus").join(&target));
        fuzz.args(["--", &format!("-max_total_time={}", args.seconds), "-print_final_stats=1"]);
        step::openly(&format!("Fuzz {target} for {} s", args.seconds), &mut fuzz)?;
    }
    Ok(())
}

/// The cargo of nightly where there is one. Else the one at hand, whose compiler is told that it may do what nightly's does.
fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    // The workspace's own cargo names its toolchain in the environment; another must not inherit it.
    command.current_dir(workspace::root()).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    match has_nightly() {
        true => command.arg("+nightly"),
        false => command.env("RUSTC_BOOTSTRAP", "1"),
    };
    command.args(args);
    command
}

fn has_nightly() -> bool {
    let shown = Command::new("rustup").args(["run", "nightly", "rustc", "--version"]).output();
    shown.is_ok_and(|shown| shown.status.success())
}
