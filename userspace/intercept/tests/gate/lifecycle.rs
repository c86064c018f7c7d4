//! Load, open, swap, unload, and what each refuses.

use std::fs;
use std::net::SocketAddr;

use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use portcullis_intercept::gate::{self, load, open, status, unload};
use portcullis_intercept::{Counter, GateError};

use super::engineer::How;
use super::world::World;

#[test]
fn a_second_load_swaps_programs_and_keeps_the_rest() {
    let (world, gate) = World::gated();
    let mut engineer = world.engineer();
    let before = status(&world.config).unwrap();
    assert!(before.closed);
    engineer.connect(How::Plain, world.target4()).unwrap();
    world.accept(&gate).1.unwrap();

    let loaded = load(&world.config, &world.targets).unwrap();
    assert!(loaded.swapped);
    assert_eq!((loaded.changes.added, loaded.changes.removed), (0, 0));
    let after = status(&world.config).unwrap();
    assert!(after.closed);
    for (old, new) in before.programs.iter().zip(&after.programs) {
        assert_ne!(old.id, new.id, "{} was not swapped", old.hook);
    }
    // The daemon that was running goes on, exempt and attesting, through the old descriptors.
    engineer.connect(How::Plain, world.target4()).unwrap();
    world.accept(&gate).1.unwrap();
    std::net::TcpStream::connect(world.target4()).unwrap();
    assert_eq!(world.count(&gate, Counter::Attested), 2);
}

#[test]
fn status_tells_what_is_there() {
    let (mut world, gate) = World::gated();
    let mut engineer = world.engineer();
    engineer.connect(How::Plain, world.target6()).unwrap();
    drop(world.accept(&gate));
    let status = serde_json::to_value(status(&world.config).unwrap()).unwrap();
    assert_eq!(status["closed"], true);
    assert_eq!(status["state"]["counters"]["redirected"]["count"], 1);
    assert_eq!(status["state"]["counters"]["deniedOwnPort"]["count"], 0);
    let listeners = status["state"]["listeners"].as_object().unwrap();
    assert_eq!(listeners.len(), 2);
    assert!(listeners.values().all(|listening| listening == true));
    let targets: Vec<_> = status["state"]["targets"]["prod"].as_array().unwrap().clone();
    assert_eq!(targets.len(), 2);
    world.kill_daemon();
    let state = gate::status(&world.config).unwrap().state.unwrap();
    assert!(state.listeners.values().all(|&listening| !listening));
}

#[test]
fn unload_opens_the_gate_and_can_be_repeated() {
    let (world, gate) = World::gated();
    drop(gate);
    let mut engineer = world.engineer();
    assert!(unload(&world.config).unwrap());
    assert!(!unload(&world.config).unwrap());
    let status = status(&world.config).unwrap();
    assert!(!status.closed && status.state.is_none());
    engineer.connect(How::Plain, world.target4()).unwrap();
    super::world::accept(&world.upstreams).unwrap();
    assert!(matches!(open(&world.config), Err(GateError::NotLoaded(_))));
}

#[test]
fn the_daemon_is_refused_where_its_exemption_would_exempt_others() {
    let (world, gate) = World::gated();
    drop(gate);
    let own = world.cgroup.join("daemon/cgroup.procs");
    let refused = |procs: &std::path::Path| {
        fs::write(procs, "0").unwrap();
        let error = open(&world.config).unwrap_err();
        fs::write(&own, "0").unwrap();
        assert!(matches!(error, GateError::DaemonCgroup { .. }), "{error}");
        error.to_string()
    };
    let root = world.cgroup.parent().unwrap();
    assert!(
        refused(&root.join("cgroup.procs")).contains("exempting the root cgroup would exempt every process")
    );
    assert!(
        refused(&world.cgroup.join("cgroup.procs")).contains("it is the one that the gate is attached to")
    );
    let beside = root.join(format!("portcullis-test-beside-{}", std::process::id()));
    fs::create_dir(&beside).unwrap();
    let error = refused(&beside.join("cgroup.procs"));
    fs::remove_dir(&beside).unwrap();
    assert!(error.contains("not below the one that the gate is attached to"), "{error}");
}

#[test]
fn disagreements_are_refused_by_name() {
    let (world, gate) = World::gated();
    drop(gate);
    let mut other = world.config.clone();
    other.listen = vec!["127.0.0.1:1".parse().unwrap()];
    let error = open(&other).unwrap_err().to_string();
    assert!(error.contains("the configuration says listeners 127.0.0.1:1 in network namespace"), "{error}");

    let mut other = world.config.clone();
    other.cgroup = Some(world.cgroup.join("engineers"));
    let error = load(&other, &world.targets).unwrap_err();
    assert!(matches!(error, GateError::OtherCgroup { .. }), "{error}");
    assert!(status(&world.config).unwrap().closed, "a refused load took the gate down");
}

#[test]
fn a_load_that_fails_leaves_nothing() {
    let mut world = World::new();
    world.targets.insert("self".parse().unwrap(), vec![world.config.listen[0]]);
    let error = load(&world.config, &world.targets).unwrap_err();
    assert!(error.to_string().contains("the proxy itself listens there"), "{error}");
    assert!(!world.config.pin_dir.exists());
}

#[test]
fn a_failed_sync_guards_what_was_guarded() {
    let (world, mut gate) = World::gated();
    let mut wanted = world.targets.clone();
    wanted.remove(&"prod".parse().unwrap());
    let many = (0..9000_u32).map(|index| (std::net::Ipv4Addr::from(0x0a00_0000 + index), 443).into());
    wanted.insert("many".parse().unwrap(), many.collect());
    assert!(matches!(gate.targets.sync(&wanted), Err(GateError::Full { .. })));
    let mut engineer = world.engineer();
    engineer.connect(How::Plain, world.target4()).unwrap();
    world.accept(&gate).1.unwrap();
    world.assert_targets_untouched();
}

#[test]
fn targets_of_a_loaded_gate_only_grow_until_the_daemon_syncs() {
    let (mut world, mut gate) = World::gated();
    let old = world.targets.clone();
    world.targets = [("other".parse().unwrap(), vec!["127.1.2.9:443".parse().unwrap()])].into();
    assert_eq!(world.load().changes.added, 2); // and its NAT64 spelling
    let mut engineer = world.engineer();
    for to in [world.target4(), "127.1.2.9:443".parse().unwrap(), nat64(world.target4())] {
        engineer.connect(How::Plain, to).unwrap();
        assert_eq!(world.accept(&gate).1.unwrap().original_dst.0, to);
    }
    let changes = gate.targets.sync(&world.targets).unwrap();
    assert_eq!((changes.added, changes.removed), (0, 3));
    let changes = gate.targets.sync(&old).unwrap();
    assert_eq!((changes.added, changes.removed), (3, 2));
    assert_eq!(gate.targets.addresses(), old);
}

#[test]
fn the_bpf_file_system_is_mounted_where_it_is_missing() {
    let world = World::new();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    while umount("/sys/fs/bpf").is_ok() {}
    world.load();
    assert!(world.open().targets.addresses() == world.targets);
    let mut elsewhere = world.config.clone();
    elsewhere.pin_dir = "/tmp/portcullis-pins".into();
    let error = load(&elsewhere, &world.targets).unwrap_err().to_string();
    assert!(error.contains("pinDir: /tmp/portcullis-pins is not on a BPF file system"), "{error}");
}

fn nat64(address: SocketAddr) -> SocketAddr {
    let SocketAddr::V4(address) = address else { panic!("{address} is not IPv4") };
    format!("[64:ff9b::{}]:{}", address.ip(), address.port()).parse().unwrap()
}

#[test]
fn the_egress_guard_is_optional() {
    let mut world = World::new();
    world.config.egress_guard = false;
    world.load();
    let hooks = |world: &World| {
        let status = status(&world.config).unwrap();
        assert!(status.closed);
        status.programs.iter().filter(|program| program.attached).count()
    };
    assert_eq!(hooks(&world), 7);
    world.config.egress_guard = true;
    world.load();
    assert_eq!(hooks(&world), 8);
    world.config.egress_guard = false;
    world.load();
    assert_eq!(hooks(&world), 7);
}
