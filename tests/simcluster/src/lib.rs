//! A simulated Kubernetes API server that real kubectl accepts: the upstream of Portcullis' tests and demo.
//!
//! ```no_run
//! # async fn run() -> Result<(), simcluster::Error> {
//! let cluster = simcluster::SimCluster::start(simcluster::Config::default()).await?;
//! println!("kubectl --kubeconfig {}/admin.kubeconfig get pods", cluster.dir().display());
//! cluster.stop();
//! # Ok(())
//! # }
//! ```

mod accounts;
mod auth;
mod authn;
mod body;
mod cluster;
mod discovery;
mod eks;
mod exec;
mod fields;
mod handler;
mod journal;
mod kinds;
mod lifecycle;
mod logs;
mod negotiate;
mod object;
mod openapi;
mod patch;
mod pki;
mod portforward;
mod protobuf;
mod request;
mod respond;
mod rest;
mod reviews;
mod scale;
mod schema;
mod seed;
mod selector;
mod server;
mod spdy;
mod status;
mod store;
mod stream;
mod table;
mod upgrade;
mod validate;
mod watch;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use auth::Token;
pub use eks::{EksConfig, EksUser};

use accounts::ServiceAccounts;
use auth::Tokens;
use authn::Authenticator;
use cluster::Cluster;
use eks::Eks;
use journal::Journal;
use openapi::Documents;
use pki::Pki;
use store::Store;

/// What a simulated cluster is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses to listen on; port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// Names and addresses that the server certificate is valid for, besides those listened on and `localhost`.
    pub san: Vec<String>,
    /// Where certificates, kubeconfigs and the pods' files go.
    pub dir: PathBuf,
    /// Where each request is logged, a JSON line each.
    pub log: Option<PathBuf>,
    /// Bearer tokens; the well-known ones when there are none.
    pub tokens: Vec<Token>,
    /// Where the cluster is one of EKS.
    pub eks: Option<EksConfig>,
    /// The longest that a service account's token lives.
    pub token_lifetime: Duration,
    /// How many secrets to make in the namespace `bulk`.
    pub bulk_secrets: usize,
    /// How many pods to make there.
    pub bulk_pods: usize,
    /// What listens on the ports of pods; else something that says hello.
    pub behind_ports: Option<SocketAddr>,
}

/// A running cluster; dropping it stops it.
pub struct SimCluster {
    endpoints: Vec<SocketAddr>,
    dir: PathBuf,
    shutdown: CancellationToken,
}

/// Why a cluster does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A file or directory cannot be made.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// STS cannot be asked.
    #[error("cannot use STS {address}: {why}")]
    Sts {
        /// Its address.
        address: String,
        /// Why.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Default for Config {
    /// One free port of the IPv4 loopback, files under the system's temporary directory.
    fn default() -> Config {
        Config {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)],
            san: Vec::new(),
            dir: std::env::temp_dir().join(format!("simcluster-{}", std::process::id())),
            log: None,
            tokens: Vec::new(),
            eks: None,
            token_lifetime: Duration::from_secs(86_400),
            bulk_secrets: 0,
            bulk_pods: 0,
            behind_ports: None,
        }
    }
}

impl SimCluster {
    /// Makes the cluster and listens; it serves on the current tokio runtime.
    ///
    /// # Errors
    /// When it cannot listen or write its files.
    pub async fn start(config: Config) -> Result<SimCluster, Error> {
        let absolute = std::path::absolute(&config.dir);
        let dir = absolute.map_err(|source| Error::File { path: config.dir, source })?;
        let pods_dir = dir.join("pods");
        std::fs::create_dir_all(&pods_dir)
            .map_err(|source| Error::File { path: pods_dir.clone(), source })?;
        let mut listeners = Vec::new();
        let mut endpoints = Vec::new();
        for address in config.listen {
            let failed = |source| Error::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            endpoints.push(pki::reachable(listener.local_addr().map_err(failed)?));
            listeners.push(listener);
        }
        let tokens = Tokens::new(config.tokens);
        let pki = Pki::new()?;
        let tls = Arc::new(pki.server_config(&endpoints, &config.san)?);
        if let Some(endpoint) = endpoints.first() {
            pki.write(&dir, *endpoint, &tokens)?;
        }
        let log = config.log.as_deref();
        let journal = Journal::open(log)
            .map_err(|source| Error::File { path: log.map(Path::to_owned).unwrap_or_default(), source })?;
        let store = Store::default();
        seed::fill(&store, config.bulk_secrets, config.bulk_pods);
        let shutdown = CancellationToken::new();
        let eks = config.eks.as_ref().map(Eks::new).transpose()?;
        let longest = config.token_lifetime.try_into().unwrap_or(SignedDuration::MAX);
        let accounts = ServiceAccounts::new(longest);
        let cluster = Arc::new(Cluster {
            store,
            authenticator: Authenticator { tokens, accounts, eks },
            journal,
            openapi: Documents::default(),
            pods_dir,
            behind_ports: config.behind_ports,
            shutdown: shutdown.clone(),
        });
        for listener in listeners {
            tokio::spawn(server::serve(cluster.clone(), listener, tls.clone()));
        }
        Ok(SimCluster { endpoints, dir, shutdown })
    }

    /// The addresses it listens on.
    pub fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }

    /// Where its certificates and kubeconfigs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends all connections and streams.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for SimCluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
