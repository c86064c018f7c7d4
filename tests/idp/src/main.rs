//! `idp`: the provider as a process, for tests and the demo.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use idp::{Algorithm, Idp, Options, Person};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// An OpenID provider for tests and demos, and for nothing else: it has no passwords, so whoever reaches it can log in as
/// anybody. It listens on loopback alone.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on, of loopback. Port 0 picks a free port.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// JSON file of who can log in: a list of {"sub", "preferred_username", "name", "email", "email_verified", "groups"}.
    #[arg(long, value_name = "FILE")]
    people: PathBuf,
    /// Client id that it knows; may be repeated.
    #[arg(long, value_name = "ID", default_value = "portcullis")]
    client: Vec<String>,
    /// Sign tokens with RS256 instead of ES256.
    #[arg(long)]
    rs256: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Arguments { listen, people, client, rs256 } = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut options = Options::new(Person::read(&people)?);
    options.listen = listen;
    options.clients = client;
    if rs256 {
        options.algorithm = Algorithm::Rs256;
    }
    let idp = Idp::start(options)?;
    announce(&idp);
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("SIGINT")?,
        _ = terminate.recv() => {}
    }
    drop(idp);
    Ok(())
}

/// The one line on stdout that whoever started this waits for.
#[allow(clippy::print_stdout)]
fn announce(idp: &Idp) {
    println!("{}", json!({ "issuer": idp.issuer() }));
}
