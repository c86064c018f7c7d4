//! SIGHUP: reads configuration, mask policy and roles anew. A file that is wrong changes nothing and says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use portcullis_access::{Access, AccessConfig, load_roles};
use portcullis_identity::Identities;
use portcullis_mask::Profile;
use portcullis_tls::TargetNames;
use tokio::sync::watch;

use super::parts::{check_identities, targets_of};
use super::sync::Routes;
use crate::config::{Config, TargetConfig};

/// What a reload touches: targets, the mask policy and roles. Identity, the store, the recorder and the gate's own section need a restart.
pub(super) struct Reloader {
    path: PathBuf,
    running: Config,
    access: Arc<Access>,
    identities: Arc<Identities>,
    routes: Arc<Routes>,
    profiles: watch::Sender<Arc<Profile>>,
}

impl Reloader {
    pub(super) fn new(
        path: &Path,
        running: Config,
        access: Arc<Access>,
        identities: Arc<Identities>,
        routes: Arc<Routes>,
        profiles: watch::Sender<Arc<Profile>>,
    ) -> Self {
        Self { path: path.to_owned(), running, access, identities, routes, profiles }
    }

    /// Reloads all or nothing.
    pub(super) async fn reload(&self) {
        match self.try_reload().await {
            Ok(()) => tracing::info!(file = %self.path.display(), "configuration and roles reloaded"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "not reloaded: what was in force stays in force");
            }
        }
    }

    async fn try_reload(&self) -> Result<()> {
        let config = Config::read_and_discover(&self.path).await?;
        let roles = load_roles(&config.roles)?;
        let profile = config.mask_profile()?;
        check_identities(&self.identities, &config)?;
        let targets = targets_of(&config)?;
        let vouched_for: Vec<TargetNames> = self.running.targets.values().map(TargetConfig::names).collect();
        for (name, target) in &config.targets {
            if let Some(endpoint) =
                target.names().iter().find(|name| !vouched_for.iter().any(|names| names.contains(name)))
            {
                bail!(
                    "target {name}: {endpoint} is new, and the interception CA in force cannot vouch for it: restart the \
                     daemon, and have engineers run `portcullis trust install` again"
                );
            }
        }
        if config.gate != self.running.gate || config.state_dir != self.running.state_dir {
            tracing::warn!("changes of gate and stateDir take effect with the next `gate load` and start");
        }
        let access = AccessConfig { targets: config.access.targets.clone(), ..self.running.access.clone() };
        if config.identity != self.running.identity
            || config.access != access
            || config.record != self.running.record
            || config.notify != self.running.notify
            || config.limits != self.running.limits
        {
            tracing::warn!(
                "changes of identity, access, record, notify and limits take effect with the next start"
            );
        }
        let config = Config { gate: self.running.gate.clone(), ..config };
        self.routes.replace(&config, targets)?;
        // Masks before roles: whatever a new role opens is masked by the new policy.
        self.profiles.send_replace(Arc::new(profile));
        self.access.reload_targets(config.targets.keys().cloned().collect());
        self.access.reload_roles(roles);
        Ok(())
    }
}
