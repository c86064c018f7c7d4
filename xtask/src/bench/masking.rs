//! How fast masking is on one core, as `portcullis-mask`'s own example measures it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace;

/// All rows of the example.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Masking {
    pub(crate) rows: Vec<Row>,
    /// The most that a masker held while a body of 100 MB went through it, bytes.
    pub(crate) peak_bytes: f64,
}

/// One kind of body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) name: String,
    /// GB/s of the masker.
    pub(crate) masker: f64,
    /// GB/s of parsing into a `serde_json::Value` and writing it again, for JSON.
    pub(crate) serde_json: Option<f64>,
    /// GB/s that are to be reached.
    pub(crate) reach: Option<f64>,
}

impl Masking {
    /// Runs the example.
    pub(crate) fn measure() -> Result<Self> {
        let mut cargo = Command::new(workspace::cargo());
        cargo.current_dir(workspace::root());
        cargo.args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "portcullis-mask",
            "--example",
            "throughput",
        ]);
        let output = cargo.args(["--", "--json"]).output().context("cannot run the example")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the example failed: {said}");
        serde_json::from_slice(&output.stdout).context("the example's figures cannot be read")
    }
}
