//! What a decision takes, as `portcullis-access`'s own example measures it: 1,000 roles, 100,000 grants.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace;

/// Without and with conditions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decisions {
    pub(crate) plain: Measured,
    pub(crate) cel: Measured,
    /// Asked of the store while deciding.
    pub(crate) database_queries: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    pub(crate) rebuild_millis: f64,
    pub(crate) snapshot_bytes: u64,
    pub(crate) publish_approval_micros: f64,
    pub(crate) hold_micros: f64,
    pub(crate) allowed: Spread,
    pub(crate) denied_by_rule: Spread,
    pub(crate) denied_with_advice: Spread,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spread {
    pub(crate) p50_nanos: f64,
    pub(crate) p99_nanos: f64,
}

impl Decisions {
    /// Runs the example, which fails if a decision asked the store.
    pub(crate) fn measure() -> Result<Self> {
        let mut cargo = Command::new(workspace::cargo());
        cargo.current_dir(workspace::root());
        cargo.args(["run", "--quiet", "--release", "--package", "portcullis-access", "--example", "decide"]);
        let output = cargo.args(["--", "--json"]).output().context("cannot run the example")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the example failed: {said}");
        serde_json::from_slice(&output.stdout).context("the example's figures cannot be read")
    }
}
