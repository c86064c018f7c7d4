//! The daemon's side of the control socket.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::time::{ClockId, clock_gettime};
use portcullis_access::{
    Access, Allowed, Clock, Decision, Denials, Facts, GrantFilter, NewRequest, Operation, Query,
    RequestFilter, RequestState, Snapshot, SystemClock, decide,
};
use portcullis_identity::{Pid, Process, Quota, Subject, Uid, UnixSource};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{Answer, Ask, Explained, TrustAnchor};

/// No line that a command sends is longer.
const LONGEST_LINE: u64 = 64 * 1024;
/// How long a command may take to send its line, and then to read its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Commands of one uid served at once; more are refused, so that nobody keeps the others from revoking.
const AT_ONCE: usize = 8;

/// What commands ask about.
pub(crate) struct Control {
    access: Arc<Access>,
    unix: Arc<UnixSource>,
    trust: TrustAnchor,
    commands: Arc<Quota>,
    /// What was denied lately; requests can be made from it.
    remembered: Arc<Denials>,
}

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
pub(crate) async fn serve(listener: UnixListener, control: Arc<Control>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answering = Peer::of(&stream).map(|peer| answer(stream, Arc::clone(&control), peer));
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

async fn answer(mut stream: UnixStream, control: Arc<Control>, peer: Peer) -> Result<()> {
    let Some(_one) = control.commands.take(peer.uid) else {
        let refusal =
            Answer::<Value>::Refused(format!("uid {} has {AT_ONCE} commands under way already", peer.uid));
        return tell(&mut stream, &refusal).await;
    };
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(LONGEST_LINE));
    tokio::time::timeout(TIMEOUT, reader.read_line(&mut line)).await??;
    // The store and the name service block; neither may hold up connections.
    let handling = Arc::clone(&control);
    let answer = match tokio::task::spawn_blocking(move || handling.handle(&peer, &line)).await? {
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
struct Peer {
    uid: Uid,
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
}

impl Control {
    pub(crate) fn new(
        access: Arc<Access>,
        unix: Arc<UnixSource>,
        trust: TrustAnchor,
        remembered: Arc<Denials>,
    ) -> Self {
        Self { access, unix, trust, commands: Quota::new(AT_ONCE), remembered }
    }

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
                let new = NewRequest {
                    role,
                    target,
                    duration,
                    starts_at: None,
                    reason,
                    denied: None,
                    emergency: false,
                };
                serde_json::to_value(access.request(&subject, &new)?)?
            }
            Ask::RequestFrom { denial, seconds, reason } => {
                let denial = self.remembered.find(&subject, &denial, SystemClock.now())?;
                let new = NewRequest {
                    role: denial.role,
                    target: Some(denial.target),
                    duration: seconds.map_or(denial.duration, Duration::from_secs),
                    starts_at: None,
                    reason,
                    denied: Some(denial.attempt),
                    emergency: false,
                };
                serde_json::to_value(access.request(&subject, &new)?)?
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
            Ask::RevokeAll { selection, reason } => {
                serde_json::to_value(access.revoke_all(&subject, &selection, &reason)?)?
            }
            Ask::Explain { target, operation } => {
                serde_json::to_value(self.explain(&subject, &target, &operation)?)?
            }
            Ask::Grants { all } => {
                serde_json::to_value(access.grants(&GrantFilter { live: !all, subject: None })?)?
            }
        })
    }

    /// Decides as for a request, of which there is none: nothing is recorded, and no denial remembered.
    fn explain(&self, subject: &Subject, target: &str, operation: &Operation) -> Result<Explained> {
        let snapshot = self.access.snapshot();
        let query = Query { subject, target, operation, facts: Facts::NONE };
        let decision = decide(&snapshot, &query, SystemClock.now());
        let (allowed, message) = match &decision {
            Decision::Allow(allowed) => (
                true,
                format!(
                    "portcullis: {subject} may {operation} of target {target}: {}",
                    by(&snapshot, allowed)
                ),
            ),
            Decision::Review(_) => (false, "held".to_owned()),
            Decision::Deny(denied) => (false, denied.message(&query, None)),
        };
        Ok(Explained { allowed, message, decision: serde_json::to_value(&decision)? })
    }

    fn subject(&self, peer: &Peer) -> Result<Subject> {
        let process = Process::read(Path::new("/proc"), peer.pid, Some(peer.accepted_at))?;
        Ok(self.unix.subject_of_process(peer.uid, &process)?)
    }
}

/// `rule 1 of role look (roles/look.yaml:12), by grant g-41d0e2 until 2026-03-01T13:00:00Z.`
fn by(snapshot: &Snapshot, allowed: &Allowed) -> String {
    match (snapshot.roles().get(&allowed.role), &allowed.grant, allowed.expires) {
        (Some(role), Some(grant), Some(expires)) => format!(
            "rule {} of role {} ({}), by grant {grant} until {expires:.0}.",
            allowed.rule + 1,
            role.name,
            role.rule_at(allowed.rule)
        ),
        _ => "it is open to everybody identified.".to_owned(),
    }
}
