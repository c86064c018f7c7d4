//! What installing trust does beside the one edit: which clusters it touches, what it refuses, what it keeps.

mod support;

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis_tls::{
    InterceptionCa, TlsError,
    trust::{self, State},
};
use support::{
    constraints,
    kubeconfig::{Bench, OWN, SHAPES, filled, read, state, targets},
};

#[test]
fn clusters_that_are_none_of_our_business_stay() {
    let bench = Bench::new();
    let text = filled(SHAPES.iter().find(|(shape, _)| *shape == "other clusters beside it").unwrap().1, OWN);
    let path = bench.write(&text);
    let report = bench.install(&path).unwrap();
    assert_eq!(state(&report, "other"), State::NotATarget);
    assert_eq!(state(&report, "careless"), State::Insecure);
    assert_eq!(state(&report, "bare"), State::PlainHttp);
    assert_eq!((report.clusters[1].line, report.clusters[1].server.as_str()), (7, "https://api.test:6443"));
    assert!(!report.all_trusted());
    let expected = text.replacen(&STANDARD.encode(OWN), "KEPT", 1);
    let expected = expected.replace(&STANDARD.encode(OWN), &STANDARD.encode(bench.bundle(OWN)));
    assert_eq!(read(&path).replacen(&STANDARD.encode(OWN), "KEPT", 1), expected);
    let elsewhere = bench.write("clusters: [{name: local, cluster: {server: 'http://localhost:8080'}}]");
    let report = bench.check(&elsewhere);
    assert!(state(&report, "local") == State::NotATarget && report.all_trusted());
}

#[test]
fn what_cannot_be_edited_safely_is_left_with_a_reason() {
    let cluster = "\n    server: https://api.test:6443\n  name: prod\n";
    let with = |entry: &str| format!("clusters:\n- cluster:\n    {entry}{cluster}");
    let cases = [
        (with("certificate-authority-data: &ca {CA}"), 3, "anchors"),
        (format!("x: &ca {{CA}}\n{}", with("certificate-authority-data: *ca")), 4, "anchors"),
        (format!("x: &all {{}}\n{}", with("<<: *all")), 4, "merge keys"),
        (with("certificate-authority-data: !!binary {CA}"), 3, "tags"),
        ("x: &c\n- cluster: {server: 'https://api.test:6443'}\nclusters: *c\n".to_owned(), 3, "anchors"),
        (with("certificate-authority-data: {CA}\n    certificate-authority-data: {CA}"), 4, "a second time"),
        (with("certificate-authority-data: {CA}\n    certificate-authority: /x"), 3, "kubectl refuses"),
        (with("certificate-authority-data: no base64!"), 3, "not base64"),
        (with("certificate-authority-data: >-\n      aGVs\n      bG8="), 4, "not base64"),
        (with("certificate-authority-data: aGVsbG8="), 3, "no certificate in PEM"),
        (with("certificate-authority-data: [a]"), 3, "a single value"),
        (with("? certificate-authority-data\n    : aGVsbG8="), 3, "no certificate in PEM"),
        (
            "clusters:\n- cluster:\n    ? server\n    : https://api.test:6443\n  name: prod\n".to_owned(),
            3,
            "on its own line",
        ),
        (format!("{}---\na: 1\n", with("x: 1")), 6, "second YAML document"),
        ("clusters:\n- cluster:\n\tserver: x\n".to_owned(), 3, "tab"),
        ("clusters:\n- cluster: {server: \"https://api.test:6443\n".to_owned(), 2, ""),
        ("clusters: {}\n".to_owned(), 1, "should be a list"),
        ("clusters:\n- 1\n".to_owned(), 2, "not a kubeconfig"),
        ("clusters:\n- name: x\n".to_owned(), 2, "has no cluster"),
        ("just text\n".to_owned(), 1, "not a kubeconfig"),
        ("kind: Pod\n".to_owned(), 1, "kind is not Config"),
    ];
    let bench = Bench::new();
    for (text, line, message) in cases {
        let text = text.replace("{CA}", &STANDARD.encode(OWN));
        let path = bench.write(&text);
        let refused = bench.install(&path).err().unwrap_or_else(|| panic!("not refused:\n{text}"));
        let said = refused.to_string();
        assert!(matches!(&refused, TlsError::Kubeconfig { line: at, .. } if *at == line), "{said}\n{text}");
        assert!(said.contains(message), "{said} lacks {message:?}");
        assert_eq!(read(&path), text);
        assert_eq!(
            bench.dir.path().read_dir().unwrap().count(),
            2,
            "a backup, lock or temporary file is left"
        );
    }
    let path = bench.write(b"clusters: []\nx: \xff\n");
    assert!(bench.install(&path).unwrap_err().to_string().contains("config:2: this is not UTF-8"));
    let path = bench.write("");
    assert_eq!(bench.install(&path).unwrap().clusters, []);
    std::fs::remove_file(&path).unwrap();
    assert!(bench.install(&path).unwrap_err().to_string().contains("No such file"));
}

#[test]
fn mode_owner_and_links_stay() {
    let bench = Bench::new();
    let path = bench.write(filled(SHAPES[0].1, OWN));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    // Only root may give files away; others see that their own file stays theirs.
    let owner = if nix::unistd::geteuid().is_root() {
        (12345, 23456)
    } else {
        (path.metadata().unwrap().uid(), path.metadata().unwrap().gid())
    };
    std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).unwrap();
    let link = bench.dir.path().join("link");
    symlink("config", &link).unwrap();
    let report = bench.install(&link).unwrap();
    assert!(link.is_symlink());
    assert_eq!(report.kubeconfig, path.canonicalize().unwrap());
    for file in [&path, &report.backups[0]] {
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o640, owner.0, owner.1));
    }
    let stamp = bench.now.strftime("%Y%m%dT%H%M%SZ");
    assert!(report.backups[0].ends_with(format!("config.portcullis-{stamp}.bak")));
    let next = bench.remove(&link).unwrap();
    assert!(next.backups[0].ends_with(format!("config.portcullis-{stamp}.2.bak")), "{:?}", next.backups);
}

#[test]
fn kubectls_lock_is_respected() {
    let bench = Bench::new();
    let path = bench.write(filled(SHAPES[0].1, OWN));
    let lock = bench.dir.path().join("config.lock");
    std::fs::write(&lock, "").unwrap();
    assert!(matches!(bench.install(&path).unwrap_err(), TlsError::Locked(held) if held == lock));
    assert!(lock.exists());
    std::fs::remove_file(&lock).unwrap();
    bench.install(&path).unwrap();
    assert!(!lock.exists());
}

#[test]
fn a_ca_file_of_ones_own_is_appended_to() {
    let bench = Bench::new();
    let entry = |name: &str, file: &str| {
        format!(
            "- name: {name}\n  cluster: {{server: 'https://api.test:6443', certificate-authority: {file}}}\n"
        )
    };
    let text = format!("clusters:\n{}{}", entry("prod", "pki/ca.crt"), entry("same", "./pki/../pki/ca.crt"));
    let path = bench.write(&text);
    let file = bench.dir.path().join("pki/ca.crt");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    assert!(bench.install(&path).unwrap_err().to_string().contains("pki/ca.crt"));
    std::fs::write(&file, "nothing").unwrap();
    assert!(bench.install(&path).unwrap_err().to_string().contains("holds no certificate"));
    std::fs::write(&file, OWN).unwrap();
    assert_eq!(state(&bench.check(&path), "prod"), State::Missing);
    let report = bench.install(&path).unwrap();
    assert_eq!((state(&report, "prod"), state(&report, "same")), (State::Installed, State::Installed));
    assert_eq!((read(&path), read(&file)), (text.clone(), bench.bundle(OWN)));
    assert_eq!(report.backups.iter().map(|file| read(file)).collect::<Vec<_>>(), [OWN]);
    assert_eq!(state(&bench.check(&path), "same"), State::Present);
    assert_eq!(bench.install(&path).unwrap().backups.len(), 0);
    bench.remove(&path).unwrap();
    assert_eq!((read(&path), read(&file)), (text, OWN.to_owned()));
}

#[test]
fn a_ca_file_that_others_use_is_left_alone() {
    let bench = Bench::new();
    let system = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if !system.exists() {
        eprintln!("no {}: not checked", system.display());
        return;
    }
    let path = bench.write(format!(
        "clusters:\n- name: prod\n  cluster:\n    certificate-authority: {}\n    server: https://api.test:6443\n",
        system.display()
    ));
    let report = bench.install(&path).unwrap();
    assert!(
        matches!(state(&report, "prod"), State::SharedFile { reason, .. } if reason.contains("--embed-certs"))
    );
    assert_eq!(report.backups.len(), 0);
}

#[test]
fn a_newer_certificate_takes_the_place_of_the_older() {
    let mut bench = Bench::new();
    let dir = bench.dir.path().join("tls");
    let ca_for =
        |list: &[&str]| InterceptionCa::load_or_create(&dir, &constraints(list), bench.now).unwrap().0;
    bench.ca_pem = ca_for(&["api.test"]).certificate_pem().to_owned();
    let text = filled(SHAPES[0].1, OWN).replace("api.test:6443", "10.0.0.1");
    let path = bench.write(&text);
    bench.install(&path).unwrap();
    assert_eq!(state(&bench.check(&path), "prod"), State::Outdated, "made before 10.0.0.1 was a target");
    let ca = ca_for(&["10.0.0.1"]);
    bench.ca_pem = ca.certificate_pem().to_owned();
    assert_eq!(state(&bench.check(&path), "prod"), State::Outdated);
    assert_eq!(state(&bench.install(&path).unwrap(), "prod"), State::Installed);
    let expected = text.replace(&STANDARD.encode(OWN), &STANDARD.encode(bench.bundle(OWN)));
    assert_eq!(read(&path), expected);
    let report = trust::check(&path, &bench.ca_pem, &targets(), ca.not_after()).unwrap();
    assert_eq!(state(&report, "prod"), State::Outdated, "expired");
    bench.remove(&path).unwrap();
    assert_eq!(read(&path), text);
}
