//! Whatever is done to holds in whatever order: nothing goes on that was not agreed to, and nothing twice.

use proptest::prelude::*;

use super::*;
use crate::ReviewTerms;

const WAIT: Duration = Duration::from_secs(60);
const SPEND_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
enum Step {
    Hold { action: u8 },
    Approve { nth: usize, by: usize },
    Deny { nth: usize, by: usize },
    Spend { nth: usize },
    Abandon { nth: usize },
    Wait { seconds: u64 },
    Revoke,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3u8).prop_map(|action| Step::Hold { action }),
        6 => (0..6usize, 0..5usize).prop_map(|(nth, by)| Step::Approve { nth, by }),
        1 => (0..6usize, 0..5usize).prop_map(|(nth, by)| Step::Deny { nth, by }),
        5 => (0..6usize).prop_map(|nth| Step::Spend { nth }),
        1 => (0..6usize).prop_map(|nth| Step::Abandon { nth }),
        3 => (0..40u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Revoke),
    ]
}

/// Alice herself, as a lead; two accounts of Bob; another lead; an outsider.
fn people() -> [Subject; 5] {
    [
        person("alice", &["leads"]),
        bob(),
        Subject { issuer: "https://idp".into(), id: "7".into(), name: "BOB@example.com".into(), ..bob() },
        person("lea", &["leads"]),
        person("eve", &["dev"]),
    ]
}

/// Does a step on one of two bastions; what is refused is refused.
fn take(access: &Access, clock: &TestClock, grant: &mut GrantId, ids: &mut Vec<HoldId>, step: &Step) {
    let id = |nth: &usize| ids.get(ids.len().wrapping_sub(nth + 1)).cloned();
    match step {
        Step::Hold { action } => {
            let new = NewHold {
                target: "demo".into(),
                operation: op("delete pods web -n prod"),
                role: "pods".parse().unwrap(),
                rule: 0,
                grant: grant.clone(),
                terms: ReviewTerms { required: 2, groups: ["leads".to_owned()].into(), wait: WAIT },
                digest: action.to_string(),
                client: "1@1".into(),
                command: Vec::new(),
                diff: None,
                spend_within: SPEND_WITHIN,
            };
            if let Ok(hold) = access.hold(&alice(), &new)
                && !ids.contains(&hold.id)
            {
                ids.push(hold.id);
            }
        }
        Step::Approve { nth, by } => drop(id(nth).map(|id| access.approve_hold(&people()[*by], &id, ""))),
        Step::Deny { nth, by } => drop(id(nth).map(|id| access.deny_hold(&people()[*by], &id, ""))),
        Step::Spend { nth } => drop(id(nth).map(|id| access.spend(&id))),
        Step::Abandon { nth } => drop(id(nth).map(|id| access.abandon(&id, Duration::from_secs(5)))),
        Step::Wait { seconds } => {
            clock.advance(Duration::from_secs(*seconds));
            access.refresh().unwrap();
        }
        Step::Revoke => {
            access.revoke(&bob(), grant, "enough").ok();
            let request =
                access.request(&alice(), &NewRequest { duration: minutes(240), ..new("pods") }).unwrap();
            *grant = access.approve(&bob(), &request.id, "").unwrap().grant.unwrap();
        }
    }
}

/// What the trail says of one hold, read plainly.
fn check(id: &HoldId, events: &[Event]) {
    let of_it: Vec<&Event> = events.iter().filter(|event| event.hold.as_ref() == Some(id)).collect();
    assert_eq!(of_it[0].action, EventAction::Held);
    let at = |action| of_it.iter().filter(move |event| event.action == action).map(|event| event.at);
    let approvals: Vec<&&Event> =
        of_it.iter().filter(|event| event.action == EventAction::HoldApproved).collect();
    let mut names: Vec<String> =
        approvals.iter().map(|event| event.by.as_ref().unwrap().name.to_lowercase()).collect();
    names.iter_mut().for_each(|name| *name = name.trim_end_matches("@example.com").to_owned());
    assert!(names.iter().all(|name| name != "alice" && name != "eve"), "{names:?}");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), approvals.len(), "one person, one word");
    assert!(approvals.len() <= 2);
    assert!(at(EventAction::HoldSpent).count() <= 1);
    let over = [EventAction::HoldDenied, EventAction::HoldCancelled, EventAction::HoldExpired];
    let ends = over.iter().flat_map(|action| at(*action)).count();
    assert!(ends + at(EventAction::HoldSpent).count() <= 1, "it ends once");
    if let Some(spent) = at(EventAction::HoldSpent).next() {
        assert_eq!(approvals.len(), 2);
        assert!(spent < approvals[1].at + SPEND_WITHIN && approvals[1].at < of_it[0].at + WAIT);
        let revoked = |event: &&Event| {
            event.action == EventAction::Revoked && event.grant == of_it[0].grant && event.at < spent
        };
        assert!(!events.iter().any(|event| revoked(&event)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nothing_goes_on_that_was_not_agreed_to(steps in prop::collection::vec((any::<bool>(), step()), 1..60)) {
        let scene = Scene::from(Place::sqlite());
        let neighbour = scene.neighbour();
        let mut grant = scene.granted();
        let mut ids = Vec::new();
        take(&scene.access, &scene.clock, &mut grant, &mut ids, &Step::Revoke);
        for (here, step) in &steps {
            let access = if *here { &scene.access } else { &neighbour };
            take(access, &scene.clock, &mut grant, &mut ids, step);
        }
        let events = scene.access.events(0, 10_000).unwrap();
        ids.iter().for_each(|id| check(id, &events));
        scene.access.refresh().unwrap();
        neighbour.refresh().unwrap();
        for id in &ids {
            let (one, other) = (scene.access.snapshot(), neighbour.snapshot());
            prop_assert_eq!(one.hold(id), other.hold(id));
        }
    }
}
