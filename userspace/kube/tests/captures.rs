//! Every exec, attach, cp, debug, run and port-forward that was captured between real clients and a real API server,
//! replayed through the taps in slices of several sizes, and checked against what the client printed and returned.
//!
//! `fixtures/` holds one file per command: a line with the command and the client's outcome, then, for each upgraded
//! connection, a line with the request and the negotiated protocol and one line for every read of the relay.

mod support;

use portcullis_kube::Status;
use portcullis_kube::stream::{Channel, PortEvent, Side, StreamError};
use support::{Command, Outcome, Session, Transcript, fixtures, text};

/// Bytes fed at a time; the last is more than any read was long.
const SLICES: [usize; 5] = [1, 2, 7, 100, 1 << 20];

#[test]
fn exec_and_attach_say_what_the_client_printed() {
    let mut checked = 0;
    for (name, Command { command, client }, sessions) in fixtures() {
        if name.starts_with("ws-") {
            continue;
        }
        for session in sessions.iter().filter(|s| !s.is_port_forward()) {
            let seen = session.replay(SLICES[0]).unwrap_or_else(|e| panic!("{name}: {e}"));
            for size in SLICES {
                assert_eq!(session.replay(size).unwrap(), seen, "{name} in slices of {size}");
            }
            check_output(&name, &command, &client, session, &seen);
            // cp-to asks whether the target is a folder first, and is told by exit code 1.
            if !command.contains(" cp ") {
                check_exit(&name, &command, &client, &seen);
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 56);
}

fn check_output(name: &str, command: &str, client: &Outcome, session: &Session, seen: &Transcript) {
    if let Some(terminal) = &client.terminal {
        assert!(terminal.contains(text(&seen.stdout)), "{name}: {:?} in {terminal:?}", text(&seen.stdout));
        assert_eq!(seen.stderr, b"", "{name}: a terminal has one output");
        assert!(!seen.stdin.is_empty() && seen.sizes.contains(&(80, 24)), "{name}: {seen:?}");
        if command.contains("exec -it") {
            assert!(seen.sizes.contains(&(120, 40)), "{name}: resized to {:?}", seen.sizes);
            assert!(text(&seen.stdin).ends_with("exit 3\n"), "{name}: {:?}", text(&seen.stdin));
        }
        return;
    }
    assert_eq!(seen.sizes, [], "{name}: no terminal, no size");
    if command.contains(" cp ") {
        let (tar, archive) =
            if session.target.contains("command=cf") { ("cf", &seen.stdout) } else { ("xmf", &seen.stdin) };
        let is_tar = session.target.contains("command=tar");
        assert_eq!(
            is_tar,
            archive.get(257..262) == Some(b"ustar"),
            "{name}: tar {tar} of {} bytes",
            archive.len()
        );
        return;
    }
    if name.ends_with("exec-64k") {
        assert!(client.stdout.ends_with("...[65536 in all]"), "the capture cuts at 6,000");
        assert_eq!(seen.stdout, [b'x'; 65536], "{name}");
    } else if client.rc == Some(-2) {
        assert!(text(&seen.stdout).starts_with(&client.stdout), "{name}: killed while reading");
    } else {
        assert_eq!(text(&seen.stdout), client.stdout, "{name}");
    }
    if command.contains("attach") {
        assert!(client.stderr.contains(text(&seen.stderr)), "{name}");
    } else {
        assert!(client.stderr.starts_with(text(&seen.stderr)), "{name}: {:?}", text(&seen.stderr));
    }
    if command.contains("exec -i ") {
        assert_eq!(seen.stdin, seen.stdout, "{name}: cat");
        assert!(seen.closed.contains(&Channel::Stdin), "{name}: half-closed");
    }
}

fn check_exit(name: &str, command: &str, client: &Outcome, seen: &Transcript) {
    let shown = client.terminal.as_ref().unwrap_or(&client.stderr);
    match &seen.exit {
        Some((Some(code), message)) => {
            assert_eq!(client.rc, Some(*code), "{name}");
            assert!(
                *code == 0 || shown.contains(&format!("command terminated with exit code {code}")),
                "{name}"
            );
            assert_eq!(message.is_empty(), *code == 0, "{name}: {message}");
        }
        Some((None, message)) => {
            assert_eq!(client.rc, Some(1), "{name}");
            assert!(shown.contains(message), "{name}: {message:?} in {shown:?}");
        }
        None => {
            assert!(command.contains(" attach ") && client.rc != Some(0), "{name}: the client was killed");
        }
    }
}

#[test]
fn websocket_forms_that_kubectl_does_not_use() {
    let mut checked = 0;
    for (name, _, sessions) in fixtures() {
        if !name.starts_with("ws-exec") {
            continue;
        }
        let [session] = &sessions[..] else { panic!("{name}: one connection") };
        checked += 1;
        if name == "ws-exec-fragmented" {
            // The real server lost the second fragment, so what a tap joined would be no evidence.
            for size in SLICES {
                assert!(matches!(session.replay(size), Err(StreamError::Fragmented)));
            }
            continue;
        }
        let seen = session.replay(SLICES[0]).unwrap_or_else(|e| panic!("{name}: {e}"));
        for size in SLICES {
            assert_eq!(session.replay(size).unwrap(), seen, "{name} in slices of {size}");
        }
        println!("{name}: {seen:?}");
        assert!(!seen.stdout.is_empty(), "{name}");
    }
    assert_eq!(checked, 9);
}

#[test]
fn port_forwards_say_what_went_through() {
    let mut checked = 0;
    for (name, Command { client, .. }, sessions) in fixtures() {
        for session in sessions.iter().filter(|s| s.is_port_forward()) {
            let seen = session.replay_ports(SLICES[0]).unwrap_or_else(|e| panic!("{name}: {e}"));
            for size in SLICES {
                assert_eq!(session.replay_ports(size).unwrap(), seen, "{name} in slices of {size}");
            }
            checked += 1;
            if client.rc.is_some() {
                assert_eq!(client.stdout.matches("Handling connection").count(), seen.0.len(), "{name}");
            }
            for forward in seen.0.values() {
                let what = format!("{name}: {forward:?}");
                assert!(forward.opened, "{what}");
                if name.contains("refused") {
                    assert_eq!(forward.port, 9999, "{what}");
                    // Newer versions quote it in a log line.
                    let (error, printed) = (text(&forward.error), client.stderr.replace("\\\"", "\""));
                    assert!(error.contains("connection refused") && printed.contains(error), "{what}");
                } else {
                    assert_eq!(forward.port, 8080, "{what}");
                    assert!(forward.error.is_empty() && forward.sent.starts_with(b"GET / HTTP/1."), "{what}");
                    assert!(forward.received.starts_with(b"HTTP/1.1 200 OK\r\n"), "{what}");
                }
                if !name.starts_with("ws-") {
                    assert!(forward.closed.contains(&Side::Client), "{what}");
                }
            }
        }
    }
    assert_eq!(checked, 14);
}

#[test]
fn sessions_can_be_ended_at_every_boundary() {
    let status = Status::forbidden("grant g-1 was revoked: done for today");
    let mut endings = 0;
    for (name, _, sessions) in fixtures() {
        for session in sessions.iter().filter(|s| !s.is_port_forward() && !name.contains("fragmented")) {
            for cut in 0..session.reads.len() {
                let mut tap = session.tap();
                let (mut seen, mut told) = (Transcript::default(), false);
                for (side, slice) in &session.reads[..cut] {
                    tap.feed(*side, slice, &mut |event| seen.note(event)).unwrap();
                    told |= seen.exit.is_some();
                }
                let Ok(ending) = tap.ending(&status) else {
                    assert!(!tap.at_boundary(Side::Server));
                    continue;
                };
                if told {
                    continue;
                }
                endings += 1;
                let mut end = Transcript::default();
                tap.feed(Side::Server, &ending, &mut |event| end.note(event)).unwrap();
                // Before its streams are open, a SPDY session has nowhere to say it.
                if let Some(exit) = end.exit {
                    assert_eq!(exit, (None, status.message.clone()), "{name}");
                } else {
                    assert!(
                        session.upgrade == "SPDY/3.1" && !seen.closed.contains(&Channel::Stdout),
                        "{name}"
                    );
                }
                let output = if session.tty() { &end.stdout } else { &end.stderr };
                assert!(output.is_empty() || text(output).contains(&status.message), "{name}");
            }
        }
    }
    println!("{endings} endings");
    assert!(endings > 500);
}

#[test]
fn port_forwards_can_be_ended_at_every_boundary() {
    let status = Status::forbidden("grant g-1 has expired");
    let mut told = 0;
    for (name, _, sessions) in fixtures() {
        for session in sessions.iter().filter(|s| s.is_port_forward()) {
            for cut in 0..session.reads.len() {
                let mut tap = session.port_tap();
                for (side, slice) in &session.reads[..cut] {
                    tap.feed(*side, slice, &mut |_| {}).unwrap();
                }
                let Ok(ending) = tap.ending(&status) else {
                    assert!(!tap.at_boundary(Side::Server));
                    continue;
                };
                tap.feed(Side::Server, &ending, &mut |event| {
                    if let PortEvent::Error { text, .. } = event {
                        assert_eq!(text, status.message.as_bytes(), "{name}");
                        told += 1;
                    }
                })
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            }
        }
    }
    println!("{told} connections were told why");
    assert!(told > 50);
}
