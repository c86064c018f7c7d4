//! The gate and the daemon, started the way an operator does: load, then run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cgroup::Cgroup;
use crate::process::{Output, Running, output, wait_for};

const START: Duration = Duration::from_secs(20);

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    process: Running,
}

impl Daemon {
    /// Starts `portcullis run` in `cgroup`, with `environment` beside the tests' own, and waits until its control socket
    /// answers. With `gid` that is its group, so that files below `/proc/<pid>` tell whether it can be dumped (see
    /// `proc_pid(5)`: they are root's group then, and not the process's).
    ///
    /// # Errors
    /// When it ends or does not answer; the error has its log.
    pub fn start(
        program: &Path,
        config: &Path,
        socket: &Path,
        cgroup: &Cgroup,
        environment: &[(String, String)],
        gid: Option<u32>,
    ) -> Result<Self> {
        let mut command = match gid {
            None => within(cgroup, program, None),
            Some(gid) => {
                let mut command = within(cgroup, Path::new("setpriv"), None);
                command.arg(format!("--regid={gid}")).args(["--clear-groups", "--"]).arg(program);
                command
            }
        };
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.arg("--config").arg(config).arg("--socket").arg(socket).arg("run");
        command.stdin(Stdio::null());
        let process = Running::start(&mut command)?;
        let mut daemon = Self { process };
        let answers = || std::os::unix::net::UnixStream::connect(socket).ok();
        if let Err(error) = wait_for("the daemon's control socket", START, || {
            answers().map(drop).or_else(|| daemon.process.ended().then_some(()))
        }) {
            bail!("{error:#}\n{}", daemon.log());
        }
        if daemon.process.ended() {
            bail!("the daemon ended at once:\n{}", daemon.log());
        }
        Ok(daemon)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        format!("{}{}", self.process.stdout(), self.process.stderr())
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to stop and waits for its drain.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<Output> {
        self.process.terminate(Duration::from_secs(30))
    }
}

/// A command that runs in `cgroup`, as `uid` when given. A shell joins the group and becomes the program, so that the
/// program is in it from its first instruction, without unsafe code here.
pub(crate) fn within(cgroup: &Cgroup, program: &Path, uid: Option<u32>) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = match uid {
        None => r#"echo $$ > "$0/cgroup.procs" && exec "$@""#,
        Some(_) => {
            r#"echo $$ > "$0/cgroup.procs" && uid=$1 && shift && exec setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all -- "$@""#
        }
    };
    command.arg("-c").arg(script).arg(cgroup.path());
    if let Some(uid) = uid {
        command.arg(uid.to_string());
    }
    command.arg(program);
    command
}

/// The kernel side of a stage; unloaded when dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    program: PathBuf,
    config: PathBuf,
}

impl Gate {
    pub(crate) fn load(program: &Path, config: &Path) -> Result<Self> {
        let gate = Self { program: program.to_owned(), config: config.to_owned() };
        let loaded = gate.verb("load")?;
        if loaded.code != 0 {
            bail!("portcullis gate load failed:\n{}", loaded.all());
        }
        Ok(gate)
    }

    pub(crate) fn verb(&self, verb: &str) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).args(["gate", verb]);
        output(&mut command, START)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // A stage that is torn down by a failing test has nobody left to tell.
        self.verb("unload").ok();
    }
}
