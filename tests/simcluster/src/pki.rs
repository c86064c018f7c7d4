//! The cluster's certificates and the files that let clients in: CAs, kubeconfigs, tokens. Made anew at each start.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::Error;
use crate::auth::{Tokens, User};

/// The cluster's own CA for its server certificate, and the one for client certificates.
pub(crate) struct Pki {
    server: CertifiedIssuer<'static, KeyPair>,
    clients: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// Makes both CAs.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub(crate) fn new() -> Result<Pki, Error> {
        Ok(Pki { server: authority("simcluster-ca")?, clients: authority("simcluster-client-ca")? })
    }

    /// TLS with a certificate for those addresses and names; client certificates are taken but not wanted.
    ///
    /// # Errors
    /// When a name is no DNS name, or the TLS library refuses what was made.
    pub(crate) fn server_config(
        &self,
        addresses: &[SocketAddr],
        names: &[String],
    ) -> Result<ServerConfig, Error> {
        let mut sans: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
        sans.push("localhost".to_owned());
        sans.extend(names.iter().cloned());
        sans.sort();
        sans.dedup();
        let mut params = CertificateParams::new(sans)?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.server)?;
        let mut roots = RootCertStore::empty();
        roots.add(self.clients.der().clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| Error::Tls(rustls::Error::General(error.to_string())))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], private_key(&key))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Writes `ca.crt`, `tokens`, and kubeconfigs: one for each token's user, and `admin-cert.kubeconfig`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, dir: &Path, endpoint: SocketAddr, tokens: &Tokens) -> Result<(), Error> {
        let put = |name: &str, text: &str| -> Result<PathBuf, Error> {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|source| Error::File { path: path.clone(), source })?;
            Ok(path)
        };
        let ca = put("ca.crt", &self.server.pem())?;
        let server = format!("https://{endpoint}");
        let mut listing = String::new();
        for token in tokens.iter() {
            listing.push_str(&format!("{}={}:{}\n", token.secret, token.user, token.groups.join(",")));
            let user = format!("{{token: {}}}", token.secret);
            put(&format!("{}.kubeconfig", token.user), &kubeconfig(&server, &ca, &token.user, &user))?;
        }
        put("tokens", &listing)?;
        let (certificate, key) = self.client_certificate("admin", "system:masters")?;
        let certificate = put("admin-cert.crt", &certificate)?;
        let key = put("admin-cert.key", &key)?;
        let user =
            format!("{{client-certificate: {}, client-key: {}}}", certificate.display(), key.display());
        put("admin-cert.kubeconfig", &kubeconfig(&server, &ca, "admin", &user))?;
        Ok(())
    }

    fn client_certificate(&self, name: &str, group: &str) -> Result<(String, String), Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.clients)?.pem(), key.serialize_pem()))
    }
}

/// The user that a verified client certificate names: CN is the name, each O a group.
pub(crate) fn user_of(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned);
    Some(User::new(name, groups.collect::<Vec<_>>()))
}

/// An address as kubeconfigs name it: the unspecified one as loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn private_key(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

fn kubeconfig(server: &str, ca: &Path, name: &str, user: &str) -> String {
    let ca = ca.display();
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: sim\nclusters:\n- name: sim\n  cluster: {{server: \"{server}\", \
         certificate-authority: {ca}}}\nusers:\n- name: {name}\n  user: {user}\ncontexts:\n- name: sim\n  context: \
         {{cluster: sim, user: {name}, namespace: demo}}\n"
    )
}
