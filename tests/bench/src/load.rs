//! Closed loops: each connection asks again as soon as it is answered.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::ClientConfig;
use serde::Serialize;

use crate::http::Wire;
use crate::mcp::Calls;
use crate::{http2, tls};

/// What kubectl says in every request.
pub(crate) const HEADERS: [(&str, &str); 4] = [
    ("User-Agent", "kubectl/v1.33.0 (linux/amd64)"),
    ("Accept", "application/json"),
    ("Kubectl-Command", "kubectl get"),
    ("Kubectl-Session", "0f7e2f3a-8f3f-4f40-9d2c-5d3d0a0c1b11"),
];

/// Ask for one thing over and over, on kept-alive connections.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to connect
    #[arg(long)]
    address: SocketAddr,
    /// The CA that vouches for it
    #[arg(long)]
    ca: PathBuf,
    #[command(flatten)]
    what: What,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Milliseconds that count
    #[arg(long, default_value_t = 1000)]
    milliseconds: u64,
    /// Milliseconds before, which do not
    #[arg(long, default_value_t = 100)]
    warm_up: u64,
}

/// What to ask for.
#[derive(Debug, clap::Args)]
struct What {
    /// A path, by GET
    #[arg(long, required_unless_present = "call")]
    path: Option<String>,
    /// Ask over h2
    #[arg(long, conflicts_with = "call")]
    h2: bool,
    /// A tool of an MCP server, by calling it
    #[arg(long, conflicts_with = "path")]
    call: Option<String>,
    /// Call it as since MCP 2026-07-28, without a session
    #[arg(long, requires = "call")]
    modern: bool,
}

/// What was seen.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    /// Answers within the time that counts.
    requests: u64,
    requests_per_second: f64,
    bytes_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// All answers, to divide the cost of those between by.
    all: u64,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let protocol = if args.what.h2 { tls::H2 } else { tls::HTTP1 };
    let config = tls::client_config(&args.ca, protocol)?;
    let start = Arc::new(Barrier::new(args.connections));
    let connections = (0..args.connections)
        .map(|_| {
            let exchange = exchanges(args.address, &config, &args.what)?;
            let (warm_up, counted) =
                (Duration::from_millis(args.warm_up), Duration::from_millis(args.milliseconds));
            let start = Arc::clone(&start);
            Ok(std::thread::spawn(move || ask(exchange, &start, warm_up, counted)))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut total = Tally::default();
    for connection in connections {
        let tally = connection.join().ok().context("a connection's thread died")??;
        total.nanoseconds.extend(tally.nanoseconds);
        total.bytes += tally.bytes;
        total.all += tally.all;
    }
    ensure!(!total.nanoseconds.is_empty(), "no request was answered in {} ms", args.milliseconds);
    total.nanoseconds.sort_unstable();
    let at =
        |share: f64| f64::from(total.nanoseconds[(total.nanoseconds.len() as f64 * share) as usize]) / 1e3;
    let seconds = args.milliseconds as f64 / 1e3;
    let requests = total.nanoseconds.len() as u64;
    crate::report(&Seen {
        requests,
        requests_per_second: requests as f64 / seconds,
        bytes_per_second: total.bytes as f64 / seconds,
        p50_us: at(0.5),
        p99_us: at(0.99),
        all: total.all,
    })
}

/// One request and its answer, of which it returns the size.
type Exchange = Box<dyn FnMut() -> Result<u64> + Send>;

/// A connection on which `what` is asked for, over and over.
fn exchanges(address: SocketAddr, config: &Arc<ClientConfig>, what: &What) -> Result<Exchange> {
    if what.h2 {
        let mut client = http2::Client::connect(address, config, what.path()?)?;
        return Ok(Box::new(move || client.get()));
    }
    let mut client = Wire::new(tls::connect(address, config)?);
    if let Some(tool) = &what.call {
        let mut calls = Calls::begin(&mut client, address, tool, what.modern)?;
        return Ok(Box::new(move || client.send(calls.next()).and_then(|()| client.response())));
    }
    let request = request(what.path()?, address);
    Ok(Box::new(move || client.send(&request).and_then(|()| client.response())))
}

impl What {
    fn path(&self) -> Result<&str> {
        self.path.as_deref().context("no path")
    }
}

/// What a client of the API server sends.
pub(crate) fn request(path: &str, host: SocketAddr) -> Vec<u8> {
    request_with(path, host, "")
}

/// The same with more `headers`, each with its end of line.
pub(crate) fn request_with(path: &str, host: SocketAddr, headers: &str) -> Vec<u8> {
    let always: String = HEADERS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{always}{headers}\r\n").into_bytes()
}

#[derive(Default)]
struct Tally {
    /// Time to the last byte of each answer.
    nanoseconds: Vec<u32>,
    bytes: u64,
    all: u64,
}

fn ask(mut exchange: Exchange, start: &Barrier, warm_up: Duration, counted: Duration) -> Result<Tally> {
    let mut tally = Tally::default();
    start.wait();
    let begin = Instant::now() + warm_up;
    let end = begin + counted;
    loop {
        let asked = Instant::now();
        let bytes = exchange()?;
        let answered = Instant::now();
        tally.all += 1;
        // A request counts where it ends, so that slow ones weigh as much as they took.
        if answered >= end {
            return Ok(tally);
        }
        if answered >= begin {
            tally.nanoseconds.push(u32::try_from((answered - asked).as_nanos()).unwrap_or(u32::MAX));
            tally.bytes += bytes;
        }
    }
}
