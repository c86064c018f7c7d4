//! The rewriters: what they give means the same as what they took, and is the same where nothing is masked; what is to
//! be hidden is, wherever frames and reads cut it; nothing that a command printed comes after its exit status.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod captured;
mod commands;
mod messages;
mod ports;
#[path = "../support/mod.rs"]
mod support;
mod taken;

use std::collections::BTreeSet;

use portcullis_kube::stream::{Masker, PortRewriting};
use support::needle::Needle;

fn maskers() -> Option<[Box<dyn Masker>; 2]> {
    Some([Needle::longer(), Needle::longer()])
}

fn masking() -> PortRewriting {
    PortRewriting { make: Some(Box::new(Needle::same)), key: || [1, 2, 3, 4], taken: BTreeSet::new() }
}

fn has(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
