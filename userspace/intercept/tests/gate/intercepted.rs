//! What comes through the gate, and who the daemon is told it is.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;

use portcullis_identity::{AttestError, Attestor, CgroupId, Gid, OriginalDst, Pid, Uid};
use portcullis_intercept::Counter;

use super::engineer::{Engineer, Guise, How};
use super::world::{self, UID, World};

#[test]
fn every_way_to_connect_is_redirected_and_attested() {
    let (world, gate) = World::gated();
    let mut engineer = world.engineer();
    let cgroup = CgroupId(world.cgroup.join("engineers").metadata().unwrap().ino());
    let ways = How::ALL.map(|how| (how, world.target4())).into_iter();
    let v6 = How::ALL.into_iter().filter(|&how| how != How::Mapped).map(|how| (how, world.target6()));
    for (how, to) in ways.chain(v6) {
        let case = format!("{how:?} to {to}");
        let connected = engineer.connect(how, to).unwrap_or_else(|error| panic!("{case}: {error}"));
        let (mut stream, attestation) = world.accept(&gate);
        let attestation = attestation.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(attestation.uid, Uid(UID), "{case}");
        assert_eq!(attestation.gid, Gid(UID), "{case}");
        assert_eq!(attestation.pid, Pid(engineer.pid), "{case}");
        assert_eq!(attestation.cgroup, cgroup, "{case}");
        assert_eq!(attestation.original_dst, OriginalDst(to), "{case}");
        assert_eq!(canonical(connected.local), attestation.peer, "{case}");
        // The record is on the subflow, and getpeername asks the multipath socket above it.
        let shown = if how == How::Mptcp { world.config.listen[usize::from(to.is_ipv6())] } else { to };
        assert_eq!(canonical(connected.peer), shown, "the client sees another peer: {case}");
        assert_eq!(attestation.process.exe, std::env::current_exe().unwrap(), "{case}");
        assert!(!attestation.comm.is_empty(), "{case}");
        let target = gate.targets.watch().borrow().target_of(attestation.original_dst).cloned();
        assert_eq!(target, Some("prod".parse().unwrap()), "{case}");

        stream.write_all(b"hello").unwrap();
        assert_eq!(engineer.receive(connected.socket).unwrap(), "hello", "{case}");
        engineer.close(connected.socket);
    }
    world.assert_targets_untouched();
    assert_eq!(world.count(&gate, Counter::Redirected), 13);
    assert_eq!(world.count(&gate, Counter::Attested), 13);
    assert_eq!(gate.attestor.refused(), 0);
}

#[test]
fn with_the_daemon_dead_every_way_is_refused() {
    let (mut world, gate) = World::gated();
    drop(gate);
    world.kill_daemon();
    let mut engineer = world.engineer();
    for how in How::ALL {
        for to in [world.target4(), world.target6()] {
            let error = engineer.connect(how, to).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{how:?} to {to}: {error}");
        }
    }
    world.assert_targets_untouched();
    let state = portcullis_intercept::gate::status(&world.config).unwrap().state.unwrap();
    assert_eq!(state.handoffs, 0, "refused connects leave records behind");
}

#[test]
fn a_user_namespace_hides_nobody() {
    let (world, gate) = World::gated();
    let guise = Guise { uid: UID, user_namespace: true, ..Guise::default() };
    let mut engineer = world.engineer_as(&guise);
    engineer.connect(How::Plain, world.target4()).unwrap();
    let attestation = world.accept(&gate).1.unwrap();
    assert_eq!((attestation.uid, attestation.pid), (Uid(UID), Pid(engineer.pid)));
}

#[test]
fn connects_elsewhere_are_left_alone() {
    let (world, gate) = World::gated();
    let mut engineer = world.engineer();
    let elsewhere =
        ["127.1.2.3:0", "127.1.2.4:0", "[::1]:0"].map(|at| std::net::TcpListener::bind(at).unwrap());
    for how in How::ALL {
        for listener in &elsewhere {
            let to = listener.local_addr().unwrap();
            let connected =
                engineer.connect(how, to).unwrap_or_else(|error| panic!("{how:?} to {to}: {error}"));
            assert_eq!(canonical(connected.peer), to, "{how:?}");
            let (stream, peer) = listener.accept().unwrap();
            assert_eq!(peer, canonical(connected.local), "{how:?} to {to}");
            assert!(matches!(
                gate.attestor.attest(std::os::fd::AsFd::as_fd(&stream)),
                Err(AttestError::NoRecord)
            ));
        }
    }
    assert_eq!(world.count(&gate, Counter::Redirected), 0);
}

#[test]
fn a_process_that_is_gone_is_not_attested() {
    let (world, gate) = World::gated();
    let mut engineer = world.engineer();
    engineer.connect(How::Plain, world.target4()).unwrap();
    let pid = engineer.pid;
    drop(engineer);
    match world.accept(&gate).1 {
        Err(AttestError::ProcessGone(gone)) => assert_eq!(gone, Pid(pid)),
        other => panic!("{other:?}"),
    }
    assert_eq!(gate.attestor.refused(), 1);
}

#[test]
fn two_thousand_at_once_are_told_apart() {
    const ENGINEERS: u32 = 8;
    const EACH: usize = 250;
    let (world, gate) = World::gated();
    let mut engineers: Vec<Engineer> = (0..ENGINEERS)
        .map(|index| world.engineer_as(&Guise { uid: UID + index, ..Guise::default() }))
        .collect();
    let uids: HashMap<Pid, Uid> =
        engineers.iter().zip(UID..).map(|(engineer, uid)| (Pid(engineer.pid), Uid(uid))).collect();
    let targets = [world.target4(), world.target6()];
    for engineer in &mut engineers {
        engineer.storm(EACH, &targets);
    }
    for _ in 0..ENGINEERS as usize * EACH {
        let (stream, attestation) = world.accept(&gate);
        let attestation = attestation.unwrap();
        let mut said = String::new();
        BufReader::new(stream).read_line(&mut said).unwrap();
        let is = format!("{} {} {}\n", attestation.pid, attestation.peer, attestation.original_dst);
        assert_eq!(said, is);
        assert_eq!(uids[&attestation.pid], attestation.uid);
    }
    engineers.iter_mut().for_each(|engineer| engineer.calm().unwrap());
    assert!(world::accept_now(&world.listeners).is_none());
    assert_eq!(world.count(&gate, Counter::Attested), 2000);
    for counter in
        [Counter::HandoffMissed, Counter::HandoffCollision, Counter::HandoffUnarmed, Counter::HandoffFull]
    {
        assert_eq!(world.count(&gate, counter), 0, "{}", counter.name());
    }
    let state = portcullis_intercept::gate::status(&world.config).unwrap().state.unwrap();
    assert_eq!(state.handoffs, 0);
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
