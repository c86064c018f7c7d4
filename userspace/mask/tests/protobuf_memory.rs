//! Protobuf is held whole, and what that takes has a bound. One test alone in its process, for the process is what is
//! measured.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

#[path = "support/protobuf.rs"]
mod codec;
mod support;

use std::fs;

use codec::put;
use portcullis_mask::{MaskError, PROTOBUF_LIMIT, Profile, ProtobufMasker};
use support::key;

/// The body, what is to be changed in it, and what comes of the two, with the room that buffers grow into.
const BOUND: usize = 6 * PROTOBUF_LIMIT;

#[test]
fn memory_is_bounded() {
    let rules = Profile::default().for_request("", "secrets", "").unwrap();
    let entry = |value: &[u8]| field(2, &[field(1, b"a"), field(2, value)].concat());
    let many_values = |value: &[u8]| {
        let item = field(2, &entry(value).repeat(10));
        item.repeat((PROTOBUF_LIMIT - 1000) / item.len())
    };
    let bodies = [
        ("one value", field(2, &entry(&vec![b'x'; PROTOBUF_LIMIT - 1000])), true),
        ("many values", many_values(&[b'x'; 100]), true),
        ("short values", many_values(b"x"), false),
    ];
    for (name, body, fits) in bodies {
        let body = enveloped(&body);
        let before = peak();
        let mut masker = ProtobufMasker::object(std::sync::Arc::clone(&rules), &key());
        let mut out = Vec::new();
        for chunk in body.chunks(16 * 1024) {
            masker.push(chunk, &mut out).unwrap();
        }
        match masker.finish(&mut out) {
            Err(MaskError::TooLarge { .. }) if !fits => assert!(out.is_empty()),
            outcome => assert!(outcome.is_ok() && fits, "{name}: {outcome:?}"),
        }
        let grown = peak() - before;
        assert!(grown <= BOUND, "{name}: {} KiB more", grown / 1024);
    }
}

fn enveloped(list: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, b"SecretList")].concat();
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, list)].concat()
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(number, bytes, &mut out);
    out
}

/// The most memory this process ever had resident, in bytes (`VmHWM` in proc_pid_status(5)).
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
