//! Progress of long steps: a spinner on a terminal, plain lines elsewhere, both with the time they took.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Runs a command; its output is shown only if it fails.
pub(crate) fn quietly(what: &str, command: &mut Command) -> Result<()> {
    let step = Step::start(what);
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", line(command)))?;
    step.end(output.status.success());
    if !output.status.success() {
        let Output { status, stdout, stderr } = output;
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        bail!("{what}: {} failed ({status}):\n{stdout}{stderr}", line(command));
    }
    Ok(())
}

/// Runs a command that shows its own progress.
pub(crate) fn openly(what: &str, command: &mut Command) -> Result<()> {
    say(&format!("  … {what}"));
    let start = Instant::now();
    let status = command.status().with_context(|| format!("cannot run {}", line(command)))?;
    if !status.success() {
        bail!("{what}: {} failed ({status})", line(command));
    }
    say(&format!("  ✓ {what} ({})", elapsed(start.elapsed())));
    Ok(())
}

/// Says what is the case, without doing anything.
pub(crate) fn note(text: &str) {
    say(&format!("  ✓ {text}"));
}

/// Says why a verb failed, with every cause.
pub(crate) fn failure(error: &anyhow::Error) {
    say(&format!("error: {error:#}"));
}

struct Step {
    what: String,
    start: Instant,
    spinner: Option<ProgressBar>,
}

impl Step {
    fn start(what: &str) -> Self {
        let spinner = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})");
            let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
            spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        if spinner.is_none() {
            say(&format!("  … {what}"));
        }
        Self { what: what.to_owned(), start: Instant::now(), spinner }
    }

    fn end(self, well: bool) {
        if let Some(spinner) = self.spinner {
            spinner.finish_and_clear();
        }
        let mark = if well { '✓' } else { '✗' };
        say(&format!("  {mark} {} ({})", self.what, elapsed(self.start.elapsed())));
    }
}

/// Progress is for people, so it goes to stderr; there is nobody to tell when that is closed.
fn say(text: &str) {
    let _closed = writeln!(io::stderr(), "{text}");
}

fn elapsed(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

fn line(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
