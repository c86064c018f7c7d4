//! Who decides about requests.

use portcullis_identity::{AccountId, Method};

use super::*;

on_both_stores! {
    who_may_approve
    two_approvals_are_two_people
    a_request_is_denied_withdrawn_or_forgotten
}

fn who_may_approve(scene: Scene) {
    let lead_alice = person("alice", &["dev", "leads"]);
    let account = Some(AccountId { issuer: "unix".into(), id: "uid-alice".into() });
    let accounts_of_alice = [
        lead_alice.clone(),
        Subject { issuer: "https://idp".into(), id: "x".into(), ..lead_alice.clone() },
        Subject {
            issuer: "https://idp".into(),
            id: "x".into(),
            name: "Alice@example.com".into(),
            ..lead_alice.clone()
        },
        Subject {
            issuer: "https://idp".into(),
            name: "a.smith".into(),
            method: Method::Oidc,
            account: None,
            ..lead_alice.clone()
        },
        Subject {
            issuer: "people".into(),
            id: "al".into(),
            name: "al".into(),
            account,
            ..lead_alice.clone()
        },
        Subject { id: "alice".into(), name: "root".into(), ..lead_alice },
    ];
    let request = scene.ask("pods");
    for account in accounts_of_alice {
        let error = said(scene.access.approve(&account, &request.id, ""));
        assert!(error.ends_with("cannot approve it: someone else has to"), "{error}");
    }
    for outsider in [carol(), person("dave", &[]), person("eve", &["dev"])] {
        let error = said(scene.access.approve(&outsider, &request.id, ""));
        assert!(
            error.ends_with("may not decide requests for role pods: its approvers are group leads"),
            "{error}"
        );
    }
    assert!(!scene.may_get_pods());
    scene.access.approve(&bob(), &request.id, "").unwrap();

    let again = said(scene.access.approve(&bob(), &request.id, ""));
    assert_eq!(again, format!("request {} is no longer pending: it is approved", request.id));
    assert_eq!(said(scene.access.deny(&bob(), &request.id, "")), again);
    let nothing = "r-ffffff".parse().unwrap();
    assert_eq!(said(scene.access.approve(&bob(), &nothing, "")), "there is no request r-ffffff");
}

fn two_approvals_are_two_people(scene: Scene) {
    let request = scene.ask("two");
    assert_eq!(scene.access.approve(&bob(), &request.id, "").unwrap().state, RequestState::Pending);
    let second_account =
        Subject { issuer: "https://idp".into(), id: "77".into(), name: "bob@example.com".into(), ..bob() };
    for same in [bob(), second_account] {
        let error = said(scene.access.approve(&same, &request.id, ""));
        assert!(error.ends_with("it needs another person"), "{error}");
    }
    assert!(!scene.may_get_pods());
    let scene = scene.reopen(); // the first approval is not forgotten
    assert_eq!(scene.access.approve(&carol(), &request.id, "").unwrap().state, RequestState::Approved);
    assert!(scene.may_get_pods());
}

fn a_request_is_denied_withdrawn_or_forgotten(scene: Scene) {
    let denied = scene.access.deny(&bob(), &scene.ask("pods").id, "not today").unwrap();
    assert_eq!(denied.state, RequestState::Denied);
    assert_eq!(denied.refusal.unwrap().comment.as_deref(), Some("not today"));
    let withdrawn = scene.access.deny(&alice(), &scene.ask("pods").id, "").unwrap();
    assert_eq!(withdrawn.state, RequestState::Cancelled);
    let error = said(scene.access.deny(&carol(), &scene.ask("pods").id, ""));
    assert!(error.starts_with("carol may not decide"), "{error}");

    let waiting = scene.ask("pods");
    scene.clock.advance(minutes(60));
    let late = format!("request {} is no longer pending: it is expired", waiting.id);
    assert_eq!(said(scene.access.approve(&bob(), &waiting.id, "")), late);
    scene.access.refresh().unwrap();
    assert_eq!(scene.access.find_request(&waiting.id).unwrap().state, RequestState::Expired);
    assert_eq!(said(scene.access.approve(&bob(), &waiting.id, "")), late);
    assert!(scene.access.grants(&GrantFilter::default()).unwrap().is_empty());
}
