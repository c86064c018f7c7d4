//! Several bastions on one store.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;
use crate::store::testing::Server;

on_both_stores! {
    of_two_approvals_at_once_one_begins_a_grant
    each_change_moves_the_revision
    one_of_several_bastions_does_what_is_to_be_done_once
}

fn of_two_approvals_at_once_one_begins_a_grant(scene: Scene) {
    let neighbour = scene.neighbour();
    for _ in 0..5 {
        let request = scene.ask("pods");
        let begin = Barrier::new(2);
        let approve = |access: &Access, who: Subject| {
            begin.wait();
            access.approve(&who, &request.id, "")
        };
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| approve(&scene.access, bob()));
            let other = scope.spawn(|| approve(&neighbour, person("lea", &["leads"])));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let refused = one.err().or(other.err()).unwrap();
        assert!(
            matches!(refused, AccessError::NotPending { state: RequestState::Approved, .. }),
            "{refused}"
        );
    }
    assert_eq!(scene.access.grants(&GrantFilter::default()).unwrap().len(), 5);
}

fn each_change_moves_the_revision(scene: Scene) {
    let mut revisions = scene.access.revisions();
    assert_eq!(*revisions.borrow_and_update(), 0);
    scene.ask("pods");
    assert_eq!(*revisions.borrow_and_update(), 1);
    let neighbour = scene.neighbour();
    neighbour.request(&alice(), &new("pods")).unwrap();
    assert!(!revisions.has_changed().unwrap());
    scene.access.refresh().unwrap();
    assert_eq!(*revisions.borrow_and_update(), 2);
    scene.access.refresh().unwrap();
    assert!(!revisions.has_changed().unwrap(), "nothing was written");
}

fn one_of_several_bastions_does_what_is_to_be_done_once(scene: Scene) {
    let (access, neighbour) = (&scene.access, scene.neighbour());
    assert!(access.lease("webhooks", "a", minutes(1)).unwrap());
    assert!(!neighbour.lease("webhooks", "b", minutes(1)).unwrap());
    assert!(access.advance_cursor("sec", 0, 3).unwrap() && !neighbour.advance_cursor("sec", 0, 3).unwrap());
    scene.clock.advance(minutes(1));
    assert!(neighbour.lease("webhooks", "b", minutes(1)).unwrap());
    assert_eq!(neighbour.cursor("sec").unwrap(), 3);
}

/// Keeps a bastion up to date only when it is told of changes; until the value is dropped.
struct Follower<'a> {
    stop: &'a AtomicBool,
    poke: &'a Access,
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.poke.request(&alice(), &new("pods")).ok();
    }
}

/// Looks by itself too seldom for any test, so that what is known there was told.
fn follow(access: &Access, stop: &AtomicBool) {
    let mut wakes = access.wakes();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    while !stop.load(Ordering::SeqCst) {
        runtime.block_on(wakes.wait(Duration::from_secs(15)));
        access.refresh().ok();
    }
}

/// Waits on `access`'s own channel until a snapshot is as it should be, and says how long that took.
fn until(access: &Access, what: &str, is_so: impl Fn(&Access) -> bool) -> Duration {
    let begun = Instant::now();
    let mut changes = access.subscribe();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        while !is_so(access) {
            let left = Duration::from_secs(20).saturating_sub(begun.elapsed());
            tokio::time::timeout(left, changes.changed())
                .await
                .unwrap_or_else(|_| panic!("not {what}"))
                .unwrap();
        }
    });
    begun.elapsed()
}

#[test]
fn what_is_done_on_one_bastion_is_in_force_on_the_others_within_a_second() {
    let scene = Scene::from(Place::postgres());
    let (neighbour, now, stop) = (scene.neighbour(), scene.clock.now(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| follow(&neighbour, &stop));
        let _follower = Follower { stop: &stop, poke: &scene.access };
        for _ in 0..5 {
            let grant = scene.granted();
            let took = until(&neighbour, "granted", |access| may_get_pods(access, now));
            assert!(took < Duration::from_secs(1), "{took:?}");
            let hold = super::holding::held(&scene, &grant, "a");
            let took = until(&neighbour, "held", |access| access.snapshot().hold(&hold.id).is_some());
            assert!(took < Duration::from_secs(1), "{took:?}");
            scene.access.revoke(&bob(), &grant, "enough").unwrap();
            let took = until(&neighbour, "revoked", |access| !may_get_pods(access, now));
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    });
}

/// The server hangs, without a word: what is known becomes stale, and nothing else does harm.
#[test]
fn a_server_that_hangs_closes_everything_until_it_answers() {
    let server = Arc::new(Server::plain());
    let scene = Scene::from(Place::on(&server));
    scene.granted();
    server.signal("STOP");
    let begun = Instant::now();
    let error = said(scene.access.refresh());
    assert!(error.ends_with("has not answered within 4 seconds"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(scene.may_get_pods(), "for as long as it is fresh");
    scene.clock.advance(Duration::from_secs(11));
    assert!(!scene.may_get_pods());
    server.signal("CONT");
    scene.access.refresh().unwrap();
    assert!(scene.may_get_pods());
}

/// The server crashes and comes back, twice: connections are made anew, the one that listens too.
#[test]
fn a_server_that_crashes_is_found_again() {
    let server = Arc::new(Server::plain());
    let scene = Scene::from(Place::on(&server));
    let (neighbour, now, stop) = (scene.neighbour(), scene.clock.now(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| follow(&neighbour, &stop));
        let _follower = Follower { stop: &stop, poke: &scene.access };
        for _ in 0..2 {
            server.crash();
            let begun = Instant::now();
            while let Err(error) = scene.access.refresh() {
                assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
                std::thread::sleep(Duration::from_millis(20));
            }
            let grant = scene.granted();
            until(&neighbour, "granted", |access| may_get_pods(access, now));
            scene.access.revoke(&bob(), &grant, "enough").unwrap();
            until(&neighbour, "revoked", |access| !may_get_pods(access, now));
        }
    });
    scene.granted();
    server.signal("KILL");
    scene.clock.advance(Duration::from_secs(11));
    scene.access.refresh().unwrap_err();
    assert!(!scene.may_get_pods());
}

/// A failover lost the last writes, and others took their numbers: what was known of them is not believed any more.
#[test]
fn another_server_with_the_same_revision_is_read_anew() {
    let place = Place::postgres();
    let scene = Scene::from(place);
    scene.granted();
    scene.access.refresh().unwrap();
    scene
        .place
        .execute(
            "ALTER TABLE events DISABLE TRIGGER USER; DELETE FROM events; DELETE FROM grants; \
             DELETE FROM requests; UPDATE revision SET seq = 0; ALTER TABLE events ENABLE TRIGGER USER",
        )
        .unwrap();
    let neighbour = scene.neighbour();
    let zoe = person("zoe", &["dev"]);
    neighbour.approve(&bob(), &neighbour.request(&zoe, &new("pods")).unwrap().id, "").unwrap();
    assert_eq!(*neighbour.revisions().borrow(), *scene.access.revisions().borrow());
    drop(neighbour);
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    scene.place.execute(others).unwrap();
    let begun = Instant::now();
    while scene.access.refresh().is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    assert!(!scene.may_get_pods());
    let held = scene.access.grants(&GrantFilter { live: true, subject: None }).unwrap();
    assert_eq!((held.len(), held[0].subject.name.as_str()), (1, "zoe"));
}

/// The daemon opens it inside its runtime, and drops it there.
#[test]
fn it_can_be_opened_and_dropped_anywhere() {
    let place = Place::postgres();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let access = access(&place, &TestClock::new(), Scene::roles());
        access.refresh().unwrap();
    });
}
