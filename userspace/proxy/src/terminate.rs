//! Terminates the client's TLS with a leaf for what it dialled, where it dialled `https://`.

use std::sync::Arc;
use std::time::Duration;

use portcullis_identity::{Attestation, Attested};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::Proxy;
use crate::conn::ConnError;
use crate::target::{Route, Scheme};
use crate::transport::Transport;
use crate::wide::Wide;

/// How long a client may take for its handshake; kubectl needs milliseconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's head once it has begun.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// An attested connection to a known target, with TLS done where there is to be TLS.
pub(crate) struct Secured {
    pub(crate) io: Transport,
    pub(crate) attestation: Arc<Attestation>,
    pub(crate) route: Route,
}

impl Secured {
    pub(crate) async fn terminate(proxy: &Proxy, attested: Attested<TcpStream>) -> Result<Self, ConnError> {
        let (tcp, attestation) = attested.into_parts();
        let destination = attestation.original_dst;
        let route = Route::find(&*proxy.routing, destination).ok_or(ConnError::NoTarget(destination))?;
        tcp.set_nodelay(true).map_err(ConnError::Handshake)?;
        let tcp = Wide::new(tcp);
        if route.target.scheme == Scheme::Http {
            return Ok(Self { io: Transport::Plain(tcp), attestation, route });
        }
        let config = proxy.leaves.server_config(&route.target.name, destination.0, &route.target.names)?;
        let io = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(tcp))
            .await
            .map_err(|_| ConnError::HandshakeTimeout)?
            .map_err(ConnError::Handshake)?;
        let io = Transport::Tls(Box::new(TlsStream::Server(io)));
        Ok(Self { io, attestation, route })
    }

    /// What ALPN chose; kubectl offers none on the connections it opens for upgrades.
    pub(crate) fn speaks_h2(&self) -> bool {
        self.io.speaks_h2()
    }
}
