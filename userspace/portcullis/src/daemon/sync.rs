//! Keeps the kernel's endpoints in step with the configuration and with DNS, and tells the proxy whose address is whose.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::Result;
use portcullis_identity::OriginalDst;
use portcullis_intercept::{
    Exemptions, Place, Resolver, SystemLookup, TargetName, TargetTable, Targets, keep_in_sync,
};
use portcullis_proxy::{Routing, Target};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::Config;

/// The targets by name.
pub(super) type ByName = BTreeMap<String, Arc<Target>>;

/// The targets in force, the addresses that lead to them, and the task that keeps those up to date.
pub(super) struct Routes {
    current: RwLock<(watch::Receiver<Arc<TargetTable>>, Arc<ByName>)>,
    syncing: Mutex<AbortHandle>,
}

impl Routes {
    /// Starts syncing `targets` as `config` has them.
    pub(super) fn start(config: &Config, targets: Targets, exemptions: Exemptions, by_name: ByName) -> Self {
        let table = targets.watch();
        let syncing = Mutex::new(sync(config, targets, exemptions));
        Self { current: RwLock::new((table, Arc::new(by_name))), syncing }
    }

    /// Puts another configuration's targets in force; connections under way keep theirs. What is guarded stays so
    /// until the first sync of the new ones.
    pub(super) fn replace(&self, config: &Config, by_name: ByName) -> Result<()> {
        let gate = portcullis_intercept::gate::open(&config.gate)?;
        let mut syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        syncing.abort();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            (gate.targets.watch(), Arc::new(by_name));
        *syncing = sync(config, gate.targets, gate.exemptions);
        Ok(())
    }
}

impl Routing for Routes {
    fn target(&self, destination: OriginalDst) -> Option<Arc<Target>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let (table, by_name) = &*current;
        let name = table.borrow().target_of(destination)?.clone();
        by_name.get(name.as_str()).cloned()
    }
}

fn sync(config: &Config, targets: Targets, exemptions: Exemptions) -> AbortHandle {
    let resolver = resolver(config).remember(&targets.addresses());
    let syncing = keep_in_sync(config.gate.clone(), resolver, targets, exemptions);
    tokio::spawn(syncing).abort_handle()
}

/// Knows where the configured targets are.
pub(crate) fn resolver(config: &Config) -> Resolver {
    let places: BTreeMap<TargetName, Vec<Place>> =
        config.targets.values().map(|target| (target.gate_name.clone(), target.places.clone())).collect();
    Resolver::new(places, config.gate.keep_for(), SystemLookup)
}
