//! The daemon's side of the control socket.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use portcullis_access::{Access, GrantFilter, NewRequest, RequestFilter, RequestState};
use portcullis_identity::{Pid, Process, Subject, Uid, UnixSource};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::{Answer, Ask, TrustAnchor};

/// No line that a command sends is longer.
const LONGEST_LINE: u64 = 64 * 1024;
/// How long a command may take to send its line.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Commands served at once; more wait.
const AT_ONCE: usize = 64;

/// What commands ask about.
pub(crate) struct Control {
    pub(crate) access: Arc<Access>,
    pub(crate) unix: Arc<UnixSource>,
    pub(crate) trust: TrustAnchor,
}

/// Listens at `socket`; everybody may connect, the kernel says who it is.
pub(crate) fn listen(socket: &Path) -> Result<UnixListener> {
    let at = || format!("cannot listen at the control socket {}", socket.display());
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir).with_context(at)?;
    }
    // A socket file outlives its daemon; a daemon that still answers does not get replaced.
    if socket.exists() {
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            anyhow::bail!("another daemon answers at the control socket {}", socket.display());
        }
        std::fs::remove_file(socket).with_context(at)?;
    }
    let listener = UnixListener::bind(socket).with_context(at)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666)).with_context(at)?;
    Ok(listener)
}

/// Serves commands for ever.
pub(crate) async fn serve(listener: UnixListener, control: Arc<Control>) {
    let limit = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, control).await {
                        tracing::debug!(%error, "a command went away");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket: accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, control: Arc<Control>) -> Result<()> {
    let credentials = getsockopt(&stream, PeerCredentials).context("SO_PEERCRED")?;
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    tokio::time::timeout(READ_TIMEOUT, BufReader::new(reader.take(LONGEST_LINE)).read_line(&mut line))
        .await??;
    // The store and the name service block; neither may hold up connections.
    let answer = tokio::task::spawn_blocking(move || {
        let peer = Peer { uid: Uid(credentials.uid()), pid: Pid(u32::try_from(credentials.pid())?) };
        control.handle(&peer, &line)
    })
    .await?;
    let answer = match answer {
        Ok(value) => Answer::Done(value),
        Err(refusal) => Answer::Refused(format!("{refusal:#}")),
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    writer.write_all(text.as_bytes()).await?;
    Ok(())
}

/// Who connected, as the kernel noted it at `connect(2)`.
struct Peer {
    uid: Uid,
    pid: Pid,
}

impl Control {
    fn handle(&self, peer: &Peer, line: &str) -> Result<Value> {
        let ask: Ask =
            serde_json::from_str(line).context("the command cannot be read; is it of another version?")?;
        if matches!(ask, Ask::Trust) {
            // Public, and needed before anybody is known by name.
            return Ok(serde_json::to_value(&self.trust)?);
        }
        let subject = self.subject(peer)?;
        tracing::info!(%subject, uid = %peer.uid, ?ask, "command");
        let access = &self.access;
        Ok(match ask {
            Ask::Trust | Ask::WhoAmI => serde_json::to_value(&subject)?,
            Ask::Request { role, target, seconds, reason } => {
                let duration = Duration::from_secs(seconds);
                serde_json::to_value(
                    access.request(&subject, &NewRequest { role, target, duration, reason })?,
                )?
            }
            Ask::Extend { id, seconds, reason } => {
                serde_json::to_value(access.extend(&subject, &id, Duration::from_secs(seconds), &reason)?)?
            }
            Ask::Requests { all } => {
                let state = (!all).then_some(RequestState::Pending);
                serde_json::to_value(access.requests(&RequestFilter { state, subject: None })?)?
            }
            Ask::Approve { id, comment } => serde_json::to_value(access.approve(&subject, &id, &comment)?)?,
            Ask::Deny { id, comment } => serde_json::to_value(access.deny(&subject, &id, &comment)?)?,
            Ask::Revoke { id, reason } => serde_json::to_value(access.revoke(&subject, &id, &reason)?)?,
            Ask::Grants { all } => {
                serde_json::to_value(access.grants(&GrantFilter { live: !all, subject: None })?)?
            }
        })
    }

    fn subject(&self, peer: &Peer) -> Result<Subject> {
        let process = Process::read(Path::new("/proc"), peer.pid, None)?;
        Ok(self.unix.subject_of_process(peer.uid, &process)?)
    }
}
