//! The daemon: opens the pinned gate, puts the pipeline together, serves until told to stop, and drains.

mod parts;
mod reload;
mod sync;
mod telling;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use portcullis_proxy::Workers;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::control;
pub(crate) use parts::identities;
use parts::{Notifying, Parts};
use reload::Reloader;
pub(crate) use sync::resolver;

/// How long connections under way may take to finish once the daemon is told to stop.
const DRAIN: Duration = Duration::from_secs(25);
/// The grants' age is bounded by seconds (Law 7), so the store is asked each second.
const TICK: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(config_path: &Path, socket: &Path) -> Result<()> {
    init_tracing();
    protect_memory()?;
    raise_open_files()?;
    // This thread accepts, listens to commands and keeps house; connections have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(config_path, socket))
}

async fn serve(config_path: &Path, socket: &Path) -> Result<()> {
    let config = Config::read_and_discover(config_path).await?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;

    let parts = Parts::assemble(&config).await?;
    let listening_to_commands = control::listen(socket)?;
    let Parts { proxy, listeners, access, commands, routes, profiles, notifying } = parts;
    let reloader = Reloader::new(
        config_path,
        config,
        Arc::clone(&access),
        Arc::clone(&proxy.identities),
        routes,
        profiles,
    );

    let workers =
        std::thread::available_parallelism().and_then(Workers::start).context("cannot start workers")?;
    let drain = CancellationToken::new();
    let connections = TaskTracker::new();
    tokio::spawn(control::serve(listening_to_commands, Arc::new(commands)));
    tokio::spawn(keep_fresh(Arc::clone(&access)));
    tokio::spawn(tick(Arc::clone(&proxy)));
    if let Some(Notifying { notifier, server }) = notifying {
        tokio::spawn(notifier.run(access.revisions(), drain.clone()));
        if let Some(server) = server {
            tokio::spawn(server.run(drain.clone()));
        }
    }
    let listening = portcullis_proxy::listen(
        Arc::clone(&proxy),
        async || listeners.accept().await,
        &workers,
        connections.clone(),
        drain.clone(),
    );
    tokio::pin!(listening);
    tracing::info!(socket = %socket.display(), "ready");
    notify(NotifyState::Ready);
    loop {
        tokio::select! {
            () = &mut listening => break,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                reloader.reload().await;
                notify(NotifyState::Ready);
            }
        }
    }
    tracing::info!(connections = connections.len(), "stopping");
    notify(NotifyState::Stopping);
    drain.cancel();
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not finish in time and are closed");
    }
    proxy.recorder.shutdown();
    std::fs::remove_file(socket).ok();
    Ok(())
}

/// Tells the service manager, where there is one (sd_notify(3)).
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// Keeps the grants' snapshot fresh: each second, and at once when another bastion has written.
async fn keep_fresh(access: Arc<portcullis_access::Access>) {
    let mut wakes = access.wakes();
    loop {
        let refreshing = Arc::clone(&access);
        match tokio::task::spawn_blocking(move || refreshing.refresh()).await {
            Ok(Ok(())) => {}
            // Decisions are refused once the snapshot is too old; until then this is the only sign.
            Ok(Err(error)) => tracing::error!(%error, "the store of grants cannot be read"),
            Err(error) => tracing::error!(%error, "the clockwork failed"),
        }
        wakes.wait(TICK).await;
    }
}

/// Renews logins, and ends sessions whose process is gone.
async fn tick(proxy: Arc<portcullis_proxy::Proxy>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        proxy.identities.tick();
        let proxy = Arc::clone(&proxy);
        if let Err(error) = tokio::task::spawn_blocking(move || proxy.recorder.tick()).await {
            tracing::error!(%error, "the clockwork failed");
        }
    }
}

fn init_tracing() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .json()
        .flatten_event(true)
        .init();
}

/// As many open files as we are allowed: each connection takes two or three, each session one (setrlimit(2)).
fn raise_open_files() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("RLIMIT_NOFILE")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("RLIMIT_NOFILE")
}

/// No core dump and no ptrace by the same uid: this process holds keys and tokens (prctl(2), `PR_SET_DUMPABLE`).
fn protect_memory() -> Result<()> {
    nix::sys::prctl::set_dumpable(false).context("PR_SET_DUMPABLE")
}
