//! HTTP/1.1 on the listener.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::answer::{self, Answer};
use crate::provider::Provider;

/// No form is larger.
const LARGEST_BODY: usize = 64 * 1024;
/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves until `stopped`.
pub(crate) async fn serve(provider: Arc<Provider>, listener: TcpListener, stopped: impl Future) {
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(Arc::clone(&provider), stream))),
                Err(error) => {
                    tracing::warn!("accept: {error}");
                    // What is short (file descriptors) does not come back by asking at once.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = stopped => {}
    }
}

async fn connection(provider: Arc<Provider>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let provider = Arc::clone(&provider);
        async move { Ok::<_, Infallible>(answer(&provider, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("connection: {error}");
    }
}

async fn answer(provider: &Provider, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    match tokio::time::timeout(PATIENCE, Limited::new(body, LARGEST_BODY).collect()).await {
        Ok(Ok(body)) => provider.answer(&Request::from_parts(head, body.to_bytes())),
        Ok(Err(_)) => answer::page(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large, or broke off", ""),
        Err(_) => answer::page(StatusCode::REQUEST_TIMEOUT, "The form took too long", ""),
    }
}

/// Binds before the thread starts, so that whoever starts it knows the port, or why there is none.
pub(crate) fn bind(address: std::net::SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
