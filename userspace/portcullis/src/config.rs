//! The configuration: one YAML file, raw as serde reads it, then checked once into [`Config`]. Each crate owns the
//! section that it consumes; what ties sections together is checked here.

mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use portcullis_access::{AccessConfig, DiscoveryPolicy, read_yaml};
use portcullis_credential::discover_or_remembered;
use portcullis_identity::IdentityConfig;
use portcullis_intercept::GateConfig;
use portcullis_mask::{MaskPolicy, Profile};
use portcullis_notify::NotifyConfig;
use portcullis_proxy::Scheme;
use portcullis_record::RecordConfig;
use serde::Deserialize;

use self::target::{RawTarget, located};
pub(crate) use self::target::{TargetConfig, Trusted};

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
            let (scheme, endpoints, places) = located(&[found.cluster.endpoint]).with_context(at)?;
            ensure!(scheme == Scheme::Https, "target {name:?}: AWS says that the cluster has no TLS");
            (target.endpoints, target.places) = (endpoints, places);
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
        let direct = targets.values().filter(|target| target.mcp.is_some()).map(|target| target.name.clone());
        let mut mcp_targets: BTreeSet<String> = direct.collect();
        let mut names: BTreeSet<String> = targets.keys().cloned().collect();
        for (target, service) in targets
            .values()
            .flat_map(|target| target.mcp_services.iter().map(move |service| (target, service)))
        {
            let name = &service.server.name;
            mcp_targets.insert(name.clone());
            ensure!(
                names.insert(name.clone()),
                "target {:?}: mcpServices: {name:?} is there twice",
                target.name
            );
        }
        Ok(Self {
            state_dir: raw.state_dir,
            gate: raw.gate,
            targets,
            identity: raw.identity,
            roles: raw.roles,
            access: AccessConfig {
                targets: names,
                discovery: DiscoveryPolicy { mcp_targets, ..raw.access.discovery },
                ..raw.access
            },
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
    fn an_mcp_server_is_a_target_too() {
        let tools = |lines: &str| {
            read(
                &GOOD
                    .replace("roles: /roles", &format!("- name: tools\n  kind: mcp\n{lines}\nroles: /roles")),
            )
        };
        let http = "  endpoints: [\"http://10.0.0.2:8080\"]\n  credential: {none: {}}";
        let config = tools(http).unwrap();
        let tools_target = &config.targets["tools"];
        let mcp = tools_target.mcp.as_ref().unwrap();
        assert_eq!((&*mcp.path, &*mcp.resource), ("/mcp", "http://10.0.0.2:8080/mcp"));
        assert_eq!(tools_target.accepted.audience.as_ref(), Some(&mcp.resource));
        assert_eq!(config.access.discovery.mcp_targets, ["tools".to_owned()].into());
        for (lines, expected) in [
            (format!("{http}\n  certificateAuthority: /ca.crt"), "there is none without https://"),
            (format!("{http}\n  impersonate: true"), "only an API server knows it"),
            (format!("{http}\n  mcp: {{path: mcp}}"), "is no path such as /mcp"),
            (format!("{http}\n  mcp: {{resource: tools}}"), "is no URI such as"),
            (format!("{http}\n  mcp: {{blobs: {{pass: [\"text/*\"]}}}}"), "blobs"),
            (http.replace("{none: {}}", "{clientCertificate: {certFile: /c, keyFile: /k}}"), "in TLS only"),
            (http.replace("http://", "https://"), "certificateAuthority is missing"),
        ] {
            let error = tools(&lines).unwrap_err();
            assert!(error.contains(expected), "{lines}: {error}");
        }
        let behind = GOOD.replace(
            "- name: demo",
            "- name: demo\n  mcpServices: [{name: in-demo, namespace: tools, service: \"http:mcp:8080\"}]",
        );
        let config = read(&behind).unwrap();
        assert!(config.access.targets.contains("in-demo"));
        let error = read(&behind.replace("name: in-demo", "name: ../demo")).unwrap_err();
        assert!(error.contains("mcpServices[0]: name:"), "{error}");
        let service = &config.targets["demo"].mcp_services[0];
        assert_eq!((&*service.service, &*service.server.path), ("http:mcp:8080", "/mcp"));
        let error = read(&GOOD.replace("bearerTokenFile: /token", "none: {}")).unwrap_err();
        assert!(error.contains("for targets of kind mcp"), "{error}");
    }

    #[test]
    fn pods_and_ports_of_an_mcp_server_are_named() {
        let with = |entries: &str| {
            read(&GOOD.replace("- name: demo", &format!("- name: demo\n  mcpServices: [{entries}]")))
        };
        let entry = |name: &str, port_forward: &str| {
            format!("{{name: {name}, namespace: tools, service: \"mcp:80\", portForward: {port_forward}}}")
        };
        let config = with(&entry("a", "{pods: [\"mcp-*\", web], ports: [8080, 9090]}")).unwrap();
        let read = config.targets["demo"].mcp_services[0].port_forward.as_ref().unwrap();
        assert!(read.pods[0].matches("mcp-0") && !read.pods[0].matches("web"));
        assert_eq!(read.ports, [8080, 9090].into());
        for (port_forward, expected) in [
            ("{pods: [], ports: [80]}", "mcpServices[0]: portForward: pods: at least one is needed"),
            ("{pods: [a], ports: []}", "mcpServices[0]: portForward: ports: at least one is needed"),
            ("{pods: [a], ports: [0]}", "mcpServices[0]: portForward: ports: a port must be 1 to 65535"),
            ("{pods: [a], ports: [65536]}", "mcpServices[0].portForward.ports[0]: "),
            (
                "{pods: [\"*-a\"], ports: [80]}",
                "mcpServices[0].portForward.pods[0]: \"*-a\": `*` may stand only",
            ),
            ("{pods: [a], ports: [80], path: /x}", "unknown field `path`"),
            ("{pods: [a]}", "missing field `ports`"),
        ] {
            let error = with(&entry("a", port_forward)).unwrap_err();
            assert!(error.contains(expected), "{port_forward}: {error}");
        }
        let two = |one: &str, other: &str| with(&format!("{}, {}", entry("a", one), entry("b", other)));
        let error = two("{pods: [\"mcp-*\"], ports: [80, 81]}", "{pods: [mcp-0], ports: [81]}").unwrap_err();
        assert!(
            error.contains("mcpServices[1]: portForward: port 81 of pods mcp-0 is already claimed by \"a\""),
            "{error}"
        );
        two("{pods: [\"mcp-*\"], ports: [80]}", "{pods: [mcp-0], ports: [81]}").unwrap();
        two("{pods: [\"mcp-*\"], ports: [80]}", "{pods: [web], ports: [80]}").unwrap();
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
                "targets[0] (\"demo\"): endpoints: an API server is reached by https:// only",
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
