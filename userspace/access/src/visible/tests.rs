use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::testing::*;
use crate::{Caller, Decision, Grant, RoleSet, decide};

const PATH: &str = "request.arguments.path.startsWith('/srv/')";

/// What Alice, who holds all of `roles`, is shown.
struct Shown {
    snapshot: Snapshot,
    alice: Subject,
    facts: Facts,
}

impl Shown {
    fn by(rules: &[&[&str]]) -> Self {
        let named = rules.iter().enumerate().map(|(n, rules)| role(&format!("r{n}"), rules));
        Self::with(roles(named.collect()))
    }

    fn with(set: RoleSet) -> Self {
        let alice = person("alice", &["dev"]);
        let held = (0..).zip(set.iter()).map(|(n, role)| grant(n, &alice, role.name.as_str()));
        let held: Vec<Grant> = held.collect();
        Self { snapshot: snapshot(set, &held), alice, facts: Facts::default() }
    }

    fn call(&self, operation: &str) -> bool {
        let (operation, facts) = (op(operation), &self.facts);
        let query = Query { subject: &self.alice, target: "demo", operation: &operation, facts };
        self.snapshot.may_call(&query, start())
    }

    fn template(&self, prefix: &str) -> bool {
        self.snapshot.may_read_some(&self.alice, "demo", prefix, &self.facts, start())
    }
}

fn tools(action: &str, names: &str, when: &str) -> String {
    let when = if when.is_empty() { String::new() } else { format!(", when: \"{when}\"") };
    format!("action: {action}, mcp: {{methods: [tools/call], tools: [{names}]}}{when}")
}

#[test]
fn what_no_grant_covers_is_not_shown() {
    let shown = Shown::by(&[&[&tools("allow", "'read_*'", ""), &tools("review", "write", "")]]);
    for (tool, visible) in [("read_a", true), ("write", true), ("delete", false), ("Read_a", false)] {
        assert_eq!(shown.call(&format!("mcp tools/call {tool}")), visible, "{tool}");
    }
    assert!(!shown.call("mcp prompts/get read_a"));
    let none = snapshot(roles(vec![role("r0", &[&tools("allow", "'*'", "")])]), &[]);
    let (alice, operation) = (person("alice", &["dev"]), op("mcp tools/call a"));
    let query = Query { subject: &alice, target: "demo", operation: &operation, facts: Facts::NONE };
    assert!(!none.may_call(&query, start()));
}

#[test]
fn a_deny_rule_of_any_grant_hides() {
    let shown =
        Shown::by(&[&[&tools("allow", "'*'", "")], &[&tools("allow", "a", ""), &tools("deny", "b", "")]]);
    assert!(shown.call("mcp tools/call a"));
    assert!(!shown.call("mcp tools/call b"));
}

#[test]
fn arguments_may_come_to_be_anything() {
    for (action, when, visible) in [
        ("allow", PATH, true),
        ("review", PATH, true),
        ("allow", "!has(request.arguments.force)", true),
        ("allow", "has(request.arguments.force)", true),
        ("allow", "request.arguments.size() == 0", true),
        // Whatever the arguments, it does not hold, or does.
        ("allow", "subject.name == 'bob' && request.arguments.a == 1", false),
        ("review", "request.arguments.a == 1 && subject.name == 'bob'", false),
        ("allow", "subject.name == 'alice' || request.arguments.a == 1", true),
        // What cannot be told for another reason allows nothing.
        ("allow", "process.uid == 0", false),
        ("review", "process.uid == 0", true),
        ("allow", "subject.name == 'bob'", false),
    ] {
        let shown = Shown::by(&[&[&tools(action, "a", when)]]);
        assert_eq!(shown.call("mcp tools/call a"), visible, "{action} {when}");
    }
    for (when, visible) in [
        (PATH, true),
        ("has(request.arguments.force)", true),
        ("subject.name == 'alice' && request.arguments.force == true", true),
        ("subject.name == 'alice' || request.arguments.force == true", false),
        ("subject.name == 'alice'", false),
        ("process.uid == 0", false),
        ("subject.name == 'bob'", true),
    ] {
        let shown = Shown::by(&[&[&tools("allow", "a", ""), &tools("deny", "a", when)]]);
        assert_eq!(shown.call("mcp tools/call a"), visible, "deny {when}");
    }
}

#[test]
fn arguments_that_are_there_do_not_count_and_the_process_does() {
    let mut shown = Shown::by(&[&[&tools("allow", "a", PATH), &tools("allow", "b", "process.uid == 1001")]]);
    shown.facts.arguments = Some(Arc::new(json!({"path": "/etc"})));
    assert!(shown.call("mcp tools/call a"));
    assert!(!shown.call("mcp tools/call b"));
    let process =
        Caller { uid: 1001, gid: 1001, exe: String::new(), argv: Vec::new(), tty: None, loginuid: None };
    shown.facts.process = Some(Arc::new(process));
    assert!(shown.call("mcp tools/call b"));
}

#[test]
fn templates_are_shown_where_some_resource_of_theirs_may_be_read() {
    let reads = |action: &str, resources: &str, when: &str| {
        let when = if when.is_empty() { String::new() } else { format!(", when: \"{when}\"") };
        format!("action: {action}, mcp: {{methods: ['resources/*'], resources: [{resources}]}}{when}")
    };
    let shown = Shown::by(&[&[
        &reads("allow", "'file:///srv/*'", ""),
        &reads("review", "'db://main/users/7'", ""),
        &reads("allow", "'named:*'", "request.name == 'named:a'"),
        &reads("allow", "'bobs:*'", "subject.name == 'bob'"),
        "mcp: {methods: [tools/call], tools: ['*']}",
        "mcp: {methods: [resources/subscribe], resources: ['only:*']}",
    ]]);
    for (prefix, visible) in [
        ("file:///srv/", true),
        ("file:///srv/a/", true),
        ("file:///", true),
        ("", true),
        ("file:///etc/", false),
        ("FILE:///srv/", false),
        ("db://main/users/", true),
        ("db://main/users/7", true),
        ("db://main/users/7/", false),
        ("named:", true),
        ("bobs:", false),
        ("only:", false),
    ] {
        assert_eq!(shown.template(prefix), visible, "{prefix:?}");
    }
    for (denied, when, prefix, visible) in [
        ("'file:///srv/*'", "", "file:///srv/", false),
        ("'file:///*'", "", "file:///srv/", false),
        ("'file:///srv/a/*'", "", "file:///srv/", true),
        ("'file:///srv/'", "", "file:///srv/", true),
        ("'file:///srv/*'", "request.name == 'file:///srv/a'", "file:///srv/", true),
        ("'file:///srv/*'", "subject.name == 'alice'", "file:///srv/", false),
        ("'file:///srv/*'", "subject.name == 'bob'", "file:///srv/", true),
    ] {
        let shown = Shown::by(&[&[&reads("allow", "'file:*'", ""), &reads("deny", denied, when)]]);
        assert_eq!(shown.template(prefix), visible, "{denied} {when} {prefix}");
    }
    let all = Shown::by(&[&["mcp: {methods: ['*']}"]]);
    assert!(all.template("x:"));
}

#[test]
fn nothing_is_shown_of_what_is_not_known_any_more() {
    let shown = Shown::by(&[&["mcp: {methods: ['*']}"]]);
    let (operation, later) = (op("mcp tools/call a"), start() + minutes(5));
    let query = Query { subject: &shown.alice, target: "demo", operation: &operation, facts: Facts::NONE };
    assert!(!shown.snapshot.may_call(&query, later));
    assert!(!shown.snapshot.may_read_some(&shown.alice, "demo", "x:", Facts::NONE, later));
    shown.snapshot.confirm(later);
    assert!(shown.snapshot.may_call(&query, later));
    assert!(!shown.snapshot.may_call(&Query { target: "other", ..query }, later));
    shown.snapshot.confirm(start() + minutes(60));
    assert!(!shown.snapshot.may_call(&query, start() + minutes(60)), "the grant has ended");
}

/// A server with a thousand tools, and somebody with as many rules about them.
#[test]
fn a_thousand_tools_are_shown_as_they_are_decided() {
    let rules = (0..100).map(|n| {
        let (action, when) = match n % 4 {
            0 => ("allow", ""),
            1 => ("review", ""),
            2 => ("allow", PATH),
            _ => ("deny", "'x' in request.arguments.tags"),
        };
        tools(action, &format!("'t{n:02}*'"), when)
    });
    let rules: Vec<String> = rules.collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let shown = Shown::by(&[&rules, &[&tools("allow", "'t03*'", "")]]);
    let decided = |tool: &str, arguments| {
        let operation = op(tool);
        let facts = Facts { arguments: Some(Arc::new(arguments)), ..Facts::default() };
        let query = Query { subject: &shown.alice, target: "demo", operation: &operation, facts: &facts };
        !matches!(decide(&shown.snapshot, &query, start()), Decision::Deny(_))
    };
    let mut visible = 0;
    for n in 0..1000 {
        let tool = format!("mcp tools/call t{n:03}");
        let shown = shown.call(&tool);
        assert_eq!(shown, decided(&tool, json!({"path": "/srv/a", "tags": []})), "{tool}");
        visible += u32::from(shown);
    }
    assert_eq!(visible, 760);
}
