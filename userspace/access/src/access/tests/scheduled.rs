//! Grants that are asked for ahead of time.

use super::*;

on_both_stores! {
    the_window_opens_when_it_was_asked_for
    a_late_approval_opens_it_at_once
    how_long_a_scheduled_request_waits
    a_start_is_within_a_week
    a_scheduled_grant_can_be_revoked_and_extended
}

fn ask_ahead(scene: &Scene, ahead: Duration) -> Request {
    let starts_at = Some(scene.clock.now() + ahead);
    scene.access.request(&alice(), &NewRequest { starts_at, ..new("pods") }).unwrap()
}

fn why_not(scene: &Scene) -> String {
    let operation = op("get pods web -n prod");
    let query = Query { subject: &alice(), target: "demo", operation: &operation, facts: Facts::NONE };
    match decide(&scene.access.snapshot(), &query, scene.clock.now()) {
        Decision::Deny(denied) => denied.message(&query, None),
        other => panic!("{other:?}"),
    }
}

fn the_window_opens_when_it_was_asked_for(scene: Scene) {
    let request = ask_ahead(&scene, minutes(45));
    let id = scene.access.approve(&bob(), &request.id, "").unwrap().grant.unwrap();
    let grant = scene.access.find_grant(&id).unwrap();
    assert_eq!((grant.starts_at, grant.expires_at), (start() + minutes(45), start() + minutes(60)));
    assert!(grant.is_scheduled(scene.clock.now()));
    let scene = scene.reopen();
    let listed = scene.access.grants(&GrantFilter { live: true, subject: None }).unwrap();
    assert_eq!(listed, [grant], "it is listed before it begins");
    assert!(!scene.may_get_pods());
    assert!(why_not(&scene).contains(&format!("grant {id} of role pods begins at 2026-03-01T12:45:00Z")));
    let ended = scene.access.snapshot().grant_live(&id, scene.clock.now()).unwrap_err();
    assert_eq!(ended, Ended::Scheduled { at: start() + minutes(45) });

    scene.clock.advance(minutes(44));
    scene.access.refresh().unwrap();
    assert!(!scene.may_get_pods());
    scene.clock.advance(minutes(1));
    scene.access.refresh().unwrap();
    assert!(scene.may_get_pods());
    scene.clock.advance(minutes(15));
    scene.access.refresh().unwrap();
    assert!(!scene.may_get_pods());
    let told = scene.access.events(0, 10).unwrap().remove(2).comment.unwrap();
    assert_eq!(told, "from 2026-03-01T12:45:00Z until 2026-03-01T13:00:00Z");
}

fn a_late_approval_opens_it_at_once(scene: Scene) {
    let request = ask_ahead(&scene, minutes(10));
    scene.clock.advance(minutes(12));
    let id = scene.access.approve(&bob(), &request.id, "").unwrap().grant.unwrap();
    let grant = scene.access.find_grant(&id).unwrap();
    assert_eq!((grant.starts_at, grant.expires_at), (start() + minutes(12), start() + minutes(27)));
    assert!(scene.may_get_pods());
}

fn how_long_a_scheduled_request_waits(scene: Scene) {
    let request = ask_ahead(&scene, minutes(180));
    assert_eq!(request.expires_at, start() + minutes(195), "to the end of the window");
    let starts_at = Some(start() + minutes(180));
    let long = NewRequest { starts_at, duration: minutes(240), ..new("pods") };
    let long = scene.access.request(&alice(), &long).unwrap();
    assert_eq!(long.expires_at, start() + minutes(240), "`pendingFor` from its start");
    scene.clock.advance(minutes(195));
    scene.access.refresh().unwrap();
    assert_eq!(scene.access.find_request(&request.id).unwrap().state, RequestState::Expired);
    assert_eq!(scene.access.find_request(&long.id).unwrap().state, RequestState::Pending);
}

fn a_start_is_within_a_week(scene: Scene) {
    let ask =
        |starts_at| scene.access.request(&alice(), &NewRequest { starts_at: Some(starts_at), ..new("pods") });
    let week = minutes(7 * 24 * 60);
    assert!(ask(start()).is_ok() && ask(start() + week).is_ok());
    for at in [start() - minutes(1), start() + week + minutes(1)] {
        let error = said(ask(at));
        assert!(error.contains("ahead of time to begin until 2026-03-08T12:00:00Z"), "{error}");
    }
}

fn a_scheduled_grant_can_be_revoked_and_extended(scene: Scene) {
    let request = ask_ahead(&scene, minutes(600));
    let id = scene.access.approve(&bob(), &request.id, "").unwrap().grant.unwrap();
    let extension = scene.access.extend(&alice(), &id, minutes(10), "more").unwrap();
    scene.access.approve(&bob(), &extension.id, "").unwrap();
    assert_eq!(scene.access.find_grant(&id).unwrap().expires_at, start() + minutes(625));
    scene.access.revoke(&bob(), &id, "not needed").unwrap();
    assert_eq!(scene.access.find_request(&request.id).unwrap().state, RequestState::Revoked);
    scene.clock.advance(minutes(605));
    scene.access.refresh().unwrap();
    assert!(!scene.may_get_pods());
}
