//! Installing the interception CA in kubeconfigs, and taking it out again.
//!
//! A cluster whose `server:` is a target gets our CA appended to the CA that it trusts already. Nothing else in the file
//! changes, byte for byte; a copy from before stays beside it. What cannot be edited safely is left as it was.

mod bundle;
mod change;
mod document;
mod edit;
mod kubeconfig;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use self::{
    bundle::{Ours, Presence},
    change::{Changes, Lock, Rewritten},
    kubeconfig::{Cluster, Kubeconfig, Server, server},
};
use crate::{Endpoint, TlsError};

/// What was found or done in one kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The file, symbolic links followed.
    pub kubeconfig: PathBuf,
    /// All its clusters, in order.
    pub clusters: Vec<ClusterReport>,
    /// Copies of what the changed files held before.
    pub backups: Vec<PathBuf>,
}

impl Report {
    /// Whether kubectl trusts our CA for every cluster that is a target.
    pub fn all_trusted(&self) -> bool {
        use State::{Installed, NotATarget, Present};
        self.clusters.iter().all(|cluster| matches!(cluster.state, Installed | Present | NotATarget))
    }
}

/// One cluster of a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    /// The cluster's name in the kubeconfig.
    pub name: String,
    /// Its `server:`, as written.
    pub server: String,
    /// The line where its settings start, from 1.
    pub line: usize,
    /// How it stands with our CA.
    pub state: State,
}

/// How a cluster stands with our CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum State {
    /// Our CA was added, or took the place of an older one, just now.
    Installed,
    /// Our CA was there and is good for this server.
    Present,
    /// Our CA is there, but it has expired or was made before this target was configured. Install it again.
    Outdated,
    /// Our CA is not there.
    Missing,
    /// Our CA was taken out just now.
    Removed,
    /// The server is no target.
    NotATarget,
    /// The cluster skips verification (`insecure-skip-tls-verify`), so it needs no CA and kubectl would refuse one.
    Insecure,
    /// The server is a target, but its URL says http: TLS is not used, and the target will not understand.
    PlainHttp,
    /// The CA is in a file that others use too; it was not touched.
    SharedFile {
        /// That file.
        file: PathBuf,
        /// Why it counts as shared, and what to do.
        reason: String,
    },
}

/// Adds our CA to the clusters of a kubeconfig whose server is among `targets`. Doing it again changes nothing.
///
/// # Errors
/// When the kubeconfig is damaged, or laid out so that it cannot be edited safely; it is then left as it was.
pub fn install(
    kubeconfig: &Path,
    ca_pem: &str,
    targets: &[Endpoint],
    now: Timestamp,
) -> Result<Report, TlsError> {
    let ours = Ours::read(ca_pem)?;
    rewrite(kubeconfig, now, |changes, index, cluster| {
        if let Err(state) = target(cluster, targets) {
            return Ok(state);
        }
        changes.rewrite(index, cluster, |bundle| ours.added_to(bundle)).map(|rewritten| match rewritten {
            Rewritten::Changed => State::Installed,
            Rewritten::Unchanged => State::Present,
            Rewritten::Shared { file, reason } => State::SharedFile { file, reason },
        })
    })
}

/// Says how the clusters stand, and changes nothing.
///
/// # Errors
/// When the kubeconfig is damaged.
pub fn check(
    kubeconfig: &Path,
    ca_pem: &str,
    targets: &[Endpoint],
    now: Timestamp,
) -> Result<Report, TlsError> {
    let ours = Ours::read(ca_pem)?;
    let file = Kubeconfig::read(kubeconfig)?;
    let clusters = file.each_cluster(|_, cluster| {
        Ok(match target(cluster, targets) {
            Err(state) => state,
            Ok(endpoint) => match ours.presence(&file.bundle(cluster)?, &endpoint.host, now) {
                Presence::Works => State::Present,
                Presence::Outdated => State::Outdated,
                Presence::Nothing => State::Missing,
            },
        })
    })?;
    Ok(Report { kubeconfig: file.path, clusters, backups: Vec::new() })
}

/// Takes our CA, and all older certificates for its key, out of every cluster, target or not.
///
/// # Errors
/// As [`install`].
pub fn remove(kubeconfig: &Path, ca_pem: &str, now: Timestamp) -> Result<Report, TlsError> {
    let ours = Ours::read(ca_pem)?;
    rewrite(kubeconfig, now, |changes, index, cluster| {
        changes.rewrite(index, cluster, |bundle| ours.removed_from(bundle)).map(|rewritten| match rewritten {
            Rewritten::Changed => State::Removed,
            Rewritten::Unchanged => State::Missing,
            Rewritten::Shared { file, reason } => State::SharedFile { file, reason },
        })
    })
}

fn rewrite(
    kubeconfig: &Path,
    now: Timestamp,
    mut each: impl FnMut(&mut Changes<'_>, usize, &Cluster<'_>) -> Result<State, TlsError>,
) -> Result<Report, TlsError> {
    let _lock = Lock::take(kubeconfig)?;
    let file = Kubeconfig::read(kubeconfig)?;
    let mut changes = Changes::to(&file);
    let clusters = file.each_cluster(|index, cluster| each(&mut changes, index, cluster))?;
    let backups = changes.carry_out(now)?;
    Ok(Report { kubeconfig: file.path, clusters, backups })
}

/// The target that a cluster's server is, or why its trust is none of our business.
fn target(cluster: &Cluster<'_>, targets: &[Endpoint]) -> Result<Endpoint, State> {
    match server(cluster.server) {
        Server::Http(endpoint) if targets.contains(&endpoint) => Err(State::PlainHttp),
        Server::Https(endpoint) if targets.contains(&endpoint) && cluster.insecure => Err(State::Insecure),
        Server::Https(endpoint) if targets.contains(&endpoint) => Ok(endpoint),
        _ => Err(State::NotATarget),
    }
}
