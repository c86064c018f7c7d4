//! exec and attach: whatever both sides send, the tap neither panics nor depends on how it was sliced, and where it
//! stands at a boundary an ending fits. The first byte chooses the protocol; then each byte gives a side (lowest bit)
//! and how many of the following bytes it sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_kube::Status;
use portcullis_kube::stream::{Protocol, RemoteCommandTap, Side, StreamEvent, Version};

const PROTOCOLS: [Protocol; 6] = [
    Protocol::Spdy(Version::V4),
    Protocol::Spdy(Version::V1),
    Protocol::WebSocket { version: Version::V5, base64: false },
    Protocol::WebSocket { version: Version::V4, base64: false },
    Protocol::WebSocket { version: Version::V4, base64: true },
    Protocol::WebSocket { version: Version::V1, base64: true },
];

fuzz_target!(|data: &[u8]| {
    let Some((first, mut rest)) = data.split_first() else { return };
    let protocol = PROTOCOLS[usize::from(*first) % PROTOCOLS.len()];
    let mut sent = Vec::new();
    while let Some((head, tail)) = rest.split_first() {
        let side = if head & 1 == 1 { Side::Client } else { Side::Server };
        let (bytes, tail) = tail.split_at(usize::from(head >> 1).min(tail.len()));
        sent.push((side, bytes));
        rest = tail;
    }
    assert_eq!(decode(protocol, &sent, usize::MAX), decode(protocol, &sent, 1));
});

/// What was said, joined by channel; nothing if any of it is faulty.
fn decode(protocol: Protocol, sent: &[(Side, &[u8])], size: usize) -> Option<(Vec<String>, [Vec<u8>; 3])> {
    let mut tap = RemoteCommandTap::new(protocol, false);
    let (mut others, mut said) = (Vec::new(), <[Vec<u8>; 3]>::default());
    for (side, bytes) in sent {
        for slice in bytes.chunks(size) {
            let outcome = tap.feed(*side, slice, &mut |event| match event {
                StreamEvent::Stdin(bytes) => said[0].extend(bytes),
                StreamEvent::Stdout(bytes) => said[1].extend(bytes),
                StreamEvent::Stderr(bytes) => said[2].extend(bytes),
                other => others.push(format!("{other:?}")),
            });
            if outcome.is_err() {
                return None; // How much was told before the fault, and which of two is met first, depends on the slices.
            }
            assert_eq!(tap.at_boundary(Side::Server), tap.ending(&Status::forbidden("over")).is_ok());
        }
    }
    Some((others, said))
}
