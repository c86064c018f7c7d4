//! `simcluster`: the simulated API server as a process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use serde_json::json;
use simcluster::{Config, EksConfig, EksUser, SimCluster, Token};
use tokio::signal::unix::{SignalKind, signal};

/// A simulated Kubernetes API server that kubectl accepts. A test tool: it keeps nothing and guards nothing.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on; may be repeated. Port 0 picks a free port.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: Vec<SocketAddr>,
    /// Further DNS name or address the certificate is valid for; may be repeated.
    #[arg(long)]
    san: Vec<String>,
    /// Directory for ca.crt, kubeconfigs, tokens and the pods' files.
    #[arg(long)]
    dir: PathBuf,
    /// File that receives each request as a JSON line.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Bearer token as TOKEN=user:group,group; may be repeated. Replaces the well-known ones.
    #[arg(long)]
    token: Vec<Token>,
    /// The cluster is one of EKS, and this is its name there.
    #[arg(long, value_name = "NAME", requires_all = ["sts", "sts_ca"])]
    eks_cluster: Option<String>,
    /// STS, as tokens of EKS name it: https://host:port.
    #[arg(long, value_name = "URL", requires = "eks_cluster")]
    sts: Option<http::Uri>,
    /// The CA of its certificate.
    #[arg(long, value_name = "FILE", requires = "eks_cluster")]
    sts_ca: Option<PathBuf>,
    /// Whom an IAM role or user is here, as ARN=name=group,group; may be repeated. {{SessionName}} stands for the session's.
    #[arg(long, value_name = "MAPPING", requires = "eks_cluster")]
    eks_user: Vec<EksUser>,
    /// The longest that a service account's token lives, in seconds, whatever is asked for.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    token_lifetime: u64,
    /// Secrets to make in the namespace "bulk".
    #[arg(long, default_value_t = 0)]
    bulk_secrets: usize,
    /// Pods to make in the namespace "bulk".
    #[arg(long, default_value_t = 0)]
    bulk_pods: usize,
    /// What listens on the ports of pods; else something that says hello.
    #[arg(long, value_name = "ADDRESS")]
    behind_ports: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let eks = match (arguments.eks_cluster, arguments.sts, arguments.sts_ca) {
        (Some(cluster), Some(sts), Some(sts_ca)) => {
            Some(EksConfig { cluster, sts, sts_ca, users: arguments.eks_user })
        }
        _ => None,
    };
    let cluster = SimCluster::start(Config {
        listen: arguments.listen,
        san: arguments.san,
        dir: arguments.dir,
        log: arguments.log,
        tokens: arguments.token,
        eks,
        token_lifetime: Duration::from_secs(arguments.token_lifetime),
        bulk_secrets: arguments.bulk_secrets,
        bulk_pods: arguments.bulk_pods,
        behind_ports: arguments.behind_ports,
    })
    .await?;
    announce(&cluster);
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("SIGINT")?,
        _ = terminate.recv() => {}
    }
    cluster.stop();
    Ok(())
}

/// The one line on stdout that whoever started this waits for.
#[allow(clippy::print_stdout)]
fn announce(cluster: &SimCluster) {
    println!("ready {}", json!({"endpoints": cluster.endpoints(), "dir": cluster.dir()}));
}
