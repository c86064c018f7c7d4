//! One target of the configuration: as it is written, and checked.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use portcullis_access::Pattern;
use portcullis_credential::UpstreamConfig;
use portcullis_identity::{Acceptance, Accepted};
use portcullis_intercept::{Place, TargetName};
use portcullis_mcp::BlobPolicy;
use portcullis_proxy::{McpPods, McpServer, McpService, Scheme};
use portcullis_tls::{Endpoint, Name, TargetNames};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawTarget {
    pub(super) name: String,
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
    /// The pods behind it, where port-forwards to them are read too.
    #[serde(default)]
    port_forward: Option<RawMcpPods>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    blobs: BlobPolicy,
}

/// Pods that are an MCP server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMcpPods {
    /// Their names; `*` may stand at the end.
    pods: Vec<Pattern>,
    /// The ports of the pods, and not of the service.
    ports: Vec<u16>,
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

impl RawTarget {
    pub(super) fn check(self) -> Result<TargetConfig> {
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
        let mcp_services: Vec<McpService> = mcp_services
            .map(|(index, service)| service.check().with_context(|| format!("mcpServices[{index}]")))
            .collect::<Result<_>>()?;
        no_port_twice(&mcp_services)?;
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
        let Self { name, namespace, service, port_forward, path, blobs } = self;
        let plain =
            |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        TargetName::try_from(name.clone()).map_err(|error| anyhow!("name: {error}"))?;
        ensure!(plain(&namespace), "namespace: {namespace:?} is no name of a namespace");
        let parts = service.split(':').count();
        ensure!(
            parts <= 3 && service.split(':').all(plain),
            "service: {service:?} is neither name:port nor scheme:name:port"
        );
        let port_forward = port_forward.map(|pods| pods.check().context("portForward")).transpose()?;
        let path = mcp_path(path)?;
        // Tokens for it would be tokens for the API server.
        let (resource, authorization_servers, origins) = Default::default();
        let server = McpServer { name, path, resource, authorization_servers, origins, blobs };
        Ok(McpService { namespace, service, port_forward, server: Arc::new(server) })
    }
}

impl RawMcpPods {
    fn check(self) -> Result<McpPods> {
        let Self { pods, ports } = self;
        ensure!(!pods.is_empty(), "pods: at least one is needed");
        ensure!(!ports.is_empty(), "ports: at least one is needed");
        ensure!(!ports.contains(&0), "ports: a port must be 1 to 65535");
        Ok(McpPods { pods, ports: ports.into_iter().collect() })
    }
}

/// Of two MCP servers on one port of a pod nobody could tell which is meant.
fn no_port_twice(services: &[McpService]) -> Result<()> {
    for (index, service) in services.iter().enumerate() {
        for other in &services[..index] {
            let (Some(one), Some(two)) = (&service.port_forward, &other.port_forward) else { continue };
            let port = one.ports.intersection(&two.ports).next();
            let pod = one.pods.iter().find(|pod| two.pods.iter().any(|other| pod.overlaps(other)));
            if let (Some(port), Some(pod)) = (port, pod)
                && service.namespace == other.namespace
            {
                let name = &other.server.name;
                bail!(
                    "mcpServices[{index}]: portForward: port {port} of pods {pod} is already claimed by {name:?}"
                );
            }
        }
    }
    Ok(())
}

/// Where an MCP server's messages are posted to.
fn mcp_path(path: Option<String>) -> Result<String> {
    let path = path.unwrap_or_else(|| "/mcp".to_owned());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    ensure!(path.starts_with('/') && path.bytes().all(plain), "path: {path:?} is no path such as /mcp");
    Ok(path)
}

/// Endpoints as leaves and the gate need them.
pub(super) fn located(texts: &[String]) -> Result<(Scheme, Vec<Endpoint>, Vec<Place>)> {
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
}
