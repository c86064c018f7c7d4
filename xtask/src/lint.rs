//! `cargo xtask lint`: format, clippy and dependency policy, for the workspace, the kernel programs and the fuzz targets.

use std::process::Command;

use anyhow::Result;

use crate::{build, step, workspace};

/// Known to read this project's deny.toml; installed when there is none.
const CARGO_DENY: &str = "0.20.2";

/// Runs the verb.
pub(crate) fn run() -> Result<()> {
    // Clippy compiles `intercept`, which embeds the kernel programs.
    build::gate()?;
    step::quietly("Check the format", &mut cargo(&["fmt", "--all", "--check"]))?;
    for (what, manifest) in
        [("the kernel programs", "ebpf/gate/Cargo.toml"), ("the fuzz targets", "tests/fuzz/Cargo.toml")]
    {
        let format = ["fmt", "--check", "--manifest-path", manifest];
        step::quietly(&format!("Check the format of {what}"), &mut cargo(&format))?;
    }
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    step::openly("Clippy", &mut cargo(&clippy))?;
    if !cargo(&["deny", "--version"]).output().is_ok_and(|output| output.status.success()) {
        let install = ["install", "cargo-deny", "--version", CARGO_DENY, "--locked"];
        step::openly("Install cargo-deny (takes some minutes)", &mut cargo(&install))?;
    }
    // Advisories need a database from the network; licences, bans and sources do not.
    let deny = ["deny", "--workspace", "--locked", "check", "bans", "licenses", "sources"];
    step::openly("Check licences, bans and sources", &mut cargo(&deny))
}

fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(workspace::cargo());
    command.args(args).current_dir(workspace::root());
    command
}
