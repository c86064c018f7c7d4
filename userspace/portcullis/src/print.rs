//! Output of the commands: text for people, JSON for scripts. The one place that writes to stdout.

use std::io::Write;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

/// How a command prints data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// Prints `value` as JSON, or what `text` makes of it.
pub(crate) fn data<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
    match format {
        Format::Json => stdout(&serde_json::to_string_pretty(value).context("cannot print as JSON")?),
        Format::Text => stdout(text(value).trim_end()),
    }
}

/// As [`data`], with the JSON on one line: for a command that prints several, one after the other.
pub(crate) fn step<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
    match format {
        Format::Json => stdout(&serde_json::to_string(value).context("cannot print as JSON")?),
        Format::Text => stdout(text(value).trim_end()),
    }
}

/// Prints a line to standard output. A closed pipe (`| head`) ends the command quietly, as it does for ls.
pub(crate) fn stdout(line: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Prints a line to standard error. Nobody can be told when that fails.
pub(crate) fn stderr(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

/// Columns under headings, as wide as their longest cell.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heading.len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(headings.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}
