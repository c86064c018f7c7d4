use super::*;
use crate::store::EventAction;
use crate::store::testing::Place;
use crate::testing::*;
use crate::{Access, NewRequest, RequestState, parse_roles};

const PODS: &str = "apiGroups: [''], resources: [pods], verbs: [get]";

fn with(terms: &str) -> Role {
    role_with(
        "r",
        &[PODS],
        &format!("  maxDuration: 4h\n  approval: {{required: 1, groups: [leads]{terms}}}\n"),
    )
}

#[test]
fn a_condition_approves_what_it_says_and_nothing_by_mistake() {
    let role = with(
        ", autoApprove: [{when: 'request.duration <= duration(\"30m\") && \"oncall\" in subject.groups'}, \
         {when: 'request.target == \"demo\" && time.hour == 12 && int(subject.name) > 0'}]",
    );
    let auto = |who: &str, groups: &[&str], target: &str, minutes_: u64, at: &str| {
        let ask = Ask { role: &role.name, target, duration: minutes(minutes_) };
        role.auto_approves(&person(who, groups), &ask, at.parse().unwrap())
    };
    let noon = "2026-03-01T12:30:00Z";
    assert_eq!(auto("alice", &["oncall"], "other", 30, noon), Some(0));
    assert_eq!(auto("alice", &["oncall"], "other", 31, noon), None);
    assert_eq!(auto("alice", &["dev"], "other", 5, noon), None);
    assert_eq!(auto("7", &["dev"], "demo", 60, noon), Some(1));
    assert_eq!(auto("7", &["dev"], "demo", 60, "2026-03-01T13:00:00Z"), None);
    // `int("alice")` is an error, and an error approves nothing.
    assert_eq!(auto("alice", &["dev"], "demo", 60, noon), None);
    let plain = role_with("plain", &[PODS], "");
    let ask = Ask { role: &plain.name, target: "demo", duration: minutes(1) };
    assert_eq!(plain.auto_approves(&person("alice", &["oncall"]), &ask, start()), None);
}

#[test]
fn the_glass_is_broken_by_those_named_and_not_for_longer() {
    let role = with(", emergency: {groups: [sre], maxDuration: 1h}");
    assert_eq!(role.may_break_glass(&person("sam", &["sre"])), Some(minutes(60)));
    assert_eq!(role.may_break_glass(&person("alice", &["dev", "leads"])), None);
    assert_eq!(with("").may_break_glass(&person("sam", &["sre"])), None);
    assert_eq!(role.approval.emergency.unwrap().max_duration, minutes(60));
}

#[test]
fn a_reason_is_as_the_role_wants_it() {
    let fits = |terms: &str, reason: &str, emergency| {
        with(terms).reason_fits(reason, emergency).map_err(|error| error.to_string())
    };
    assert!(fits("", "because", false).is_ok());
    assert_eq!(
        fits("", "  ", false).unwrap_err(),
        "the reason must be one line of 1 to 500 characters without control characters"
    );
    assert!(fits(", reason: optional", "", false).is_ok());
    assert!(fits(", reason: optional", "", true).is_err());
    let ticket = ", reasonPattern: '\\b[A-Z]+-[0-9]+\\b'";
    assert!(fits(ticket, "INC-7: web is stuck", false).is_ok());
    let unfit = fits(ticket, "web is stuck", false).unwrap_err();
    assert!(unfit.contains("[A-Z]+-[0-9]+"), "{unfit}");
    assert!(fits(ticket, "everything is on fire", true).is_ok());
    assert!(fits(&format!("{ticket}, reason: optional"), "", false).is_ok());
}

#[test]
fn terms_that_make_no_sense_are_refused() {
    for (terms, said) in [
        ("required: 0, autoApprove: [{when: 'true'}]", "autoApprove and emergency change nothing"),
        ("required: 1, groups: [l], autoApprove: []", "autoApprove: the list is empty"),
        (
            "required: 1, groups: [l], autoApprove: [{when: '1'}]",
            "autoApprove[0].when: 1:1: a condition gives",
        ),
        ("required: 1, groups: [l], autoApprove: [{when: 'process.uid == 0'}]", "there is no \"process\""),
        ("required: 1, groups: [l], emergency: {groups: [], maxDuration: 1h}", "groups: the list is empty"),
        ("required: 1, groups: [l], emergency: {groups: [s], maxDuration: 5h}", "longer than the role's own"),
        ("required: 1, groups: [l], emergency: {groups: ['*'], maxDuration: 1h}", "no patterns here"),
        ("required: 1, groups: [l], reasonPattern: '['", "approval.reasonPattern"),
        ("required: 1, groups: [l], reason: maybe", "approval.reason"),
    ] {
        let yaml = format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: Role\nmetadata: {{name: r}}\nspec:\n  targets: [demo]\n  \
             eligible: {{groups: [dev]}}\n  maxDuration: 4h\n  approval: {{{terms}}}\n  rules:\n  - {{{PODS}}}\n"
        );
        let error = parse_roles("r.yaml", &yaml).unwrap_err().to_string();
        assert!(error.starts_with("r.yaml:") && error.contains(said), "{terms}: {error}");
    }
}

#[test]
fn terms_are_written_as_they_are_read() {
    let role = with(
        ", reason: optional, reasonPattern: 'X-', autoApprove: [{when: 'time.hour < 6'}], \
         emergency: {groups: [sre], maxDuration: 1h}",
    );
    let json = serde_json::to_value(&role.approval).unwrap();
    assert_eq!(json["autoApprove"][0]["when"], "time.hour < 6");
    assert_eq!(json["emergency"]["maxDuration"], "1h");
    assert_eq!(serde_json::from_value::<ApprovalTerms>(json).unwrap(), role.approval);
}

/// A service with one role of these terms.
fn service(place: &Place, terms: &str) -> Access {
    access(place, &TestClock::new(), roles(vec![with(terms)]))
}

fn ask(minutes_: u64, emergency: bool) -> NewRequest {
    NewRequest {
        role: "r".parse().unwrap(),
        target: None,
        duration: minutes(minutes_),
        reason: "all is down".into(),
        denied: None,
        starts_at: None,
        emergency,
    }
}

fn trail(access: &Access) -> Vec<(EventAction, Option<String>)> {
    access.events(0, 100).unwrap().into_iter().map(|event| (event.action, event.comment)).collect()
}

#[test]
fn a_request_that_a_condition_approves_is_granted_at_once_and_says_so() {
    let place = Place::sqlite();
    let access = service(&place, ", autoApprove: [{when: 'request.duration <= duration(\"30m\")'}]");
    let alice = person("alice", &["dev"]);
    let request = access.request(&alice, &ask(30, false)).unwrap();
    assert_eq!((request.state, request.approvals.len()), (RequestState::Approved, 0));
    let trail = trail(&access);
    use EventAction::{AutoApproved, Granted, Requested};
    assert_eq!(
        trail.iter().map(|(action, _)| *action).collect::<Vec<_>>(),
        [Requested, AutoApproved, Granted]
    );
    assert_eq!(trail[1].1.as_deref(), Some("by condition 1 of role r"));
    assert_eq!(access.request(&alice, &ask(31, false)).unwrap().state, RequestState::Pending);
    // Whoever may not ask is not approved either.
    assert!(access.request(&person("eve", &[]), &ask(5, false)).is_err());
    // An extension is a request like any other.
    let grant = request.grant.unwrap();
    let reason = "still down";
    let longer = access.extend(&alice, &grant, minutes(31), reason).unwrap();
    assert_eq!(longer.state, RequestState::Pending);
    assert_eq!(access.extend(&alice, &grant, minutes(10), reason).unwrap().state, RequestState::Approved);
}

#[test]
fn breaking_the_glass_gives_the_role_at_once_and_is_on_record() {
    let place = Place::sqlite();
    let access = service(&place, ", emergency: {groups: [sre], maxDuration: 1h}, reasonPattern: '^INC-'");
    let sam = person("sam", &["sre"]);
    let said = |who: &Subject, new: &NewRequest| access.request(who, new).unwrap_err().to_string();
    assert_eq!(
        said(&person("alice", &["dev"]), &ask(5, true)),
        "alice may not break the glass for role r: members of sre may"
    );
    assert_eq!(said(&sam, &ask(61, true)), "role r is granted for at most 1h, not 1h1m");
    assert!(said(&sam, &NewRequest { reason: " ".into(), ..ask(5, true) }).starts_with("the reason must be"));
    // Not otherwise: sam is not eligible, and a member of dev needs a ticket.
    assert!(said(&sam, &ask(5, false)).contains("may not ask for role r"));
    assert!(said(&person("alice", &["dev"]), &ask(5, false)).contains("wants a reason that matches ^INC-"));
    assert!(trail(&access).is_empty());

    let request = access.request(&sam, &ask(60, true)).unwrap();
    assert_eq!(request.state, RequestState::Approved);
    let trail = trail(&access);
    use EventAction::{Emergency, Granted, Requested};
    assert_eq!(trail.iter().map(|(action, _)| *action).collect::<Vec<_>>(), [Requested, Emergency, Granted]);
    assert_eq!(trail[1].1.as_deref(), Some("without approval: all is down"));
    let place = Place::sqlite();
    let error = service(&place, "").request(&sam, &ask(5, true)).unwrap_err().to_string();
    assert_eq!(error, "sam may not break the glass for role r: it has no emergency terms");
}
