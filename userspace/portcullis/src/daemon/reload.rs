//! SIGHUP: reads configuration and roles anew. A file that is wrong changes nothing and says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use portcullis_access::{Access, load_roles};

use super::parts::targets_of;
use super::sync::Routes;
use crate::config::Config;

/// What a reload touches: targets and roles. Identity, the store, the recorder and the gate's own section need a restart.
pub(super) struct Reloader {
    path: PathBuf,
    running: Config,
    access: Arc<Access>,
    routes: Arc<Routes>,
}

impl Reloader {
    pub(super) fn new(path: &Path, running: Config, access: Arc<Access>, routes: Arc<Routes>) -> Self {
        Self { path: path.to_owned(), running, access, routes }
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
            tracing::warn!("changes of gate and stateDir take effect with the next `gate load` and start");
        }
        let config = Config { gate: self.running.gate.clone(), ..config };
        self.routes.replace(&config, targets)?;
        self.access.reload_targets(config.targets.keys().cloned().collect());
        self.access.reload_roles(roles);
        Ok(())
    }
}
