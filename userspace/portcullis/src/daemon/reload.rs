//! SIGHUP: reads configuration and roles anew. A file that is wrong changes nothing and says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use portcullis_access::{Access, load_roles};
use tokio::sync::watch;

use super::parts::targets_of;
use super::resolve::{Wanted, wanted_of};
use super::routing::Routes;
use crate::config::Config;

/// What a reload touches. The gate's own section, identity, the store and the recorder need a restart.
pub(super) struct Reloader {
    path: PathBuf,
    running: Config,
    access: Arc<Access>,
    routes: Arc<Routes>,
    wanted: watch::Sender<Arc<Wanted>>,
}

impl Reloader {
    pub(super) fn new(
        path: &Path,
        running: Config,
        access: Arc<Access>,
        routes: Arc<Routes>,
        wanted: watch::Sender<Arc<Wanted>>,
    ) -> Self {
        Self { path: path.to_owned(), running, access, routes, wanted }
    }

    /// Reloads all or nothing.
    pub(super) fn reload(&self) {
        match self.try_reload() {
            Ok(()) => tracing::info!(file = %self.path.display(), "configuration and roles reloaded"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "not reloaded: what was in force stays in force");
            }
        }
    }

    fn try_reload(&self) -> Result<()> {
        let config = Config::read(&self.path)?;
        let roles = load_roles(&config.roles)?;
        let targets = targets_of(&config)?;
        if config.gate != self.running.gate || config.state_dir != self.running.state_dir {
            tracing::warn!("gate and stateDir take effect with the next `gate load` and start only");
        }
        self.access.reload_targets(config.targets.keys().cloned().collect());
        self.access.reload_roles(roles);
        self.routes.replace(targets);
        self.wanted.send_replace(Arc::new(wanted_of(&config)));
        Ok(())
    }
}
