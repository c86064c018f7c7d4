//! Credentials as the proxy uses them, and TLS against servers whose certificates OpenSSL made.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};
use portcullis_credential::{
    ClientCertificateFiles, Credential, CredentialError, OnBehalf, Source, TargetPlace, UpstreamConfig,
    UpstreamTls,
};
use portcullis_identity::Subject;
use rustls::{
    ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// A directory with certificates by OpenSSL: `ca.crt`, `other-ca.crt`, `server.crt`, `client.crt`, keys beside them.
struct Pki(tempfile::TempDir);

impl Pki {
    fn new() -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        for ca in ["ca", "other-ca"] {
            pki.openssl(&format!("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=kubernetes -keyout {ca}.key -out {ca}.crt"));
        }
        pki.issue(
            "server",
            "-newkey ec -pkeyopt ec_paramgen_curve:P-256",
            "subjectAltName=DNS:api.test,IP:10.0.0.1,IP:2001:db8::1",
        );
        pki.issue("client", "-newkey rsa:2048", "extendedKeyUsage=clientAuth");
        pki.issue("next", "-newkey ec -pkeyopt ec_paramgen_curve:P-384", "extendedKeyUsage=clientAuth");
        pki
    }

    fn issue(&self, name: &str, key: &str, extension: &str) {
        self.openssl(&format!("req -x509 -CA ca.crt -CAkey ca.key {key} -nodes -days 2 -subj /CN={name} -addext basicConstraints=critical,CA:FALSE -addext {extension} -keyout {name}.key -out {name}.crt"));
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output();
        let output = output.expect("openssl is needed to make certificates independently");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path(file);
        std::fs::write(&path, content).unwrap();
        chmod(&path, mode);
        path
    }

    fn server(&self, wants_client: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if wants_client {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.path("ca.crt")).unwrap()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_file(self.path("server.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Files are read wherever the target is.
fn nowhere() -> TargetPlace {
    let made = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap();
    let tls = UpstreamTls::from_pem(Path::new("made"), made.cert.pem().as_bytes()).unwrap();
    TargetPlace { endpoints: Vec::new(), server_name: None, tls }
}

fn bearer(path: &Path) -> Result<Box<dyn Source>, CredentialError> {
    UpstreamConfig::BearerTokenFile(path.to_owned()).open(Some(&nowhere()))
}

fn certificate(pki: &Pki, certificate: &str, key: &str) -> Result<Credential, CredentialError> {
    let files = ClientCertificateFiles { cert_file: pki.path(certificate), key_file: pki.path(key) };
    present(&*UpstreamConfig::ClientCertificate(files).open(Some(&nowhere()))?)
}

/// What a source presents for Alice.
fn present(source: &dyn Source) -> Result<Credential, CredentialError> {
    let alice = Subject {
        issuer: "unix".into(),
        id: "1001".into(),
        name: "alice".into(),
        groups: BTreeSet::new(),
        method: portcullis_identity::Method::Unix,
        account: None,
    };
    let on_behalf = OnBehalf {
        subject: &alice,
        role: "pod-admin",
        grant: Some("g-1"),
        expires: None,
        session: "s-1",
        aws_role: None,
        service_account: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(source.present(&on_behalf))
}

/// Shakes hands in memory. Gives the protocol chosen and the certificates that the server was shown.
fn handshake(
    client: Arc<rustls::ClientConfig>,
    server: Arc<ServerConfig>,
    host: &str,
) -> Result<(Option<Vec<u8>>, usize), rustls::Error> {
    let mut client = ClientConnection::new(client, ServerName::try_from(host.to_owned()).unwrap()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((client.alpn_protocol().map(<[u8]>::to_vec), server.peer_certificates().map_or(0, <[_]>::len)))
}

#[test]
fn configuration_names_exactly_one_kind() {
    let parse = |yaml: &str| serde_saphyr::from_str::<UpstreamConfig>(yaml);
    assert_eq!(parse("bearerTokenFile: /t").unwrap(), UpstreamConfig::BearerTokenFile("/t".into()));
    let files = ClientCertificateFiles { cert_file: "/c".into(), key_file: "/k".into() };
    let both = parse("clientCertificate:\n  certFile: /c\n  keyFile: /k").unwrap();
    assert_eq!(both, UpstreamConfig::ClientCertificate(files));
    assert_eq!(parse("none: {}").unwrap(), UpstreamConfig::None {});
    let oauth =
        parse("oauthClientCredentials: {issuer: 'https://a', clientId: b, clientSecretFile: /s}").unwrap();
    assert!(matches!(oauth, UpstreamConfig::OAuthClientCredentials(_)));
    let signed = parse("awsSigV4: {service: execute-api, region: eu-central-1}").unwrap();
    assert!(matches!(signed, UpstreamConfig::AwsSigV4(_)));
    for wrong in [
        "{}",
        "none: {for: a}",
        "none: {}\nbearerTokenFile: /t",
        "oauthClientCredentials: {issuer: 'https://a', clientSecretFile: /s}",
        "awsSigV4: {service: execute-api}",
        "password: x",
        "bearerTokenFile: /t\nclientCertificate: {certFile: /c, keyFile: /k}",
        "clientCertificate: {certFile: /c}",
        "clientCertificate: {certFile: /c, keyFile: /k, passphrase: x}",
        "eks: {cluster: c, region: eu-central-1}",
        "eks: {cluster: c, region: eu-central-1, roleArn: a, endpoints: {sts: a, iam: b}}",
        "tokenRequest: {serviceAccount: {namespace: a, name: b}}",
        "tokenRequest: {using: {eks: {}}, serviceAccount: {namespace: a, name: b}}",
        "tokenRequest: {using: {bearerTokenFile: /t}, serviceAccount: {namespace: a, name: b}, lifetime: ten}",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_token_goes_into_a_header_that_is_never_printed() {
    let pki = tempfile::tempdir().unwrap();
    let path = pki.path().join("token");
    std::fs::write(&path, " abc.def-_~+/== \r\n").unwrap();
    chmod(&path, 0o640);
    let credential = present(&*bearer(&path).unwrap()).unwrap();
    let header = credential.authorization().unwrap();
    assert_eq!(header.as_bytes(), b"Bearer abc.def-_~+/==");
    assert!(header.is_sensitive());
    let printed = format!("{credential:?} {header:?} {} {:?}", credential.id(), credential.id());
    assert!(!printed.contains("abc"), "{printed}");
    std::fs::write(&path, "abc.def-_~+/==").unwrap();
    assert_eq!(present(&*bearer(&path).unwrap()).unwrap().id(), credential.id());
    std::fs::write(&path, "other").unwrap();
    assert_ne!(present(&*bearer(&path).unwrap()).unwrap().id(), credential.id());
}

#[test]
fn a_token_that_must_not_be_used_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let refused = |content: &[u8], mode| {
        std::fs::write(&path, content).unwrap();
        chmod(&path, mode);
        bearer(&path).err().unwrap().to_string()
    };
    let of = |message: &str| format!("{} {message}", path.display());
    assert_eq!(refused(b"", 0o600), of("is empty: there is no token to present"));
    assert_eq!(refused(b" \n\t", 0o600), of("is empty: there is no token to present"));
    for content in [&b"two words"[..], b"a\r\nX-Evil: 1", b"a\0b", "tökén".as_bytes()] {
        assert_eq!(
            refused(content, 0o600),
            of("is not a bearer token: it holds blanks or characters that no token has")
        );
    }
    for mode in [0o644, 0o604, 0o602] {
        assert!(refused(b"abc", mode).starts_with(&of(&format!(
            "may be read or written by everyone (mode {mode:04o}): chmod o-rw it"
        ))));
    }
    std::fs::remove_file(&path).unwrap();
    assert!(bearer(&path).err().unwrap().to_string().contains("No such file"));
}

#[test]
fn whatever_is_presented_the_clients_own_goes() {
    let pki = Pki::new();
    let headers = |credential: &Credential| {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer client"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic client"));
        credential.sign(&Method::POST, "/mcp", "mcp.test", &mut headers, b"{}").unwrap();
        headers.remove(AUTHORIZATION)
    };
    let nothing = present(&*UpstreamConfig::None {}.open(Some(&nowhere())).unwrap()).unwrap();
    let certificate = certificate(&pki, "client.crt", "client.key").unwrap();
    assert_eq!((headers(&nothing), headers(&certificate)), (None, None));
    assert_ne!(nothing.id(), certificate.id());
    let token = present(&*bearer(&pki.write("token", "abc", 0o600)).unwrap()).unwrap();
    assert_eq!(headers(&token), token.authorization());
    // Who presents nothing shows no certificate either.
    let tls = UpstreamTls::from_file(&pki.path("ca.crt")).unwrap();
    let config = || tls.client_config(&nothing, &[]).unwrap();
    assert_eq!(handshake(config(), pki.server(false), "api.test").unwrap().1, 0);
    assert!(handshake(config(), pki.server(true), "api.test").is_err());
}

#[test]
fn servers_are_verified_against_the_targets_own_ca_alone() {
    let pki = Pki::new();
    let token = pki.write("token", "abc", 0o600);
    let credential = present(&*bearer(&token).unwrap()).unwrap();
    let (ca, other) =
        (std::fs::read(pki.path("ca.crt")).unwrap(), std::fs::read(pki.path("other-ca.crt")).unwrap());
    let bundle = pki.write("bundle.crt", [b"# two CAs\n".to_vec(), other, ca].concat(), 0o644);
    for host in ["api.test", "10.0.0.1", "2001:db8::1"] {
        for (file, good) in
            [(pki.path("ca.crt"), true), (bundle.clone(), true), (pki.path("other-ca.crt"), false)]
        {
            let config = UpstreamTls::from_file(&file).unwrap().client_config(&credential, &[]).unwrap();
            let shaken = handshake(config, pki.server(false), host);
            assert_eq!(shaken.is_ok(), good, "{host} by {}: {shaken:?}", file.display());
        }
    }
    let tls = UpstreamTls::from_file(&pki.path("ca.crt")).unwrap();
    let shaken = |host| handshake(tls.client_config(&credential, &[]).unwrap(), pki.server(false), host);
    for host in ["other.test", "10.0.0.2", "below.api.test"] {
        assert!(shaken(host).unwrap_err().to_string().contains("certificate not valid for name"), "{host}");
    }
}

#[test]
fn a_ca_that_is_none_is_refused() {
    let pki = Pki::new();
    let refused = |path: &Path| UpstreamTls::from_file(path).err().unwrap().to_string();
    assert!(refused(&pki.path("gone.crt")).contains("No such file"));
    assert!(refused(&pki.write("empty.crt", "", 0o644)).contains("holds no CA certificate in PEM"));
    assert!(refused(&pki.path("ca.key")).contains("holds no CA certificate in PEM"));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refused(&pki.write("broken.crt", broken, 0o644)).starts_with("certificate 1 in "));
    assert!(refused(&pki.write("open.crt", broken, 0o666)).contains("(mode 0666)"));
}

#[test]
fn protocols_are_those_that_the_caller_names() {
    let pki = Pki::new();
    let credential = present(&*bearer(&pki.write("token", "abc", 0o600)).unwrap()).unwrap();
    let tls = UpstreamTls::from_file(&pki.path("ca.crt")).unwrap();
    for (offered, chosen) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let alpn: Vec<_> = offered.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let config = tls.client_config(&credential, &alpn).unwrap();
        let (protocol, shown) = handshake(config, pki.server(false), "api.test").unwrap();
        assert_eq!((protocol.unwrap(), shown), (chosen.as_bytes().to_vec(), 0));
    }
}

#[test]
fn a_client_certificate_is_shown_in_the_handshake() {
    let pki = Pki::new();
    let credential = certificate(&pki, "client.crt", "client.key").unwrap();
    assert!(credential.authorization().is_none());
    assert!(format!("{credential:?}").contains(&credential.id().to_string()));
    assert_ne!(credential.id(), certificate(&pki, "next.crt", "next.key").unwrap().id());
    let tls = UpstreamTls::from_file(&pki.path("ca.crt")).unwrap();
    let config = tls.client_config(&credential, &[]).unwrap();
    assert_eq!(handshake(config, pki.server(true), "api.test").unwrap().1, 1);
    let token = present(&*bearer(&pki.write("token", "abc", 0o600)).unwrap()).unwrap();
    assert!(handshake(tls.client_config(&token, &[]).unwrap(), pki.server(true), "api.test").is_err());
}

#[test]
fn a_certificate_without_its_key_is_refused() {
    let pki = Pki::new();
    let refused = |cert: &str, key: &str| certificate(&pki, cert, key).unwrap_err().to_string();
    assert!(refused("client.crt", "next.key").contains("client.crt cannot be used with "));
    assert!(refused("client.key", "client.key").contains("client.key holds no certificate in PEM"));
    pki.write("empty.key", "", 0o600);
    assert!(refused("client.crt", "empty.key").contains("empty.key holds no private key in PEM"));
    assert!(refused("client.crt", "gone.key").contains("No such file"));
    chmod(&pki.path("client.key"), 0o644);
    assert!(refused("client.crt", "client.key").contains("client.key may be read or written by everyone"));
}
