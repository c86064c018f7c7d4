//! Requests and grants, from the asking to the end.

use super::*;

on_both_stores! {
    the_window_opens_on_approval_and_closes_by_itself
    what_cannot_be_asked_for
    a_role_without_approval_is_live_at_once_and_ends_all_the_same
    an_extension_is_approved_like_a_request
    other_roles_apply_at_once
    a_request_carries_what_was_denied
    requests_of_older_builds_are_still_read
    everything_is_there_after_a_restart
}

fn the_window_opens_on_approval_and_closes_by_itself(scene: Scene) {
    let request = scene.ask("pods");
    assert_eq!((request.state, request.target.as_str()), (RequestState::Pending, "demo"));
    assert!(!scene.may_get_pods());

    scene.clock.advance(minutes(30)); // pending time is not granted time
    let request = scene.access.approve(&bob(), &request.id, "go ahead").unwrap();
    assert_eq!(request.state, RequestState::Approved);
    assert_eq!(request.approvals[0].comment.as_deref(), Some("go ahead"));
    let grant = scene.access.find_grant(request.grant.as_ref().unwrap()).unwrap();
    assert_eq!((grant.starts_at, grant.expires_at), (start() + minutes(30), start() + minutes(45)));
    assert_eq!(grant.approved_by[0].name, "bob");
    assert!(scene.may_get_pods());

    scene.clock.advance(minutes(15));
    assert!(!scene.may_get_pods(), "the snapshot itself knows the end");
    scene.access.refresh().unwrap();
    let ended = scene.access.find_grant(&grant.id).unwrap().ended;
    assert_eq!(ended, Some(Ended::Expired { at: grant.expires_at }));
    use EventAction::{Approved, GrantExpired, Granted, Requested};
    assert_eq!(scene.actions(), [Requested, Approved, Granted, GrantExpired]);
    let events = scene.access.events(1, 1).unwrap();
    assert_eq!((events[0].seq, events[0].by.as_ref().unwrap().name.as_str()), (2, "bob"));
    assert_eq!(events[0].subject.name, "alice");
}

fn what_cannot_be_asked_for(scene: Scene) {
    let ask = |subject: &Subject, change: fn(&mut NewRequest)| {
        let mut request = new("pods");
        change(&mut request);
        said(scene.access.request(subject, &request))
    };
    type Mistake = (fn(&mut NewRequest), &'static str);
    let table: &[Mistake] = &[
        (|r| r.role = "none".parse().unwrap(), "there is no role none"),
        (|r| r.target = Some("other".into()), "role pods does not cover a target \"other\""),
        (|r| r.target = Some("demoo".into()), "role pods does not cover a target \"demoo\""),
        (|r| r.role = "anywhere".parse().unwrap(), "role anywhere covers the targets demo, other: name one"),
        (|r| r.duration = minutes(241), "role pods is granted for at most 4h, not 4h1m"),
        (|r| r.duration = Duration::ZERO, "role pods is granted for at most 4h, not 0s"),
        (
            |r| r.reason = "  ".into(),
            "the reason must be one line of 1 to 500 characters without control characters",
        ),
        (|r| r.reason = "a\nb".into(), "the reason must be one line"),
        (|r| r.reason = "a\u{1b}[2Jb".into(), "the reason must be one line"),
        (|r| r.reason = "a\u{202e}b".into(), "the reason must be one line"),
        (|r| r.reason = "a".repeat(501), "the reason must be one line"),
    ];
    for (change, expected) in table {
        let error = ask(&alice(), *change);
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(ask(&carol(), |_| ()), "carol may not ask for role pods: it is for group dev");
    assert!(scene.actions().is_empty());

    for _ in 0..50 {
        scene.ask("pods");
    }
    let error = said(scene.access.request(&alice(), &new("pods")));
    assert_eq!(error, "alice already has 50 requests and grants open; withdraw or revoke some");
}

fn a_role_without_approval_is_live_at_once_and_ends_all_the_same(scene: Scene) {
    let request = scene.ask("free");
    assert_eq!(request.state, RequestState::Approved);
    assert!(scene.may_get_pods());
    assert_eq!(scene.actions(), [EventAction::Requested, EventAction::Granted]);
    scene.clock.advance(minutes(15));
    scene.access.refresh().unwrap();
    assert!(!scene.may_get_pods());
}

fn an_extension_is_approved_like_a_request(scene: Scene) {
    let grant = scene.granted();
    assert!(said(scene.access.extend(&bob(), &grant, minutes(10), "more")).contains("only its holder"));
    assert!(said(scene.access.extend(&alice(), &grant, minutes(300), "more")).contains("at most 4h"));
    let extension = scene.access.extend(&alice(), &grant, minutes(10), "more").unwrap();
    assert_eq!((extension.state, extension.extends.as_ref()), (RequestState::Pending, Some(&grant)));
    assert!(said(scene.access.approve(&alice(), &extension.id, "")).contains("someone else"));
    scene.access.approve(&bob(), &extension.id, "").unwrap();
    assert_eq!(scene.access.find_grant(&grant).unwrap().expires_at, start() + minutes(25));

    // Never further ahead than the role's longest duration.
    let long = scene.access.extend(&alice(), &grant, minutes(240), "all day").unwrap();
    scene.access.approve(&bob(), &long.id, "").unwrap();
    assert_eq!(scene.access.find_grant(&grant).unwrap().expires_at, start() + minutes(240));

    // What is over stays over, also for an approval that comes later.
    let late = scene.access.extend(&alice(), &grant, minutes(10), "more").unwrap();
    scene.access.revoke(&bob(), &grant, "enough").unwrap();
    assert!(said(scene.access.approve(&bob(), &late.id, "")).contains("has ended: revoked by bob: enough"));
    assert!(!scene.may_get_pods());
}

fn other_roles_apply_at_once(scene: Scene) {
    let grant = scene.granted();
    let waiting = scene.ask("pods");
    let mut changes = scene.access.subscribe();
    scene.access.reload_roles(roles(vec![role_with("pods", &[PODS], "  maxDuration: 5m\n")]));
    assert!(scene.may_get_pods());
    assert!(said(scene.access.approve(&bob(), &waiting.id, "")).contains("at most 5m"));
    scene.access.reload_roles(roles(vec![role("another", &[PODS])]));
    assert!(!scene.may_get_pods());
    assert!(said(scene.access.approve(&bob(), &waiting.id, "")).contains("no role pods"));
    let ended = changes.borrow_and_update().grant_live(&grant, scene.clock.now()).unwrap_err();
    assert!(matches!(ended, Ended::RoleWithdrawn { .. }));
    scene.access.reload_roles(Scene::roles());
    assert!(changes.borrow_and_update().grant_live(&grant, scene.clock.now()).is_ok());
    scene.access.reload_targets(["other".to_owned()].into());
    assert!(!scene.may_get_pods());
    assert!(changes.borrow_and_update().grant_live(&grant, scene.clock.now()).is_err());
}

fn a_request_carries_what_was_denied(scene: Scene) {
    let denied = |operation: &str| {
        Some(Attempt {
            id: "d-7f3a9c".parse().unwrap(),
            at: start(),
            operation: op(operation),
            command: vec!["kubectl".into(), "get".into()],
        })
    };
    let covered = NewRequest { denied: denied("get pods web -n prod"), ..new("pods") };
    let request = scene.access.request(&alice(), &covered).unwrap();
    assert_eq!(request.denied, covered.denied);
    let pending = RequestFilter { state: Some(RequestState::Pending), subject: None };
    assert_eq!(scene.access.requests(&pending).unwrap(), std::slice::from_ref(&request));
    assert_eq!(scene.access.approve(&bob(), &request.id, "").unwrap().denied, covered.denied);
    let scene = scene.reopen();
    assert_eq!(scene.access.find_request(&request.id).unwrap().denied, covered.denied);

    let free = NewRequest { denied: denied("get pods web -n prod"), ..new("free") };
    let granted = scene.access.request(&alice(), &free).unwrap();
    assert_eq!((granted.state, granted.denied), (RequestState::Approved, free.denied));

    let useless = NewRequest { denied: denied("delete pods web -n prod"), ..new("pods") };
    let error = said(scene.access.request(&alice(), &useless));
    assert!(
        error.starts_with("role pods has changed and does not cover what was denied (delete pods"),
        "{error}"
    );
}

fn requests_of_older_builds_are_still_read(scene: Scene) {
    let request = serde_json::to_value(scene.ask("pods")).unwrap();
    let mut older = request.clone();
    for newer in ["denied", "startsAt", "emergency"] {
        assert!(older.as_object_mut().unwrap().remove(newer).is_some());
    }
    let read = serde_json::from_value::<Request>(older).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), request);
}

fn everything_is_there_after_a_restart(scene: Scene) {
    let grant = scene.granted();
    let waiting = scene.ask("pods");
    let before = scene.access.events(0, 100).unwrap();
    let scene = scene.reopen();
    assert!(scene.may_get_pods());
    assert_eq!(scene.access.events(0, 100).unwrap(), before);
    let pending = RequestFilter { state: Some(RequestState::Pending), subject: None };
    assert_eq!(scene.access.requests(&pending).unwrap(), [waiting]);
    assert_eq!(scene.access.requests(&RequestFilter::default()).unwrap().len(), 2);
    let mine = GrantFilter { live: true, subject: Some(Person::from(&alice())) };
    assert_eq!(scene.access.grants(&mine).unwrap()[0].id, grant);
    let others = GrantFilter { subject: Some(Person::from(&bob())), ..mine };
    assert!(scene.access.grants(&others).unwrap().is_empty());

    scene.clock.advance(minutes(90)); // the daemon was down when the grant ended
    let scene = scene.reopen();
    assert!(!scene.may_get_pods());
    assert!(scene.access.grants(&mine).unwrap().is_empty());
    assert!(scene.access.find_grant(&grant).unwrap().ended.is_some());
}
