//! Connections that are only held, and connects that are only made.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;

use crate::http::Wire;
use crate::{http2, load, mcp, tls};

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
    /// How many
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// Hold them over h2, on so many connections
    #[arg(long, requires = "path", value_name = "N")]
    h2_connections: Option<NonZeroUsize>,
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
    if let Args { path: Some(path), h2_connections: Some(connections), .. } = args {
        let config = tls::client_config(&args.ca, tls::H2)?;
        return http2::hold(args.address, &config, path, args.streams, *connections);
    }
    let config = tls::client_config(&args.ca, tls::HTTP1)?;
    let watch = args.path.as_deref().map(|path| load::request(path, args.address));
    let mut held = Vec::with_capacity(args.streams);
    for number in 1..=args.streams {
        let mut wire = Wire::new(tls::connect(args.address, &config)?);
        let opened = match &watch {
            Some(watch) => wire.send(watch).and_then(|()| wire.first_chunk().map(drop)),
            None => mcp::open_stream(&mut wire, args.address),
        };
        opened.with_context(|| format!("stream {number} of {}", args.streams))?;
        held.push(wire.parked());
    }
    say_holding(held.len())?;
    std::io::stdin().read_to_end(&mut Vec::new()).context("standard input")?;
    Ok(())
}

/// Tells whoever started this that all streams have begun.
pub(crate) fn say_holding(streams: usize) -> Result<()> {
    crate::report(&json!({ "holding": streams }))
}

/// Runs the verb.
pub(crate) fn dial(args: &DialArgs) -> Result<()> {
    for _ in 0..args.connections {
        TcpStream::connect(args.address).with_context(|| format!("cannot connect to {}", args.address))?;
    }
    crate::report(&json!({ "connects": args.connections }))
}
