//! The leaves that clients are shown, seen by a TLS client that trusts the interception CA alone.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_tls::{InterceptionCa, LeafIssuer, TlsError};
use rustls::{ProtocolVersion, crypto::aws_lc_rs};
use support::{TestClock, address, ca, client_config, constraints, handshake, name, names};
use x509_parser::prelude::{FromDer as _, X509Certificate};

struct Bench {
    issuer: LeafIssuer,
    ca_pem: String,
    clock: TestClock,
    _dir: tempfile::TempDir,
}

fn bench(covered: &[&str]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::start(Timestamp::now());
    let (ca, _) = InterceptionCa::load_or_create(dir.path(), &constraints(covered), clock.now()).unwrap();
    let ca_pem = ca.certificate_pem().to_owned();
    Bench { issuer: LeafIssuer::new(ca, clock.clock()).unwrap(), ca_pem, clock, _dir: dir }
}

#[test]
fn a_client_sees_the_name_that_it_asked_for() {
    let target = ["api.example.test", "10.0.0.1", "2001:db8::1"];
    let bench = bench(&target);
    for (dst, host) in [
        ("10.9.9.9:443", "api.example.test"),
        ("10.9.9.9:443", "API.example.test"),
        ("10.0.0.1:6443", "10.0.0.1"),
        ("[::ffff:10.0.0.1]:6443", "10.0.0.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1:6443", "api.example.test"),
    ] {
        let server = bench.issuer.server_config("prod", address(dst), &names(&target)).unwrap();
        let shaken = handshake(client_config(&bench.ca_pem, &bench.clock), server, host);
        shaken.unwrap_or_else(|error| panic!("{host} at {dst}: {error}"));
    }
}

#[test]
fn names_of_others_get_no_leaf() {
    let bench = bench(&["api.example.test", "other.example.test", "10.0.0.1"]);
    let target = names(&["api.example.test"]);
    for (dst, host) in [
        ("10.0.0.1:443", "other.example.test"),
        ("10.0.0.1:443", "below.api.example.test"),
        // An address of another target, and one behind the target's DNS name: neither is a name of this target.
        ("10.0.0.1:443", "10.0.0.1"),
        ("10.9.9.9:443", "10.9.9.9"),
    ] {
        let server = bench.issuer.server_config("prod", address(dst), &target).unwrap();
        let refused = handshake(client_config(&bench.ca_pem, &bench.clock), server, host).unwrap_err();
        assert_eq!(refused.to_string(), "received fatal alert: AccessDenied", "{host} at {dst}");
    }
    let uncovered = names(&["api.example.test", "10.7.7.7"]);
    let refused = bench.issuer.server_config("prod", address("10.7.7.7:443"), &uncovered).unwrap_err();
    assert!(matches!(refused, TlsError::NotCovered(it) if it == name("10.7.7.7")));
}

#[test]
fn protocols_are_negotiated_as_kubectl_needs_them() {
    let bench = bench(&["api.example.test"]);
    let target = names(&["api.example.test"]);
    let server = bench.issuer.server_config("prod", address("10.0.0.1:443"), &target).unwrap();
    for (offered, chosen) in [
        (vec!["h2", "http/1.1"], Some("h2")),
        (vec!["http/1.1", "h2"], Some("h2")),
        (vec!["http/1.1"], Some("http/1.1")),
        (vec![], None),
    ] {
        let mut client = client_config(&bench.ca_pem, &bench.clock);
        client.alpn_protocols = offered.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let shaken = handshake(client, Arc::clone(&server), "api.example.test").unwrap();
        assert_eq!(shaken.alpn.as_deref(), chosen.map(str::as_bytes), "{offered:?}");
        assert_eq!(shaken.version, ProtocolVersion::TLSv1_3);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let old = rustls::ClientConfig::builder_with_details(provider, Arc::new(bench.clock.clone()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(support::roots(&bench.ca_pem))
        .with_no_client_auth();
    assert_eq!(handshake(old, server, "api.example.test").unwrap().version, ProtocolVersion::TLSv1_2);
}

#[test]
fn a_configuration_is_made_once_until_the_target_changes() {
    let bench = bench(&["api.example.test", "10.0.0.1", "10.0.0.2"]);
    let config = |target: &str, dst: &str, list: &[&str]| {
        bench.issuer.server_config(target, address(dst), &names(list)).unwrap()
    };
    let first = config("prod", "10.0.0.1:443", &["api.example.test", "10.0.0.1"]);
    assert!(Arc::ptr_eq(&first, &config("prod", "10.0.0.1:444", &["api.example.test", "10.0.0.1"])));
    let by_dns = config("prod", "10.5.5.5:443", &["api.example.test", "10.0.0.1"]);
    assert!(!Arc::ptr_eq(&first, &by_dns));
    assert!(Arc::ptr_eq(&by_dns, &config("prod", "10.6.6.6:443", &["api.example.test", "10.0.0.1"])));
    assert!(!Arc::ptr_eq(&by_dns, &config("dev", "10.6.6.6:443", &["api.example.test", "10.0.0.1"])));
    let changed = config("prod", "10.0.0.1:443", &["api.example.test", "10.0.0.1", "10.0.0.2"]);
    assert!(!Arc::ptr_eq(&first, &changed));
}

#[test]
fn leaves_are_renewed_at_half_time_and_end_with_the_ca() {
    let bench = bench(&["api.example.test"]);
    let target = names(&["api.example.test"]);
    let server = bench.issuer.server_config("prod", address("10.0.0.1:443"), &target).unwrap();
    let leaf = || {
        let client = client_config(&bench.ca_pem, &bench.clock);
        handshake(client, Arc::clone(&server), "api.example.test").map(|shaken| shaken.leaf)
    };
    let hours_left = |der: &[u8]| {
        let (_, leaf) = X509Certificate::from_der(der).unwrap();
        (leaf.validity().not_after.timestamp() - bench.clock.now().as_second()) / 3600
    };
    let first = leaf().unwrap();
    assert_eq!(hours_left(&first), 24);
    bench.clock.turn_hours(11);
    assert_eq!(leaf().unwrap(), first);
    bench.clock.turn_hours(1);
    let second = leaf().unwrap();
    assert_ne!(second, first);
    assert_eq!(hours_left(&second), 24);
    bench.clock.turn_hours(2 * 365 * 24 - 12 - 3);
    assert_eq!(hours_left(&leaf().unwrap()), 3);
    bench.clock.turn_hours(3);
    assert_eq!(leaf().unwrap_err().to_string(), "received fatal alert: AccessDenied");
}

#[test]
fn no_two_certificates_share_a_serial_number() {
    let dir = tempfile::tempdir().unwrap();
    let ca = ca(dir.path(), &["api.example.test", "10.0.0.1"]);
    let ca_pem = ca.certificate_pem().to_owned();
    let clock = TestClock::start(Timestamp::now());
    let issuer = LeafIssuer::new(ca, clock.clock()).unwrap();
    let target = names(&["api.example.test", "10.0.0.1"]);
    let server = issuer.server_config("prod", address("10.0.0.1:443"), &target).unwrap();
    let serial = |host| {
        let leaf = handshake(client_config(&ca_pem, &clock), Arc::clone(&server), host).unwrap().leaf;
        X509Certificate::from_der(&leaf).unwrap().1.raw_serial().to_vec()
    };
    assert_ne!(serial("api.example.test"), serial("10.0.0.1"));
}
