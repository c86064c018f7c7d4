//! The proxy between a client and an API server that both say exactly what a test has them say, byte for byte or frame
//! by frame: is anything changed on the way, and is what must not pass stopped?
//!
//! [`Gate`] is the proxy itself, in this process, behind an attestor that vouches for everybody: what the kernel does is
//! tested elsewhere. [`Upstream`] accepts its connections, [`Arrivals`] reads the requests on them. [`captures`] has what
//! real clients and a real API server said to each other.

mod capture;
mod forward;
mod gate;
pub mod h2raw;
mod stream;
mod upstream;

use std::time::Duration;

use h2::RecvStream;

pub use capture::{Body, Capture, Connection, Exchange, Side, captures};
pub use forward::{Forwarding, Framing, Heard, Peer, forward};
pub use gate::Gate;
pub use stream::{Head, Stream};
pub use upstream::{Arrival, Arrivals, Http1Arrival, Http2Arrival, ServerStream, Upstream};

/// How long anything may take before a test gives up on it.
pub const LIMIT: Duration = Duration::from_secs(10);

/// The proxy before an API server, whose requests a test answers.
///
/// # Errors
/// As [`Upstream::listen`] and [`Gate::before`].
pub async fn stage() -> anyhow::Result<(Gate, Arrivals)> {
    let upstream = Upstream::listen().await?;
    let gate = Gate::before(&upstream).await?;
    Ok((gate, upstream.arrivals()))
}

/// The whole of a body over h2.
///
/// # Errors
/// When it breaks off.
pub async fn read_body(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut read = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        read.extend_from_slice(&data);
    }
    Ok(read)
}

/// Awaits `what`, no longer than [`LIMIT`].
///
/// # Errors
/// When time runs out.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    let within = tokio::time::timeout(LIMIT, future).await;
    within.map_err(|_| anyhow::anyhow!("waited {LIMIT:?} in vain for {what}"))
}
