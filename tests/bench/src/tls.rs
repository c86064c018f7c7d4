//! TLS on both ends, and the certificate that nginx shows too.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{Accepted, Acceptor};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// nginx verifies by name only.
const NAMES: [&str; 2] = ["127.0.0.1", "bench.test"];
/// Protocols as ALPN names them (RFC 7301; RFC 9113 §3.1).
pub(crate) const HTTP1: &[u8] = b"http/1.1";
pub(crate) const H2: &[u8] = b"h2";
/// What one read from a socket may bring: rustls alone asks for 4 KiB at a time.
pub(crate) const READ: usize = 64 * 1024;

/// A client's end.
pub(crate) type Client = StreamOwned<ClientConnection, Socket>;
/// A server's end.
pub(crate) type Server = StreamOwned<ServerConnection, Socket>;

/// A client that has said what it speaks.
pub(crate) enum Arrived {
    Http1(Server),
    /// The handshake is still to be finished.
    H2(Accepted, TcpStream),
}

/// Makes a CA and a certificate for 127.0.0.1; leaves `ca.crt`, `server.crt` and `server.key` in `dir`.
pub(crate) fn server_config(dir: &Path) -> Result<Arc<ServerConfig>> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "bench");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(NAMES.map(str::to_owned))?.signed_by(&key, &ca)?;
    for (name, pem) in
        [("ca.crt", ca.pem()), ("server.crt", certificate.pem()), ("server.key", key.serialize_pem())]
    {
        fs::write(dir.join(name), pem)
            .with_context(|| format!("cannot write {name} in {}", dir.display()))?;
    }
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    Ok(Arc::new(config))
}

/// Trusts the CA in `file` and nothing else; speaks `protocol`.
pub(crate) fn client_config(file: &Path, protocol: &[u8]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(file).with_context(|| format!("cannot read {}", file.display()))?
    {
        roots.add(certificate?)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

/// Connects, and finishes the handshake.
pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Client> {
    let tcp = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    let connection = ClientConnection::new(Arc::clone(config), ServerName::from(address.ip()))?;
    let mut client = StreamOwned::new(connection, Socket::new(tcp)?);
    client.conn.complete_io(&mut client.sock).context("TLS handshake")?;
    Ok(client)
}

/// Reads what a client offers: h2 is for whoever can speak it.
pub(crate) fn accept(mut tcp: TcpStream, config: &Arc<ServerConfig>) -> Result<Arrived> {
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        ensure!(acceptor.read_tls(&mut tcp)? > 0, "the connection was closed before the handshake");
        if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error)? {
            break accepted;
        }
    };
    if accepted.client_hello().alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == H2)) {
        return Ok(Arrived::H2(accepted, tcp));
    }
    let connection = accepted.into_connection(Arc::clone(config)).map_err(|(error, _)| error)?;
    Ok(Arrived::Http1(StreamOwned::new(connection, Socket::new(tcp)?)))
}

/// A socket that reads in large pieces.
pub(crate) struct Socket(BufReader<TcpStream>);

impl Socket {
    fn new(tcp: TcpStream) -> Result<Self> {
        tcp.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(READ, tcp)))
    }
}

impl Read for Socket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }
    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_mut().write_vectored(pieces)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
