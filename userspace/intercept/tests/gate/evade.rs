//! What an engineer may try to get past the gate, or to pass for somebody else.

use std::fs;
use std::io::ErrorKind::{ConnectionRefused, PermissionDenied};
use std::net::SocketAddr;

use portcullis_identity::{AttestError, OriginalDst, Pid};
use portcullis_intercept::{Counter, OlderConnections};

use super::engineer::{Guise, How};
use super::world::{self, UID, World};

#[test]
fn the_proxys_own_ports_are_refused_directly() {
    let (world, gate) = World::gated();
    let mut engineer = world.engineer();
    let port = |index: usize| world.listeners[index].local_addr().unwrap().port();
    let spellings = [
        format!("127.0.0.1:{}", port(0)),
        format!("0.0.0.0:{}", port(0)),
        format!("[::1]:{}", port(1)),
        format!("[::]:{}", port(1)),
    ];
    for to in spellings.map(|text| text.parse::<SocketAddr>().unwrap()) {
        for how in How::ALL {
            let error = engineer.connect(how, to).unwrap_err();
            assert_eq!(error.kind(), PermissionDenied, "{how:?} to {to}: {error}");
        }
    }
    assert!(world::accept_now(&world.listeners).is_none());
    assert_eq!(world.count(&gate, Counter::DeniedOwnPort), 28);
}

#[test]
fn an_unattested_accept_is_refused() {
    let (world, gate) = World::gated();
    // From an exempt cgroup nobody is stopped, but nobody is attested either.
    let _client = std::net::TcpStream::connect(world.config.listen[0]).unwrap();
    assert!(matches!(world.accept(&gate).1, Err(AttestError::NoRecord)));
    assert_eq!(gate.attestor.refused(), 1);
    assert_eq!(world.count(&gate, Counter::HandoffUnarmed), 1);
    assert_eq!(world.count(&gate, Counter::HandoffMissed), 1);
}

#[test]
fn a_record_serves_one_connection_only() {
    let (world, gate) = World::gated();
    let mut engineer = world.engineer();
    let first = engineer.connect(How::Plain, world.target4()).unwrap();
    world.accept(&gate).1.unwrap();
    engineer.disconnect(first.socket);

    // The socket still carries a record; it leads nowhere but through connect again.
    let error = engineer.reconnect(first.socket, world.config.listen[0]).unwrap_err();
    assert_eq!(error.kind(), PermissionDenied);
    let elsewhere = std::net::TcpListener::bind("127.1.2.4:0").unwrap();
    let to = elsewhere.local_addr().unwrap();
    assert_eq!(engineer.reconnect(first.socket, to).unwrap().peer, to, "the old peer's name shows through");
    engineer.disconnect(first.socket);

    engineer.reconnect(first.socket, world.target4()).unwrap();
    let attestation = world.accept(&gate).1.unwrap();
    assert_eq!(attestation.original_dst, OriginalDst(world.target4()));
}

#[test]
fn a_port_used_again_belongs_to_whoever_uses_it_now() {
    let (world, gate) = World::gated();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for uid in [UID, UID + 1, UID] {
        let mut engineer = world.engineer_as(&Guise { uid, ..Guise::default() });
        let connected = engineer.connect(How::FromPort(free), world.target4()).unwrap();
        let (stream, attestation) = world.accept(&gate);
        let attestation = attestation.unwrap();
        assert_eq!((attestation.uid.0, attestation.pid), (uid, Pid(engineer.pid)));
        assert_eq!(attestation.peer.port(), free);
        drop(stream); // ours is the end that waits out TIME_WAIT
        assert_eq!(engineer.receive(connected.socket).unwrap(), "");
    }
}

#[test]
fn another_network_namespace_is_refused() {
    let (world, gate) = World::gated();
    let guise = Guise { uid: UID, user_namespace: true, network_namespace: true };
    let mut engineer = world.engineer_as(&guise);
    for how in How::ALL {
        for to in [world.target4(), world.target6()] {
            let error = engineer.connect(how, to).unwrap_err();
            assert_eq!(error.kind(), PermissionDenied, "{how:?} to {to}: {error}");
        }
    }
    // What has the proxy's address there is another host's business.
    let error = engineer.connect(How::Plain, world.config.listen[0]).unwrap_err();
    assert_eq!(error.kind(), ConnectionRefused);
    assert_eq!(world.count(&gate, Counter::DeniedNetns), 14);
}

#[test]
fn the_proxys_ports_stay_free_while_it_is_down() {
    let (mut world, gate) = World::gated();
    world.kill_daemon();
    let mut engineer = world.engineer();
    let [v4, v6] = [world.config.listen[0], world.config.listen[1]];
    let any4: SocketAddr = format!("0.0.0.0:{}", v4.port()).parse().unwrap();
    let any6: SocketAddr = format!("[::]:{}", v6.port()).parse().unwrap();
    for at in [v4, v6, any4, any6] {
        assert_eq!(engineer.bind(at).unwrap_err().kind(), PermissionDenied, "{at}");
    }
    assert_eq!(world.count(&gate, Counter::DeniedBind), 4);
    engineer.bind(format!("127.1.2.4:{}", v4.port()).parse().unwrap()).unwrap();
    engineer.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    std::net::TcpListener::bind(v4).unwrap(); // the daemon comes back
}

#[test]
fn connections_older_than_the_gate_are_found_and_cut() {
    for (how, reset) in [(OlderConnections::Report, false), (OlderConnections::Reset, true)] {
        let mut world = World::new();
        world.config.older_connections = how;
        let mut engineer = world.engineer();
        let mut ends = Vec::new();
        for to in [world.target4(), world.target6()] {
            let connected = engineer.connect(How::Plain, to).unwrap();
            let (upstream, _) = world::accept(&world.upstreams).unwrap();
            engineer.send(connected.socket, "before").unwrap();
            ends.push((connected, upstream));
        }
        let own = std::net::TcpStream::connect(world.target4()).unwrap(); // the daemon's cgroup is not exempt yet

        let older = world.load().older;
        let found = |local: SocketAddr| older.iter().find(|connection| connection.local == local);
        for (connected, upstream) in &mut ends {
            let entry = found(connected.local).unwrap();
            assert_eq!((entry.remote, entry.uid), (connected.peer, UID));
            let sent = engineer.send(connected.socket, "after");
            let mut buffer = [0; 16];
            upstream.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
            let length = std::io::Read::read(upstream, &mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"before");
            if reset {
                assert!(sent.is_err(), "a reset connection still takes bytes");
            } else {
                std::io::Read::read(upstream, &mut buffer).expect_err("bytes got past the gate");
            }
        }
        assert!(found(own.local_addr().unwrap()).is_some());
    }
}

#[test]
fn exempt_cgroups_pass_and_no_others() {
    let mut world = World::new();
    world.config.exempt = vec![world.cgroup.join("exempt"), world.cgroup.join("not-there-yet")];
    world.load();
    let gate = world.open();
    let guise = Guise { uid: UID, ..Guise::default() };
    let mut exempt = super::engineer::Engineer::start(&world.cgroup.join("exempt"), &guise);
    for how in How::ALL {
        exempt.connect(how, world.target4()).unwrap();
        world::accept(&world.upstreams).unwrap();
    }
    assert_eq!(world.count(&gate, Counter::Exempt), 7);
    assert_eq!(world.count(&gate, Counter::DroppedEgress), 0);

    // Not those below an exempt one, and not a cgroup that is made anew in its place.
    let below = world.cgroup.join("exempt/below");
    fs::create_dir(&below).unwrap();
    let mut engineer = super::engineer::Engineer::start(&below, &guise);
    engineer.connect(How::Plain, world.target4()).unwrap();
    world.accept(&gate).1.unwrap();
    drop((engineer, exempt));
    fs::remove_dir(&below).unwrap();
    assert_eq!(gate.exemptions.ids().unwrap().len(), 2);
    world.assert_targets_untouched();
}

#[test]
fn the_egress_guard_stops_what_no_hook_redirected() {
    let world = World::new();
    let mut engineer = world.engineer();
    world.load();
    let gate = world.open();
    // As if a connect had dodged the hook: a socket that connected before its target was one.
    let other = std::net::TcpListener::bind("127.1.2.5:0").unwrap();
    let connected = engineer.connect(How::Plain, other.local_addr().unwrap()).unwrap();
    let (mut upstream, _) = other.accept().unwrap();
    let mut targets = gate.targets;
    let mut wanted = world.targets.clone();
    wanted.insert("late".parse().unwrap(), vec![other.local_addr().unwrap()]);
    let changes = targets.sync(&wanted).unwrap();
    assert_eq!((changes.added, changes.removed), (2, 0));
    engineer.send(connected.socket, "past").unwrap();
    upstream.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    std::io::Read::read(&mut upstream, &mut [0; 4]).expect_err("bytes got past the gate");
    assert!(gate.counters.read(Counter::DroppedEgress).unwrap().count > 0);
    assert!(gate.counters.read(Counter::DroppedEgress).unwrap().last > 0);
}
