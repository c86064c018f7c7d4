//! The simulated cluster as a process beside the gate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::Running;

/// A running simcluster.
#[derive(Debug)]
pub struct Cluster {
    /// Kept so that it ends with the stage.
    _process: Running,
    dir: PathBuf,
    endpoints: Vec<SocketAddr>,
}

impl Cluster {
    /// Starts `program` with its files in `dir`, listening on `listen` (port 0: chosen by the kernel).
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(program: &Path, dir: &Path, listen: &[&str], extra: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut command = Command::new(program);
        command.arg("--dir").arg(dir).arg("--log").arg(dir.join("requests.jsonl"));
        for address in listen {
            command.args(["--listen", address]);
        }
        command.args(extra).stdin(Stdio::null());
        let mut process = Running::start(&mut command)?;
        // Thousands of objects take their time where other tests run beside.
        process.wait_for_stdout("\n", Duration::from_secs(60))?;
        let shown = process.stdout();
        let ready = shown
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("ready "))
            .context("simcluster is not ready")?;
        let ready: Value = serde_json::from_str(ready).context("simcluster's first line")?;
        let endpoints = ready["endpoints"].as_array().context("simcluster named no endpoints")?;
        let endpoints = endpoints
            .iter()
            .filter_map(Value::as_str)
            .map(|endpoint| endpoint.trim_start_matches("https://").parse().context("endpoint"))
            .collect::<Result<Vec<SocketAddr>>>()?;
        Ok(Self { _process: process, dir: dir.to_owned(), endpoints })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }

    /// A file that it wrote: `ca.crt`, `admin.kubeconfig` …
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What reached it, one JSON object a request, as tests assert what upstream saw.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> Result<Vec<Value>> {
        let log = std::fs::read_to_string(self.file("requests.jsonl")).context("simcluster's request log")?;
        // The last line may still be on its way.
        Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}
