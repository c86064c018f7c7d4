//! What a decision comes to. Beside this: the policy's meaning said a second time, and rules that ask for review.

mod meaning;
mod review;

use std::collections::BTreeSet;

use portcullis_identity::Subject;

use super::*;
use crate::testing::*;
use crate::{Facts, Grant, MaskLevel, Person, RecordLevel, Request, RequestState, Snapshot};

const PODS: &str = "apiGroups: [''], resources: [pods], verbs: [get, list, watch, delete]";
const NOT_PROD: &str = "action: deny, apiGroups: [''], resources: [pods], verbs: [delete], namespaces: [prod], \
                        reason: only the pipeline deletes in prod";
const REVIEWED: &str =
    "action: review, apiGroups: [''], resources: [pods], verbs: [get, list, delete], namespaces: [prod]";

fn ask(snapshot: &Snapshot, subject: &Subject, operation: &str, now: Timestamp) -> Decision {
    decide(snapshot, &Query { subject, target: "demo", operation: &op(operation), facts: Facts::NONE }, now)
}

fn denied(decision: Decision) -> Denied {
    match decision {
        Decision::Deny(denied) => denied,
        other => panic!("{other:?}"),
    }
}

fn allowed(decision: Decision) -> Allowed {
    match decision {
        Decision::Allow(allowed) => allowed,
        other => panic!("{other:?}"),
    }
}

fn message(snapshot: &Snapshot, subject: &Subject, operation: &str, now: Timestamp) -> String {
    let operation = op(operation);
    let query = Query { subject, target: "demo", operation: &operation, facts: Facts::NONE };
    denied(decide(snapshot, &query, now)).message(&query, None)
}

/// What a request comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Allowed,
    Held,
    Denied,
}

impl Meaning {
    fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Allow(_) => Meaning::Allowed,
            Decision::Review(_) => Meaning::Held,
            Decision::Deny(_) => Meaning::Denied,
        }
    }
}

fn alice() -> Subject {
    person("alice", &["dev"])
}

#[test]
fn a_live_grant_allows_what_its_role_covers_while_it_lasts() {
    let alice = alice();
    let snapshot = snapshot(roles(vec![role("pods", &[PODS])]), &[grant(1, &alice, "pods")]);
    let allowed = allowed(ask(&snapshot, &alice, "get pods web -n prod", start()));
    assert_eq!((allowed.role.as_str(), allowed.rule), ("pods", 0));
    assert_eq!(allowed.grant, Some("g-000001".parse().unwrap()));
    assert_eq!(allowed.expires, Some(start() + minutes(60)));

    denied(ask(&snapshot, &alice, "create pods -n prod", start()));
    denied(ask(&snapshot, &person("bob", &["dev"]), "get pods web -n prod", start()));
    let same_id_elsewhere = Subject { issuer: "https://idp".into(), ..alice.clone() };
    denied(ask(&snapshot, &same_id_elsewhere, "get pods web -n prod", start()));
    let other = Query {
        subject: &alice,
        target: "other",
        operation: &op("get pods web -n prod"),
        facts: Facts::NONE,
    };
    assert_eq!(denied(decide(&snapshot, &other, start())).reason, DenyReason::NoGrant);
    let unknown = Query { target: "nowhere", ..other };
    assert_eq!(denied(decide(&snapshot, &unknown, start())).reason, DenyReason::UnknownTarget);

    snapshot.confirm(start() + minutes(60));
    let over = denied(ask(&snapshot, &alice, "get pods web -n prod", start() + minutes(60)));
    assert!(matches!(over.reason, DenyReason::GrantEnded { ended: Ended::Expired { .. }, .. }), "{over:?}");
    // A clock set back before the grant's start opens nothing.
    snapshot.confirm(start() - minutes(1));
    denied(ask(&snapshot, &alice, "get pods web -n prod", start() - minutes(1)));
}

#[test]
fn a_snapshot_that_nobody_confirms_decides_nothing() {
    let alice = alice();
    let snapshot = snapshot(roles(vec![role("pods", &[PODS])]), &[grant(1, &alice, "pods")]);
    let seconds = |n: i64| start() + jiff::SignedDuration::from_secs(n);
    allowed(ask(&snapshot, &alice, "get pods web -n prod", seconds(10)));
    for late in [seconds(11), seconds(-11)] {
        let reason = denied(ask(&snapshot, &alice, "get pods web -n prod", late)).reason;
        assert_eq!(reason, DenyReason::SnapshotStale { age: Duration::from_secs(11) });
        denied(ask(&snapshot, &alice, "get /version", late));
    }
    snapshot.confirm(seconds(11));
    allowed(ask(&snapshot, &alice, "get pods web -n prod", seconds(11)));
}

#[test]
fn a_deny_rule_of_any_live_grant_wins() {
    let alice = alice();
    let set = || {
        roles(vec![
            role("pods", &[PODS, NOT_PROD]),
            role("all", &["apiGroups: ['*'], resources: ['*'], verbs: ['*']"]),
        ])
    };
    let both = snapshot(set(), &[grant(1, &alice, "pods"), grant(2, &alice, "all")]);
    let no = denied(ask(&both, &alice, "delete pods web -n prod", start()));
    let rule = no.rule().unwrap();
    assert_eq!((rule.role.as_str(), rule.rule), ("pods", 1));
    assert!(no.requestable.is_empty());
    allowed(ask(&both, &alice, "delete pods web -n dev", start()));

    // Only while that grant is live, and only on its target.
    let only_all = snapshot(set(), &[grant(2, &alice, "all")]);
    allowed(ask(&only_all, &alice, "delete pods web -n prod", start()));
    let revoked = Grant { ended: Some(Ended::Expired { at: start() }), ..grant(1, &alice, "pods") };
    let elsewhere = Grant { target: "other".into(), ..grant(3, &alice, "pods") };
    let later = snapshot(set(), &[revoked, elsewhere, grant(2, &alice, "all")]);
    allowed(ask(&later, &alice, "delete pods web -n prod", start()));
}

#[test]
fn discovery_is_open_to_all_but_not_against_a_deny() {
    let alice = alice();
    let no_openapi = [
        "nonResourceURLs: [/metrics], verbs: [get]",
        "action: deny, nonResourceURLs: ['/openapi*'], verbs: ['*']",
    ];
    let snapshot = snapshot(roles(vec![role("pods", &no_openapi)]), &[grant(1, &alice, "pods")]);
    let bob = person("bob", &[]);
    for path in ["/api", "/api/v1", "/apis", "/apis/apps/v1", "/openapi/v3", "/version", "/readyz"] {
        let discovery = allowed(ask(&snapshot, &bob, &format!("get {path}"), start()));
        assert_eq!((discovery.role.as_str(), discovery.grant), (crate::DISCOVERY_ROLE, None));
    }
    for question in [
        "create selfsubjectreviews.authentication.k8s.io",
        "create selfsubjectaccessreviews.authorization.k8s.io",
        "create selfsubjectrulesreviews.authorization.k8s.io",
    ] {
        let answered = allowed(ask(&snapshot, &bob, question, start()));
        assert_eq!((answered.role.as_str(), answered.grant), (crate::DISCOVERY_ROLE, None));
    }
    for closed in [
        "get /metrics",
        "get /",
        "post /version",
        "get /apiserver",
        "list pods",
        "create selfsubjectreviews.example.com",
        "create selfsubjectreviews.authentication.k8s.io/status",
        "create selfsubjectreviews.authentication.k8s.io -n demo",
        "list selfsubjectreviews.authentication.k8s.io",
        "create subjectaccessreviews.authorization.k8s.io",
        "create tokenreviews.authentication.k8s.io",
    ] {
        denied(ask(&snapshot, &bob, closed, start()));
    }
    denied(ask(&snapshot, &alice, "get /openapi/v3", start()));
}

#[test]
fn of_several_grants_the_order_never_matters() {
    let alice = alice();
    let set = || {
        roles(vec![
            role("a", &[PODS]),
            role_with("b", &[PODS], "  obligations: {mask: none, record: metadata}\n"),
            role_with("c", &[PODS], "  obligations: {mask: none}\n"),
        ])
    };
    let longer = Grant { expires_at: start() + minutes(90), ..grant(4, &alice, "c") };
    let mut grants = vec![grant(1, &alice, "a"), grant(2, &alice, "b"), grant(3, &alice, "c"), longer];
    for _ in 0..grants.len() {
        grants.rotate_left(1);
        let best = allowed(ask(&snapshot(set(), &grants), &alice, "get pods web -n x", start()));
        assert_eq!(best.grant.unwrap().as_str(), "g-000004");
        assert_eq!((best.obligations.mask, best.obligations.record), (MaskLevel::None, RecordLevel::Full));
    }
}

#[test]
fn of_several_grants_the_one_counts_that_opens_most_of_what_is_asked_for() {
    let alice = alice();
    let opens = |resource: &str, paths: &str| {
        format!("  obligations: {{unmask: [{{resources: [{resource}], paths: [{paths}]}}]}}\n")
    };
    let snapshot = || {
        let set = roles(vec![
            role("a", &[PODS]),
            role_with("b", &[PODS], &opens("secrets", "data.a, data.b, data.c")),
            role_with("c", &[PODS], &opens("pods", "metadata.annotations.token")),
        ]);
        snapshot(set, &[grant(1, &alice, "a"), grant(2, &alice, "b"), grant(3, &alice, "c")])
    };
    let best = allowed(ask(&snapshot(), &alice, "get pods web -n x", start()));
    assert_eq!(best.role.as_str(), "c");
    let operation = Operation::Resource {
        verb: "get".into(),
        api_group: String::new(),
        api_version: "v1".into(),
        resource: "pods".into(),
        subresource: String::new(),
        namespace: "x".into(),
        name: "web".into(),
    };
    let opened: Vec<String> = best.obligations.unmasked(&operation).iter().map(ToString::to_string).collect();
    assert_eq!(opened, ["metadata.annotations.token"]);
    let other = Operation::NonResource { verb: "get".into(), path: "/api".into() };
    assert!(best.obligations.unmasked(&other).is_empty());
}

#[test]
fn a_stream_asks_whether_its_grant_is_live() {
    let alice = alice();
    let by = Person::from(&person("bob", &[]));
    let revoked = Ended::Revoked { at: start(), by, reason: "left the team".into() };
    let grants = [
        grant(1, &alice, "pods"),
        Grant { ended: Some(revoked), ..grant(2, &alice, "pods") },
        grant(3, &alice, "gone"),
    ];
    let snapshot = snapshot(roles(vec![role("pods", &[PODS])]), &grants);
    let live = |n: usize, after: u64| {
        snapshot.confirm(start() + minutes(after));
        snapshot.grant_live(&format!("g-00000{n}").parse().unwrap(), start() + minutes(after))
    };
    assert_eq!(live(1, 59), Ok(start() + minutes(60)));
    let said = |n, after| live(n, after).unwrap_err().to_string();
    assert_eq!(said(1, 60), "expired at 2026-03-01T13:00:00Z");
    assert_eq!(said(2, 0), "revoked by bob: left the team");
    assert_eq!(said(3, 0), "role gone no longer gives access to this target");
    assert_eq!(said(9, 0), "no such grant is live");
    let silent = snapshot.grant_live(&"g-000001".parse().unwrap(), start() + minutes(2)).unwrap_err();
    assert_eq!(silent.to_string(), "the grant store has not answered for 120 seconds");
}

#[test]
fn a_denial_says_how_to_ask() {
    let alice = alice();
    let wide = role("all", &["apiGroups: ['*'], resources: ['*'], verbs: ['*']"]);
    let short = role_with("pod-admin", &[PODS], "  maxDuration: 10m\n");
    let not_mine = role_with("secret", &[PODS], "  eligible: {groups: [sec]}\n");
    let guarded = role("guarded", &[PODS, NOT_PROD]);
    let set = || roles(vec![wide.clone(), short.clone(), not_mine.clone(), guarded.clone()]);
    let nothing = snapshot(set(), &[]);
    let no = denied(ask(&nothing, &alice, "delete pods web -n prod", start()));
    assert_eq!(no.requestable.iter().map(RoleName::as_str).collect::<Vec<_>>(), ["pod-admin", "all"]);
    assert_eq!(
        message(&nothing, &alice, "delete pods web -n prod", start()),
        "portcullis: denied: alice may not delete pods \"web\" in namespace \"prod\" of target demo: no active \
         grant covers it. Ask for it: portcullis request --role pod-admin --target demo --for 10m --reason \"…\""
    );
    let id = "d-7f3a9c".parse().unwrap();
    let operation = op("delete pods web -n prod");
    let query = Query { subject: &alice, target: "demo", operation: &operation, facts: Facts::NONE };
    assert_eq!(
        no.message(&query, Some(&id)),
        "portcullis: denied: alice may not delete pods \"web\" in namespace \"prod\" of target demo: no active \
         grant covers it. Ask for it (role pod-admin on demo for 10m): portcullis request --from d-7f3a9c --reason \
         \"…\""
    );
    assert_eq!(
        message(&nothing, &alice, "list deployments.apps", start()),
        "portcullis: denied: alice may not list deployments.apps across the cluster of target demo: no active \
         grant covers it. Ask for it: portcullis request --role all --target demo --for 30m --reason \"…\""
    );
    assert_eq!(
        message(&nothing, &person("eve", &[]), "get pods/exec web -n prod", start()),
        "portcullis: denied: eve may not create pods/exec \"web\" in namespace \"prod\" of target demo: no active \
         grant covers it. No role that you may ask for would allow it."
    );
    assert_eq!(
        message(&nothing, &person("eve", &[]), "get /metrics\u{1b}[2J", start()),
        "portcullis: denied: eve may not get /metrics\\u{1b}[2J of target demo: no active grant covers it. No role \
         that you may ask for would allow it."
    );
}

#[test]
fn a_denial_says_what_ended_waits_or_forbids() {
    let alice = alice();
    let set = || roles(vec![role("guarded", &[PODS, NOT_PROD])]);
    let guarded = snapshot(set(), &[grant(1, &alice, "guarded")]);
    assert_eq!(
        message(&guarded, &alice, "delete pods web -n prod", start()),
        "portcullis: denied: alice may not delete pods \"web\" in namespace \"prod\" of target demo: rule 2 of role \
         guarded forbids it: only the pipeline deletes in prod. A deny rule wins over every grant: nothing can be \
         requested."
    );
    let later = start() + minutes(61);
    guarded.confirm(later);
    assert_eq!(
        message(&guarded, &alice, "get pods web -n prod", later),
        "portcullis: denied: alice may not get pods \"web\" in namespace \"prod\" of target demo: grant g-000001 of \
         role guarded expired at 2026-03-01T13:00:00Z. Ask for it: portcullis request --role guarded --target demo \
         --for 30m --reason \"…\""
    );
    let by = Person::from(&person("bob", &[]));
    let revoked = Grant {
        ended: Some(Ended::Revoked { at: start(), by, reason: "incident over".into() }),
        ..grant(1, &alice, "guarded")
    };
    let waiting = Request {
        id: "r-00abcd".parse().unwrap(),
        subject: Person::from(&alice),
        role: "guarded".parse().unwrap(),
        target: "demo".into(),
        duration: minutes(30),
        starts_at: None,
        reason: "again".into(),
        extends: None,
        state: RequestState::Pending,
        created_at: start(),
        expires_at: start() + minutes(60),
        approvals: Vec::new(),
        decided_at: None,
        refusal: None,
        grant: None,
        denied: None,
        emergency: false,
        unmasks: vec![],
    };
    let waits = snapshot_with(set(), &[revoked], &[waiting]);
    assert_eq!(
        message(&waits, &alice, "get pods web -n prod", start()),
        "portcullis: denied: alice may not get pods \"web\" in namespace \"prod\" of target demo: grant g-000001 of \
         role guarded was revoked by bob: incident over. Your request r-00abcd for it waits to be approved."
    );
    assert_eq!(
        message(&waits, &alice, "get pods web -n prod", start() + minutes(1)),
        "portcullis: denied: alice may not get pods \"web\" in namespace \"prod\" of target demo: the grant store has \
         not answered for 60 seconds, and until it does nothing is allowed."
    );
}

#[test]
fn a_list_over_all_namespaces_is_told_to_name_one() {
    let alice = alice();
    let rule = "apiGroups: [''], resources: [pods], verbs: [get, list], namespaces: [prod, 'stage-*']";
    let snapshot = snapshot(roles(vec![role("prod", &[rule])]), &[grant(1, &alice, "prod")]);
    assert_eq!(
        message(&snapshot, &alice, "list pods", start()),
        "portcullis: denied: alice may not list pods across the cluster of target demo: no active grant covers it. \
         Your grant covers it in namespace prod, stage-*: name one with -n."
    );
}

#[test]
fn decisions_are_serialised_for_records() {
    let alice = alice();
    let snapshot = snapshot(roles(vec![role("pods", &[PODS, NOT_PROD])]), &[grant(1, &alice, "pods")]);
    let json = |operation| serde_json::to_value(ask(&snapshot, &alice, operation, start())).unwrap();
    let allow = json("get pods web -n prod");
    assert_eq!((&allow["decision"], &allow["grant"]), (&"allow".into(), &"g-000001".into()));
    assert_eq!(allow["obligations"]["mask"], "default");
    let deny = json("delete pods web -n prod");
    assert_eq!(
        (&deny["reason"]["kind"], &deny["reason"]["role"], &deny["reason"]["rule"]),
        (&"denyRule".into(), &"pods".into(), &1.into())
    );
    let set = roles(vec![role("pods", &[PODS, REVIEWED])]);
    let decision = ask(
        &crate::testing::snapshot(set, &[grant(1, &alice, "pods")]),
        &alice,
        "get pods web -n prod",
        start(),
    );
    let review = serde_json::to_value(decision).unwrap();
    assert_eq!((&review["decision"], &review["allowed"]["grant"]), (&"review".into(), &"g-000001".into()));
    assert_eq!((&review["terms"]["wait"], &review["by"]["rule"]), (&"5m".into(), &1.into()));
    let keys: BTreeSet<&str> = deny.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["askFor", "decision", "namespaces", "pending", "reason", "requestable"].into());
}
