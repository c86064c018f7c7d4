//! What everything that runs the real gate needs of a machine.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::step;

/// Whether this machine can run it. What is missing is a failure here and not a skip or a riddle later.
pub(crate) fn check() -> Result<()> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    ensure!(root, "kernel programs are loaded and cgroups made: run as root");
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
