//! The proxy's listeners: one socket for each address family, ours or handed to us by a service manager.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::task::Poll;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::{GateConfig, GateError};

/// Accepts that may wait; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Where redirected connections arrive. What it accepts is not attested yet.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<tokio::net::TcpListener>,
}

impl Listeners {
    /// Binds the configured addresses. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`GateError::Config`], [`GateError::Listen`].
    pub fn bind(config: &GateConfig) -> Result<Self, GateError> {
        let sockets = configured(config)?
            .into_iter()
            .map(|address| bind(address).map_err(|source| GateError::Listen { address, source }))
            .collect::<Result<_, _>>()?;
        Self::adopt(config, sockets)
    }

    /// Takes over bound sockets (socket activation): exactly those that the configuration names. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`GateError::Config`] when one is missing, or listens elsewhere; [`GateError::System`].
    pub fn adopt(config: &GateConfig, sockets: Vec<TcpListener>) -> Result<Self, GateError> {
        let system = || GateError::system("cannot use a listening socket");
        let bound = sockets
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<BTreeSet<_>>>()
            .map_err(system())?;
        let configured = configured(config)?;
        if bound != configured {
            return Err(GateError::Config(format!(
                "listen: the sockets at {bound:?} are not the configured {configured:?}"
            )));
        }
        let sockets = sockets
            .into_iter()
            .map(|socket| {
                socket.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(socket)
            })
            .collect::<io::Result<_>>()
            .map_err(system())?;
        Ok(Self { sockets })
    }

    /// The next connection, from any of them.
    ///
    /// # Errors
    /// Those of accept(2). Some pass (a connection that is gone already), some want patience (no descriptors
    /// left); none ends the listening.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| {
            for socket in &self.sockets {
                if let Poll::Ready(result) = socket.poll_accept(context) {
                    return Poll::Ready(result);
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn configured(config: &GateConfig) -> Result<BTreeSet<SocketAddr>, GateError> {
    let (v4, v6) = config.listeners()?;
    Ok(v4.into_iter().chain(v6).collect())
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?; // or what the last run left in TIME_WAIT keeps the next one out
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &[SocketAddr]) -> GateConfig {
        GateConfig { listen: listen.to_vec(), ..GateConfig::default() }
    }

    #[tokio::test]
    async fn accepts_on_both_families() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind("[::1]:0").unwrap();
        let addresses = [v4.local_addr().unwrap(), v6.local_addr().unwrap()];
        let listeners = Listeners::adopt(&config(&addresses), vec![v6, v4]).unwrap();
        for address in addresses {
            let client = std::net::TcpStream::connect(address).unwrap();
            let (_, peer) = listeners.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn other_sockets_are_refused() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let other: SocketAddr = "127.0.0.1:843".parse().unwrap();
        let error = Listeners::adopt(&config(&[other]), vec![socket]).unwrap_err().to_string();
        assert!(error.contains("are not the configured {127.0.0.1:843}"), "{error}");
    }

    #[tokio::test]
    async fn binding_twice_names_the_address() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = config(&[free]);
        let _first = Listeners::bind(&config).unwrap();
        let error = Listeners::bind(&config).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {free}: ")), "{error}");
    }
}
