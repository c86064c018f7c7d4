//! The configuration: one YAML file, raw as serde reads it, then checked once into [`Config`]. Each crate owns the
//! section that it consumes; what ties sections together is checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use portcullis_access::{AccessConfig, DiscoveryPolicy, read_yaml};
use portcullis_credential::{UpstreamConfig, discover_or_remembered};
use portcullis_identity::{Acceptance, Accepted, IdentityConfig};
use portcullis_intercept::{GateConfig, Place, TargetName};
use portcullis_mask::{MaskPolicy, Profile};
use portcullis_mcp::BlobPolicy;
use portcullis_notify::NotifyConfig;
use portcullis_proxy::{McpServer, McpService, Scheme};
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
    #[serde(default)]
    kind: TargetKind,
    #[serde(default)]
    mcp: Option<RawMcp>,
    /// MCP servers that are reached through the API server's proxy.
    #[serde(default)]
    mcp_services: Vec<RawMcpService>,
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

/// What kind of server a target is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum TargetKind {
    #[default]
    Kubernetes,
    Mcp,
}

/// What is particular to an MCP server.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMcp {
    /// Where messages are posted to; `/mcp` if left out.
    #[serde(default)]
    path: Option<String>,
    /// The audience of tokens for it; the first endpoint with the path if left out.
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    blobs: BlobPolicy,
}

/// An MCP server that is a service of the cluster.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMcpService {
    /// What roles and requests call it.
    name: String,
    namespace: String,
    /// As the proxy's path has it: `name:port` or `scheme:name:port`.
    service: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    blobs: BlobPolicy,
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
    /// How it is reached.
    pub(crate) scheme: Scheme,
    /// Trusted to vouch for the real server; nothing else is.
    pub(crate) certificate_authority: Trusted,
    /// The name in the server's certificate, where it is not the endpoint's host.
    pub(crate) tls_server_name: Option<Name>,
    pub(crate) credential: UpstreamConfig,
    pub(crate) impersonate: bool,
    /// How engineers have to be identified.
    pub(crate) accepted: Accepted,
    /// What is particular to an MCP server; nothing for an API server.
    pub(crate) mcp: Option<Arc<McpServer>>,
    /// The MCP servers behind an API server.
    pub(crate) mcp_services: Vec<McpService>,
}

/// Who vouches for a target's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trusted {
    /// There is no TLS.
    Nobody,
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

impl RawTarget {
    fn check(self) -> Result<TargetConfig> {
        let gate_name = self.name.clone().try_into().map_err(|error| anyhow!("name: {error}"))?;
        let located = self.endpoints.as_deref().map(located).transpose()?;
        let http = located.as_ref().is_some_and(|(scheme, ..)| *scheme == Scheme::Http);
        ensure!(
            !http || self.kind == TargetKind::Mcp,
            "endpoints: an API server is reached by https:// only"
        );
        let (located, certificate_authority) = match (located, self.certificate_authority) {
            (Some(_), Some(_)) if http => bail!("certificateAuthority: there is none without https://"),
            (Some(located), Some(file)) => (located, Trusted::File(file)),
            (Some(located), None) if http => (located, Trusted::Nobody),
            (None, None) if self.credential.eks().is_some() => {
                ((Scheme::Https, Vec::new(), Vec::new()), Trusted::Undiscovered)
            }
            (None, None) => {
                bail!(
                    "endpoints and certificateAuthority are needed; only with credential.eks can AWS be asked for them"
                )
            }
            (Some(_), None) => bail!("certificateAuthority is missing: with endpoints it has to be given"),
            (None, Some(_)) => bail!("endpoints is missing: with certificateAuthority it has to be given"),
        };
        let (scheme, endpoints, places) = located;
        let eks_cluster = self.eks_cluster.or_else(|| Some(self.credential.eks()?.cluster.clone()));
        let mcp = match (self.kind, self.mcp) {
            (TargetKind::Mcp, mcp) => {
                Some(Arc::new(mcp.unwrap_or_default().check(&self.name, scheme, &endpoints).context("mcp")?))
            }
            (TargetKind::Kubernetes, None) => None,
            (TargetKind::Kubernetes, Some(_)) => bail!("mcp: only a target of kind mcp has it"),
        };
        ensure!(mcp.is_none() || !self.impersonate, "impersonate: only an API server knows it");
        ensure!(
            mcp.is_none() || self.mcp_services.is_empty(),
            "mcpServices: only an API server has services"
        );
        let mcp_services = self.mcp_services.into_iter().enumerate();
        let mcp_services = mcp_services
            .map(|(index, service)| service.check().with_context(|| format!("mcpServices[{index}]")))
            .collect::<Result<_>>()?;
        credential_fits(&self.credential, mcp.is_some(), scheme).context("credential")?;
        let audience = mcp.as_ref().map(|mcp| mcp.resource.clone());
        let tls_server_name =
            self.tls_server_name.map(|name| name.parse().context("tlsServerName")).transpose()?;
        Ok(TargetConfig {
            name: self.name,
            gate_name,
            endpoints,
            places,
            scheme,
            certificate_authority,
            tls_server_name,
            credential: self.credential,
            impersonate: self.impersonate,
            accepted: Accepted { acceptance: self.identity, eks_cluster, audience },
            mcp,
            mcp_services,
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

impl RawMcp {
    fn check(self, name: &str, scheme: Scheme, endpoints: &[Endpoint]) -> Result<McpServer> {
        let path = mcp_path(self.path)?;
        let scheme = match scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        };
        let first = endpoints.first().context("endpoints: an MCP server has some")?;
        let resource = self.resource.unwrap_or_else(|| format!("{scheme}://{first}{path}"));
        ensure!(
            resource.starts_with("https://") || resource.starts_with("http://"),
            "resource: {resource:?} is no URI such as https://tools.example.com/mcp"
        );
        ensure!(!resource.contains('#'), "resource: {resource:?} has a fragment (RFC 8707)");
        for server in &self.authorization_servers {
            let local = ["http://127.0.0.1", "http://[::1]", "http://localhost"]
                .iter()
                .any(|own| server.starts_with(own));
            ensure!(
                server.starts_with("https://") || local,
                "authorizationServers: {server:?} is no https:// URL"
            );
        }
        let Self { authorization_servers, origins, blobs, .. } = self;
        let name = name.to_owned();
        Ok(McpServer { name, path, resource, authorization_servers, origins, blobs })
    }
}

/// Some credentials are for API servers alone, and some for any other server.
fn credential_fits(credential: &UpstreamConfig, mcp: bool, scheme: Scheme) -> Result<()> {
    use UpstreamConfig::{
        AwsSigV4, BearerTokenFile, ClientCertificate, Eks, None, OAuthClientCredentials, TokenRequest,
    };
    match credential {
        Eks(_) | TokenRequest(_) if mcp => bail!("eks and tokenRequest are for API servers"),
        None {} | AwsSigV4(_) | OAuthClientCredentials(_) if !mcp => {
            bail!("none, awsSigV4 and oauthClientCredentials are for targets of kind mcp")
        }
        ClientCertificate(_) if scheme == Scheme::Http => {
            bail!("a clientCertificate is presented in TLS only")
        }
        Eks(_) | TokenRequest(_) | None {} | AwsSigV4(_) | OAuthClientCredentials(_) => Ok(()),
        BearerTokenFile(_) | ClientCertificate(_) => Ok(()),
    }
}

impl RawMcpService {
    fn check(self) -> Result<McpService> {
        let Self { name, namespace, service, path, blobs } = self;
        let plain =
            |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        TargetName::try_from(name.clone()).map_err(|error| anyhow!("name: {error}"))?;
        ensure!(plain(&namespace), "namespace: {namespace:?} is no name of a namespace");
        let parts = service.split(':').count();
        ensure!(
            parts <= 3 && service.split(':').all(plain),
            "service: {service:?} is neither name:port nor scheme:name:port"
        );
        let path = mcp_path(path)?;
        // Tokens for it would be tokens for the API server.
        let (resource, authorization_servers, origins) = Default::default();
        let server = McpServer { name, path, resource, authorization_servers, origins, blobs };
        Ok(McpService { namespace, service, server: Arc::new(server) })
    }
}

/// Where an MCP server's messages are posted to.
fn mcp_path(path: Option<String>) -> Result<String> {
    let path = path.unwrap_or_else(|| "/mcp".to_owned());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    ensure!(path.starts_with('/') && path.bytes().all(plain), "path: {path:?} is no path such as /mcp");
    Ok(path)
}

/// Endpoints as leaves and the gate need them.
fn located(texts: &[String]) -> Result<(Scheme, Vec<Endpoint>, Vec<Place>)> {
    ensure!(!texts.is_empty(), "endpoints: at least one is needed");
    let read = texts
        .iter()
        .enumerate()
        .map(|(index, text)| endpoint(text).with_context(|| format!("endpoints[{index}]: {text:?}")))
        .collect::<Result<Vec<_>>>()?;
    let scheme = read[0].0;
    ensure!(read.iter().all(|(of, _)| *of == scheme), "endpoints: some are https:// and some http://");
    let endpoints: Vec<Endpoint> = read.into_iter().map(|(_, endpoint)| endpoint).collect();
    let place = |endpoint: &Endpoint| {
        endpoint.to_string().parse::<Place>().map_err(|error| anyhow!("endpoints: {error}"))
    };
    let places = endpoints.iter().map(place).collect::<Result<_>>()?;
    Ok((scheme, endpoints, places))
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

/// Reads `https://host[:port]`, the form that a kubeconfig's `server:` has, or the same with `http://`.
fn endpoint(text: &str) -> Result<(Scheme, Endpoint)> {
    let (scheme, rest, port) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (Scheme::Https, rest, 443),
        (_, Some(rest)) => (Scheme::Http, rest, 80),
        _ => bail!("must begin with https://"),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    ensure!(!rest.contains(['/', '?', '#', '@']), "must be https://host:port and nothing more");
    let (host, port) = match rest.rsplit_once(':') {
        // The colons of a bare IPv6 address are no port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok().filter(|port| *port != 0).context("the port must be 1 to 65535")?)
        }
        _ => (rest, port),
    };
    let host: Name = host.parse()?;
    if let Name::Ip(address) = &host {
        ensure!(!is_unroutable(address), "{address} is no address of a server");
    }
    Ok((scheme, Endpoint { host, port }))
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
            assert_eq!(endpoint(text).unwrap().1.to_string(), read);
        }
        for text in [
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
