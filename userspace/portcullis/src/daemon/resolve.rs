//! Keeps the kernel's map of endpoints in step with the configuration and with DNS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_intercept::{Exemptions, TargetName, Targets};
use portcullis_tls::{Endpoint, Name};
use tokio::sync::watch;

use crate::config::{Config, TargetConfig};

/// Endpoints by target, as configured.
pub(crate) type Wanted = BTreeMap<TargetName, Vec<Endpoint>>;
type Addresses = BTreeMap<TargetName, Vec<SocketAddr>>;

/// Resolves names on an interval and syncs what they resolve to.
pub(super) struct Resolver {
    targets: Targets,
    exemptions: Exemptions,
    wanted: watch::Receiver<Arc<Wanted>>,
    sender: watch::Sender<Arc<Wanted>>,
    interval: Duration,
    keep_for: Duration,
    /// When an address was last among the answers for its target.
    seen: BTreeMap<(TargetName, SocketAddr), Instant>,
}

impl Resolver {
    pub(super) fn new(targets: Targets, exemptions: Exemptions, config: &Config) -> Self {
        let (sender, wanted) = watch::channel(Arc::new(wanted_of(config)));
        // What is pinned already was seen before this daemon came; it is guarded until its time is over.
        let now = Instant::now();
        let seen = targets
            .addresses()
            .into_iter()
            .flat_map(|(name, addresses)| addresses.into_iter().map(move |address| ((name.clone(), address), now)))
            .collect();
        Self {
            targets,
            exemptions,
            wanted,
            sender,
            interval: config.gate.resolve_interval(),
            keep_for: config.gate.keep_for(),
            seen,
        }
    }

    /// Where a reloaded configuration puts its endpoints.
    pub(super) fn handle(&self) -> watch::Sender<Arc<Wanted>> {
        self.sender.clone()
    }

    /// Resolves and syncs once; what cannot be resolved keeps the addresses that it had.
    pub(super) async fn sync(&mut self) {
        let wanted = Arc::clone(&self.wanted.borrow_and_update());
        let resolved = resolve(&wanted).await;
        let addresses = self.with_recent(&wanted, resolved);
        match self.targets.sync(&addresses) {
            Ok(changes) if changes.added + changes.removed > 0 => {
                tracing::info!(added = changes.added, removed = changes.removed, "endpoints changed");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the kernel's endpoints could not be brought up to date"),
        }
    }

    /// Goes on for ever.
    pub(super) async fn run(mut self) {
        loop {
            // Either outcome means: look again.
            tokio::time::timeout(self.interval, self.wanted.changed()).await.ok();
            self.sync().await;
        }
    }

    /// Adds the addresses that were answers lately: name servers hand them out by turns.
    fn with_recent(&mut self, wanted: &Wanted, resolved: Addresses) -> Addresses {
        let now = Instant::now();
        for (name, addresses) in resolved {
            for address in addresses {
                self.seen.insert((name.clone(), address), now);
            }
        }
        self.seen.retain(|(name, address), at| {
            let Some(endpoints) = wanted.get(name) else { return false };
            let literal = endpoints.iter().any(|endpoint| is_literal(endpoint, *address));
            let by_name = endpoints.iter().any(|endpoint| {
                endpoint.port == address.port() && matches!(endpoint.host, Name::Dns(_))
            });
            literal || by_name && now.duration_since(*at) < self.keep_for
        });
        let mut all = Addresses::new();
        for (name, address) in self.seen.keys() {
            all.entry(name.clone()).or_default().push(*address);
        }
        all
    }
}

/// The endpoints of every target.
pub(crate) fn wanted_of(config: &Config) -> Wanted {
    config.targets.values().map(|target: &TargetConfig| (target.gate_name.clone(), target.endpoints.clone())).collect()
}

/// The addresses of all endpoints now; a name that does not resolve contributes none, and is logged.
pub(crate) async fn resolve(wanted: &Wanted) -> Addresses {
    let mut all = Addresses::new();
    for (name, endpoints) in wanted {
        let addresses = all.entry(name.clone()).or_default();
        for endpoint in endpoints {
            match &endpoint.host {
                Name::Ip(address) => addresses.push(SocketAddr::new(*address, endpoint.port)),
                Name::Dns(host) => match tokio::net::lookup_host((host.as_ref(), endpoint.port)).await {
                    Ok(found) => addresses.extend(found),
                    Err(error) => {
                        tracing::warn!(target = name.as_str(), host = host.as_ref(), %error, "name not resolved");
                    }
                },
            }
        }
        addresses.sort();
        addresses.dedup();
    }
    all
}

fn is_literal(endpoint: &Endpoint, address: SocketAddr) -> bool {
    endpoint.port == address.port() && endpoint.host == Name::ip(address.ip())
}
