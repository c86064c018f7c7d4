//! Running programs on the stage and waiting for what they do, never longer than said.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output and error in one text.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a command to its end, at most `limit`.
///
/// # Errors
/// When it cannot be started or takes longer; it is killed then, and the error has what it printed.
pub fn output(command: &mut Command, limit: Duration) -> Result<Output> {
    let mut running = Running::start(command.stdin(Stdio::null()))?;
    running.wait(limit)
}

/// Polls `condition` every few milliseconds until it gives a value, at most `limit`.
///
/// # Errors
/// When time runs out; `what` says for what.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A program under way, its output collected as it comes.
#[derive(Debug)]
pub struct Running {
    child: Child,
    shown: String,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Starts a command; its standard input is as the caller set it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let shown = format!("{command:?}");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take().context("no stdout")?, &stdout),
            collect(child.stderr.take().context("no stderr")?, &stderr),
        ];
        Ok(Self { child, shown, stdout, stderr, readers })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child, to write to its standard input.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Waits until `what` stands in standard output.
    ///
    /// # Errors
    /// When the program ends before, or time runs out.
    pub fn wait_for_stdout(&mut self, what: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.stdout().contains(what) {
            let ended = self.child.try_wait()?;
            // What it printed last may still be on its way through the pipe.
            if ended.is_some() && self.readers.iter().all(std::thread::JoinHandle::is_finished) {
                if self.stdout().contains(what) {
                    return Ok(());
                }
                bail!("{} ended before it printed {what:?}:\n{}{}", self.shown, self.stdout(), self.stderr());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not print {what:?} in {limit:?}:\n{}{}",
                    self.shown,
                    self.stdout(),
                    self.stderr()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits for the end, at most `limit`.
    ///
    /// # Errors
    /// When it takes longer; it is killed then.
    pub fn wait(&mut self, limit: Duration) -> Result<Output> {
        let deadline = Instant::now() + limit;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                self.kill();
                bail!("{} took longer than {limit:?}:\n{}{}", self.shown, self.stdout(), self.stderr());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        for reader in self.readers.drain(..) {
            if reader.join().is_err() {
                bail!("reading the output of {} failed", self.shown);
            }
        }
        Ok(Output { code: status.code().unwrap_or(-1), stdout: self.stdout(), stderr: self.stderr() })
    }

    /// True once it has ended.
    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        if self.child.kill().is_ok() {
            // Reaped here, so that no zombie keeps its cgroup busy.
            self.child.wait().ok();
        }
    }

    /// Asks it to end (SIGTERM) and waits, at most `limit`.
    ///
    /// # Errors
    /// When it does not.
    pub fn terminate(&mut self, limit: Duration) -> Result<Output> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().context("cannot run kill")?;
        self.wait(limit)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(mut from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) -> std::thread::JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(read) = from.read(&mut buffer) {
            if read == 0 {
                break;
            }
            into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..read]);
        }
    })
}

fn text(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}
