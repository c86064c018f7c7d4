//! Kubeconfigs in many layouts: our CA goes in, kubectl reads it, and it comes out again without a trace.

mod support;

use std::process::Command;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis_tls::trust::State;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use support::{
    kubeconfig::{Bench, OWN, SHAPES, filled, read, state},
    kubectls,
};

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
    TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() })
}
