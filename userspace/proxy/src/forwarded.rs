//! A connection that a port-forward carries to an MCP server. It is served as if its client had connected to the gate: each
//! request in it goes the way of any other, and up through the same port-forward.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use portcullis_identity::Uid;
use portcullis_kube::stream::begins_http;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::body::RequestBody;
use crate::caller::{Caller, Person};
use crate::conn::{self, MAX_FIELDS};
use crate::mcp::McpServer;
use crate::terminate::HEADER_TIMEOUT;
use crate::upstream::SendError;

/// The longest beginning of a connection that is looked at, in bytes.
const BEGINNING: usize = 64 * 1024;

/// The way up of a forwarded connection.
pub(crate) struct Forwarded {
    /// What it leads to.
    pub(crate) server: Arc<McpServer>,
    up: Mutex<SendRequest<RequestBody>>,
}

/// Why a forwarded connection is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unserved {
    #[error(
        "portcullis: refused: this port is that of MCP server {0}, to which HTTP/1.1 is spoken and nothing else"
    )]
    NotHttp(String),
    #[error("portcullis: refused: uid {0} has too many connections")]
    TooMany(Uid),
}

impl Forwarded {
    /// Sends `request` up, behind those before it.
    pub(crate) async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        let mut up = self.up.lock().await;
        up.ready().await?;
        let answer = up.send_request(request);
        drop(up);
        Ok(answer.await?)
    }

    /// Whether the server has hung up. While something is being sent it has not.
    pub(crate) fn is_over(&self) -> bool {
        self.up.try_lock().is_ok_and(|up| up.is_closed())
    }
}

/// Serves what `client` asks of `server`, whose end is `pod`, to its end, for the `person` who forwards the port.
pub(crate) async fn serve(
    person: &Person,
    server: Arc<McpServer>,
    mut client: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    pod: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(), Unserved> {
    let proxy = &person.connection.proxy;
    let uid = person.connection.attestation.uid;
    let place = proxy.limits.place(uid).ok_or(Unserved::TooMany(uid))?;
    let mut beginning = Vec::new();
    match tokio::time::timeout(HEADER_TIMEOUT, is_http(&mut client, &mut beginning)).await {
        Ok(Ok(Some(true))) => {}
        Ok(Ok(Some(false))) => return Err(Unserved::NotHttp(server.name.clone())),
        // It said nothing.
        Ok(Ok(None) | Err(_)) | Err(_) => return Ok(()),
    }
    let (read, write) = tokio::io::split(client);
    let client = tokio::io::join(io::Cursor::new(beginning).chain(read), write);
    let mut up = hyper::client::conn::http1::Builder::new();
    up.preserve_header_case(true).max_headers(MAX_FIELDS);
    let Ok((up, carried)) = up.handshake(TokioIo::new(pod)).await else { return Ok(()) };
    let forwarded = Forwarded { server, up: Mutex::new(up) };
    let caller = Arc::new(Caller::forwarded(person, forwarded, place));
    let over = CancellationToken::new();
    let mut served = pin!(conn::http1(Arc::clone(proxy), client, Arc::clone(&caller), over.clone()));
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = caller.hung_up() => return Ok(()),
        _ = carried => {
            // Clients know a connection that is over by its end, and take another one.
            over.cancel();
            tokio::select! {
                ended = &mut served => ended,
                () = caller.hung_up() => return Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a forwarded connection ended early");
    }
    Ok(())
}

/// Whether the client begins with HTTP/1, of which `beginning` is what was read to tell; `None` where it ends before.
async fn is_http(client: &mut (impl AsyncRead + Unpin), beginning: &mut Vec<u8>) -> io::Result<Option<bool>> {
    loop {
        match begins_http(beginning) {
            None if beginning.len() > BEGINNING => return Ok(Some(false)),
            None if client.read_buf(beginning).await? == 0 => return Ok(None),
            None => {}
            told => return Ok(told),
        }
    }
}
