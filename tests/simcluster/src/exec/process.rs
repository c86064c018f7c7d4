//! A local process in place of a container's: unprivileged, in the pod's own directory, on pipes or a pseudo-terminal.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::pty::openpty;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Gid, Pid, Uid, chown};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Input, Outcome, Output, Streams};

/// The user that processes run as when the server is root ("nobody").
const NOBODY: u32 = 65534;

/// A process to run.
pub(super) struct Spec {
    /// Command and arguments.
    pub(super) argv: Vec<String>,
    /// The container's variables.
    pub(super) environment: Vec<(String, String)>,
    /// The pod's name.
    pub(super) hostname: String,
    /// The pod's directory, where the process starts.
    pub(super) dir: PathBuf,
    /// The streams that the client wants.
    pub(super) streams: Streams,
}

/// Where what the client types goes.
enum Sink {
    Pipe(Option<ChildStdin>),
    /// The master end of a pseudo-terminal.
    Terminal(File),
}

/// Runs the process until it ends; kills it and all it started when the client goes away.
pub(super) async fn run(
    spec: Spec,
    mut input: mpsc::Receiver<Input>,
    output: mpsc::Sender<Output>,
) -> Outcome {
    let mut readers = JoinSet::new();
    let (mut child, mut sink) = match start(&spec, &output, &mut readers) {
        Ok(started) => started,
        Err(error) => return Outcome::NotStarted(not_started(&spec.argv[0], &error)),
    };
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let mut gone = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            typed = input.recv(), if !gone => match typed {
                Some(Input::Stdin(bytes)) => sink.write(&bytes).await,
                Some(Input::StdinEnd) => sink.close(),
                Some(Input::Resize { columns, rows }) => sink.resize(columns, rows),
                None => {
                    gone = true;
                    kill(group);
                }
            },
        }
    };
    // Output is complete when all that hold the other ends have closed them.
    while readers.join_next().await.is_some() {}
    match status {
        Ok(status) => {
            Outcome::Exited(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
        }
        Err(error) => Outcome::NotStarted(error.to_string()),
    }
}

fn start(spec: &Spec, output: &mpsc::Sender<Output>, readers: &mut JoinSet<()>) -> io::Result<(Child, Sink)> {
    prepare(&spec.dir)?;
    let program = find(&spec.argv[0], &spec.dir)?;
    let mut command = if spec.streams.tty {
        // setsid gives the process a controlling terminal, which Command cannot do without unsafe code.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program);
        command
    } else {
        let mut command = Command::new(program);
        command.process_group(0);
        command
    };
    command.args(&spec.argv[1..]).current_dir(&spec.dir).env_clear().kill_on_drop(true);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", &spec.dir).env("HOSTNAME", &spec.hostname).envs(spec.environment.iter().cloned());
    if Uid::effective().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    if spec.streams.tty {
        command.env("TERM", "xterm");
        return start_on_terminal(command, output, readers);
    }
    let piped = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
    command
        .stdin(piped(spec.streams.stdin))
        .stdout(piped(spec.streams.stdout))
        .stderr(piped(spec.streams.stderr));
    let mut child = command.spawn()?;
    if let Some(stdout) = child.stdout.take() {
        readers.spawn(copy(stdout, output.clone(), Output::Stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.spawn(copy(stderr, output.clone(), Output::Stderr));
    }
    let sink = Sink::Pipe(child.stdin.take());
    Ok((child, sink))
}

fn start_on_terminal(
    mut command: Command,
    output: &mpsc::Sender<Output>,
    readers: &mut JoinSet<()>,
) -> io::Result<(Child, Sink)> {
    let pty = openpty(None, None)?;
    if Uid::effective().is_root() {
        // Programs reopen their terminal by name.
        let path = nix::unistd::ttyname(&pty.slave)?;
        chown(&path, Some(Uid::from_raw(NOBODY)), None)?;
    }
    command.stdin(pty.slave.try_clone()?).stdout(pty.slave.try_clone()?).stderr(pty.slave);
    let child = command.spawn()?;
    let terminal = File::from_std(fs::File::from(pty.master));
    let reader = File::from_std(fs::File::from(terminal.as_fd().try_clone_to_owned()?));
    // A terminal whose last user is gone gives EIO, which ends the copy.
    readers.spawn(copy(reader, output.clone(), Output::Stdout));
    Ok((child, Sink::Terminal(terminal)))
}

impl Sink {
    async fn write(&mut self, bytes: &[u8]) {
        let written = match self {
            Sink::Pipe(Some(pipe)) => pipe.write_all(bytes).await,
            Sink::Terminal(terminal) => match terminal.write_all(bytes).await {
                Ok(()) => terminal.flush().await,
                failed => failed,
            },
            Sink::Pipe(None) => Ok(()),
        };
        // A process that reads no more is no error: it just will not see the rest.
        if let Err(error) = written {
            tracing::debug!("stdin: {error}");
            self.close();
        }
    }

    fn close(&mut self) {
        if let Sink::Pipe(pipe) = self {
            drop(pipe.take());
        }
    }

    fn resize(&self, columns: u16, rows: u16) {
        let Sink::Terminal(terminal) = self else { return };
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        if let Err(error) = tcsetwinsize(terminal, size) {
            tracing::debug!("resize: {error}");
        }
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, to: mpsc::Sender<Output>, kind: fn(Vec<u8>) -> Output) {
    let mut buffer = vec![0_u8; 32 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 || to.send(kind(buffer[..read].to_vec())).await.is_err() {
            return;
        }
    }
}

/// Makes the pod's directory, owned by whoever the processes run as.
fn prepare(dir: &Path) -> io::Result<()> {
    if dir.exists() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    if Uid::effective().is_root() {
        chown(dir, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY)))?;
    }
    Ok(())
}

/// The program in PATH, so that a missing one is told apart from one that fails.
fn find(name: &str, dir: &Path) -> io::Result<PathBuf> {
    let missing = || io::Error::new(ErrorKind::NotFound, "executable file not found in $PATH");
    if name.contains('/') {
        let path = dir.join(name);
        return if path.exists() {
            Ok(path)
        } else {
            Err(io::Error::new(ErrorKind::NotFound, "no such file or directory"))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file()).ok_or_else(missing)
}

fn kill(group: Option<Pid>) {
    // The group may have ended by itself in the meantime.
    if let Some(Err(error)) = group.map(|group| killpg(group, Signal::SIGKILL)) {
        tracing::debug!("kill: {error}");
    }
}

fn not_started(command: &str, error: &io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::NotFound => error.to_string(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    format!(
        "error executing command in container: failed to exec in container: failed to start exec \"simulated\": OCI \
         runtime exec failed: exec failed: unable to start container process: exec: {command:?}: {why}: unknown"
    )
}
