use std::collections::BTreeSet;

use portcullis_identity::Subject;
use proptest::prelude::*;

use super::*;
use crate::operation::Asked;
use crate::rule::{Fit, Rule};
use crate::testing::*;
use crate::{
    Action, Facts, Grant, MaskLevel, Operation, Person, RecordLevel, Request, RequestState, RoleSet, Snapshot,
};

const PODS: &str = "apiGroups: [''], resources: [pods], verbs: [get, list, watch, delete]";
const NOT_PROD: &str = "action: deny, apiGroups: [''], resources: [pods], verbs: [delete], namespaces: [prod], \
                        reason: only the pipeline deletes in prod";

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

/// The policy's meaning, as plainly as it can be said (docs/roles.md, "How a request is decided").
fn naive(set: &RoleSet, grants: &[Grant], query: &Query<'_>, now: Timestamp) -> Meaning {
    let live = grants.iter().filter(|grant| {
        grant.subject.is(query.subject)
            && grant.target == query.target
            && grant.ended.is_none()
            && (grant.starts_at..grant.expires_at).contains(&now)
    });
    let roles = live.filter_map(|grant| set.get(&grant.role).filter(|role| role.covers_target(query.target)));
    let rules: Vec<&Rule> = roles.flat_map(|role| &role.rules).collect();
    let asked = Asked::of(query.operation);
    let any = |action: Action, meets: fn(&Rule, &Asked<'_>) -> bool| {
        rules.iter().any(|rule| rule.action == action && meets(rule, &asked) && counts(rule, query, now))
    };
    let covers = |rule: &Rule, asked: &Asked<'_>| rule.fit(asked) == Fit::Yes;

    if any(Action::Deny, Rule::touches) {
        Meaning::Denied
    } else if is_discovery(query.operation) && (!is_mcp(query) || !rules.is_empty() || may_ask_of_mcp(set)) {
        Meaning::Allowed
    } else if !any(Action::Allow, covers) && !any(Action::Review, covers) {
        Meaning::Denied
    } else if any(Action::Review, Rule::touches) {
        Meaning::Held
    } else {
        Meaning::Allowed
    }
}

/// What cannot be told does not count for an allow rule, and counts for a deny or review rule.
fn counts(rule: &Rule, query: &Query<'_>, now: Timestamp) -> bool {
    let Some(when) = &rule.when else { return true };
    let (_, meaning) = CONDITIONS.iter().find(|(source, _)| *source == when.source()).unwrap();
    meaning(query, now).unwrap_or(rule.action != Action::Allow)
}

fn is_discovery(operation: &Operation) -> bool {
    match operation {
        Operation::NonResource { verb, path } => verb == "get" && path.starts_with("/api"),
        Operation::Mcp { method, .. } => ["ping", "tools/list"].contains(&method.as_str()),
        Operation::Resource { .. } => false,
    }
}

/// Everybody here may ask for every role.
fn may_ask_of_mcp(set: &RoleSet) -> bool {
    set.iter().flat_map(|role| &role.rules).any(|rule| rule.mcp().is_some())
}

/// What a condition comes to, said a second time; nothing for an error.
type Truth = fn(&Query<'_>, Timestamp) -> Option<bool>;

const CONDITIONS: &[(&str, Truth)] = &[
    ("request.namespace == \"a\"", |query, _| {
        Some(matches!(query.operation, Operation::Resource { namespace, .. } if namespace == "a"))
    }),
    ("\"dev\" in subject.groups", |query, _| Some(query.subject.groups.contains("dev"))),
    ("time.minute < 2", |_, now| Some(now < start() + minutes(2))),
    ("request.dryRun", |query, _| Some(query.facts.dry_run)),
    ("process.uid == 0", |query, _| query.facts.process.as_ref().map(|process| process.uid == 0)),
    ("1 / (time.hour - 12) == 1", |_, _| None),
    ("request.command[0] == \"ls\"", |query, _| query.facts.command.first().map(|word| word == "ls")),
];

fn arb_facts() -> impl Strategy<Value = Facts> {
    let process = |uid| crate::Caller {
        uid,
        gid: 0,
        exe: "/bin/x".into(),
        argv: vec!["x".into()],
        tty: None,
        loginuid: None,
    };
    let command = prop::sample::select(vec![vec![], vec!["ls".to_owned()], vec!["rm".to_owned()]]);
    (any::<bool>(), prop::option::of(0..2u32), command).prop_map(move |(dry_run, uid, command)| Facts {
        process: uid.map(process).map(std::sync::Arc::new),
        dry_run,
        command,
        ..Facts::default()
    })
}

fn arb_rule() -> impl Strategy<Value = String> {
    let pick = |from: &'static [&'static str]| {
        prop::sample::subsequence(from, 1..=from.len()).prop_map(|v| v.join(", "))
    };
    let optional = |name: &'static str, from| {
        prop::option::of(pick(from))
            .prop_map(move |v| v.map(|v| format!(", {name}: [{v}]")).unwrap_or_default())
    };
    let scope = prop_oneof![
        6 => (
            pick(&["''", "apps"]),
            pick(&["pods", "secrets", "pods/exec"]),
            pick(&["get", "list", "create", "delete"]),
            optional("namespaces", &["a", "'b*'"]),
            optional("resourceNames", &["x", "y"]),
        )
            .prop_map(|(groups, resources, verbs, namespaces, names)| {
                format!("apiGroups: [{groups}], resources: [{resources}], verbs: [{verbs}]{namespaces}{names}")
            }),
        2 => (pick(&["tools/call", "'tools/*'", "'*'"]), optional("tools", &["'read_*'", "write_a"]))
            .prop_map(|(methods, tools)| format!("mcp: {{methods: [{methods}]{tools}}}")),
        1 => pick(&["/metrics", "'/debug*'"]).prop_map(|urls| format!("nonResourceURLs: [{urls}], verbs: [get]")),
    ];
    let when = prop::option::weighted(0.4, prop::sample::select(CONDITIONS))
        .prop_map(|when| when.map(|(source, _)| format!(", when: '{source}'")).unwrap_or_default());
    let action = prop::sample::select(
        &["allow", "allow", "allow", "deny", "review", "review, review: {required: 2, groups: [sec, leads]}"]
            [..],
    );
    (action, scope, when).prop_map(|(action, scope, when)| format!("action: {action}, {scope}{when}"))
}

fn arb_operation() -> impl Strategy<Value = String> {
    let verbs = prop::sample::select(&["get", "list", "create", "delete"][..]);
    let resources = prop::sample::select(&["pods", "secrets", "pods/exec", "pods.apps"][..]);
    let names = prop::sample::select(&["", " x", " y", " z"][..]);
    let namespaces = prop::sample::select(&["", " -n a", " -n b1", " -n c"][..]);
    let others = &[
        "mcp tools/call read_a",
        "mcp tools/call write_a",
        "mcp tools/list",
        "mcp ping",
        "get /metrics",
        "get /api",
    ];
    prop_oneof![
        3 => (verbs, resources, names, namespaces).prop_map(|(v, r, n, ns)| format!("{v} {r}{n}{ns}")),
        1 => prop::sample::select(&others[..]).prop_map(str::to_owned),
    ]
}

/// Which role, whose, on which target, from and until which minute, revoked.
type GrantSeed = (usize, bool, bool, u64, u64, bool);

fn grants_of(seeds: &[GrantSeed]) -> Vec<Grant> {
    let seed = |(n, &(role, mine, here, from, until, revoked)): (usize, &GrantSeed)| {
        let holder = if mine { alice() } else { person("bob", &["dev"]) };
        Grant {
            target: if here { "demo" } else { "other" }.into(),
            starts_at: start() + minutes(from),
            expires_at: start() + minutes(from + until),
            ended: revoked.then_some(Ended::Expired { at: start() }),
            ..grant(n as u32, &holder, &format!("role-{role}"))
        }
    };
    seeds.iter().enumerate().map(seed).collect()
}

fn arb_grants() -> impl Strategy<Value = Vec<GrantSeed>> {
    let often = || prop::bool::weighted(0.8);
    prop::collection::vec((0..5usize, often(), often(), 0..3u64, 1..4u64, prop::bool::weighted(0.2)), 0..8)
}

proptest! {
    #[test]
    fn the_index_agrees_with_the_plain_meaning(
        rules in prop::collection::vec(prop::collection::vec(arb_rule(), 1..4), 4),
        seeds in arb_grants(),
        operations in prop::collection::vec(arb_operation(), 8),
        facts in arb_facts(),
        minute in 0..4u64,
    ) {
        let allow_nothing = "apiGroups: [none], resources: [none], verbs: [get]".to_owned();
        let parsed: Vec<Role> = rules.iter().enumerate().map(|(n, rules)| {
            let rules: Vec<&str> = rules.iter().chain([&allow_nothing]).map(String::as_str).collect();
            role(&format!("role-{n}"), &rules)
        }).collect();
        let set = || roles(parsed.clone());
        let now = start() + minutes(minute);
        let grants = grants_of(&seeds);
        let mut backwards = grants.clone();
        backwards.reverse();
        let (forth, back) = (snapshot(set(), &grants), snapshot(set(), &backwards));
        forth.confirm(now);
        back.confirm(now);
        for operation in &operations {
            let operation = op(operation);
            let subject = alice();
            let query = Query { subject: &subject, target: "demo", operation: &operation, facts: &facts };
            let decision = decide(&forth, &query, now);
            prop_assert_eq!(Meaning::of(&decision), naive(&set(), &grants, &query, now));
            // The order in which grants were made changes nothing, down to the last field.
            prop_assert_eq!(&decision, &decide(&back, &query, now));
            match decision {
                Decision::Allow(_) => {}
                Decision::Review(review) => {
                    prop_assert!(review.terms.required >= 1 && review.terms.groups.contains("leads"));
                    let held_by = set().get(&review.by.role).unwrap().rules[review.by.rule].clone();
                    prop_assert_eq!(held_by.review().unwrap().required, review.terms.required);
                }
                // What a denial offers would help, were it granted.
                Decision::Deny(denied) => for role in &denied.requestable {
                    let offered = [Grant { starts_at: now, expires_at: now + minutes(1), ..grant(99, &subject, role.as_str()) }];
                    prop_assert_ne!(naive(&set(), &offered, &query, now), Meaning::Denied);
                },
            }
        }
    }

    #[test]
    fn without_a_live_grant_nothing_but_discovery_is_allowed(operation in arb_operation(), minute in 60..100u64) {
        let everything = || roles(vec![role("all", &[
            "apiGroups: ['*'], resources: ['*', '*/proxy'], verbs: ['*']",
            "nonResourceURLs: ['*'], verbs: ['*']",
            "mcp: {methods: ['*']}",
        ])]);
        let now = start() + minutes(minute);
        let snapshot = snapshot(everything(), &[grant(1, &alice(), "all")]);
        snapshot.confirm(now);
        prop_assume!(!is_discovery(&op(&operation)));
        denied(ask(&snapshot, &alice(), &operation, now));
    }
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

const REVIEWED: &str =
    "action: review, apiGroups: [''], resources: [pods], verbs: [get, list, delete], namespaces: [prod]";

fn held(decision: Decision) -> Review {
    match decision {
        Decision::Review(review) => *review,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_review_rule_allows_what_people_agree_to() {
    let alice = alice();
    let reviewed = || roles(vec![role("reviewed", &[REVIEWED])]);
    let alone = snapshot(reviewed(), &[grant(1, &alice, "reviewed")]);
    let review = held(ask(&alone, &alice, "delete pods web -n prod", start()));
    assert_eq!(review.allowed.grant, Some("g-000001".parse().unwrap()));
    assert_eq!((review.by.role.as_str(), review.by.rule), ("reviewed", 0));
    let ReviewTerms { required, groups, wait } = review.terms.clone();
    assert_eq!((required, groups, wait), (1, ["leads".to_owned()].into(), minutes(5)));
    let operation = op("delete pods web -n prod");
    let query = Query { subject: &alice, target: "demo", operation: &operation, facts: Facts::NONE };
    assert_eq!(
        review.message(&query),
        "portcullis: held: alice asks to delete pods \"web\" in namespace \"prod\" of target demo: rule 1 of role \
         reviewed lets it go on once 1 of leads agree within 5m."
    );
    // It covers no more than an allow rule would.
    denied(ask(&alone, &alice, "list pods", start()));
    denied(ask(&alone, &alice, "get pods web -n dev", start()));
    // A denial offers it.
    let nothing = snapshot(reviewed(), &[]);
    let no = denied(ask(&nothing, &alice, "delete pods web -n prod", start()));
    assert_eq!(no.requestable.len(), 1);
}

#[test]
fn a_review_rule_holds_whichever_grant_allows() {
    let alice = alice();
    let set = || {
        roles(vec![
            role("a-plain", &[PODS]),
            role("reviewed", &[REVIEWED]),
            role("guarded", &["apiGroups: [''], resources: [services], verbs: [get]", NOT_PROD]),
        ])
    };
    let both = [grant(1, &alice, "a-plain"), grant(2, &alice, "reviewed")];
    let snapshot_of = |grants: &[Grant]| snapshot(set(), grants);
    let now = snapshot_of(&both);
    assert_eq!(held(ask(&now, &alice, "get pods web -n prod", start())).by.role.as_str(), "reviewed");
    allowed(ask(&now, &alice, "get pods web -n dev", start()));
    // What the answer would include is held as well, though the review rule alone would not cover it.
    let review = held(ask(&now, &alice, "list pods", start()));
    assert_eq!((review.allowed.role.as_str(), review.by.role.as_str()), ("a-plain", "reviewed"));
    // Only while that grant lives; and a deny is stronger.
    allowed(ask(&snapshot_of(&both[..1]), &alice, "list pods", start()));
    let all = [both[0].clone(), both[1].clone(), grant(3, &alice, "guarded")];
    let no = denied(ask(&snapshot_of(&all), &alice, "delete pods web -n prod", start()));
    assert_eq!(no.rule().unwrap().role.as_str(), "guarded");
}

#[test]
fn several_review_rules_are_satisfied_at_once() {
    let alice = alice();
    let with = |terms: &str| format!("{REVIEWED}, review: {{{terms}}}");
    let decision = |terms: [&str; 2]| {
        let set = || roles(vec![role("a", &[&with(terms[0])]), role("b", &[&with(terms[1])])]);
        let mut grants = [grant(1, &alice, "a"), grant(2, &alice, "b"), grant(3, &alice, "b")];
        let forth = ask(&snapshot(set(), &grants), &alice, "get pods web -n prod", start());
        grants.reverse();
        assert_eq!(forth, ask(&snapshot(set(), &grants), &alice, "get pods web -n prod", start()));
        forth
    };
    let review =
        held(decision(["groups: [sec, leads], wait: 2m", "required: 2, groups: [leads, team], wait: 9m"]));
    assert_eq!((review.by.role.as_str(), review.terms.required), ("b", 2));
    assert_eq!((review.terms.groups, review.terms.wait), (["leads".to_owned()].into(), minutes(2)));
    // A grant more can never choose who is asked: holding a role that asks friends lifts nothing.
    let no = denied(decision(["groups: [sec]", "required: 2, groups: [friends]"]));
    let DenyReason::NobodyMayAgree { rules } = &no.reason else { panic!("{no:?}") };
    assert_eq!(rules.iter().map(|by| by.role.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    let operation = op("get pods web -n prod");
    let query = Query { subject: &alice, target: "demo", operation: &operation, facts: Facts::NONE };
    let message = no.message(&query, None);
    assert!(
        message.contains("rule 1 of role b and rule 1 of role a hold it for different people"),
        "{message}"
    );
}

#[test]
fn a_condition_that_cannot_be_told_allows_nothing_and_denies_and_holds() {
    let alice = alice();
    let when = |rule: &str| format!("{rule}, when: 'process.uid == 0'");
    let set = || {
        roles(vec![
            role("allow", &[&when(PODS)]),
            role("deny", &[PODS, &when(NOT_PROD)]),
            role("review", &[PODS, &when(REVIEWED)]),
        ])
    };
    let decision = |role: &str, uid: Option<u32>| {
        let snapshot = snapshot(set(), &[grant(1, &alice, role)]);
        let process = uid.map(|uid| crate::Caller {
            uid,
            gid: 0,
            exe: "/bin/x".into(),
            argv: Vec::new(),
            tty: None,
            loginuid: None,
        });
        let facts = Facts { process: process.map(std::sync::Arc::new), ..Facts::default() };
        let operation = op("delete pods web -n prod");
        let query = Query { subject: &alice, target: "demo", operation: &operation, facts: &facts };
        Meaning::of(&decide(&snapshot, &query, start()))
    };
    use Meaning::{Allowed, Denied, Held};
    for (role, root, other, unknown) in [
        ("allow", Allowed, Denied, Denied),
        ("deny", Denied, Allowed, Denied),
        ("review", Held, Allowed, Held),
    ] {
        assert_eq!(decision(role, Some(0)), root, "{role}");
        assert_eq!(decision(role, Some(1000)), other, "{role}");
        assert_eq!(decision(role, None), unknown, "{role}");
    }
}

#[test]
fn discovery_is_never_held() {
    let alice = alice();
    let reviewed = ["nonResourceURLs: [/metrics], verbs: [get]", "action: review, mcp: {methods: ['*']}"];
    let now = snapshot(roles(vec![role("r", &reviewed)]), &[grant(1, &alice, "r")]);
    allowed(ask(&now, &alice, "get /apis", start()));
    held(ask(&now, &alice, "mcp tools/call search", start()));
    for url in ["/api", "'/apis/*'", "'/a*'", "'*'", "/openapi/v3", "/version"] {
        let yaml = format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: Role\nmetadata: {{name: r}}\nspec:\n  targets: [demo]\n  \
             eligible: {{groups: [dev]}}\n  approval: {{required: 0}}\n  maxDuration: 1h\n  rules:\n  \
             - {{action: review, nonResourceURLs: [{url}], verbs: [get], review: {{groups: [leads]}}}}\n"
        );
        let error = crate::parse_roles("r.yaml", &yaml).unwrap_err().to_string();
        assert!(error.contains("reaches discovery paths, and those are never held"), "{error}");
    }
}
