//! The configuration: one YAML file, raw as serde reads it, then checked once into [`Config`]. Each crate owns the
//! section that it consumes; what ties sections together is checked here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use portcullis_access::{AccessConfig, read_yaml};
use portcullis_credential::{UpstreamConfig, discover_or_remembered};
use portcullis_identity::{Acceptance, Accepted, IdentityConfig};
use portcullis_intercept::{GateConfig, Place, TargetName};
use portcullis_mask::{MaskPolicy, Profile};
use portcullis_notify::NotifyConfig;
use portcullis_record::RecordConfig;
use portcullis_tls::{Endpoint, Name, TargetNames};
use serde::Deserialize;

const API_VERSION: &str = "portcullis.dev/v1alpha1";
const KIND: &str = "Config";
/// Where the state directory remembers where EKS clusters are.
const CLUSTERS: &str = "clusters";

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawConfig {
    api_version: String,
    kind: String,
    #[serde(default = "default_state_dir")]
    state_dir: PathBuf,
    #[serde(default)]
    gate: GateConfig,
    targets: Vec<RawTarget>,
    #[serde(default)]
    identity: IdentityConfig,
    roles: PathBuf,
    access: AccessConfig,
    record: RecordConfig,
    #[serde(default)]
    mask_policy: Option<PathBuf>,
    #[serde(default)]
    notify: Option<NotifyConfig>,
    #[serde(default)]
    limits: LimitsConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTarget {
    name: String,
    /// Left out, with the next, where AWS is to be asked.
    #[serde(default)]
    endpoints: Option<Vec<String>>,
    #[serde(default)]
    certificate_authority: Option<PathBuf>,
    #[serde(default)]
    tls_server_name: Option<String>,
    credential: UpstreamConfig,
    #[serde(default)]
    impersonate: bool,
    #[serde(default)]
    identity: Acceptance,
    #[serde(default)]
    eks_cluster: Option<String>,
}

/// What one uid may have open at once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct LimitsConfig {
    /// Connections through the gate. Each takes two or three file descriptors of the daemon.
    pub(crate) connections_per_uid: NonZeroUsize,
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The interception CA, the mask key and the database of grants.
    pub(crate) state_dir: PathBuf,
    pub(crate) gate: GateConfig,
    pub(crate) targets: BTreeMap<String, TargetConfig>,
    pub(crate) identity: IdentityConfig,
    /// The folder of role manifests.
    pub(crate) roles: PathBuf,
    pub(crate) access: AccessConfig,
    pub(crate) record: RecordConfig,
    /// The mask policy; nothing where the defaults are enough.
    pub(crate) mask_policy: Option<PathBuf>,
    /// Nothing where nobody is told.
    pub(crate) notify: Option<NotifyConfig>,
    pub(crate) limits: LimitsConfig,
}

/// A checked target.
#[derive(Debug, Clone)]
pub(crate) struct TargetConfig {
    pub(crate) name: String,
    /// The same, as the kernel's map holds it.
    pub(crate) gate_name: TargetName,
    /// None before [`Config::discover`] has asked where it is.
    pub(crate) endpoints: Vec<Endpoint>,
    /// The endpoints, as the gate resolves them.
    pub(crate) places: Vec<Place>,
    /// Trusted to vouch for the real server; nothing else is.
    pub(crate) certificate_authority: Trusted,
    /// The name in the server's certificate, where it is not the endpoint's host.
    pub(crate) tls_server_name: Option<Name>,
    pub(crate) credential: UpstreamConfig,
    pub(crate) impersonate: bool,
    /// How engineers have to be identified.
    pub(crate) accepted: Accepted,
}

/// Who vouches for a target's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trusted {
    /// The certificates in a PEM file.
    File(PathBuf),
    /// Those that AWS names, in PEM.
    Pem(String),
    /// AWS is still to be asked.
    Undiscovered,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Naming the file, and the line and field where there is one.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        let raw = read_yaml(&path.display().to_string(), 0, &text)?;
        Self::check(raw).with_context(|| format!("in the configuration {}", path.display()))
    }

    /// What is masked.
    ///
    /// # Errors
    /// Naming the policy's file, and the line and field where there is one.
    pub(crate) fn mask_profile(&self) -> Result<Profile> {
        self.mask_policy.as_deref().map_or_else(|| Ok(Profile::default()), mask_profile)
    }

    /// As [`Config::read`], and asks AWS where those targets are whose endpoints the file leaves out. What it said is kept
    /// in the state directory, for when it does not answer.
    ///
    /// # Errors
    /// As [`Config::read`], and when it is not known where a target is.
    pub(crate) async fn read_and_discover(path: &Path) -> Result<Self> {
        let mut config = Self::read(path)?;
        config.discover().await.with_context(|| format!("in the configuration {}", path.display()))?;
        Ok(config)
    }

    async fn discover(&mut self) -> Result<()> {
        let remembered = self.state_dir.join(CLUSTERS);
        for (name, target) in &mut self.targets {
            let (Trusted::Undiscovered, Some(eks)) = (&target.certificate_authority, target.credential.eks())
            else {
                continue;
            };
            let at = || format!("target {name:?}: cannot find out where EKS cluster {} is", eks.cluster);
            private_dir(&remembered).with_context(at)?;
            let found = discover_or_remembered(eks, &remembered.join(format!("{name}.json")))
                .await
                .with_context(at)?;
            if let Some(why) = &found.remembered {
                tracing::warn!(target = name, error = %why, "AWS does not say where the cluster is: it is taken to be where it was");
            }
            (target.endpoints, target.places) = located(&[found.cluster.endpoint]).with_context(at)?;
            target.certificate_authority = Trusted::Pem(found.cluster.certificate_authority_pem);
        }
        no_endpoint_twice(&self.targets)
    }

    fn check(raw: RawConfig) -> Result<Self> {
        ensure!(
            raw.api_version == API_VERSION,
            "apiVersion: expected {API_VERSION}, found {:?}",
            raw.api_version
        );
        ensure!(raw.kind == KIND, "kind: expected {KIND}, found {:?}", raw.kind);
        ensure!(!raw.targets.is_empty(), "targets: at least one is needed");
        let mut targets = BTreeMap::new();
        for (index, target) in raw.targets.into_iter().enumerate() {
            let name = target.name.clone();
            let target = target.check().with_context(|| format!("targets[{index}] ({name:?})"))?;
            ensure!(
                targets.insert(name.clone(), target).is_none(),
                "targets[{index}]: {name:?} is there twice"
            );
        }
        no_endpoint_twice(&targets)?;
        if let Some(notify) = &raw.notify {
            notify.check().context("notify")?;
        }
        let names = targets.keys().cloned().collect();
        Ok(Self {
            state_dir: raw.state_dir,
            gate: raw.gate,
            targets,
            identity: raw.identity,
            roles: raw.roles,
            access: AccessConfig { targets: names, ..raw.access },
            record: raw.record,
            mask_policy: raw.mask_policy,
            notify: raw.notify,
            limits: raw.limits,
        })
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { connections_per_uid: const { NonZeroUsize::new(1024).unwrap() } }
    }
}

impl RawTarget {
    fn check(self) -> Result<TargetConfig> {
        let gate_name = self.name.clone().try_into().map_err(|error| anyhow!("name: {error}"))?;
        let (endpoints, places, certificate_authority) = match (self.endpoints, self.certificate_authority) {
            (Some(endpoints), Some(file)) => {
                let (endpoints, places) = located(&endpoints)?;
                (endpoints, places, Trusted::File(file))
            }
            (None, None) if self.credential.eks().is_some() => {
                (Vec::new(), Vec::new(), Trusted::Undiscovered)
            }
            (None, None) => {
                bail!(
                    "endpoints and certificateAuthority are needed; only with credential.eks can AWS be asked for them"
                )
            }
            (Some(_), None) => bail!("certificateAuthority is missing: with endpoints it has to be given"),
            (None, Some(_)) => bail!("endpoints is missing: with certificateAuthority it has to be given"),
        };
        let eks_cluster = self.eks_cluster.or_else(|| Some(self.credential.eks()?.cluster.clone()));
        let tls_server_name =
            self.tls_server_name.map(|name| name.parse().context("tlsServerName")).transpose()?;
        Ok(TargetConfig {
            name: self.name,
            gate_name,
            endpoints,
            places,
            certificate_authority,
            tls_server_name,
            credential: self.credential,
            impersonate: self.impersonate,
            accepted: Accepted { acceptance: self.identity, eks_cluster, ..Accepted::default() },
        })
    }
}

impl TargetConfig {
    /// What clients call this target: the names and addresses that leaves may be made for.
    pub(crate) fn names(&self) -> TargetNames {
        self.endpoints.iter().map(|endpoint| endpoint.host.clone()).collect()
    }

    /// Host and port of every endpoint.
    pub(crate) fn addresses(&self) -> Vec<(String, u16)> {
        self.endpoints.iter().map(|endpoint| (endpoint.host.to_string(), endpoint.port)).collect()
    }
}

/// Endpoints as leaves and the gate need them.
fn located(texts: &[String]) -> Result<(Vec<Endpoint>, Vec<Place>)> {
    ensure!(!texts.is_empty(), "endpoints: at least one is needed");
    let endpoints = texts
        .iter()
        .enumerate()
        .map(|(index, text)| endpoint(text).with_context(|| format!("endpoints[{index}]: {text:?}")))
        .collect::<Result<Vec<_>>>()?;
    let place = |endpoint: &Endpoint| {
        endpoint.to_string().parse::<Place>().map_err(|error| anyhow!("endpoints: {error}"))
    };
    let places = endpoints.iter().map(place).collect::<Result<_>>()?;
    Ok((endpoints, places))
}

/// Of two targets at one address nobody could tell which is meant.
fn no_endpoint_twice(targets: &BTreeMap<String, TargetConfig>) -> Result<()> {
    let mut claimed = BTreeMap::new();
    for (name, target) in targets {
        for endpoint in &target.endpoints {
            if let Some(other) = claimed.insert(endpoint.to_string(), name) {
                bail!("target {name:?}: endpoint {endpoint} is already claimed by {other:?}");
            }
        }
    }
    Ok(())
}

/// Reads `https://host[:port]`, the form that a kubeconfig's `server:` has.
fn endpoint(text: &str) -> Result<Endpoint> {
    let rest = text.strip_prefix("https://").context("must begin with https://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    ensure!(!rest.contains(['/', '?', '#', '@']), "must be https://host:port and nothing more");
    let (host, port) = match rest.rsplit_once(':') {
        // The colons of a bare IPv6 address are no port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok().filter(|port| *port != 0).context("the port must be 1 to 65535")?)
        }
        _ => (rest, 443),
    };
    let host: Name = host.parse()?;
    if let Name::Ip(address) = &host {
        ensure!(!is_unroutable(address), "{address} is no address of a server");
    }
    Ok(Endpoint { host, port })
}

fn is_unroutable(address: &IpAddr) -> bool {
    address.is_unspecified() || address.is_multicast()
}

/// What a mask policy says.
///
/// # Errors
/// Naming the file, and the line and field where there is one.
pub(crate) fn mask_profile(path: &Path) -> Result<Profile> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the mask policy {}", path.display()))?;
    let policy: MaskPolicy = read_yaml(&path.display().to_string(), 0, &text)?;
    Profile::new(&policy).with_context(|| format!("in the mask policy {}", path.display()))
}

/// Makes a folder that nobody else can write, as the state directory is.
pub(crate) fn private_dir(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/portcullis")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_kubeconfigs_spell_them() {
        for (text, read) in [
            ("https://10.0.0.1:6443", "10.0.0.1:6443"),
            ("https://API.example.test", "api.example.test:443"),
            ("https://[2001:db8::1]:6443/", "[2001:db8::1]:6443"),
            ("https://[2001:db8::1]", "[2001:db8::1]:443"),
        ] {
            assert_eq!(endpoint(text).unwrap().to_string(), read);
        }
        for text in [
            "http://10.0.0.1",
            "10.0.0.1:6443",
            "https://a/b",
            "https://user@a",
            "https://a:0",
            "https://a:x",
            "https://",
            "https://0.0.0.0:443",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    const GOOD: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Config
targets:
- name: demo
  endpoints: ["https://10.0.0.1:6443"]
  certificateAuthority: /ca.crt
  credential: {bearerTokenFile: /token}
roles: /roles
access: {store: /access.db}
record: {dir: /recordings}
"#;

    fn read(text: &str) -> Result<Config, String> {
        let raw = read_yaml("p.yaml", 0, text).map_err(|error| error.to_string())?;
        Config::check(raw).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn the_smallest_configuration_is_enough() {
        let config = read(GOOD).unwrap();
        assert_eq!(config.access.targets, ["demo".to_owned()].into());
        assert_eq!(config.state_dir, default_state_dir());
    }

    #[test]
    fn the_manual_has_a_mask_policy() {
        let manual = include_str!("../../../docs/masking.md");
        let (_, policy) = manual.split_once("```yaml\n").unwrap();
        let (policy, _) = policy.split_once("```").unwrap();
        Profile::new(&read_yaml("masking.md", 0, policy).unwrap()).unwrap();
        let wrong = policy.replace("keep: [data.username", "keep: [data..username");
        let error = read_yaml::<MaskPolicy>("mask.yaml", 0, &wrong).unwrap_err().to_string();
        assert!(error.starts_with("mask.yaml:19: rules[1].keep[0]: path \"data..username\""), "{error}");
        let wrong = policy.replace("exceptNames", "exeptNames");
        let error = read_yaml::<MaskPolicy>("mask.yaml", 0, &wrong).unwrap_err().to_string();
        assert!(error.contains("unknown field `exeptNames`"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (from, to, expected) in [
            ("roles: /roles", "rolez: /roles", "p.yaml:9: rolez: unknown field `rolez`"),
            ("- name: demo", "- name: demo\n  nmae: x", "p.yaml:6: targets[0].nmae: unknown field `nmae`"),
            ("record: {dir: /recordings}", "", "missing field `record`"),
            ("kind: Config", "kind: Gate", "kind: expected Config, found \"Gate\""),
            (
                "https://",
                "http://",
                "targets[0] (\"demo\"): endpoints[0]: \"http://10.0.0.1:6443\": must begin with https://",
            ),
            ("name: demo", "name: de mo", "targets[0] (\"de mo\"): name:"),
            ("bearerTokenFile: /token", "", "credential"),
        ] {
            let error = read(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{to:?}: {error}");
        }
        let twice = GOOD.replace("roles:", "- name: other\n  endpoints: [\"https://10.0.0.1:6443/\"]\n  certificateAuthority: /ca.crt\n  credential: {bearerTokenFile: /token}\nroles:");
        assert!(read(&twice).unwrap_err().contains("already claimed by \"demo\""));
    }
}
