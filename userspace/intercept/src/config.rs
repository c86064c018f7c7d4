//! The `gate` section of the configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::GateError;

/// Where the gate stands and what it does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateConfig {
    /// The cgroup v2 directory to attach to; without it the root of the host's cgroup2 file system, as
    /// production wants it. Sockets of processes outside it are not seen.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// Where links and maps are pinned, on a BPF file system.
    #[serde(default = "default_pin_dir")]
    pub pin_dir: PathBuf,
    /// Where the proxy listens: loopback addresses, at most one of each family. A family without one is
    /// refused its targets.
    #[serde(default = "default_listen")]
    pub listen: Vec<SocketAddr>,
    /// Cgroups besides the daemon's own whose connects pass, such as the kubelet's. Exactly these, not those
    /// below them. One that does not exist (yet) is looked for at every `resolveSeconds`.
    #[serde(default)]
    pub exempt: Vec<PathBuf>,
    /// Whether packets that reach a target without having passed the gate are dropped.
    #[serde(default = "default_true")]
    pub egress_guard: bool,
    /// What happens to connections to targets that are older than the gate.
    #[serde(default)]
    pub older_connections: OlderConnections,
    /// Seconds between two resolutions of the targets' names.
    #[serde(default = "default_resolve_seconds")]
    pub resolve_seconds: u64,
    /// Seconds that an address stays guarded after its name last resolved to it: name servers hand out their
    /// addresses by turns, and an address leaves DNS before it stops answering.
    #[serde(default = "default_keep_seconds")]
    pub keep_seconds: u64,
}

/// What happens to connections to targets that are older than the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OlderConnections {
    /// They are listed; with `egressGuard` they can send nothing more.
    #[default]
    Report,
    /// They are reset (`SOCK_DESTROY`).
    Reset,
}

impl GateConfig {
    /// The IPv4 and the IPv6 listener.
    ///
    /// # Errors
    /// [`GateError::Config`] when an address is not loopback, has no port, or is one too many.
    pub fn listeners(&self) -> Result<(Option<SocketAddr>, Option<SocketAddr>), GateError> {
        let (mut v4, mut v6) = (None, None);
        for &address in &self.listen {
            let slot = match address.ip() {
                IpAddr::V4(_) => &mut v4,
                IpAddr::V6(_) => &mut v6,
            };
            if !address.ip().is_loopback() {
                return Err(GateError::Config(format!("listen: {address} is not a loopback address")));
            }
            if address.port() == 0 {
                return Err(GateError::Config(format!("listen: {address} has no port")));
            }
            if slot.replace(address).is_some() {
                return Err(GateError::Config(format!("listen: {address} is one too many of its family")));
            }
        }
        if v4.is_none() && v6.is_none() {
            return Err(GateError::Config("listen: no address".to_owned()));
        }
        Ok((v4, v6))
    }

    /// Time between two resolutions.
    pub fn resolve_interval(&self) -> Duration {
        Duration::from_secs(self.resolve_seconds.max(1))
    }

    /// How long an address stays guarded after its name last resolved to it.
    pub fn keep_for(&self) -> Duration {
        Duration::from_secs(self.keep_seconds)
    }
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            cgroup: None,
            pin_dir: default_pin_dir(),
            listen: default_listen(),
            exempt: Vec::new(),
            egress_guard: true,
            older_connections: OlderConnections::default(),
            resolve_seconds: default_resolve_seconds(),
            keep_seconds: default_keep_seconds(),
        }
    }
}

fn default_pin_dir() -> PathBuf {
    "/sys/fs/bpf/portcullis".into()
}

/// Below 1024, so that with the daemon down nobody without privileges binds it even where the gate's own
/// bind hook is not looking.
fn default_listen() -> Vec<SocketAddr> {
    vec![SocketAddr::from(([127, 0, 0, 1], 843)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 843))]
}

fn default_true() -> bool {
    true
}

fn default_resolve_seconds() -> u64 {
    15
}

fn default_keep_seconds() -> u64 {
    3600
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Result<GateConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn defaults_are_those_of_an_empty_section() {
        let config = config("{}").unwrap();
        assert_eq!(config, GateConfig::default());
        assert!(config.egress_guard);
        config.listeners().unwrap();
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = config(r#"{"pindir": "/x"}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `pindir`"), "{error}");
    }

    #[test]
    fn listeners_are_loopback_one_a_family() {
        let listen = |json: &str| config(json).unwrap().listeners().map_err(|error| error.to_string());
        assert_eq!(
            listen(r#"{"listen": ["[::1]:843"]}"#).unwrap(),
            (None, Some("[::1]:843".parse().unwrap()))
        );
        for (json, expected) in [
            (r#"{"listen": []}"#, "no address"),
            (r#"{"listen": ["10.0.0.1:843"]}"#, "10.0.0.1:843 is not a loopback address"),
            (r#"{"listen": ["[::ffff:127.0.0.1]:843"]}"#, "is not a loopback address"),
            (r#"{"listen": ["127.0.0.1:0"]}"#, "has no port"),
            (r#"{"listen": ["127.0.0.1:1", "127.0.0.2:1"]}"#, "127.0.0.2:1 is one too many"),
        ] {
            let error = listen(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
