//! cgroups of the stage: made on the cgroup2 mount, emptied and removed at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A cgroup v2 directory that is removed, with what runs in it, when dropped.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes `name` under the machine's cgroup2 mount (hybrid hosts have it at `/sys/fs/cgroup/unified`).
    ///
    /// # Errors
    /// Without a cgroup2 mount or the rights to make a group in it.
    pub fn make(name: &str) -> Result<Self> {
        Self::make_at(mount()?.join(name))
    }

    /// Makes a group below this one.
    ///
    /// # Errors
    /// As [`Cgroup::make`].
    pub fn child(&self, name: &str) -> Result<Self> {
        Self::make_at(self.path.join(name))
    }

    fn make_at(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the cgroup {} (root is needed)", path.display()))?;
        Ok(Self { path })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // `cgroup.kill` (5.14) ends whatever a failed test left; older kernels keep the group until reboot.
        if fs::write(self.path.join("cgroup.kill"), "1").is_err() {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.path).is_err() && self.path.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read mountinfo")?;
    for line in mounts.lines() {
        if let Some((before, after)) = line.split_once(" - ")
            && after.starts_with("cgroup2 ")
            && let Some(point) = before.split(' ').nth(4)
        {
            return Ok(PathBuf::from(point));
        }
    }
    bail!(
        "no cgroup2 file system is mounted: the gate needs one (mount -t cgroup2 none /sys/fs/cgroup/unified)"
    )
}
