//! The upstreams, an API server and an MCP server: a thread a connection, and every answer ready to be sent. The API
//! server speaks HTTP/1.1 and h2.

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::{Response, StatusCode};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rustls::ServerConfig;
use serde_json::json;

use crate::bodies::{self, Kind, LARGE, MANY, SMALL};
use crate::http::{Request, Wire};
use crate::mcp::Tools;
use crate::tls::{self, Arrived, Server};
use crate::{exec, http2};

/// The headers that an API server sends, but for the length.
const HEADERS: [(&str, &str); 6] = [
    ("Audit-Id", "3f7e2f3a-8f3f-4f40-9d2c-5d3d0a0c1b11"),
    ("Cache-Control", "no-cache, private"),
    ("Content-Type", "application/json"),
    ("X-Kubernetes-Pf-Flowschema-Uid", "7f0e7f3a-1f3f-4f40-9d2c-5d3d0a0c1b12"),
    ("X-Kubernetes-Pf-Prioritylevel-Uid", "9f1e2d3a-2f3f-4f40-9d2c-5d3d0a0c1b13"),
    ("Date", "Mon, 02 Nov 2026 08:15:30 GMT"),
];

/// Of each connection's thread, bytes.
const STACK: usize = 256 * 1024;

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
    let (answers, tools) = (Answers::make()?, Tools::make()?);
    let mcp_config = Arc::clone(&config);
    std::thread::spawn(move || {
        accept(&mcp, move |tcp| match tls::accept(tcp, &mcp_config)? {
            Arrived::Http1(server) => parked(server, |wire| tools.serve(wire)),
            Arrived::H2(..) => bail!("the MCP server speaks HTTP/1.1"),
        })
    });
    accept(&api, move |tcp| serve_api(tcp, &config, &answers))
}

pub(crate) fn serve_api(
    tcp: TcpStream,
    config: &Arc<ServerConfig>,
    answers: &Answers,
) -> Result<Option<Server>> {
    match tls::accept(tcp, config)? {
        Arrived::Http1(server) => parked(server, |wire| serve(wire, answers)),
        Arrived::H2(accepted, tcp) => http2::serve(accepted, tcp, config, answers).map(|()| None),
    }
}

/// Accepts for ever. Connections that `serve` returns stay open.
pub(crate) fn accept(
    listener: &TcpListener,
    serve: impl Fn(TcpStream) -> Result<Option<Server>> + Send + Sync + 'static,
) -> Result<()> {
    let open = Arc::new(Mutex::new(Vec::new()));
    let serve = Arc::new(serve);
    loop {
        let (tcp, _) = listener.accept().context("accept")?;
        let (serve, open) = (Arc::clone(&serve), Arc::clone(&open));
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            // How a client leaves is its own affair; what it measured says how it was served.
            if let Ok(Some(server)) = serve(tcp) {
                open.lock().unwrap_or_else(PoisonError::into_inner).push(server);
            }
        })?;
    }
}

/// The connection, when it is to stay open after `serve`.
fn parked(server: Server, serve: impl FnOnce(&mut Wire<Server>) -> Result<After>) -> Result<Option<Server>> {
    let mut wire = Wire::new(server);
    Ok(match serve(&mut wire)? {
        After::Park => Some(wire.parked()),
        After::Close => None,
    })
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
        wire.send(&answers.to(&target).http1)?;
        if is_watch(&target) {
            return Ok(After::Park);
        }
    }
    Ok(After::Close)
}

/// Whether the answer to this never ends.
pub(crate) fn is_watch(target: &str) -> bool {
    target.contains("watch=true")
}

/// Everything that is ever answered.
pub(crate) struct Answers {
    /// By resource and `limit`.
    lists: HashMap<(&'static str, &'static str), Answer>,
    watch: Answer,
    not_found: Answer,
}

impl Answers {
    pub(crate) fn make() -> Result<Self> {
        let mut lists = HashMap::new();
        for (resource, kind) in [("pods", Kind::Pods), ("secrets", Kind::Secrets)] {
            for (limit, body) in [
                ("4", bodies::list(kind, SMALL)),
                ("", bodies::list(kind, LARGE)),
                ("5000", bodies::list_of(kind, MANY)),
            ] {
                lists.insert((resource, limit), Answer::whole(StatusCode::OK, body)?);
            }
        }
        let watch = Answer::endless(bodies::watch_event())?;
        Ok(Self { lists, watch, not_found: Answer::whole(StatusCode::NOT_FOUND, Vec::new())? })
    }

    /// `?limit=4` asks for the small list, `?limit=5000` for the one of many objects.
    pub(crate) fn to(&self, target: &str) -> &Answer {
        if is_watch(target) {
            return &self.watch;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let resource = ["pods", "secrets"].into_iter().find(|resource| path.ends_with(resource));
        let limit = ["4", "5000"].into_iter().find(|limit| query.strip_prefix("limit=") == Some(limit));
        let asked = (resource.unwrap_or_default(), limit.unwrap_or_default());
        self.lists.get(&asked).unwrap_or(&self.not_found)
    }
}

/// An answer, ready to be sent in either protocol.
pub(crate) struct Answer {
    http1: Vec<u8>,
    pub(crate) head: Response<()>,
    pub(crate) body: Bytes,
}

impl Answer {
    fn whole(status: StatusCode, body: Vec<u8>) -> Result<Self> {
        let length = body.len().to_string();
        let head = response(status).header("Content-Length", &length).body(())?;
        let http1 = [head_of_http1(status, &format!("Content-Length: {length}")), body.clone()].concat();
        Ok(Self { http1, head, body: body.into() })
    }

    /// One that goes on for ever after `beginning`.
    fn endless(beginning: Vec<u8>) -> Result<Self> {
        let status = StatusCode::OK;
        let mut http1 = head_of_http1(status, "Transfer-Encoding: chunked");
        http1.extend(format!("{:x}\r\n", beginning.len()).into_bytes());
        http1.extend_from_slice(&beginning);
        http1.extend(b"\r\n");
        Ok(Self { http1, head: response(status).body(())?, body: beginning.into() })
    }
}

fn response(status: StatusCode) -> ::http::response::Builder {
    let response = Response::builder().status(status);
    HEADERS.iter().fold(response, |response, (name, value)| response.header(*name, *value))
}

fn head_of_http1(status: StatusCode, framing: &str) -> Vec<u8> {
    let headers: String = HEADERS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{headers}{framing}\r\n\r\n").into_bytes()
}
