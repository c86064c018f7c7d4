//! Debian's and Ubuntu's packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use nix::unistd::Uid;

use crate::step;

/// Installs packages.
///
/// # Errors
/// Where this is neither Debian nor Ubuntu, or not root's to do, and when apt fails.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() || !is_debian() {
        bail!("this is neither Debian nor Ubuntu: install what they call {list}");
    }
    if !Uid::effective().is_root() {
        bail!("only root can install packages: apt-get install -y {list}");
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    step::quietly("Update the list of packages", apt().arg("update"))?;
    let what = format!("Install {}", packages.join(", "));
    step::quietly(&what, apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .any(|ids| ids.trim_matches('"').split(' ').any(|id| id == "debian" || id == "ubuntu"))
}
