//! Kubeconfigs in many shapes: our CA goes in, kubectl reads it, and it comes out again without a trace.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use portcullis_tls::{
    Endpoint, InterceptionCa, TlsError,
    trust::{self, Report, State},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use support::{ca, constraints, kubectls, name};

/// The cluster's own CA. Never parsed as a certificate here, only as PEM.
const OWN: &str = "-----BEGIN CERTIFICATE-----\nMIIBdummy+/AAA\n-----END CERTIFICATE-----\n";

/// `{CA}` is the cluster's own CA in base64, `{WRAPPED}` the same in lines after four blanks.
const SHAPES: [(&str, &str); 22] = [
    (
        "plain",
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n  name: prod\nusers: []\n",
    ),
    (
        "server first",
        "clusters:\n- name: prod\n  cluster:\n    server: https://api.test:6443\n    certificate-authority-data: {CA}\n",
    ),
    (
        "end of file",
        "clusters:\n- name: prod\n  cluster:\n    server: https://api.test:6443\n    certificate-authority-data: {CA}",
    ),
    (
        "indented list",
        "clusters:\n  - name: prod\n    cluster:\n      server: https://api.test:6443\n      certificate-authority-data: {CA}\ncontexts: []\n",
    ),
    (
        "double quotes",
        "clusters:\n- name: \"prod\"\n  cluster:\n    \"certificate-authority-data\": \"{CA}\"\n    \"server\": \"https://api.test:6443\"\n",
    ),
    (
        "single quotes",
        "clusters:\n- name: 'prod'\n  cluster:\n    certificate-authority-data: '{CA}'\n    server: 'https://api.test:6443'\n",
    ),
    (
        "comments",
        "# mine\nclusters: # all\n# first\n- cluster:   # prod\n    # CA\n    certificate-authority-data: {CA}   # do not touch\n    server: https://api.test:6443 # here\n\n  name: prod\n# end",
    ),
    (
        "literal",
        "clusters:\n- cluster:\n    certificate-authority-data: |\n    {WRAPPED}\n    server: https://api.test:6443\n  name: prod\n",
    ),
    (
        "literal, stripped, last",
        "clusters:\n- name: prod\n  cluster:\n    server: https://api.test:6443\n    certificate-authority-data: |- # wrapped\n    {WRAPPED}\n\n# end\n",
    ),
    (
        "literal in one line",
        "clusters:\n- cluster:\n    certificate-authority-data: |\n      {CA}\n    server: https://api.test:6443\n  name: prod\n",
    ),
    (
        "folded",
        "clusters:\n- cluster:\n    certificate-authority-data: >-\n      {CA}\n    server: https://api.test:6443\n  name: prod\n",
    ),
    (
        "value on the next line",
        "clusters:\n- cluster:\n    certificate-authority-data:\n      {CA}\n    server: https://api.test:6443\n  name: prod\n",
    ),
    (
        "flow",
        "clusters:\n- {name: prod, cluster: {server: \"https://api.test:6443\", certificate-authority-data: {CA}}}\n",
    ),
    (
        "flow in lines",
        "clusters: [\n  {\n    name: prod, # one\n    cluster: {\n      certificate-authority-data: {CA},\n      server: 'https://api.test:6443',\n    },\n  },\n]\n",
    ),
    (
        "JSON",
        "{\"kind\":\"Config\",\"clusters\":[{\"name\":\"prod\",\"cluster\":{\"server\":\"https://api.test:6443\",\"certificate-authority-data\":\"{CA}\"}}]}",
    ),
    (
        "JSON in lines",
        "{\n  \"clusters\": [\n    {\n      \"name\": \"prod\",\n      \"cluster\": {\n        \"certificate-authority-data\": \"{CA}\",\n        \"server\": \"https://api.test:6443\"\n      }\n    }\n  ]\n}\n",
    ),
    (
        "JSON with tabs",
        "{\n\t\"clusters\": [\n\t\t{\n\t\t\t\"name\": \"prod\",\n\t\t\t\"cluster\": {\n\t\t\t\t\"server\": \"https://api.test:6443\",\n\t\t\t\t\"certificate-authority-data\": \"{CA}\"\n\t\t\t}\n\t\t}\n\t]\n}\n",
    ),
    (
        "document marks",
        "%YAML 1.1\n---\nclusters:\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n  name: prod\n...\n",
    ),
    (
        "unknown fields, other scripts",
        "x-mine: [1, {a: ~}]\nclusters:\n- name: prod\n  x: y\n  cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n    extensions: [{name: „Größe“, extension: {日本: 1}}]\n",
    ),
    (
        "anchors elsewhere",
        "clusters:\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n  name: prod\nusers:\n- name: a\n  user: &u {token: x}\n- name: b\n  user: *u\n",
    ),
    (
        "other clusters beside it",
        "clusters:\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://elsewhere.test:6443\n  name: other\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n  name: prod\n- cluster:\n    insecure-skip-tls-verify: true\n    server: https://api.test:6443\n  name: careless\n- cluster:\n    server: http://api.test:6443\n  name: bare\n",
    ),
    (
        "byte order mark",
        "\u{feff}clusters:\n- cluster:\n    certificate-authority-data: {CA}\n    server: https://api.test:6443\n  name: prod\n",
    ),
];

struct Bench {
    dir: tempfile::TempDir,
    ca_pem: String,
    now: Timestamp,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca_pem = ca(&dir.path().join("tls"), &["api.test", "10.0.0.1"]).certificate_pem().to_owned();
        Self { dir, ca_pem, now: Timestamp::now() }
    }

    fn write(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join("config");
        std::fs::write(&path, content).unwrap();
        path
    }

    fn install(&self, path: &Path) -> Result<Report, TlsError> {
        trust::install(path, &self.ca_pem, &targets(), self.now)
    }

    fn check(&self, path: &Path) -> Report {
        trust::check(path, &self.ca_pem, &targets(), self.now).unwrap()
    }

    fn remove(&self, path: &Path) -> Result<Report, TlsError> {
        trust::remove(path, &self.ca_pem, self.now)
    }

    /// The bundle that should be there after installing beside `own`.
    fn bundle(&self, own: &str) -> String {
        if own.is_empty() { self.ca_pem.clone() } else { format!("{own}\n{}", self.ca_pem) }
    }
}

fn targets() -> Vec<Endpoint> {
    vec![Endpoint { host: name("api.test"), port: 6443 }, Endpoint { host: name("10.0.0.1"), port: 443 }]
}

fn filled(shape: &str, own: &str) -> String {
    let data = STANDARD.encode(own);
    let lines: Vec<_> = data.as_bytes().chunks(28).map(|line| std::str::from_utf8(line).unwrap()).collect();
    shape.replace("{CA}", &data).replace("{WRAPPED}", &format!("  {}", lines.join("\n      ")))
}

fn state(report: &Report, cluster: &str) -> State {
    report.clusters.iter().find(|found| found.name == cluster).unwrap().state.clone()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Installs twice, checks, and removes; every step must do that and no more. Gives the text with our CA in it.
fn round_trip(bench: &Bench, text: &str) -> Result<String, TestCaseError> {
    let path = bench.write(text);
    prop_assert_eq!(state(&bench.check(&path), "prod"), State::Missing);
    let report = bench.install(&path).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(state(&report, "prod"), State::Installed);
    prop_assert_eq!(report.backups.len(), 1);
    prop_assert_eq!(read(&report.backups[0]), text);
    prop_assert_eq!(state(&bench.check(&path), "prod"), State::Present);
    let installed = read(&path);
    let again = bench.install(&path).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!((state(&again, "prod"), again.backups.len()), (State::Present, 0));
    prop_assert_eq!(&read(&path), &installed);
    let removed = bench.remove(&path).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(state(&removed, "prod"), State::Removed);
    prop_assert_eq!(read(&path), text);
    Ok(installed)
}

#[test]
fn every_shape_takes_the_ca_and_gives_it_back() {
    let bench = Bench::new();
    for (shape, text) in SHAPES {
        for text in [filled(text, OWN), filled(text, OWN).replace('\n', "\r\n")] {
            round_trip(&bench, &text).unwrap_or_else(|error| panic!("{shape}: {error}\n{text}"));
        }
    }
}

#[test]
fn every_bundle_takes_the_ca_and_gives_it_back() {
    let bench = Bench::new();
    for own in [OWN.trim_end(), &OWN.replace('\n', "\r\n"), &OWN.repeat(3), &format!("# ours\n{OWN}\n\n")] {
        for (shape, text) in [SHAPES[0], SHAPES[7]] {
            let text = filled(text, own);
            round_trip(&bench, &text).unwrap_or_else(|error| panic!("{shape}: {error}\n{text}"));
        }
    }
}

#[test]
fn a_cluster_without_a_ca_gets_ours_alone() {
    let bench = Bench::new();
    for (shape, text) in SHAPES {
        let entry = ["certificate-authority-data: {CA}", "\"certificate-authority-data\": \"{CA}\""];
        if text.contains('\u{feff}') || text.contains('|') || text.contains('>') {
            continue;
        }
        // Without the entry, by hand: the shapes differ only in what separates it from its neighbours.
        let mut bare =
            text.replace("\n      {CA}", " {CA}").replace("-data':", "-data:").replace("'{CA}'", "{CA}");
        bare = bare.replace("\"certificate-authority-data\":\"{CA}\"", "\"x\":1");
        for entry in entry {
            bare = bare.replace(entry, "x: 1");
        }
        let installed = round_trip(&bench, &bare).unwrap_or_else(|error| panic!("{shape}: {error}\n{bare}"));
        assert!(installed.contains(&STANDARD.encode(&bench.ca_pem)), "{shape}: {installed}");
    }
    for nothing in ["", " ~", " null", " \"\"", " ''"] {
        let text = format!(
            "clusters:\n- name: prod\n  cluster:\n    certificate-authority-data:{nothing}\n    server: https://api.test:6443\n"
        );
        let path = bench.write(&text);
        assert_eq!(state(&bench.install(&path).unwrap(), "prod"), State::Installed, "{nothing:?}");
        assert_eq!(state(&bench.check(&path), "prod"), State::Present, "{nothing:?}: {}", read(&path));
        bench.remove(&path).unwrap();
        assert_eq!(read(&path), "clusters:\n- name: prod\n  cluster:\n    server: https://api.test:6443\n");
    }
}

#[test]
fn kubectl_reads_what_we_wrote() {
    let bench = Bench::new();
    let found = kubectls();
    if found.is_empty() {
        eprintln!("no kubectl in PATH: not checked against its reader");
    }
    for kubectl in [found.first(), found.last()].into_iter().flatten() {
        // Go's YAML knows no byte order mark behind a directive, and no braces of tabs: only shapes it reads at all.
        for (shape, text) in SHAPES {
            let path = bench.write(filled(text, OWN));
            let ca_data = || {
                let view = ["config", "view", "--raw", "-o"];
                let query = "jsonpath={.clusters[?(@.name==\"prod\")].cluster.certificate-authority-data}";
                let output =
                    Command::new(kubectl).args(view).arg(query).env("KUBECONFIG", &path).output().unwrap();
                let said = String::from_utf8(output.stdout).unwrap();
                output.status.success().then_some(said).ok_or(String::from_utf8(output.stderr).unwrap())
            };
            assert_eq!(ca_data(), Ok(STANDARD.encode(OWN)), "{shape} before, {}", kubectl.display());
            bench.install(&path).unwrap();
            assert_eq!(ca_data(), Ok(STANDARD.encode(bench.bundle(OWN))), "{shape}, {}", kubectl.display());
        }
    }
}

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

fn arb_kubeconfig() -> impl Strategy<Value = String> {
    let indent = prop_oneof![Just(1_usize), Just(2), Just(4), Just(7)];
    let data = prop_oneof![
        Just("\n@certificate-authority-data: {CA}"),
        Just("\n@certificate-authority-data:   \"{CA}\"  # ca"),
        Just("\n@'certificate-authority-data' : '{CA}'"),
        Just("\n@certificate-authority-data: |\n@  {CA}"),
        Just("\n\n@# none follows\n@extensions: []"),
    ];
    let server = prop_oneof![
        Just("\n@server: https://api.test:6443"),
        Just("\n@\"server\": \"https://API.test.:6443/\" # it"),
        Just("\n\n@server: 'https://10.0.0.1'\n"),
    ];
    let more = prop_oneof![
        Just(""),
        Just("\n@proxy-url: ~"),
        Just("\n@extensions:\n@- name: é\n@  extension: {a: [1]}")
    ];
    let order = Just(vec![0, 1, 2]).prop_shuffle();
    let own = prop_oneof![Just(OWN.to_owned()), Just(OWN.trim_end().to_owned()), Just(OWN.repeat(2))];
    let (others, crlf) = (0..4_usize, any::<bool>());
    (indent, data, server, more, order, own, others, crlf).prop_map(
        |(indent, data, server, more, order, own, others, crlf)| {
            let blank = " ".repeat(indent);
            let body: String = order.into_iter().map(|part| [data, server, more][part]).collect();
            let prod = format!(
                "-{blank}name: prod\n {blank}cluster:{}\n",
                body.replace('@', &format!(" {blank}{blank}"))
            );
            let other =
                format!("-{blank}name: other\n {blank}cluster: {{server: 'https://elsewhere.test'}}\n");
            let text =
                format!("clusters:\n{}{prod}{}", other.repeat(others / 2), other.repeat(others - others / 2));
            let text = filled(&text, &own);
            if crlf { text.replace('\n', "\r\n") } else { text }
        },
    )
}

#[test]
fn any_layout_is_given_back_as_it_was() {
    let bench = Bench::new();
    runner().run(&arb_kubeconfig(), |text| round_trip(&bench, &text).map(drop)).unwrap();
}

#[test]
fn no_text_makes_us_lose_it() {
    let piece = "([a-z:{}\\[\\]\"'|>&*!#?, \t\r\n-]|clusters:\n|- cluster:\n|    server: https://api.test:6443\n){0,40}";
    let bench = Bench::new();
    let leave_or_restore = |text: String| {
        let path = bench.write(&text);
        if bench.install(&path).is_ok() {
            bench.remove(&path).unwrap();
        }
        prop_assert_eq!(read(&path), text);
        Ok(())
    };
    runner().run(&piece, leave_or_restore).unwrap();
}

/// Few cases: each syncs a dozen files to disk.
fn runner() -> TestRunner {
    TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() })
}
