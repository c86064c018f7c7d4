//! port-forward: whatever both sides send, the tap neither panics nor depends on how it was sliced, and where it stands
//! at a boundary an ending fits. The first byte chooses the protocol; then each byte gives a side (lowest bit) and how
//! many of the following bytes it sends.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use portcullis_kube::Status;
use portcullis_kube::stream::{PortEvent, PortForwardProtocol, PortForwardTap, Side};

fuzz_target!(|data: &[u8]| {
    let Some((first, mut rest)) = data.split_first() else { return };
    let protocol = || match first % 4 {
        0 => PortForwardProtocol::Spdy,
        1 => PortForwardProtocol::SpdyInWebSocket,
        n => PortForwardProtocol::Channels { base64: n == 3, ports: vec![8080, 443] },
    };
    let mut sent = Vec::new();
    while let Some((head, tail)) = rest.split_first() {
        let side = if head & 1 == 1 { Side::Client } else { Side::Server };
        let (bytes, tail) = tail.split_at(usize::from(head >> 1).min(tail.len()));
        sent.push((side, bytes));
        rest = tail;
    }
    assert_eq!(decode(protocol(), &sent, usize::MAX), decode(protocol(), &sent, 1));
});

type Said = BTreeMap<(u32, u16, Option<Side>), Vec<u8>>;

/// What was said, joined by connection and sender (none for errors); nothing if any of it is faulty.
fn decode(protocol: PortForwardProtocol, sent: &[(Side, &[u8])], size: usize) -> Option<(Vec<String>, Said)> {
    let mut tap = PortForwardTap::new(protocol);
    let (mut others, mut said) = (Vec::new(), Said::new());
    for (side, bytes) in sent {
        for slice in bytes.chunks(size) {
            let outcome = tap.feed(*side, slice, &mut |event| match event {
                PortEvent::Data { port, request, from, bytes } => {
                    said.entry((request, port, Some(from))).or_default().extend(bytes);
                }
                PortEvent::Error { port, request, text } => {
                    said.entry((request, port, None)).or_default().extend(text);
                }
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
