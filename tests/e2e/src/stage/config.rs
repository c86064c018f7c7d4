//! The configuration of a stage's daemon.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::options::{McpTarget, StageOptions, Upstream};
use crate::cgroup::Cgroup;
use crate::cluster::Cluster;
use crate::people::EVERYBODY;
use crate::scratch::Scratch;

/// A target as people's kubeconfigs and the configuration name it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    /// `https://host:port`, as kubeconfigs spell it.
    pub(super) endpoint: String,
    /// The cluster's own.
    pub(super) certificate_authority: PathBuf,
    /// `None` for a real one.
    pub(super) cluster: Option<Cluster>,
    /// As the configuration has it.
    pub(super) config: Value,
}

impl Target {
    /// A simulated cluster as target, changed by `settings`.
    pub(super) fn simulated(
        name: &str,
        cluster: Cluster,
        options: &StageOptions,
        settings: &Value,
    ) -> Result<Self> {
        let endpoints: Vec<String> =
            cluster.endpoints().iter().map(|endpoint| format!("https://{endpoint}")).collect();
        let certificate_authority = cluster.file("ca.crt");
        let mut config = json!({
            "name": name,
            "endpoints": endpoints,
            "certificateAuthority": certificate_authority,
            "credential": credential_of(&cluster, options)?,
            "impersonate": options.impersonate,
        });
        merge(&mut config, settings);
        Ok(Self {
            name: name.to_owned(),
            endpoint: endpoints[0].clone(),
            certificate_authority,
            cluster: Some(cluster),
            config,
        })
    }

    /// Another cluster as target.
    pub(super) fn real(name: &str, upstream: &Upstream, settings: &Value) -> Self {
        let Upstream { endpoint, certificate_authority, credential } = upstream.clone();
        let mut config = json!({
            "name": name,
            "endpoints": [endpoint],
            "certificateAuthority": certificate_authority,
            "credential": credential,
        });
        merge(&mut config, settings);
        Self { name: name.to_owned(), endpoint, certificate_authority, cluster: None, config }
    }
}

/// The whole file.
pub(super) fn configuration(
    dir: &Scratch,
    cgroup: &Cgroup,
    targets: &[Target],
    options: &StageOptions,
) -> Result<Value> {
    let users: Vec<Value> = EVERYBODY
        .iter()
        .map(|person| json!({ "uid": person.uid, "name": person.name, "groups": person.groups }))
        .collect();
    let port = free_port()?;
    let mcp = options.mcp_targets.iter().map(mcp_target);
    let targets: Vec<Value> = targets.iter().map(|target| target.config.clone()).chain(mcp).collect();
    let limits = options.connections_per_uid.map_or(json!({}), |limit| json!({ "connectionsPerUid": limit }));
    let record_dir = options.record_dir.clone().unwrap_or_else(|| dir.path().join("recordings"));
    let mut config = json!({
        "apiVersion": "portcullis.dev/v1alpha1",
        "kind": "Config",
        "stateDir": dir.path().join("state"),
        "gate": {
            "cgroup": cgroup.path(),
            "pinDir": format!("/sys/fs/bpf/{}", dir.name()),
            "listen": [format!("127.0.0.1:{port}"), format!("[::1]:{port}")],
        },
        "targets": targets,
        // People are made by setpriv here, from whatever session the tests run in.
        "identity": { "unix": { "users": users, "nss": false, "loginuid": "never" } },
        "roles": dir.path().join("roles"),
        "access": { "store": dir.path().join("state/access.db"), "adminGroups": ["leads"] },
        "record": { "dir": record_dir, "minFreeBytes": 0 },
        "limits": limits,
    });
    merge(&mut config, &options.config);
    Ok(config)
}

/// An MCP server as target.
fn mcp_target(target: &McpTarget) -> Value {
    let (origin, path) = target.url.rsplit_once('/').unwrap_or((&target.url, ""));
    let mut config = json!({
        "name": target.name,
        "kind": "mcp",
        "endpoints": [origin],
        "mcp": { "path": format!("/{path}"), "resource": target.url },
        "credential": { "none": {} },
    });
    merge(&mut config, &target.settings);
    config
}

/// What the gate presents to simcluster.
fn credential_of(cluster: &Cluster, options: &StageOptions) -> Result<Value> {
    if options.client_certificate {
        let (cert, key) = (cluster.file("admin-cert.crt"), cluster.file("admin-cert.key"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        return Ok(json!({ "clientCertificate": { "certFile": cert, "keyFile": key } }));
    }
    // simcluster's well-known tokens.
    let token = if options.impersonate { "token-gateway-0001" } else { "token-admin-0001" };
    let file = cluster.file("upstream.token");
    fs::write(&file, token)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(json!({ "bearerTokenFile": file }))
}

/// A JSON merge patch (RFC 7396): objects key by key, `null` takes away, everything else takes the place of what was there.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().map(|object| object.shift_remove(key));
        } else {
            merge(&mut into[key], value);
        }
    }
}

/// A port free on both loopback addresses right now.
fn free_port() -> Result<u16> {
    for _ in 0..50 {
        let four = TcpListener::bind("127.0.0.1:0")?;
        let port = four.local_addr()?.port();
        if TcpListener::bind(("::1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free on both 127.0.0.1 and ::1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_reach_deep_take_away_and_replace() {
        let mut config = json!({"a": {"b": 1, "c": 2}, "store": "/file", "list": [1, 2]});
        merge(
            &mut config,
            &json!({"a": {"c": null, "d": {"e": 3}}, "store": {"postgres": {"urlFile": "/url"}}, "list": [3]}),
        );
        assert_eq!(
            config,
            json!({"a": {"b": 1, "d": {"e": 3}}, "store": {"postgres": {"urlFile": "/url"}}, "list": [3]})
        );
    }
}
