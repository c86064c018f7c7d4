//! What has to hold for the rewriter of port-forward, see `userspace/kube/tests/support/fuzzed.rs`.
#![no_main]

#[path = "../../../userspace/kube/tests/support/fuzzed.rs"]
mod fuzzed;
#[path = "../../../userspace/kube/tests/support/needle.rs"]
mod needle;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzzed::ports(data));
