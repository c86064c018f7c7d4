//! Requests to targets that wait for a person's word.

use std::sync::Barrier;

use super::*;
use crate::ReviewTerms;

on_both_stores! {
    a_held_request_goes_on_once
    a_retry_is_the_same_action
    who_may_agree
    an_approval_is_lost_unless_it_is_used
    who_asked_withdraws_what_was_agreed_to
    nobody_decides
    a_client_goes_away
    a_hold_ends_with_its_grant
    a_hold_needs_a_grant_of_its_own
    how_many_can_wait
    holds_are_listed_and_survive_a_restart
    of_two_who_spend_at_once_one_does
    a_long_diff_says_that_it_is_cut
}

const SPEND_WITHIN: Duration = Duration::from_secs(30);

fn new_hold(grant: &GrantId, digest: &str) -> NewHold {
    NewHold {
        target: "demo".into(),
        operation: op("delete pods web -n prod"),
        role: "pods".parse().unwrap(),
        rule: 1,
        grant: grant.clone(),
        terms: ReviewTerms { required: 1, groups: ["leads".to_owned()].into(), wait: minutes(5) },
        digest: digest.into(),
        client: "4711@8121".into(),
        command: vec!["kubectl".into(), "delete".into(), "pod".into(), "web".into()],
        diff: None,
        spend_within: SPEND_WITHIN,
    }
}

pub(super) fn held(scene: &Scene, grant: &GrantId, digest: &str) -> Hold {
    scene.access.hold(&alice(), &new_hold(grant, digest)).unwrap()
}

fn state(access: &Access, id: &HoldId) -> HoldState {
    access.snapshot().hold(id).unwrap().state
}

fn a_held_request_goes_on_once(scene: Scene) {
    let grant = scene.granted();
    let mut changes = scene.access.subscribe();
    let hold = held(&scene, &grant, "a");
    assert_eq!((hold.state, hold.expires_at), (HoldState::Pending, start() + minutes(5)));
    assert!(changes.has_changed().unwrap());
    assert_eq!(changes.borrow_and_update().hold(&hold.id), Some(&hold));
    assert!(said(scene.access.spend(&hold.id)).ends_with("may not go on: it is pending"));

    let approved = scene.access.approve_hold(&bob(), &hold.id, "go on").unwrap();
    assert_eq!(
        (approved.state, approved.approvals[0].comment.as_deref()),
        (HoldState::Approved, Some("go on"))
    );
    assert_eq!(approved.expires_at, start() + SPEND_WITHIN);
    assert_eq!(state(&scene.access, &hold.id), HoldState::Approved);
    let again = said(scene.access.approve_hold(&bob(), &hold.id, ""));
    assert_eq!(again, format!("held request {} no longer waits: it is approved", hold.id));
    assert!(said(scene.access.deny_hold(&bob(), &hold.id, "")).ends_with("it is approved"));

    assert_eq!(scene.access.spend(&hold.id).unwrap().state, HoldState::Spent);
    assert!(said(scene.access.spend(&hold.id)).ends_with("may not go on: it is spent"));
    let next = held(&scene, &grant, "a");
    assert_ne!(next.id, hold.id, "what was spent is never used again");
    assert_eq!(next.state, HoldState::Pending);

    use EventAction::{Held, HoldApproved, HoldSpent};
    assert_eq!(scene.actions()[3..], [Held, HoldApproved, HoldSpent, Held]);
    let event = scene.access.events(3, 1).unwrap().remove(0);
    assert_eq!((event.hold, event.request, event.grant), (Some(hold.id), None, Some(grant)));
    assert_eq!(event.comment.as_deref(), Some("delete pods \"web\" in namespace \"prod\""));
}

fn a_retry_is_the_same_action(scene: Scene) {
    let grant = scene.granted();
    let hold = held(&scene, &grant, "a");
    let neighbour = scene.neighbour();
    assert_eq!(held(&scene, &grant, "a"), hold);
    assert_eq!(neighbour.hold(&alice(), &new_hold(&grant, "a")).unwrap(), hold, "on whichever bastion");
    // Another body, process, rule, or other terms: another question.
    let like = new_hold(&grant, "a");
    let more = ReviewTerms { required: 2, ..like.terms.clone() };
    let others = [
        NewHold { digest: "b".into(), ..like.clone() },
        NewHold { client: "4712@8121".into(), ..like.clone() },
        NewHold { rule: 2, ..like.clone() },
        NewHold { terms: more, ..like },
    ];
    let mut ids: Vec<HoldId> =
        others.iter().map(|other| scene.access.hold(&alice(), other).unwrap().id).collect();
    ids.push(hold.id.clone());
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);

    scene.access.approve_hold(&bob(), &hold.id, "").unwrap();
    let approved = neighbour.hold(&alice(), &new_hold(&grant, "a")).unwrap();
    assert_eq!((&approved.id, approved.state), (&hold.id, HoldState::Approved));

    // kubectl's second try, over SPDY, hears the same no; a later one asks anew.
    let hold = held(&scene, &grant, "b");
    scene.access.deny_hold(&bob(), &hold.id, "no").unwrap();
    let denied = neighbour.hold(&alice(), &new_hold(&grant, "b")).unwrap();
    assert_eq!((&denied.id, denied.state), (&hold.id, HoldState::Denied));
    assert_eq!(denied.refusal.unwrap().comment.as_deref(), Some("no"));
    scene.clock.advance(Duration::from_secs(29));
    assert_eq!(held(&scene, &grant, "b").id, hold.id);
    scene.clock.advance(Duration::from_secs(1));
    let anew = held(&scene, &grant, "b");
    assert!(anew.id != hold.id && anew.state == HoldState::Pending);
}

fn who_may_agree(scene: Scene) {
    let grant = scene.granted();
    let mut asked = new_hold(&grant, "a");
    asked.terms.required = 2;
    asked.terms.groups.insert("sec".into());
    let hold = scene.access.hold(&alice(), &asked).unwrap();
    let lead_alice = person("alice", &["leads"]);
    let account = portcullis_identity::AccountId { issuer: "https://idp".into(), id: "uid-alice".into() };
    let accounts_of_alice = [
        Subject { issuer: "https://idp".into(), id: "x".into(), ..lead_alice.clone() },
        Subject {
            issuer: "people".into(),
            id: "al".into(),
            name: "al".into(),
            account: Some(account),
            ..lead_alice.clone()
        },
        lead_alice,
    ];
    for account in accounts_of_alice {
        let error = said(scene.access.approve_hold(&account, &hold.id, ""));
        assert!(
            error.ends_with(&format!("asked for {} and cannot approve it: someone else has to", hold.id))
        );
    }
    for error in [
        said(scene.access.approve_hold(&person("dave", &["dev"]), &hold.id, "")),
        said(scene.access.deny_hold(&person("dave", &["dev"]), &hold.id, "")),
    ] {
        assert_eq!(error, format!("dave may not decide about {}: group leads, sec may", hold.id));
    }
    assert_eq!(scene.access.approve_hold(&bob(), &hold.id, "").unwrap().state, HoldState::Pending);
    let second =
        Subject { issuer: "https://idp".into(), id: "7".into(), name: "Bob@example.com".into(), ..bob() };
    for same in [bob(), second] {
        assert!(said(scene.access.approve_hold(&same, &hold.id, "")).ends_with("it needs another person"));
    }
    assert!(said(scene.access.approve_hold(&carol(), &hold.id, "a\nb")).starts_with("the comment must be"));
    assert_eq!(scene.access.approve_hold(&carol(), &hold.id, "").unwrap().state, HoldState::Approved);
    assert!(scene.access.spend(&hold.id).is_ok());

    let withdrawn = scene.access.deny_hold(&alice(), &held(&scene, &grant, "b").id, "").unwrap();
    assert_eq!(withdrawn.state, HoldState::Cancelled);
}

fn an_approval_is_lost_unless_it_is_used(scene: Scene) {
    let grant = scene.granted();
    let hold = held(&scene, &grant, "a");
    scene.access.approve_hold(&bob(), &hold.id, "").unwrap();
    scene.clock.advance(SPEND_WITHIN);
    assert!(said(scene.access.spend(&hold.id)).ends_with("it is expired"), "before the clockwork noticed");
    scene.access.refresh().unwrap();
    assert!(said(scene.access.spend(&hold.id)).ends_with("it is expired"));
    assert_eq!(state(&scene.access, &hold.id), HoldState::Expired);
    let event = scene.access.events(5, 1).unwrap().remove(0);
    assert_eq!((event.action, event.by), (EventAction::HoldExpired, None));
    assert_eq!(event.comment.as_deref(), Some("its approval was not used in time"));
    assert_ne!(held(&scene, &grant, "a").id, hold.id, "a lost approval is no answer");
}

fn who_asked_withdraws_what_was_agreed_to(scene: Scene) {
    let grant = scene.granted();
    let hold = held(&scene, &grant, "a");
    scene.access.approve_hold(&bob(), &hold.id, "").unwrap();
    assert!(said(scene.access.deny_hold(&bob(), &hold.id, "")).ends_with("it is approved"));
    let withdrawn = scene.access.deny_hold(&alice(), &hold.id, "not now").unwrap();
    assert_eq!(withdrawn.state, HoldState::Cancelled);
    assert_eq!(withdrawn.refusal.unwrap().comment.as_deref(), Some("not now"));
    assert!(said(scene.access.spend(&hold.id)).ends_with("it is cancelled"));

    let hold = held(&scene, &grant, "b");
    scene.access.approve_hold(&bob(), &hold.id, "").unwrap();
    scene.access.spend(&hold.id).unwrap();
    assert!(said(scene.access.deny_hold(&alice(), &hold.id, "")).ends_with("it is spent"));
}

fn nobody_decides(scene: Scene) {
    let grant = scene.granted();
    let hold = held(&scene, &grant, "a");
    scene.clock.advance(minutes(5));
    let late = said(scene.access.approve_hold(&bob(), &hold.id, ""));
    assert!(late.ends_with("no longer waits: it is expired"), "{late}");
    let retried = held(&scene, &grant, "a");
    assert_eq!((&retried.id, retried.state), (&hold.id, HoldState::Expired), "kubectl's second try");
    scene.access.refresh().unwrap();
    assert_eq!(state(&scene.access, &hold.id), HoldState::Expired);
    assert_eq!(held(&scene, &grant, "a").id, hold.id);
    scene.clock.advance(Duration::from_secs(30));
    assert_ne!(held(&scene, &grant, "a").id, hold.id);
    scene.clock.advance(minutes(3));
    scene.access.refresh().unwrap();
    assert!(scene.access.snapshot().hold(&hold.id).is_none(), "forgotten here");
    assert_eq!(scene.access.find_hold(&hold.id).unwrap().state, HoldState::Expired);
    assert!(said(scene.access.spend(&hold.id)).ends_with("it is expired"));
    assert!(said(scene.access.approve_hold(&bob(), &hold.id, "")).ends_with("it is expired"));
}

fn a_client_goes_away(scene: Scene) {
    let grant = scene.granted();
    let grace = Duration::from_secs(10);
    let hold = held(&scene, &grant, "a");
    scene.access.abandon(&hold.id, grace).unwrap();
    scene.access.abandon(&hold.id, grace).unwrap();
    assert_eq!(scene.access.snapshot().hold(&hold.id).unwrap().expires_at, start() + grace);
    scene.clock.advance(Duration::from_secs(9));
    let back = held(&scene, &grant, "a");
    assert_eq!((&back.id, back.expires_at, back.abandoned), (&hold.id, start() + minutes(5), false));

    scene.access.abandon(&hold.id, grace).unwrap();
    scene.clock.advance(grace);
    assert!(said(scene.access.approve_hold(&bob(), &hold.id, "")).ends_with("it is cancelled"));
    scene.access.refresh().unwrap();
    assert_eq!(state(&scene.access, &hold.id), HoldState::Cancelled);
    assert_ne!(held(&scene, &grant, "a").id, hold.id);
    use EventAction::{Held, HoldAbandoned, HoldCancelled, HoldResumed};
    assert_eq!(scene.actions()[3..], [Held, HoldAbandoned, HoldResumed, HoldAbandoned, HoldCancelled, Held]);
    scene.access.abandon(&hold.id, grace).unwrap(); // it is over: nothing happens
    assert_eq!(scene.actions().len(), 9);
    assert!(said(scene.access.abandon(&"h-ffffff".parse().unwrap(), grace)).contains("h-ffffff"));
}

fn a_hold_ends_with_its_grant(scene: Scene) {
    let grant = scene.granted();
    let (waits, agreed) = (held(&scene, &grant, "a"), held(&scene, &grant, "b"));
    scene.access.approve_hold(&bob(), &agreed.id, "").unwrap();
    scene.access.revoke(&bob(), &grant, "incident over").unwrap();
    for hold in [&waits, &agreed] {
        assert_eq!(state(&scene.access, &hold.id), HoldState::Cancelled);
        assert!(said(scene.access.spend(&hold.id)).ends_with("it is cancelled"));
        assert!(said(scene.access.approve_hold(&bob(), &hold.id, "")).ends_with("it is cancelled"));
    }
    assert!(said(scene.access.hold(&alice(), &new_hold(&grant, "c"))).contains("revoked by bob"));

    // By its time, and by other roles.
    let grant = scene.granted();
    scene.clock.advance(minutes(14));
    let (waits, agreed) = (held(&scene, &grant, "a"), held(&scene, &grant, "b"));
    scene.access.approve_hold(&bob(), &agreed.id, "").unwrap();
    scene.access.reload_roles(roles(vec![role("another", &[PODS])]));
    assert!(said(scene.access.spend(&agreed.id)).contains("no longer gives access"));
    scene.access.reload_roles(Scene::roles());
    scene.clock.advance(minutes(1));
    assert!(said(scene.access.approve_hold(&bob(), &waits.id, "")).contains("has ended: expired"));
    scene.access.refresh().unwrap();
    assert_eq!(state(&scene.access, &waits.id), HoldState::Cancelled);
    let told = scene.access.events(0, 100).unwrap().into_iter().filter_map(|event| event.comment);
    assert!(told.into_iter().any(|comment| comment == format!("grant {grant} is over")));
}

fn a_hold_needs_a_grant_of_its_own(scene: Scene) {
    let grant = scene.granted();
    let eve = person("eve", &["dev"]);
    assert!(said(scene.access.hold(&eve, &new_hold(&grant, "a"))).contains("does not hold grant"));
    let other = NewHold { target: "other".into(), ..new_hold(&grant, "a") };
    assert!(said(scene.access.hold(&alice(), &other)).contains("does not hold grant"));
    let unknown = new_hold(&"g-ffffff".parse().unwrap(), "a");
    assert!(said(scene.access.hold(&alice(), &unknown)).contains("no grant g-ffffff"));
    let ahead = NewRequest { starts_at: Some(start() + minutes(30)), ..new("pods") };
    let request = scene.access.request(&alice(), &ahead).unwrap();
    let ahead = scene.access.approve(&bob(), &request.id, "").unwrap().grant.unwrap();
    assert!(
        said(scene.access.hold(&alice(), &new_hold(&ahead, "a"))).contains("begins at 2026-03-01T12:30:00Z")
    );
    assert!(scene.access.holds(true).unwrap().is_empty());
}

fn how_many_can_wait(scene: Scene) {
    let grant = scene.granted();
    let holds: Vec<Hold> = (0..8).map(|n| held(&scene, &grant, &format!("{n}"))).collect();
    let error = said(scene.access.hold(&alice(), &new_hold(&grant, "one more")));
    assert_eq!(error, "alice already has 8 requests held for approval; wait until one of them is decided");
    assert_eq!(held(&scene, &grant, "3").id, holds[3].id, "joining takes no room");
    scene.access.approve_hold(&bob(), &holds[0].id, "").unwrap();
    held(&scene, &grant, "one more");
}

fn holds_are_listed_and_survive_a_restart(scene: Scene) {
    let grant = scene.granted();
    let first = held(&scene, &grant, "a");
    scene.clock.advance(minutes(1));
    let second = held(&scene, &grant, "b");
    let denied = held(&scene, &grant, "c");
    let denied = scene.access.deny_hold(&bob(), &denied.id, "no").unwrap();
    let scene = scene.reopen();
    assert_eq!(scene.access.holds(false).unwrap(), [second.clone(), first.clone()]);
    assert_eq!(scene.access.holds(true).unwrap().len(), 3);
    assert_eq!(scene.access.snapshot().hold(&denied.id), Some(&denied));
    assert_eq!(held(&scene, &grant, "a").id, first.id);
    assert_eq!(held(&scene, &grant, "c").id, denied.id);
    scene.clock.advance(minutes(4));
    assert_eq!(scene.access.holds(false).unwrap(), [second]);
}

fn of_two_who_spend_at_once_one_does(scene: Scene) {
    const TRIES: usize = 8;
    let grant = scene.granted();
    let neighbour = scene.neighbour();
    for round in 0..5 {
        let hold = held(&scene, &grant, &format!("{round}"));
        neighbour.approve_hold(&bob(), &hold.id, "").unwrap();
        let begin = Barrier::new(TRIES);
        let spent: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..TRIES)
                .map(|n| {
                    let access = if n % 2 == 0 { &scene.access } else { &neighbour };
                    let (begin, id) = (&begin, &hold.id);
                    scope.spawn(move || {
                        begin.wait();
                        match access.spend(id) {
                            Ok(hold) => assert_eq!(hold.state, HoldState::Spent),
                            Err(AccessError::NotSpendable { state: HoldState::Spent, .. }) => return false,
                            Err(error) => panic!("{error}"),
                        }
                        true
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(spent.iter().filter(|spent| **spent).count(), 1, "{spent:?}");
    }
}

fn a_long_diff_says_that_it_is_cut(scene: Scene) {
    let grant = scene.granted();
    let diff = "+ä\n".repeat(30_000);
    let new = NewHold { diff: Some(diff), ..new_hold(&grant, "a") };
    let shown = scene.access.hold(&alice(), &new).unwrap().diff.unwrap();
    assert!(shown.len() < 66_000 && shown.ends_with("more bytes of this diff are not shown"));
}
