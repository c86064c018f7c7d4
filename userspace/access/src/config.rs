//! Configuration of access.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::discovery::DiscoveryPolicy;
use crate::duration;

/// Configuration of [`Access`](crate::Access).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessConfig {
    /// The database file; made on first use, mode 0600.
    pub store: PathBuf,
    /// Members of these groups may revoke any grant.
    #[serde(default)]
    pub admin_groups: BTreeSet<String>,
    /// How long a request waits for its approvals before it expires.
    #[serde(default = "an_hour", with = "duration::text")]
    pub pending_for: Duration,
    /// How long a snapshot decides after the store last confirmed it (Law 7).
    #[serde(default = "ten_seconds", with = "duration::text")]
    pub max_snapshot_age: Duration,
    /// What is open to anybody identified.
    #[serde(default)]
    pub discovery: DiscoveryPolicy,
    /// The names of the configured targets, filled in by whoever reads those.
    #[serde(skip)]
    pub targets: BTreeSet<String>,
}

impl AccessConfig {
    /// The defaults, with the database at `store`.
    #[must_use]
    pub fn new(store: PathBuf, targets: BTreeSet<String>) -> Self {
        Self {
            store,
            admin_groups: BTreeSet::new(),
            pending_for: an_hour(),
            max_snapshot_age: ten_seconds(),
            discovery: DiscoveryPolicy::default(),
            targets,
        }
    }
}

fn an_hour() -> Duration {
    Duration::from_secs(3600)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
