//! A kubeconfig's clusters, read as kubectl reads them.

use std::{
    borrow::Cow,
    fs::Metadata,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    ClusterReport, State,
    document::{Node, Problem, Value},
};
use crate::{Endpoint, TlsError};

pub(super) const CA_DATA: &str = "certificate-authority-data";
const CA_FILE: &str = "certificate-authority";
pub(super) const SERVER: &str = "server";

/// A kubeconfig as it is on disk.
pub(super) struct Kubeconfig {
    /// The file itself, symbolic links followed.
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
    pub(super) source: String,
    pub(super) root: Option<Node>,
    /// What file names in it are relative to: the directory of the name that it was opened by.
    base: PathBuf,
}

impl Kubeconfig {
    pub(super) fn read(given: &Path) -> Result<Self, TlsError> {
        let path = given.canonicalize().map_err(TlsError::io("find", given))?;
        let metadata = path.metadata().map_err(TlsError::io("read", &path))?;
        let bytes = std::fs::read(&path).map_err(TlsError::io("read", &path))?;
        let damaged = |problem: Problem| problem.within(&path);
        let source = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            damaged(Problem::new(line, "this is not UTF-8 text"))
        })?;
        let root = Node::parse(&source).map_err(damaged)?;
        let base = std::path::absolute(given).map_err(TlsError::io("find", given))?;
        let base = base.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
        Ok(Self { path, metadata, source, root, base })
    }

    /// Visits the clusters in order.
    pub(super) fn each_cluster(
        &self,
        mut visit: impl FnMut(usize, &Cluster<'_>) -> Result<State, TlsError>,
    ) -> Result<Vec<ClusterReport>, TlsError> {
        let clusters = self.root.as_ref().map_or(Ok(Vec::new()), clusters);
        let clusters = clusters.map_err(|problem| problem.within(&self.path))?;
        let report = |(index, cluster): (usize, &Cluster<'_>)| {
            let state = visit(index, cluster)?;
            let (name, server) = (cluster.name.to_owned(), cluster.server.to_owned());
            Ok(ClusterReport { name, server, line: cluster.line, state })
        };
        clusters.iter().enumerate().map(report).collect()
    }

    /// The certificates that a cluster trusts now; empty for the system's.
    pub(super) fn bundle<'a>(&self, cluster: &'a Cluster<'_>) -> Result<Cow<'a, [u8]>, TlsError> {
        match &cluster.trust {
            Trust::System => Ok(Cow::Borrowed(&[])),
            Trust::Data(bundle) => Ok(Cow::Borrowed(bundle)),
            Trust::File(file) => {
                let path = self.base.join(file);
                std::fs::read(&path).map(Cow::Owned).map_err(TlsError::io("read", path))
            }
        }
    }

    /// A CA file that the kubeconfig names, symbolic links followed.
    pub(super) fn ca_file(&self, file: &str) -> Result<PathBuf, TlsError> {
        let path = self.base.join(file);
        path.canonicalize().map_err(TlsError::io("find", path))
    }
}

/// One entry of `clusters`.
pub(super) struct Cluster<'a> {
    name: &'a str,
    line: usize,
    /// The mapping that holds `server` and the CA.
    pub(super) settings: &'a Node,
    pub(super) server: &'a str,
    pub(super) insecure: bool,
    pub(super) trust: Trust<'a>,
}

/// What a cluster's certificate is verified against.
pub(super) enum Trust<'a> {
    /// No CA is named: the system's.
    System,
    /// A bundle within the kubeconfig, decoded.
    Data(Vec<u8>),
    /// A file, as the kubeconfig spells it, relative to the kubeconfig.
    File(&'a str),
}

/// Where a `server:` leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Server {
    Https(Endpoint),
    Http(Endpoint),
    Unreadable,
}

/// All clusters, in order.
pub(super) fn clusters(root: &Node) -> Result<Vec<Cluster<'_>>, Problem> {
    if let Some((_, kind)) = root.entry("kind")?
        && kind.text() != Some("Config")
    {
        return Err(Problem::new(kind.line, "this is not a kubeconfig: its kind is not Config"));
    }
    let Some((key, list)) = root.entry("clusters")? else {
        return Ok(Vec::new());
    };
    if key.entangled || list.first_entangled().is_some() {
        let line = list.first_entangled().map_or(key.line, |node| node.line);
        return Err(Problem::new(
            line,
            "anchors, aliases, tags and merge keys in clusters are not supported; write them out",
        ));
    }
    match &list.value {
        Value::Sequence(items) => items.iter().map(cluster).collect(),
        _ if list.is_null() => Ok(Vec::new()),
        _ => Err(Problem::new(list.line, "clusters should be a list: this is not a kubeconfig")),
    }
}

/// Reads the URL in `server:` as far as kubectl's connection depends on it.
pub(super) fn server(url: &str) -> Server {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (is_tls, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "https" => (true, 443),
        "http" => (false, 80),
        _ => return Server::Unreadable,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match host_and_port.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (host_and_port, ""),
    };
    let port = if port.is_empty() { Ok(default_port) } else { port.parse() };
    match (host.parse(), port) {
        (Ok(host), Ok(port)) if is_tls => Server::Https(Endpoint { host, port }),
        (Ok(host), Ok(port)) => Server::Http(Endpoint { host, port }),
        _ => Server::Unreadable,
    }
}

fn cluster(item: &Node) -> Result<Cluster<'_>, Problem> {
    let (_, settings) = item
        .entry("cluster")?
        .ok_or_else(|| Problem::new(item.line, "this entry of clusters has no cluster"))?;
    let name = text(item, "name")?.map_or("", |(_, name)| name);
    let server = text(settings, SERVER)?.map_or("", |(_, server)| server);
    let insecure = text(settings, "insecure-skip-tls-verify")?.is_some_and(|(_, flag)| {
        !matches!(flag, "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "n")
    });
    let trust = match (text(settings, CA_DATA)?, text(settings, CA_FILE)?) {
        (Some((line, _)), Some(_)) => {
            let what = format!("{CA_DATA} and {CA_FILE} are both given, which kubectl refuses");
            return Err(Problem::new(line, what));
        }
        (Some((line, data)), None) => Trust::Data(decode(line, data)?),
        (None, Some((_, path))) => Trust::File(path),
        (None, None) => Trust::System,
    };
    Ok(Cluster { name, line: settings.line, settings, server, insecure, trust })
}

/// The text of a scalar entry with its line; `None` when it is missing or says nothing.
fn text<'a>(mapping: &'a Node, key: &str) -> Result<Option<(usize, &'a str)>, Problem> {
    match mapping.entry(key)? {
        None => Ok(None),
        Some((_, value)) if value.is_null() || value.text() == Some("") => Ok(None),
        Some((_, value)) => value
            .text()
            .map(|text| Some((value.line, text)))
            .ok_or_else(|| Problem::new(value.line, format!("{key} should be a single value"))),
    }
}

/// Decodes like Go's encoding/base64, which kubectl uses: line breaks are skipped, nothing else is.
fn decode(line: usize, data: &str) -> Result<Vec<u8>, Problem> {
    let compact: String = data.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD.decode(compact).map_err(|error| Problem::new(line, format!("{CA_DATA} is not base64: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_kubectl_reads_them() {
        for (url, host, port) in [
            ("https://API.example.test", "api.example.test", 443),
            ("https://api.example.test./k8s/clusters/c-1?x#y", "api.example.test", 443),
            ("HTTPS://10.0.0.1:6443", "10.0.0.1", 6443),
            ("https://[2001:db8::1]:8443/", "2001:db8::1", 8443),
            ("https://[2001:db8::1]", "2001:db8::1", 443),
            ("https://[::ffff:10.0.0.1]:1", "10.0.0.1", 1),
            ("https://user@api.example.test:1", "api.example.test", 1),
            ("api.example.test:6443", "api.example.test", 6443),
        ] {
            let expected = Server::Https(Endpoint { host: host.parse().unwrap(), port });
            assert_eq!(server(url), expected, "{url}");
        }
        let host = "localhost".parse().unwrap();
        assert_eq!(server("http://localhost"), Server::Http(Endpoint { host, port: 80 }));
        for url in ["", "https://", "unix:///run/x", "https://a:99999", "https://a b", "https://2001:db8::1"]
        {
            assert_eq!(server(url), Server::Unreadable, "{url}");
        }
    }
}
