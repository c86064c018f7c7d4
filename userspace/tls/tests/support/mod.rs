//! What the tests of CA and leaves share: names, a CA in a temporary directory, a TLS handshake in memory.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod kubeconfig;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use portcullis_tls::{Clock, Constraints, InterceptionCa, Name, TargetNames};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    time_provider::TimeProvider,
};

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn names(list: &[&str]) -> TargetNames {
    list.iter().map(|text| name(text)).collect()
}

pub fn constraints(list: &[&str]) -> Constraints {
    Constraints::of([&names(list)]).unwrap()
}

pub fn ca(dir: &Path, list: &[&str]) -> InterceptionCa {
    InterceptionCa::load_or_create(dir, &constraints(list), Timestamp::now()).unwrap().0
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A clock that stands still until it is turned; client and server read the same one.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn start(at: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(at.as_second())))
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }

    pub fn turn_hours(&self, hours: i64) {
        self.0.fetch_add(hours * 3600, Ordering::Relaxed);
    }

    pub fn clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed).unsigned_abs())))
    }
}

pub fn roots(ca_pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    roots
}

pub fn client_config(ca_pem: &str, clock: &TestClock) -> ClientConfig {
    ClientConfig::builder_with_details(Arc::new(aws_lc_rs::default_provider()), Arc::new(clock.clone()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(ca_pem))
        .with_no_client_auth()
}

/// What a client saw of a handshake that came to its end.
#[derive(Debug)]
pub struct Shaken {
    pub leaf: CertificateDer<'static>,
    pub alpn: Option<Vec<u8>>,
    pub version: rustls::ProtocolVersion,
}

/// Shakes hands in memory; a client that asks for an address sends no SNI.
pub fn handshake(
    client: ClientConfig,
    server: Arc<ServerConfig>,
    host: &str,
) -> Result<Shaken, rustls::Error> {
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), host).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        wire.clear();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        let refused = server.process_new_packets().err();
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
    }
    Ok(Shaken {
        leaf: client.peer_certificates().unwrap()[0].clone().into_owned(),
        alpn: client.alpn_protocol().map(<[u8]>::to_vec),
        version: client.protocol_version().unwrap(),
    })
}

/// The kubectl in PATH and its versioned neighbours (`kubectl.1.27` …), oldest first.
pub fn kubectls() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(kubectl) = std::env::split_paths(&path).find_map(|dir| dir.join("kubectl").canonicalize().ok())
    else {
        return Vec::new();
    };
    let neighbours = kubectl.parent().unwrap().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let versioned = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubectl.1."))
    };
    let mut found: Vec<_> = neighbours.filter(versioned).collect();
    found.sort();
    if found.is_empty() { vec![kubectl] } else { found }
}
