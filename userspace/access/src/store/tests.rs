//! What every store has to do.

#![allow(clippy::needless_pass_by_value)] // a test's store is its own

use std::slice::from_ref;
use std::sync::Barrier;

use super::testing::{Place, on_both_stores};
use super::*;
use crate::testing::{grant, hold, minutes, person, start};
use crate::{HoldState, Person, RequestState};

on_both_stores! {
    a_change_is_written_once_and_upon_the_right_revision
    what_was_written_since_is_found
    a_revoked_request_is_one
    events_are_never_changed
    a_row_that_cannot_be_read_is_an_error_and_no_missing_grant
    a_token_is_used_once
    a_cursor_moves_from_where_it_was_seen
    a_lease_has_one_holder
    of_many_writers_one_wins
    what_is_newer_is_refused
    any_text_is_kept_as_it_is
}

pub(crate) fn change(n: u32) -> Change {
    let grant = grant(n, &person("alice", &[]), "pods");
    Change { events: vec![event(&grant)], new_grant: Some(grant), ..Change::default() }
}

fn event(grant: &Grant) -> Event {
    Event {
        seq: 0,
        at: start(),
        action: EventAction::Granted,
        by: None,
        subject: Person::from(&person("alice", &[])),
        role: grant.role.clone(),
        target: grant.target.clone(),
        request: Some(grant.request.clone()),
        grant: Some(grant.id.clone()),
        hold: None,
        comment: None,
    }
}

/// A store that may be written to: it was loaded.
fn ready(place: &Place) -> std::sync::Arc<dyn Store> {
    let store = place.open();
    store.load(start()).unwrap();
    store
}

fn a_change_is_written_once_and_upon_the_right_revision(place: Place) {
    let store = ready(&place);
    assert_eq!(store.apply(0, &change(1)).unwrap(), Applied::Done(1));
    assert_eq!(store.apply(0, &change(2)).unwrap(), Applied::Conflict);
    assert_eq!(store.apply(1, &change(1)).unwrap(), Applied::IdTaken);
    assert_eq!(store.revision().unwrap(), 1);
    let unknown = Change { new_grant: None, grants: change(7).new_grant.into_iter().collect(), ..change(7) };
    let error = store.apply(1, &unknown).unwrap_err().to_string();
    assert!(error.ends_with("has no g-000007 to change"), "{error}");
    let store = ready(&place);
    assert_eq!((store.revision().unwrap(), store.events(0, 10).unwrap().len()), (1, 1));
    assert_eq!(store.load(start()).unwrap().grants, [change(1).new_grant.unwrap()]);
    assert_eq!(store.apply(1, &change(2)).unwrap(), Applied::Done(2));
}

fn what_was_written_since_is_found(place: Place) {
    let store = ready(&place);
    store.apply(0, &change(1)).unwrap();
    let other = ready(&place);
    let held = Change { new_hold: Some(hold(5)), ..change(2) };
    other.apply(1, &held).unwrap();
    let since = store.since(1).unwrap().unwrap();
    assert_eq!(since.revision, 2);
    assert_eq!((since.grants, since.holds), (vec![change(2).new_grant.unwrap()], vec![hold(5)]));
    let nothing = store.since(2).unwrap().unwrap();
    assert_eq!((nothing.revision, nothing.grants.len() + nothing.holds.len()), (2, 0));

    let denied = Hold { state: HoldState::Denied, decided_at: Some(start()), ..hold(5) };
    let change = Change { holds: vec![denied.clone()], new_grant: None, ..change(3) };
    assert_eq!(store.apply(2, &change).unwrap(), Applied::Done(3));
    assert_eq!(other.since(2).unwrap().unwrap().holds, from_ref(&denied));
    assert_eq!(store.hold(&denied.id).unwrap().unwrap(), denied);
    assert_eq!(store.holds(10).unwrap(), from_ref(&denied));
    assert_eq!(store.load(start()).unwrap().holds, [denied]);
    assert_eq!(store.load(start() + minutes(1)).unwrap().holds, []);
    assert!(store.since(99).unwrap().is_none(), "a database from before is told from this one");
}

fn a_revoked_request_is_one(place: Place) {
    let store = ready(&place);
    let request = crate::testing::request(1, &person("alice", &[]), "pods");
    store.apply(0, &Change { new_request: Some(request.clone()), ..change(1) }).unwrap();
    let revoked = Change { new_grant: None, revoked: vec![request.id.clone()], ..change(1) };
    store.apply(1, &revoked).unwrap();
    let expected = Request { state: RequestState::Revoked, ..request };
    assert_eq!(store.request(&expected.id).unwrap().unwrap(), expected);
    assert_eq!(store.requests(5).unwrap(), from_ref(&expected));
    assert_eq!(store.since(1).unwrap().unwrap().requests, [expected]);
    assert!(store.load(start()).unwrap().requests.is_empty());
}

fn events_are_never_changed(place: Place) {
    let store = ready(&place);
    store.apply(0, &change(1)).unwrap();
    for sql in ["UPDATE events SET body = ''", "DELETE FROM events"] {
        let error = place.execute(sql).unwrap_err();
        assert!(error.starts_with("events are never"), "{error}");
    }
    assert_eq!(store.events(0, 5).unwrap().len(), 1);
}

fn a_row_that_cannot_be_read_is_an_error_and_no_missing_grant(place: Place) {
    let store = ready(&place);
    store.apply(0, &change(1)).unwrap();
    place.execute("UPDATE grants SET body = '{\"id\": \"g-000001\"}'").unwrap();
    for error in [store.load(start()).map(drop).unwrap_err(), store.grants(5).map(drop).unwrap_err()] {
        let error = error.to_string();
        assert!(error.contains("holds a row that cannot be read: missing field"), "{error}");
    }
}

fn a_token_is_used_once(place: Place) {
    let (store, other) = (ready(&place), ready(&place));
    let with = |n: u32, id: &str, minute: u64| {
        let mut change = change(n);
        change.events[0].at = start() + minutes(minute);
        Change { token: Some(Token { id: id.into(), expires_at: start() + minutes(15) }), ..change }
    };
    assert!(!store.token_used("a").unwrap());
    assert_eq!(store.apply(0, &with(1, "a", 0)).unwrap(), Applied::Done(1));
    assert!(other.token_used("a").unwrap());
    assert_eq!(other.apply(1, &with(2, "a", 0)).unwrap(), Applied::TokenUsed);
    assert_eq!(other.revision().unwrap(), 1, "nothing of it is written");
    assert_eq!(other.apply(0, &with(2, "b", 0)).unwrap(), Applied::Conflict);
    assert!(!store.token_used("b").unwrap(), "what was not done uses nothing up");
    // Long after its time it is forgotten, with the next one.
    store.apply(1, &with(2, "b", 70)).unwrap();
    assert!(store.token_used("a").unwrap());
    store.apply(2, &with(3, "c", 76)).unwrap();
    assert!(!store.token_used("a").unwrap() && store.token_used("c").unwrap());
}

fn a_cursor_moves_from_where_it_was_seen(place: Place) {
    let (store, other) = (ready(&place), ready(&place));
    assert_eq!(store.cursor("hooks").unwrap(), 0);
    assert!(store.advance_cursor("hooks", 0, 7).unwrap());
    assert!(!other.advance_cursor("hooks", 0, 7).unwrap());
    assert_eq!((other.cursor("hooks").unwrap(), other.cursor("slack").unwrap()), (7, 0));
    assert!(other.advance_cursor("hooks", 7, 9).unwrap());
    assert_eq!(place.open().cursor("hooks").unwrap(), 9);
}

fn a_lease_has_one_holder(place: Place) {
    let (store, other) = (ready(&place), ready(&place));
    let at = |minute| start() + minutes(minute);
    assert!(store.lease("hooks", "a", at(0), minutes(1)).unwrap());
    assert!(!other.lease("hooks", "b", at(0), minutes(1)).unwrap());
    assert!(other.lease("other", "b", at(0), minutes(1)).unwrap());
    assert!(store.lease("hooks", "a", at(0), minutes(2)).unwrap(), "it is kept by its holder");
    assert!(!other.lease("hooks", "b", at(1), minutes(1)).unwrap());
    assert!(other.lease("hooks", "b", at(2), minutes(1)).unwrap());
    assert!(!store.lease("hooks", "a", at(2), minutes(1)).unwrap());
}

/// Eight bastions write at once, again and again: each number is given once, and none is left out.
fn of_many_writers_one_wins(place: Place) {
    const WRITERS: u32 = 8;
    const EACH: u32 = 10;
    ready(&place);
    let begin = Barrier::new(WRITERS as usize);
    let (place, begin) = (&place, &begin);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let store = ready(place);
                begin.wait();
                for n in 0..EACH {
                    let mut revision = store.revision().unwrap();
                    loop {
                        match store.apply(revision, &change(writer * EACH + n)).unwrap() {
                            Applied::Done(done) => break assert_eq!(done, revision + 1),
                            Applied::Conflict => revision = store.revision().unwrap(),
                            other => panic!("{other:?}"),
                        }
                    }
                }
            });
        }
    });
    let events = ready(place).events(0, 1000).unwrap();
    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=u64::from(WRITERS * EACH)).collect::<Vec<_>>());
}

fn what_is_newer_is_refused(place: Place) {
    ready(&place);
    let (sql, known) = match &place {
        Place::Sqlite(_) => ("PRAGMA user_version = 99", 2),
        Place::Postgres { .. } => ("UPDATE schema_version SET version = 99", 1),
    };
    place.execute(sql).unwrap();
    let error = place.try_open().err().unwrap().to_string();
    let expected = format!("was written by a newer portcullis: its schema is 99, this build knows {known}");
    assert!(error.ends_with(&expected), "{error}");
}

fn any_text_is_kept_as_it_is(place: Place) {
    let store = ready(&place);
    let odd = "a'b\"c\\ \0 \u{202e} 'ä' $1 %s \r\n {}";
    let hold = Hold { command: vec![odd.into()], client: odd.into(), ..hold(1) };
    let change = Change { new_hold: Some(hold.clone()), ..change(1) };
    store.apply(0, &change).unwrap();
    assert_eq!(store.hold(&hold.id).unwrap().unwrap(), hold);
}
