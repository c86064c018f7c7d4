//! Programs of the tests that are told what to do, and answer, in lines of JSON.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{Running, wait_for};

/// How long any answer may take: a login at an OpenID provider is a dozen pages.
const LIMIT: Duration = Duration::from_secs(30);

/// A program that says in its first line that it is ready, reads commands from standard input, a JSON object a line, and
/// answers each with a line: `{"done": …}` or `{"error": "…"}`.
#[derive(Debug)]
pub(crate) struct Talk {
    what: &'static str,
    lines: Mutex<Lines>,
}

/// The process, and how many of its lines were read.
#[derive(Debug)]
struct Lines {
    process: Running,
    read: usize,
}

impl Talk {
    /// Starts it; also its first line. `what` names it in errors.
    pub(crate) fn start(what: &'static str, command: &mut Command) -> Result<(Self, Value)> {
        let mut lines = Lines { process: Running::start(command.stdin(Stdio::piped()))?, read: 0 };
        let ready = lines.next(what)?;
        Ok((Self { what, lines: Mutex::new(lines) }, ready))
    }

    /// What it answers to a command.
    pub(crate) fn ask(&self, command: &Value) -> Result<Value> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let stdin = lines.process.child().stdin.as_mut();
        let stdin = stdin.with_context(|| format!("the standard input of {} is closed", self.what))?;
        writeln!(stdin, "{command}").with_context(|| format!("{} is gone", self.what))?;
        let answer = lines.next(self.what)?;
        match answer.get("done") {
            Some(done) => Ok(done.clone()),
            None => bail!("{} refused {command}: {}", self.what, answer["error"]),
        }
    }
}

impl Lines {
    /// The next line of its standard output, once it is whole.
    fn next(&mut self, what: &str) -> Result<Value> {
        let process = &mut self.process;
        let read = self.read;
        let line = wait_for(what, LIMIT, || {
            let shown = process.stdout();
            let whole = shown.split_inclusive('\n').nth(read).filter(|line| line.ends_with('\n'));
            whole.map(|line| Some(line.to_owned())).or_else(|| process.ended().then_some(None))
        })?;
        let line = line.with_context(|| format!("{what} ended:\n{}", self.process.stderr()))?;
        self.read += 1;
        serde_json::from_str(&line).with_context(|| format!("{what} said {line:?}"))
    }
}
