//! The upstreams, an API server and an MCP server: a thread a connection, and every answer ready to be sent.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustls::ServerConfig;
use serde_json::json;

use crate::bodies::{self, Kind, LARGE, MANY, SMALL};
use crate::exec;
use crate::http::{Request, Wire};
use crate::mcp::Tools;
use crate::tls::{self, Server};

/// Answer lists of pods and secrets, and calls of tools, over TLS, until killed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where ca.crt, server.crt and server.key are left
    #[arg(long)]
    dir: PathBuf,
}

/// Runs the verb: prints the addresses of the API server and of the MCP server, and serves.
pub(crate) fn run(args: &Args) -> Result<()> {
    let config = tls::server_config(&args.dir)?;
    let listen = || TcpListener::bind("127.0.0.1:0").context("cannot listen");
    let (api, mcp) = (listen()?, listen()?);
    crate::report(&json!({ "address": api.local_addr()?, "mcp": mcp.local_addr()? }))?;
    let (answers, tools) = (Answers::make(), Tools::make()?);
    let mcp_config = Arc::clone(&config);
    std::thread::spawn(move || accept(&mcp, &mcp_config, move |wire| tools.serve(wire)));
    accept(&api, &config, move |wire| serve(wire, &answers))
}

/// Accepts for ever. Connections that `serve` says are to be kept open stay so; those that it is done with do not.
fn accept(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
    serve: impl Fn(&mut Wire<Server>) -> Result<After> + Send + Sync + 'static,
) -> Result<()> {
    let parked = Arc::new(Mutex::new(Vec::new()));
    let serve = Arc::new(serve);
    loop {
        let (tcp, _) = listener.accept().context("accept")?;
        let (config, serve, parked) = (Arc::clone(config), Arc::clone(&serve), Arc::clone(&parked));
        std::thread::Builder::new().stack_size(128 * 1024).spawn(move || {
            let Ok(accepted) = tls::accept(tcp, &config) else { return };
            let mut wire = Wire::new(accepted);
            // How a client leaves is its own affair; what it measured says how it was served.
            if let Ok(After::Park) = serve(&mut wire) {
                parked.lock().unwrap_or_else(PoisonError::into_inner).push(wire.parked());
            }
        })?;
    }
}

/// What becomes of a connection when all is said.
pub(crate) enum After {
    Close,
    /// It is a stream on which nothing more will be said.
    Park,
}

/// Serves until the client goes, or begins a watch.
fn serve(wire: &mut Wire<Server>, answers: &Answers) -> Result<After> {
    while let Some(Request { target, .. }) = wire.request()? {
        if let Some((_, bytes)) =
            target.split_once("/exec?").and_then(|(_, query)| query.split_once("bytes="))
        {
            exec::serve(wire, bytes.parse().context("bytes")?)?;
            return Ok(After::Close);
        }
        let watch = target.contains("watch=true");
        wire.send(answers.to(&target, watch))?;
        if watch {
            return Ok(After::Park);
        }
    }
    Ok(After::Close)
}

struct Answers {
    /// By resource and `limit`.
    lists: HashMap<(&'static str, &'static str), Vec<u8>>,
    watch: Vec<u8>,
    not_found: Vec<u8>,
}

impl Answers {
    fn make() -> Self {
        let mut lists = HashMap::new();
        for (resource, kind) in [("pods", Kind::Pods), ("secrets", Kind::Secrets)] {
            for (limit, body) in [
                ("4", bodies::list(kind, SMALL)),
                ("", bodies::list(kind, LARGE)),
                ("5000", bodies::list_of(kind, MANY)),
            ] {
                let mut answer = head("200 OK", &format!("Content-Length: {}", body.len()));
                answer.extend(body);
                lists.insert((resource, limit), answer);
            }
        }
        let event = bodies::watch_event();
        let mut watch = head("200 OK", "Transfer-Encoding: chunked");
        watch.extend(format!("{:x}\r\n", event.len()).into_bytes());
        watch.extend(event);
        watch.extend(b"\r\n");
        Self { lists, watch, not_found: head("404 Not Found", "Content-Length: 0") }
    }

    /// `?limit=4` asks for the small list, `?limit=5000` for the one of many objects.
    fn to(&self, target: &str, watch: bool) -> &[u8] {
        if watch {
            return &self.watch;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let resource = if path.ends_with("/secrets") { "secrets" } else { "pods" };
        let limit = ["4", "5000"].into_iter().find(|limit| query.strip_prefix("limit=") == Some(limit));
        self.lists.get(&(resource, limit.unwrap_or_default())).unwrap_or(&self.not_found)
    }
}

/// The headers that an API server sends.
fn head(status: &str, framing: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nAudit-Id: 3f7e2f3a-8f3f-4f40-9d2c-5d3d0a0c1b11\r\nCache-Control: no-cache, private\r\n\
         Content-Type: application/json\r\nX-Kubernetes-Pf-Flowschema-Uid: 7f0e7f3a-1f3f-4f40-9d2c-5d3d0a0c1b12\r\n\
         X-Kubernetes-Pf-Prioritylevel-Uid: 9f1e2d3a-2f3f-4f40-9d2c-5d3d0a0c1b13\r\n\
         Date: Mon, 02 Nov 2026 08:15:30 GMT\r\n{framing}\r\n\r\n"
    )
    .into_bytes()
}
