//! Configuration of access.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::discovery::DiscoveryPolicy;
use crate::duration;

/// Configuration of [`Access`](crate::Access).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessConfig {
    /// Where grants are kept.
    pub store: StoreConfig,
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

/// Where grants are kept: a path, or `postgres: {…}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// An SQLite file for one bastion; made on first use, mode 0600.
    Sqlite(PathBuf),
    /// A PostgreSQL database for one bastion or several.
    Postgres(PostgresConfig),
}

/// A PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresConfig {
    /// A file with the connection URL, `postgres://user:password@host/database`. It is read at each connection, so a
    /// new password is taken up; others than its owner and group must not be able to read it.
    pub url_file: PathBuf,
    /// The CA that the server's certificate is verified against, in PEM. Needed unless the server is reached by a Unix
    /// socket, or on this host with `sslmode=disable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
}

/// How a store on PostgreSQL is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnServer {
    postgres: PostgresConfig,
}

impl Serialize for StoreConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            StoreConfig::Sqlite(path) => path.serialize(serializer),
            StoreConfig::Postgres(postgres) => OnServer { postgres: postgres.clone() }.serialize(serializer),
        }
    }
}

/// Not `untagged`: that would tell of a mistake in `postgres` only that nothing fits.
impl<'de> Deserialize<'de> for StoreConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathOrServer;

        impl<'de> Visitor<'de> for PathOrServer {
            type Value = StoreConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of an SQLite file, or postgres: {urlFile: …, certificateAuthority: …}")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<StoreConfig, E> {
                if path.is_empty() || path.contains("://") {
                    return Err(E::invalid_value(serde::de::Unexpected::Other("no path"), &self));
                }
                Ok(StoreConfig::Sqlite(path.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StoreConfig, A::Error> {
                let OnServer { postgres } = OnServer::deserialize(MapAccessDeserializer::new(map))?;
                Ok(StoreConfig::Postgres(postgres))
            }
        }

        deserializer.deserialize_any(PathOrServer)
    }
}

impl AccessConfig {
    /// The defaults, with an SQLite database at `store`.
    #[must_use]
    pub fn new(store: PathBuf, targets: BTreeSet<String>) -> Self {
        Self {
            store: StoreConfig::Sqlite(store),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(store: &str) -> Result<StoreConfig, String> {
        let yaml = format!("store: {store}\n");
        let config: Result<AccessConfig, _> = crate::read_yaml("p.yaml", 0, &yaml);
        config.map(|config| config.store).map_err(|error| error.to_string())
    }

    #[test]
    fn a_store_is_a_path_or_a_server() {
        assert_eq!(read("/var/lib/access.db").unwrap(), StoreConfig::Sqlite("/var/lib/access.db".into()));
        let postgres =
            PostgresConfig { url_file: "/run/url".into(), certificate_authority: Some("/etc/ca.pem".into()) };
        let written = "{postgres: {urlFile: /run/url, certificateAuthority: /etc/ca.pem}}";
        assert_eq!(read(written).unwrap(), StoreConfig::Postgres(postgres.clone()));
        let json = serde_json::to_string(&StoreConfig::Postgres(postgres.clone())).unwrap();
        assert_eq!(serde_json::from_str::<StoreConfig>(&json).unwrap(), StoreConfig::Postgres(postgres));
    }

    #[test]
    fn a_mistake_is_named_and_a_password_is_not() {
        for (written, expected) in [
            ("{postgres: {url: /x}}", "unknown field `url`"),
            ("{postgres: {}}", "missing field `urlFile`"),
            ("{mysql: {}}", "unknown field `mysql`"),
            ("[a]", "the path of an SQLite file, or postgres:"),
            ("postgres://u:hunter2@db/x", "the path of an SQLite file, or postgres:"),
        ] {
            let error = read(written).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{written}: {error}");
        }
    }
}
