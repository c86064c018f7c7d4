//! Whether this machine can run the gate, and what is missing if not.

use std::path::Path;

use anyhow::{Error, Result, ensure};
use portcullis_access::load_roles;
use serde::Serialize;

use crate::config::Config;
use crate::print::{self, Format};

/// One thing that must be as it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    what: &'static str,
    ok: bool,
    found: String,
}

pub(crate) fn run(path: &Path, format: Format) -> Result<()> {
    let mut checks = vec![root(), kernel(), btf(), bpffs(), cgroup2()];
    match Config::read(path) {
        Err(error) => checks.push(outcome("configuration", Err(error))),
        Ok(config) => {
            let folder = || config.roles.display().to_string();
            checks.push(outcome("configuration", Ok(path.display().to_string())));
            checks.push(outcome("roles", load_roles(&config.roles).map(|_| folder()).map_err(Error::from)));
            checks.push(outcome("gate", gate(&config)));
        }
    }
    print::data(format, &checks, |checks| {
        let line = |check: &Check| {
            let mark = if check.ok { "ok     " } else { "MISSING" };
            format!("{mark}  {:<16} {}", check.what, check.found)
        };
        checks.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    let missing = checks.iter().filter(|check| !check.ok).count();
    ensure!(missing == 0, "{missing} of {} checks failed", checks.len());
    Ok(())
}

fn gate(config: &Config) -> Result<String> {
    let status = portcullis_intercept::gate::status(&config.gate)?;
    ensure!(status.closed, "not loaded: run `portcullis gate load`");
    Ok("loaded, every program attached".to_owned())
}

fn outcome(what: &'static str, outcome: Result<String>) -> Check {
    match outcome {
        Ok(found) => Check { what, ok: true, found },
        Err(error) => Check { what, ok: false, found: format!("{error:#}") },
    }
}

fn root() -> Check {
    let root = nix::unistd::geteuid().is_root();
    let found = if root { "yes" } else { "no: loading the gate needs root, or CAP_BPF and CAP_NET_ADMIN" };
    Check { what: "root", ok: root, found: found.to_owned() }
}

/// 5.15 is the oldest kernel with all that the programs call (`bpf_get_netns_cookie` in sock_ops).
fn kernel() -> Check {
    let release =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|error| error.to_string());
    let release = release.trim().to_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>());
    let ok = matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 15));
    Check { what: "kernel 5.15+", ok, found: release }
}

fn btf() -> Check {
    exists("BTF", "/sys/kernel/btf/vmlinux", "the kernel was built without CONFIG_DEBUG_INFO_BTF")
}

fn bpffs() -> Check {
    let mounted = mounts("bpf");
    let found = match &mounted {
        Some(point) => point.clone(),
        None => "not mounted yet; `portcullis gate load` mounts it at /sys/fs/bpf".to_owned(),
    };
    Check { what: "BPF file system", ok: true, found }
}

fn cgroup2() -> Check {
    match mounts("cgroup2") {
        Some(found) => Check { what: "cgroup v2", ok: true, found },
        None => Check { what: "cgroup v2", ok: false, found: "no cgroup2 file system is mounted".to_owned() },
    }
}

fn exists(what: &'static str, path: &str, otherwise: &str) -> Check {
    let ok = Path::new(path).exists();
    Check { what, ok, found: if ok { path } else { otherwise }.to_owned() }
}

/// Where the first file system of this type is mounted (proc(5), mountinfo).
fn mounts(fs_type: &str) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next() == Some(fs_type)).then(|| before.split(' ').nth(4).map(str::to_owned))?
    })
}
