//! The index of grants and rules against a plain reading of the policy, over whatever can be asked.

use proptest::prelude::*;

use super::*;
use crate::operation::Asked;
use crate::rule::{Fit, Rule};
use crate::{Action, Operation, RoleSet};

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
