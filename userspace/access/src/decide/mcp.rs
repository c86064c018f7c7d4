//! What decisions make of MCP servers: what is open there, what is not, and tools by their arguments.

use std::sync::Arc;

use portcullis_identity::Subject;
use serde_json::{Value, json};

use super::*;
use crate::testing::*;
use crate::{DISCOVERY_ROLE, DiscoveryPolicy, Facts, MaskLevel, RoleSet};

const READ: &str = "mcp: {methods: [tools/call], tools: [read]}";

fn alice() -> Subject {
    person("alice", &["dev"])
}

/// With `discovery`, and a grant of the first role to Alice.
fn snapshot_with(set: RoleSet, discovery: &DiscoveryPolicy) -> Snapshot {
    let grant = Arc::new(grant(1, &alice(), "r"));
    let (open, targets) = (Arc::new(discovery.compile().unwrap()), targets().into_iter().collect());
    let (age, requests) = (Duration::from_secs(10), std::iter::empty());
    Snapshot::new(start(), age, Arc::new(set), targets, open, [grant].iter(), requests)
}

fn snapshot_of(rules: &[&str]) -> Snapshot {
    snapshot_with(roles(vec![role("r", rules)]), &DiscoveryPolicy::default())
}

fn decided(snapshot: &Snapshot, subject: &Subject, operation: &str, arguments: Option<Value>) -> Decision {
    let facts = Facts { arguments: arguments.map(Arc::new), ..Facts::default() };
    let query = Query { subject, target: "demo", operation: &op(operation), facts: &facts };
    decide(snapshot, &query, start())
}

fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Allow(allowed) if allowed.role.as_str() == DISCOVERY_ROLE => "open",
        Decision::Allow(_) => "allow",
        Decision::Deny(_) => "deny",
        Decision::Review(_) => "review",
    }
}

fn said(snapshot: &Snapshot, operation: &str) -> &'static str {
    word(&decided(snapshot, &alice(), operation, None))
}

const OPEN: &[&str] = &[
    "initialize",
    "ping",
    "server/discover",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "logging/setLevel",
    "subscriptions/listen",
    "session/stream",
    "session/end",
    "response",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
];

#[test]
fn plumbing_and_lists_are_open_and_nothing_else_is() {
    let snapshot = snapshot_of(&[READ]);
    for method in OPEN {
        assert_eq!(said(&snapshot, &format!("mcp {method}")), "open", "{method}");
    }
    for closed in [
        "tools/call write",
        "resources/read x:y",
        "resources/subscribe x:y",
        "prompts/get greet",
        "completion/complete prompt:greet",
        "notifications/message",
        "tools/List",
        "Initialize",
        "tools/list/x",
        "sampling/createMessage",
    ] {
        assert_eq!(said(&snapshot, &format!("mcp {closed}")), "deny", "{closed}");
    }
    assert_eq!(said(&snapshot, "mcp tools/call read"), "allow");
}

#[test]
fn they_are_open_to_those_who_could_come_to_call_something() {
    let elsewhere = role_with("elsewhere", &[READ], "  targets: [other]\n  eligible: {groups: [sec]}\n");
    let paths =
        role_with("paths", &["nonResourceURLs: ['*'], verbs: [get]"], "  eligible: {groups: [ops]}\n");
    let set = roles(vec![role_with("r", &[READ], "  eligible: {groups: [leads]}\n"), elsewhere, paths]);
    let snapshot = snapshot_with(set, &DiscoveryPolicy::default());
    let said = |who: &Subject| word(&decided(&snapshot, who, "mcp initialize", None));
    // Alice holds a grant, and may not ask for it any more.
    assert_eq!(said(&alice()), "open");
    assert_eq!(said(&person("bob", &["leads"])), "open");
    for (name, group) in [("carol", "none"), ("dave", "sec"), ("erin", "ops")] {
        assert_eq!(said(&person(name, &[group])), "deny", "{name}");
    }
}

#[test]
fn a_deny_rule_closes_what_is_open_and_a_review_rule_does_not_hold_it() {
    let deny = "action: deny, mcp: {methods: [tools/list, 'session/*']}";
    let snapshot = snapshot_of(&[READ, deny, "action: review, mcp: {methods: ['*']}"]);
    assert_eq!(said(&snapshot, "mcp tools/list"), "deny");
    assert_eq!(said(&snapshot, "mcp session/stream"), "deny");
    // The review rule covers it too, so that it goes under the grant.
    assert_eq!(said(&snapshot, "mcp prompts/list"), "allow");
    assert_eq!(said(&snapshot, "mcp tools/call read"), "review");
}

#[test]
fn a_grant_that_covers_what_is_open_says_how_it_goes() {
    let unmasked = role_with("r", &["mcp: {methods: [initialize]}"], "  obligations: {mask: none}\n");
    let snapshot = snapshot_with(roles(vec![unmasked]), &DiscoveryPolicy::default());
    let Decision::Allow(allowed) = decided(&snapshot, &alice(), "mcp initialize", None) else { panic!() };
    assert_eq!((allowed.obligations.mask, allowed.expires.is_some()), (MaskLevel::None, true));
    assert_eq!(said(&snapshot, "mcp ping"), "open");
}

#[test]
fn what_is_open_can_be_closed() {
    for closed in [
        DiscoveryPolicy { mcp: false, ..DiscoveryPolicy::default() },
        DiscoveryPolicy { enabled: false, ..DiscoveryPolicy::default() },
    ] {
        let rules = &[READ, "mcp: {methods: [tools/list]}"];
        let snapshot = snapshot_with(roles(vec![role("r", rules)]), &closed);
        assert_eq!(said(&snapshot, "mcp initialize"), "deny");
        assert_eq!(said(&snapshot, "mcp tools/list"), "allow");
        assert_eq!(said(&snapshot, "get /version"), if closed.enabled { "open" } else { "deny" });
    }
    let read = |yaml: &str| crate::read_yaml::<DiscoveryPolicy>("p.yaml", 0, yaml).map_err(|e| e.to_string());
    assert!(!read("mcp: false\n").unwrap().mcp);
    assert!(read("enabled: true\n").unwrap().mcp);
    assert!(read("mcpTargets: [demo]\n").unwrap_err().contains("unknown field `mcpTargets`"));
}

/// Of a server that is no API server every path is what somebody made of it.
#[test]
fn paths_of_an_mcp_server_are_decided_by_rules_alone() {
    let rules = [
        "nonResourceURLs: [/healthz, '/admin/*'], verbs: [get, post]",
        "action: review, nonResourceURLs: ['/admin/keys*'], verbs: [post]",
        "action: deny, nonResourceURLs: [/admin/reset], verbs: ['*']",
    ];
    let discovery = DiscoveryPolicy { mcp_targets: ["demo".to_owned()].into(), ..DiscoveryPolicy::default() };
    let snapshot = snapshot_with(roles(vec![role("r", &rules)]), &discovery);
    for (operation, expected) in [
        ("get /healthz", "allow"),
        ("get /readyz", "deny"),
        ("get /api/keys", "deny"),
        ("get /version", "deny"),
        ("get /admin/users", "allow"),
        ("delete /admin/users", "deny"),
        ("post /admin/keys", "review"),
        ("post /admin/reset", "deny"),
        ("get /.well-known/oauth-protected-resource", "deny"),
    ] {
        assert_eq!(said(&snapshot, operation), expected, "{operation}");
    }
    let operation = op("get /api/keys");
    let query = Query { subject: &alice(), target: "other", operation: &operation, facts: Facts::NONE };
    assert_eq!(word(&decide(&snapshot, &query, start())), "open");
    assert_eq!(snapshot.permissions(&alice(), "demo", "", start()).paths.len(), 2);
    assert_eq!(snapshot.permissions(&alice(), "other", "", start()).paths.len(), 1);
}

#[test]
fn a_tool_is_allowed_held_and_denied_by_its_arguments() {
    let snapshot = snapshot_of(&[
        "mcp: {methods: [tools/call], tools: [read]}, when: \"request.arguments.path.startsWith('/srv/')\"",
        "action: review, mcp: {methods: [tools/call], tools: [read]}, when: request.arguments.limit > 100",
        "action: deny, mcp: {methods: [tools/call], tools: [read]}, when: \"request.arguments.path.contains('..')\"",
        "action: deny, mcp: {methods: [tools/call], tools: [read]}, \
         when: \"!request.arguments.all(name, name in ['path', 'limit'])\"",
    ]);
    for (arguments, expected) in [
        (json!({"path": "/srv/a", "limit": 10}), "allow"),
        (json!({"path": "/srv/a", "limit": 100.0}), "allow"),
        (json!({"path": "/srv/a", "limit": 100.5}), "review"),
        (json!({"path": "/srv/a", "limit": 1000}), "review"),
        (json!({"path": "/etc/a", "limit": 10}), "deny"),
        (json!({"path": "/srv/../etc/a", "limit": 10}), "deny"),
        (json!({"path": "/srv/a", "limit": 10, "follow": true}), "deny"),
        // What cannot be told holds, denies, and allows nothing.
        (json!({"path": "/srv/a"}), "review"),
        (json!({"path": "/srv/a", "limit": "10"}), "review"),
        (json!({"path": ["/srv/a"], "limit": 10}), "deny"),
        (json!({"limit": 10}), "deny"),
        (json!(["/srv/a"]), "deny"),
    ] {
        let decision = decided(&snapshot, &alice(), "mcp tools/call read", Some(arguments.clone()));
        assert_eq!(word(&decision), expected, "{arguments}");
    }
    assert_eq!(said(&snapshot, "mcp tools/call read"), "deny");
}

#[test]
fn a_denial_of_a_tool_says_how_to_ask() {
    let set = roles(vec![role("r", &["mcp: {methods: [ping]}"]), role("tools", &[READ])]);
    let snapshot = snapshot_with(set, &DiscoveryPolicy::default());
    let operation = op("mcp tools/call read");
    let query = Query { subject: &alice(), target: "demo", operation: &operation, facts: Facts::NONE };
    let Decision::Deny(denied) = decide(&snapshot, &query, start()) else { panic!() };
    assert_eq!(
        denied.message(&query, None),
        "portcullis: denied: alice may not call tool \"read\" of target demo: no active grant covers it. Ask for it: \
         portcullis request --role tools --target demo --for 30m --reason \"…\""
    );
}
