//! What has to hold for rewriters whatever both sides send. Used by the fuzz targets, and for their corpora here.
//!
//! The first byte chooses the protocol; then each byte gives a side (lowest bit) and how many of the following bytes it
//! sends.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_kube::Status;
use portcullis_kube::stream::{
    PortEvent, PortForwardProtocol, PortForwardRewriter, PortRewriting, Protocol, RemoteCommandRewriter,
    Said, Session, Side, StreamEvent, Version,
};

use super::needle::{NEEDLE, Needle};

const PROTOCOLS: [Protocol; 6] = [
    Protocol::Spdy(Version::V4),
    Protocol::Spdy(Version::V1),
    Protocol::WebSocket { version: Version::V5, base64: false },
    Protocol::WebSocket { version: Version::V4, base64: false },
    Protocol::WebSocket { version: Version::V4, base64: true },
    Protocol::WebSocket { version: Version::V1, base64: true },
];

/// An exec: what is told does not depend on the slices, and the needle is in none of it.
pub fn command(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let protocol = PROTOCOLS[usize::from(*first) % PROTOCOLS.len()];
    let make =
        || Box::new(RemoteCommandRewriter::new(protocol, false, Some([Needle::longer(), Needle::longer()])));
    let whole = run(make(), &sent(rest), usize::MAX);
    assert_eq!(whole, run(make(), &sent(rest), 1));
    let outputs = whole.iter().flat_map(|(_, said)| said).filter(|(of, _)| of.starts_with("std"));
    for (of, bytes) in outputs.filter(|(of, _)| *of != "stdin") {
        assert!(!bytes.windows(NEEDLE.len()).any(|window| window == NEEDLE), "{of}");
    }
}

/// A port-forward: what the client says does not depend on the slices. (Chunks of answers are cut by them.) What is said on
/// a connection that is taken out is told as nothing else.
pub fn ports(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let protocol = || match first % 4 {
        0 => PortForwardProtocol::Spdy,
        1 => PortForwardProtocol::SpdyInWebSocket,
        n => PortForwardProtocol::Channels { base64: n == 3, ports: vec![8080, 443] },
    };
    let taken: BTreeSet<u16> = (first & 4 != 0).then_some(8080).into_iter().collect();
    let make = || {
        let rewriting =
            PortRewriting { make: Some(Box::new(Needle::same)), key: || [1, 2, 3, 4], taken: taken.clone() };
        Box::new(PortForwardRewriter::new(protocol(), Some(rewriting)))
    };
    let of_client = |whole: Option<Told>| {
        whole.map(|(others, mut said)| {
            said.retain(|of, _| !of.starts_with("server"));
            (others, said)
        })
    };
    let whole = run(make(), &sent(rest), usize::MAX);
    let passed = whole.iter().flat_map(|(_, said)| said.keys()).filter(|of| !of.starts_with("error"));
    for of in passed {
        assert_eq!(taken.iter().any(|port| of.ends_with(&port.to_string())), of.starts_with("taken"), "{of}");
    }
    assert_eq!(of_client(whole), of_client(run(make(), &sent(rest), 1)));
}

fn sent(mut rest: &[u8]) -> Vec<(Side, &[u8])> {
    let mut sent = Vec::new();
    while let Some((head, tail)) = rest.split_first() {
        let side = if head & 1 == 1 { Side::Client } else { Side::Server };
        let (bytes, tail) = tail.split_at(usize::from(head >> 1).min(tail.len()));
        sent.push((side, bytes));
        rest = tail;
    }
    sent
}

/// What was told: data joined by where it belongs, and everything else in order.
type Told = (Vec<String>, BTreeMap<String, Vec<u8>>);

/// Nothing if any of it is faulty: how much is told before a fault, and which of two is met first, depends on the slices.
fn run(mut session: Box<dyn Session>, sent: &[(Side, &[u8])], size: usize) -> Option<Told> {
    let (mut others, mut said) = (Vec::new(), BTreeMap::<String, Vec<u8>>::new());
    let mut failed = false;
    let mut out = Vec::new();
    for (side, bytes) in sent {
        for slice in bytes.chunks(size) {
            out.clear();
            failed |= session
                .feed(*side, slice, &mut out, &mut |event| note(event, &mut others, &mut said))
                .is_err();
        }
    }
    out.clear();
    let over = Status::forbidden("over");
    let ended = session.ending(&over, &mut out, &mut |event| note(event, &mut others, &mut said));
    let closed = matches!(ended, Err(portcullis_kube::stream::StreamError::InsideFrame));
    assert!(failed || ended.is_ok() || closed);
    (!failed).then_some((others, said))
}

fn note(said: Said<'_>, others: &mut Vec<String>, data: &mut BTreeMap<String, Vec<u8>>) {
    let (of, bytes) = match said {
        Said::Command(StreamEvent::Stdin(bytes)) => ("stdin".to_owned(), bytes),
        Said::Command(StreamEvent::Stdout(bytes)) => ("stdout".to_owned(), bytes),
        Said::Command(StreamEvent::Stderr(bytes)) => ("stderr".to_owned(), bytes),
        Said::Port(PortEvent::Data { port, request, from, bytes }) => {
            let side = if from == Side::Client { "client" } else { "server" };
            (format!("{side} {request} {port}"), bytes)
        }
        Said::Port(PortEvent::Taken { port, request, from, bytes, last }) => {
            if last {
                others.push(format!("{from:?} {request} {port} ends"));
            }
            (format!("taken from {from:?} {request} {port}"), bytes)
        }
        Said::Port(PortEvent::Error { port, request, text }) => (format!("error {request} {port}"), text),
        other => return others.push(format!("{other:?}")),
    };
    data.entry(of).or_default().extend_from_slice(bytes);
}
