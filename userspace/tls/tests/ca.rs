//! The interception CA on disk, and what other people's verifiers make of its name constraints: OpenSSL, rustls and,
//! where it is installed, kubectl.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use jiff::{SignedDuration, Timestamp};
use portcullis_tls::{InterceptionCa, Origin, TlsError};
use rcgen::{CertificateParams, DistinguishedName, Issuer, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, Stream,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use support::{ca, constraints, kubectls, name, roots};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What a CA is limited to, a name, and whether a leaf with that name is then good.
const CONSTRAINTS: [(&[&str], &str, bool); 12] = [
    (&["api.example.test", "127.0.0.1"], "api.example.test", true),
    (&["api.example.test", "127.0.0.1"], "127.0.0.1", true),
    (&["api.example.test", "127.0.0.1"], "evil.test", false),
    (&["api.example.test", "127.0.0.1"], "127.0.0.2", false),
    (&["api.example.test", "127.0.0.1"], "::1", false),
    (&["api.example.test"], "api.example.test", true),
    (&["api.example.test"], "127.0.0.1", false),
    (&["api.example.test"], "::1", false),
    (&["127.0.0.1"], "127.0.0.1", true),
    (&["127.0.0.1"], "api.example.test", false),
    (&["::1"], "::1", true),
    (&["::1"], "127.0.0.1", false),
];

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_key_is_private_and_stays() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("state/tls");
    let wanted = constraints(&["api.example.test"]);
    let now = Timestamp::now();
    let (first, origin) = InterceptionCa::load_or_create(&dir, &wanted, now).unwrap();
    assert_eq!(origin, Origin::Created);
    assert_eq!((mode(&dir), mode(&dir.join("ca.key")), mode(&dir.join("ca.crt"))), (0o700, 0o600, 0o644));
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2, "temporary files are left");
    let (second, origin) = InterceptionCa::load_or_create(&dir, &wanted, now).unwrap();
    assert_eq!((origin, second.certificate_pem()), (Origin::Loaded, first.certificate_pem()));
}

#[test]
fn starting_together_makes_one_ca() {
    let base = tempfile::tempdir().unwrap();
    let keys: Vec<_> = thread::scope(|scope| {
        let start = || {
            let ca = ca(base.path(), &["api.example.test"]);
            let der = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap();
            x509_parser::parse_x509_certificate(&der).unwrap().1.public_key().raw.to_vec()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn other_targets_mean_another_certificate_for_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let load = |list: &[&str]| InterceptionCa::load_or_create(dir.path(), &constraints(list), now).unwrap();
    let old = load(&["a.test", "b.test"]).0.certificate_pem().to_owned();
    let (ca, origin) = load(&["b.test", "10.0.0.1"]);
    let reissued = Origin::Reissued { added: vec![name("10.0.0.1")], dropped: vec![name("a.test")] };
    assert_eq!(origin, reissued);
    assert!(!ca.covers(&name("a.test")) && ca.covers(&name("b.test")) && ca.covers(&name("10.0.0.1")));
    // A kubeconfig that holds the certificate from before goes on working for the target that stayed.
    let (leaf, _) = forge(dir.path(), "b.test");
    assert!(webpki_accepts(&old, &leaf, "b.test"));
    assert!(webpki_accepts(ca.certificate_pem(), &leaf, "b.test"));
    assert_eq!(load(&["b.test", "10.0.0.1"]).1, Origin::Loaded);
    std::fs::remove_file(dir.path().join("ca.crt")).unwrap();
    let all = vec![name("b.test"), name("10.0.0.1")];
    assert_eq!(load(&["b.test", "10.0.0.1"]).1, Origin::Reissued { added: all, dropped: vec![] });
    assert!(webpki_accepts(&old, &forge(dir.path(), "b.test").0, "b.test"));
}

#[test]
fn an_exposed_or_broken_ca_is_refused() {
    type Spoil = fn(&Path);
    let cases: [(Spoil, &str); 8] = [
        (
            |dir| chmod(&dir.join("ca.key"), 0o640),
            "ca.key is not safe for the interception CA: others may read",
        ),
        (|dir| chmod(&dir.join("ca.key"), 0o604), "(mode 0604)"),
        (|dir| chmod(dir, 0o770), "others may write to it (mode 0770): chmod 700 it"),
        (|dir| std::fs::remove_file(dir.join("ca.key")).unwrap(), "ca.key is gone; restore it"),
        (|dir| std::fs::write(dir.join("ca.key"), "x").unwrap(), "ca.key: not an ECDSA P-256 key"),
        (|dir| std::fs::write(dir.join("ca.crt"), "x").unwrap(), "ca.crt: not a certificate in PEM"),
        (
            |dir| std::fs::write(dir.join("ca.crt"), forge(dir, "a.test").0).unwrap(),
            "not the certificate of a CA",
        ),
        (
            |dir| {
                let other = tempfile::tempdir().unwrap();
                std::fs::write(dir.join("ca.crt"), ca(other.path(), &["a.test"]).certificate_pem()).unwrap();
            },
            "ca.crt: it belongs to another key",
        ),
    ];
    for (spoil, message) in cases {
        let dir = tempfile::tempdir().unwrap();
        ca(dir.path(), &["a.test"]);
        spoil(dir.path());
        let now = Timestamp::now();
        let refused =
            InterceptionCa::load_or_create(dir.path(), &constraints(&["a.test"]), now).err().unwrap();
        assert!(refused.to_string().contains(message), "{refused} lacks {message:?}");
    }
    assert!(matches!(portcullis_tls::Constraints::of([]), Err(TlsError::NoTargets)));
}

#[test]
fn a_key_reached_by_a_symbolic_link_is_judged_by_its_own_mode() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    ca(dir.path(), &["a.test"]);
    let key = elsewhere.path().join("key");
    std::fs::rename(dir.path().join("ca.key"), &key).unwrap();
    symlink(&key, dir.path().join("ca.key")).unwrap();
    ca(dir.path(), &["a.test"]);
    chmod(&key, 0o644);
    let wanted = constraints(&["a.test"]);
    assert!(InterceptionCa::load_or_create(dir.path(), &wanted, Timestamp::now()).is_err());
}

#[test]
fn the_end_is_announced_and_then_final() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = constraints(&["a.test"]);
    let made = Timestamp::now();
    let (ca, _) = InterceptionCa::load_or_create(dir.path(), &wanted, made).unwrap();
    assert_eq!(ca.not_after().duration_since(made).as_hours(), 2 * 365 * 24 - 1, "whole seconds only");
    let days = |days| ca.not_after() - HOUR * 24 * days;
    assert!(!ca.expires_soon(days(31)) && ca.expires_soon(days(29)));
    assert!(InterceptionCa::load_or_create(dir.path(), &wanted, ca.not_after() - HOUR).is_ok());
    let late = InterceptionCa::load_or_create(dir.path(), &wanted, ca.not_after()).err().unwrap();
    assert!(late.to_string().contains("delete that file to have it issued anew for the same key"), "{late}");
}

#[test]
fn openssl_and_rustls_hold_the_ca_to_its_constraints() {
    for (limits, host, good) in CONSTRAINTS {
        let dir = tempfile::tempdir().unwrap();
        let ca = ca(dir.path(), limits);
        let (leaf, _) = forge(dir.path(), host);
        assert_eq!(
            webpki_accepts(ca.certificate_pem(), &leaf, host),
            good,
            "rustls: {host} under {limits:?}"
        );
        assert_eq!(openssl_accepts(dir.path(), &leaf), good, "openssl: {host} under {limits:?}");
    }
}

#[test]
fn kubectl_holds_the_ca_to_its_constraints() {
    let found = kubectls();
    if found.is_empty() {
        eprintln!("no kubectl in PATH: not checked against Go's verifier");
    }
    for kubectl in [found.first(), found.last()].into_iter().flatten() {
        for (limits, host, good) in CONSTRAINTS {
            let dir = tempfile::tempdir().unwrap();
            ca(dir.path(), limits);
            let (leaf, key) = forge(dir.path(), host);
            let (accepted, said) = kubectl_accepts(kubectl, dir.path(), &leaf, &key, host);
            assert_eq!(accepted, good, "{}: {host} under {limits:?}: {said}", kubectl.display());
        }
    }
}

/// What a thief of the CA's key could make: a leaf for any name. Gives certificate and key in PEM.
fn forge(dir: &Path, host: &str) -> (String, String) {
    let read = |file| std::fs::read_to_string(dir.join(file)).unwrap();
    let ca_key = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

fn webpki_accepts(ca_pem: &str, leaf: &str, host: &str) -> bool {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca_pem)), provider).build().unwrap();
    let leaf = CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap();
    let host = ServerName::try_from(host).unwrap();
    verifier.verify_server_cert(&leaf, &[], &host, &[], UnixTime::now()).is_ok()
}

fn openssl_accepts(dir: &Path, leaf: &str) -> bool {
    let leaf_file = dir.join("leaf.pem");
    std::fs::write(&leaf_file, leaf).unwrap();
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
        .args([&dir.join("ca.crt"), &leaf_file])
        .output()
        .expect("openssl is needed to check certificates independently");
    let said = String::from_utf8_lossy(&output.stderr);
    let by_constraints = ["permitted subtree violation", "excluded subtree violation"];
    assert!(output.status.success() || by_constraints.iter().any(|why| said.contains(why)), "{said}");
    output.status.success()
}

/// Serves one request with the leaf, and lets kubectl ask.
fn kubectl_accepts(kubectl: &Path, dir: &Path, leaf: &str, key: &str, host: &str) -> (bool, String) {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut tls = Stream::new(&mut connection, &mut tcp);
        let body = r#"{"gitVersion":"v1.33.0"}"#;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        // A client that refuses the leaf ends the connection here.
        if tls.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
            tls.write_all(format!("{head}{body}").as_bytes()).unwrap();
            tls.flush().unwrap();
        }
    });
    let output = Command::new(kubectl)
        .args(["get", "--raw", "/version", "--kubeconfig=/dev/null", "--token=t", "--cache-dir"])
        .arg(dir)
        .arg(format!("--server=https://127.0.0.1:{port}"))
        .arg(format!("--tls-server-name={host}"))
        .arg(format!("--certificate-authority={}", dir.join("ca.crt").display()))
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // Whoever never connected must not be waited for.
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
    server.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains("not authorized to sign for this name"), "{said}");
    (output.status.success(), said)
}
