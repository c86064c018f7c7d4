//! Connections that are only held, and connects that are only made.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;

use crate::http::Wire;
use crate::{load, mcp, tls};

/// Open watches, or streams of MCP sessions, and hold them until standard input ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to connect
    #[arg(long)]
    address: SocketAddr,
    /// The CA that vouches for it
    #[arg(long)]
    ca: PathBuf,
    /// What to watch; without it, streams of MCP sessions are opened
    #[arg(long)]
    path: Option<String>,
    #[arg(long, default_value_t = 1000)]
    connections: usize,
}

/// Connect and close, one after the other.
#[derive(Debug, clap::Args)]
pub(crate) struct DialArgs {
    /// Where to connect
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, default_value_t = 1000)]
    connections: usize,
}

/// Runs the verb: says when every stream has begun.
pub(crate) fn run(args: &Args) -> Result<()> {
    let config = tls::client_config(&args.ca)?;
    let watch = args.path.as_deref().map(|path| load::request(path, args.address));
    let mut held = Vec::with_capacity(args.connections);
    for number in 1..=args.connections {
        let mut wire = Wire::new(tls::connect(args.address, &config)?);
        let opened = match &watch {
            Some(watch) => wire.send(watch).and_then(|()| wire.first_chunk().map(drop)),
            None => mcp::open_stream(&mut wire, args.address),
        };
        opened.with_context(|| format!("stream {number} of {}", args.connections))?;
        held.push(wire.parked());
    }
    crate::report(&json!({ "holding": held.len() }))?;
    std::io::stdin().read_to_end(&mut Vec::new()).context("standard input")?;
    Ok(())
}

/// Runs the verb.
pub(crate) fn dial(args: &DialArgs) -> Result<()> {
    for _ in 0..args.connections {
        TcpStream::connect(args.address).with_context(|| format!("cannot connect to {}", args.address))?;
    }
    crate::report(&json!({ "connects": args.connections }))
}
