//! Sessions that were captured, and the seeds of the fuzz targets.

use std::path::Path;

use portcullis_kube::stream::{
    PortForwardProtocol, PortForwardRewriter, Protocol, RemoteCommandRewriter, Session as _, Side,
    StreamError,
};

use crate::support::{Forwards, Session, Transcript, fixtures, fuzzed, text};
use crate::{maskers, masking};

/// What came out of a rewriter: the server's side, and what was told of it.
#[derive(Default)]
struct Rewritten {
    out: Vec<u8>,
    told: Transcript,
}

fn command(session: &Session) -> RemoteCommandRewriter {
    let protocol = Protocol::negotiated(&session.upgrade, session.subprotocol.as_deref()).unwrap();
    RemoteCommandRewriter::new(protocol, session.tty(), maskers())
}

fn ports(session: &Session) -> PortForwardRewriter {
    PortForwardRewriter::new(ports_protocol(session), Some(masking()))
}

fn ports_protocol(session: &Session) -> PortForwardProtocol {
    let subprotocol = session.subprotocol.as_deref();
    PortForwardProtocol::negotiated(&session.upgrade, subprotocol, &session.target).unwrap()
}

fn bytes_of(session: &Session, of: Side) -> Vec<u8> {
    session.reads.iter().filter(|(side, _)| *side == of).flat_map(|(_, bytes)| bytes.clone()).collect()
}

/// Without maskers nothing changes, however it is sliced.
#[test]
fn without_maskers_bytes_are_the_same() {
    for (name, _, sessions) in fixtures() {
        for session in sessions.iter().filter(|_| !name.contains("fragmented")) {
            for size in [1, 7, 1 << 20] {
                let mut outs = [Vec::new(), Vec::new()];
                if session.is_port_forward() {
                    let mut rewriter = PortForwardRewriter::new(ports_protocol(session), None);
                    for (side, slice) in session.slices(size) {
                        rewriter.feed(side, slice, &mut outs[side as usize], &mut |_| {}).unwrap();
                    }
                } else {
                    let protocol = Protocol::negotiated(&session.upgrade, session.subprotocol.as_deref());
                    let mut rewriter = RemoteCommandRewriter::new(protocol.unwrap(), session.tty(), None);
                    for (side, slice) in session.slices(size) {
                        rewriter.feed(side, slice, &mut outs[side as usize], &mut |_| {}).unwrap();
                    }
                }
                assert_eq!(outs[0], bytes_of(session, Side::Client), "{name}");
                assert_eq!(outs[1], bytes_of(session, Side::Server), "{name}");
            }
        }
    }
}

fn replay(session: &Session, size: usize) -> Result<Rewritten, StreamError> {
    let mut rewriter = command(session);
    let Rewritten { mut out, mut told } = Rewritten::default();
    for (side, slice) in session.slices(size) {
        let mut up = Vec::new();
        let to = if side == Side::Client { &mut up } else { &mut out };
        rewriter.feed(side, slice, to, &mut |said| told.hear(said))?;
        assert_eq!(
            up,
            if side == Side::Client { slice } else { b"" },
            "what the client sends passes as it is"
        );
    }
    rewriter.finish(&mut out, &mut |said| told.hear(said))?;
    Ok(Rewritten { out, told })
}

#[test]
fn captured_commands_stay_what_they_are() {
    let (mut checked, mut identical) = (0, 0);
    for (name, _, sessions) in fixtures() {
        for session in sessions.iter().filter(|s| !s.is_port_forward() && !name.contains("fragmented")) {
            let expected = session.replay(1).unwrap();
            let came: Vec<u8> = bytes_of(session, Side::Server);
            for size in [1, 3, 100, 1 << 20] {
                let Rewritten { out, told } = replay(session, size).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(told, expected, "{name} in slices of {size}");
                // In whole reads frames come whole, but for those of one long answer.
                identical += usize::from(size == 1 << 20 && out == came);
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 64);
    assert_eq!(identical, 63, "byte for byte");
}

#[test]
fn captured_port_forwards_stay_what_they_are() {
    let mut checked = 0;
    for (name, _, sessions) in fixtures() {
        for session in sessions.iter().filter(|s| s.is_port_forward()) {
            let mut expected = session.replay_ports(1).unwrap();
            // Answers are asked for uncompressed; that is all that changes.
            for forward in expected.0.values_mut() {
                forward.sent = text(&forward.sent)
                    .replace("Accept-Encoding: gzip\r\n", "Accept-Encoding: identity\r\n")
                    .into_bytes();
            }
            for size in [1, 2, 7, 100, 1 << 20] {
                let mut rewriter = ports(session);
                let (mut told, mut outs) = (Forwards::default(), [Vec::new(), Vec::new()]);
                for (side, slice) in session.slices(size) {
                    let out = &mut outs[side as usize];
                    rewriter.feed(side, slice, out, &mut |said| told.hear(said)).unwrap();
                }
                assert_eq!(told, expected, "{name} in slices of {size}");
                // What went out can be read by itself.
                let mut tap = session.port_tap();
                tap.feed(Side::Client, &outs[0], &mut |_| {}).unwrap();
                tap.feed(Side::Server, &outs[1], &mut |_| {}).unwrap();
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 14);
}

/// The seeds of the fuzz targets, without a fuzzer.
#[test]
fn fuzzed_seeds() {
    for (target, check) in
        [("rewrite_command", fuzzed::command as fn(&[u8])), ("rewrite_ports", fuzzed::ports)]
    {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
        let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|seed| seed.unwrap().path()).collect();
        assert!(seeds.len() >= 6, "{target}");
        for seed in seeds {
            let seed = std::fs::read(seed).unwrap();
            (0..seed.len()).step_by(7).chain([seed.len()]).for_each(|end| check(&seed[..end]));
        }
    }
}
