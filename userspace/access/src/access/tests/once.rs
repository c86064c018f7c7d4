//! Links and buttons that decide once.

use std::sync::Barrier;

use super::*;
use crate::Decided;

on_both_stores! {
    a_link_decides_once
    what_is_refused_uses_no_link_up
    a_link_is_good_for_a_time
    of_two_clicks_at_once_one_counts
    one_word_decides_about_requests_and_holds
}

const LINK: &str = "9b2f-link-of-bob";

fn until(scene: &Scene) -> Timestamp {
    scene.clock.now() + minutes(15)
}

fn a_link_decides_once(scene: Scene) {
    let (first, second) = (scene.ask("two"), scene.ask("pods"));
    let decided =
        scene.access.approve_once(&bob(), &first.id.clone().into(), "", LINK, until(&scene)).unwrap();
    assert!(matches!(decided, Decided::Request(request) if request.approvals.len() == 1));
    // Neither again, nor by somebody else, nor for something else, nor the other way, nor on another bastion.
    let neighbour = scene.neighbour();
    for access in [&scene.access, &neighbour] {
        for who in [bob(), carol()] {
            for what in [&first, &second] {
                let what = what.id.clone().into();
                for error in [
                    said(access.approve_once(&who, &what, "", LINK, until(&scene))),
                    said(access.deny_once(&who, &what, "", LINK, until(&scene))),
                ] {
                    assert!(error.starts_with("this approval link or button was used already"), "{error}");
                }
            }
        }
    }
    let scene = scene.reopen();
    let again = scene.access.approve_once(&carol(), &first.id.clone().into(), "", LINK, until(&scene));
    assert!(matches!(again, Err(AccessError::AlreadyUsed)));
    let decided = scene.access.deny_once(&carol(), &first.id.into(), "no", "another", until(&scene)).unwrap();
    assert!(matches!(decided, Decided::Request(request) if request.state == RequestState::Denied));
}

fn what_is_refused_uses_no_link_up(scene: Scene) {
    let request = scene.ask("pods");
    let own = person("alice", &["leads"]);
    let once =
        |who: &Subject| scene.access.approve_once(who, &request.id.clone().into(), "", LINK, until(&scene));
    assert!(said(once(&own)).contains("someone else has to"));
    assert!(said(once(&carol())).contains("may not decide"));
    assert!(once(&bob()).is_ok());
    assert!(scene.may_get_pods());
}

fn a_link_is_good_for_a_time(scene: Scene) {
    let request = scene.ask("pods");
    let good_until = until(&scene);
    scene.clock.advance(minutes(15));
    let late = said(scene.access.approve_once(&bob(), &request.id.clone().into(), "", LINK, good_until));
    assert!(late.contains("was good until 2026-03-01T12:15:00Z"), "{late}");
    for odd in ["", &"x".repeat(129)] {
        let error = scene.access.approve_once(&bob(), &request.id.clone().into(), "", odd, until(&scene));
        assert!(matches!(error, Err(AccessError::BadToken)));
    }
    assert!(!scene.may_get_pods());
}

fn of_two_clicks_at_once_one_counts(scene: Scene) {
    let requests: Vec<Request> = (0..6).map(|_| scene.ask("pods")).collect();
    let neighbour = scene.neighbour();
    let begin = Barrier::new(requests.len());
    let clicks: Vec<Result<Decided, AccessError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(n, request)| {
                let access = if n % 2 == 0 { &scene.access } else { &neighbour };
                let (begin, until) = (&begin, until(&scene));
                scope.spawn(move || {
                    begin.wait();
                    access.approve_once(&bob(), &request.id.clone().into(), "", LINK, until)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (done, refused): (Vec<_>, Vec<_>) = clicks.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 1);
    assert!(refused.into_iter().all(|click| matches!(click, Err(AccessError::AlreadyUsed))));
    scene.access.refresh().unwrap();
    assert_eq!(scene.access.grants(&GrantFilter { live: true, subject: None }).unwrap().len(), 1);
}

fn one_word_decides_about_requests_and_holds(scene: Scene) {
    let request = scene.ask("pods");
    let decided = scene.access.approve_any(&bob(), &request.id.into(), "").unwrap();
    let Decided::Request(approved) = &decided else { panic!("{decided:?}") };
    let json = serde_json::to_value(&decided).unwrap();
    assert_eq!(json, serde_json::to_value(approved).unwrap(), "it reads as what was decided about");
    assert_eq!(serde_json::from_value::<Decided>(json).unwrap(), decided);

    let hold = super::holding::held(&scene, approved.grant.as_ref().unwrap(), "a");
    let what: Decidable = hold.id.as_str().parse().unwrap();
    let decided = scene.access.deny_any(&bob(), &what, "no").unwrap();
    assert!(matches!(&decided, Decided::Hold(hold) if hold.state == HoldState::Denied));
    let json = serde_json::to_value(&decided).unwrap();
    assert_eq!(serde_json::from_value::<Decided>(json).unwrap(), decided);
    let unknown: Decidable = "h-ffffff".parse().unwrap();
    assert_eq!(said(scene.access.approve_any(&bob(), &unknown, "")), "no request is held as h-ffffff");
}
