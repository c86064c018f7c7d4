//! `cargo xtask test`: everything that can be tested, on the real kernel and with real kubectl.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::build::{self, Built};
use crate::{step, workspace};

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    check_machine()?;
    let Built { dir, .. } = build::ensure_built(false)?;
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()).args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    if let Some(filter) = &args.filter {
        cargo.args(["--", filter]);
    }
    cargo.env("PORTCULLIS_PROGRAMS", &dir);
    step::openly("Run the tests", &mut cargo)
}

/// What the tests of the real gate need. Missing, it is a failure here and not a skip later.
fn check_machine() -> Result<()> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    ensure!(root, "the tests load kernel programs and make cgroups: run as root");
    ensure!(
        Path::new("/sys/kernel/btf/vmlinux").exists(),
        "this kernel has no BTF (/sys/kernel/btf/vmlinux): the gate cannot be loaded"
    );
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(
        mounts.lines().any(|line| line.contains(" - cgroup2 ")),
        "no cgroup2 file system is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified"
    );
    let kubectls = e2e::installed()?;
    let versions: Vec<&str> = kubectls.iter().map(|kubectl| kubectl.version.as_str()).collect();
    step::note(&format!("root, BTF and cgroup v2; kubectl {}", versions.join(", ")));
    Ok(())
}
