//! Memory does not grow with what is masked. One test alone in its process, for the process is what is measured.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

use std::fs;
use std::io::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use portcullis_mask::{BodyMasker, Detectors, JsonMasker, Profile, TerminalMasker, TextMasker};

use support::{key, profile};

const MIB: usize = 1024 * 1024;
const LIMIT: usize = 4 * MIB;
/// More than may be used: keeping the whole would show.
const TOTAL: usize = LIMIT + MIB;

const ANNOTATION: &[u8] =
    br#"{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":""#;

#[test]
fn four_mib_are_enough_for_any_document() {
    // The largest copy that is read, made of values each shorter than its placeholder.
    let values = br#",\"\":\"a\""#;
    let copy = [ANNOTATION, br#"{\"data\":{\"\":1"#, &values.repeat(256 * 1024 / 8), br#"}}"}}}"#].concat();
    let rules = Profile::default().for_unknown();
    let opening = profile(
        "defaults: {helmReleases: open}\nrules: [{resources: [secrets], mask: ['**.dropped'], how: drop}]",
    );
    let opening = opening.for_request("", "secrets", "").unwrap();
    let release = release();
    let before = peak();

    for (name, total, head, repeated) in [
        ("a long value", TOTAL, &b"{\"data\":{\"a\":\""[..], &b"QUFB"[..]),
        ("a long string", TOTAL, b"{\"a\":\"", b"xyz\\n"),
        ("a long key", TOTAL, b"{\"", b"key "),
        ("a long annotation", TOTAL, ANNOTATION, b"{\\\"a\\\":"),
        ("a long value that is no string", TOTAL, b"{\"data\":{\"a\":[0", b",{\"a\":1}"),
        // Nine times as much comes out of these.
        ("many short values", MIB, b"{\"data\":{\"\":1", b",\"\":\"a\""),
        ("many objects", MIB, b"", b"{\"data\":{\"a\":\"b\"}}\n"),
    ] {
        let mut masker = JsonMasker::new(Arc::clone(&rules), &key());
        let mut out = Vec::new();
        let chunk = repeated.repeat(16 * 1024 / repeated.len());
        masker.push(head, &mut out).unwrap();
        for _ in 0..total / chunk.len() {
            out.clear();
            masker.push(&chunk, &mut out).unwrap();
        }
        drop(masker);
        assert_grown_little(before, name);
    }

    let detectors = Arc::new(Detectors::default());
    for (name, head, repeated) in [
        ("a long secret", &b"password="[..], &b"x1"[..]),
        ("a long key", b"-----BEGIN PRIVATE KEY-----\n", b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n"),
        ("what could be a secret, again and again", b"", b"://u:p token: eyJ "),
        ("a long control sequence", b"ghp_\x1b[", b"1;"),
        ("many control sequences inside a secret", b"password=x", b"\x1b[1my"),
    ] {
        let mut text = TextMasker::new(Arc::clone(&detectors), &key());
        let mut terminal = TerminalMasker::new(Arc::clone(&detectors), &key());
        let mut out = Vec::new();
        let chunk = repeated.repeat(16 * 1024 / repeated.len());
        text.push(head, &mut out);
        terminal.push(head, &mut out);
        for _ in 0..TOTAL / chunk.len() {
            out.clear();
            text.push(&chunk, &mut out);
            terminal.push(&chunk, &mut out);
        }
        drop((text, terminal));
        assert_grown_little(before, name);
    }

    // A bomb, all of which is there to be seen in one push.
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..TOTAL / 1024 {
        packer.write_all(&[b' '; 1024]).unwrap();
    }
    let bomb = packer.finish().unwrap();
    let mut out = Vec::new();
    let mut masker = BodyMasker::new("application/json", "gzip", Arc::clone(&rules), &key()).unwrap();
    masker.push(&bomb, &mut out).unwrap();
    masker.finish(&mut out).unwrap();
    assert_grown_little(before, "a bomb");
    drop((masker, bomb, out));

    let mut out = Vec::new();
    let mut masker = JsonMasker::new(Arc::clone(&rules), &key());
    for chunk in copy.chunks(16 * 1024) {
        out.clear();
        masker.push(chunk, &mut out).unwrap();
    }
    masker.finish(&mut out).unwrap();
    assert_grown_little(before, "a copy that grows");

    for (name, total, head, repeated) in [
        ("white space between fields", TOTAL, &b"{\"a\":1"[..], &b"    "[..]),
        ("a long name of what may be dropped", TOTAL, b"{\"", b"name"),
        ("fields that are dropped", TOTAL, b"{\"a\":1", b",\"dropped\":{\"a\":1}"),
    ] {
        let mut masker = JsonMasker::new(Arc::clone(&opening), &key());
        masker.push(head, &mut out).unwrap();
        let chunk = repeated.repeat(16 * 1024 / repeated.len());
        for _ in 0..total / chunk.len() {
            out.clear();
            masker.push(&chunk, &mut out).unwrap();
        }
        assert_grown_little(before, name);
    }

    let mut masker = JsonMasker::new(opening, &key());
    let (mut most, mut gone) = (0, Vec::new());
    for chunk in release.chunks(16 * 1024) {
        masker.push(chunk, &mut gone).unwrap();
        most = most.max(gone.len());
        gone.clear();
    }
    assert!(most > MIB / 2, "it was opened");
    assert_grown_little(before, "a release as large as may be");
}

/// A Secret with a release in it that is nearly as large as may be.
fn release() -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(br#"{"chart":{"files":""#).unwrap();
    let mut dice: u64 = 1;
    while packer.get_ref().len() < 700 * 1024 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        packer.write_all(format!("{dice:016x}").as_bytes()).unwrap();
    }
    packer.write_all(br#""},"config":{"a":"b"}}"#).unwrap();
    let release = STANDARD.encode(STANDARD.encode(packer.finish().unwrap()));
    format!(r#"{{"data":{{"release":"{release}"}}}}"#).into_bytes()
}

fn assert_grown_little(before: usize, by: &str) {
    let grown = peak() - before;
    assert!(grown <= LIMIT, "{by}: {} KiB more", grown / 1024);
}

/// The most memory this process ever had resident, in bytes (`VmHWM` in proc_pid_status(5)).
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
