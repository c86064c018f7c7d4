//! The daemon's side of the control socket.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::time::{ClockId, clock_gettime};
use portcullis_identity::{Pid, Process, Quota, Uid};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::Answer;
use super::commands::Commands;

/// No line that a command sends is longer.
const LONGEST_LINE: u64 = 64 * 1024;
/// How long a command may take to send its line, and then to read its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Commands of one uid served at once; more are refused, so that nobody keeps the others from revoking.
const AT_ONCE: usize = 8;

/// Listens at `socket`; everybody may connect, the kernel says who it is.
pub(crate) fn listen(socket: &Path) -> Result<UnixListener> {
    let at = || format!("cannot listen at the control socket {}", socket.display());
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir).with_context(at)?;
    }
    // A socket file outlives its daemon; a daemon that still answers does not get replaced.
    if let Ok(found) = std::fs::symlink_metadata(socket) {
        ensure!(found.file_type().is_socket(), "{} is there already and is no socket", socket.display());
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            bail!("another daemon answers at the control socket {}", socket.display());
        }
        std::fs::remove_file(socket).with_context(at)?;
    }
    let listener = UnixListener::bind(socket).with_context(at)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666)).with_context(at)?;
    Ok(listener)
}

/// Serves commands for ever.
pub(crate) async fn serve(listener: UnixListener, commands: Arc<Commands>) {
    let at_once = Quota::new(AT_ONCE);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (commands, at_once) = (Arc::clone(&commands), Arc::clone(&at_once));
                let answering = Peer::of(&stream).map(|peer| answer(stream, commands, at_once, peer));
                tokio::spawn(async move {
                    if let Err(error) = async { answering?.await }.await {
                        tracing::debug!(%error, "a command went away");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket: accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(
    mut stream: UnixStream,
    commands: Arc<Commands>,
    at_once: Arc<Quota>,
    peer: Peer,
) -> Result<()> {
    let Some(_one) = at_once.take(peer.uid) else {
        let refusal =
            Answer::<Value>::Refused(format!("uid {} has {AT_ONCE} commands under way already", peer.uid));
        return tell(&mut stream, &refusal).await;
    };
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(LONGEST_LINE));
    tokio::time::timeout(TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = match commands.handle(&peer, &line).await {
        Ok(value) => Answer::Done(value),
        Err(refusal) => Answer::Refused(format!("{refusal:#}")),
    };
    tell(&mut stream, &answer).await
}

async fn tell(stream: &mut UnixStream, answer: &Answer<Value>) -> Result<()> {
    let mut text = serde_json::to_string(answer)?;
    text.push('\n');
    Ok(tokio::time::timeout(TIMEOUT, stream.write_all(text.as_bytes())).await??)
}

/// Who connected, as the kernel noted it at `connect(2)`.
pub(super) struct Peer {
    pub(super) uid: Uid,
    pid: Pid,
    /// When the connection was accepted, in nanoseconds since boot: a process that began later is somebody else.
    accepted_at: u64,
}

impl Peer {
    fn of(stream: &UnixStream) -> Result<Self> {
        let credentials = getsockopt(stream, PeerCredentials).context("SO_PEERCRED")?;
        let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).context("CLOCK_BOOTTIME")?);
        Ok(Self {
            uid: Uid(credentials.uid()),
            pid: Pid(u32::try_from(credentials.pid())?),
            accepted_at: u64::try_from(now.as_nanos())?,
        })
    }

    /// The process, as long as it is the one that connected.
    pub(super) fn process(&self) -> Result<Process> {
        Ok(Process::read(Path::new("/proc"), self.pid, Some(self.accepted_at))?)
    }
}
