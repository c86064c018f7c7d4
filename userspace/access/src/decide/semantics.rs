//! What decisions make of Kubernetes: lists that are filtered, sessions by their command, subresources that do more than
//! their name says, and questions about oneself.

use super::*;
use crate::testing::*;
use crate::{Facts, Permissions};

fn snapshot_of(rules: &[&str]) -> Snapshot {
    snapshot(roles(vec![role("r", rules)]), &[grant(1, &alice(), "r")])
}

fn alice() -> portcullis_identity::Subject {
    person("alice", &["dev"])
}

fn decided(snapshot: &Snapshot, operation: &str, facts: &Facts) -> Decision {
    let (alice, operation) = (alice(), op(operation));
    let query = Query { subject: &alice, target: "demo", operation: &operation, facts };
    decide(snapshot, &query, start())
}

fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Allow(Allowed { filter: None, .. }) => "allow",
        Decision::Allow(_) => "filter",
        Decision::Deny(_) => "deny",
        Decision::Review(_) => "review",
    }
}

fn said(rules: &[&str], operation: &str) -> &'static str {
    word(&decided(&snapshot_of(rules), operation, Facts::NONE))
}

fn session(command: &[&str], tty: bool) -> Facts {
    Facts { command: command.iter().map(ToString::to_string).collect(), tty, ..Facts::default() }
}

#[test]
fn a_list_of_more_than_a_rule_covers_is_filtered_where_it_says_so() {
    let pods = "apiGroups: [''], resources: [pods, namespaces], verbs: [get, list, watch, deletecollection], \
                namespaces: [team-a, 'stage-*'], filter: true";
    for (operation, expected) in [
        ("list pods", "filter"),
        ("watch pods", "filter"),
        ("list pods web", "filter"),
        ("list pods -n team-a", "allow"),
        ("list pods -n stage-1", "allow"),
        ("list pods -n prod", "deny"),
        ("deletecollection pods", "deny"),
        ("get pods web -n prod", "deny"),
        ("list secrets", "deny"),
        ("list namespaces", "filter"),
    ] {
        assert_eq!(said(&[pods], operation), expected, "{operation}");
    }
    let named = "apiGroups: [''], resources: [configmaps], verbs: [list], namespaces: [a], resourceNames: [x, y], filter: true";
    for (operation, expected) in [
        ("list configmaps -n a", "filter"),
        ("list configmaps", "filter"),
        ("list configmaps x -n a", "allow"),
        ("list configmaps x", "filter"),
        ("list configmaps z -n a", "deny"),
        ("list configmaps -n b", "deny"),
    ] {
        assert_eq!(said(&[named], operation), expected, "{operation}");
    }
    let nodes = "apiGroups: [''], resources: [nodes], verbs: [list], resourceNames: [one], filter: true";
    assert_eq!(said(&[nodes], "list nodes"), "filter");
}

#[test]
fn a_filter_shows_what_the_rules_of_one_role_cover() {
    let rules = [
        "apiGroups: [''], resources: [pods, namespaces], verbs: [list], namespaces: [team-a, 'stage-*'], filter: true",
        "apiGroups: [''], resources: [pods], verbs: [list], namespaces: [prod], resourceNames: [web], filter: true",
        "apiGroups: [''], resources: [pods], verbs: [list], namespaces: [dark]",
        "apiGroups: [''], resources: [pods], verbs: [list], namespaces: [off], filter: true, when: 'false'",
    ];
    let filter = |operation: &str| match decided(&snapshot_of(&rules), operation, Facts::NONE) {
        Decision::Allow(allowed) => allowed.filter.unwrap(),
        other => panic!("{other:?}"),
    };
    let pods = filter("list pods");
    for (namespace, name, covered) in [
        ("team-a", "x", true),
        ("stage-2", "x", true),
        ("prod", "web", true),
        ("prod", "db", false),
        ("dark", "x", false),
        ("off", "x", false),
        ("", "team-a", false),
    ] {
        assert_eq!(pods.covers(namespace, name), covered, "{namespace}/{name}");
    }
    assert_eq!(pods.to_string(), "in namespaces team-a, stage-*, or in namespaces prod named web");
    assert_eq!(
        serde_json::to_value(&pods).unwrap()["scopes"][1],
        serde_json::json!({"namespaces": ["prod"], "resourceNames": ["web"]})
    );
    let namespaces = filter("list namespaces");
    assert!(namespaces.covers("", "team-a") && !namespaces.covers("", "prod"), "a Namespace lies in itself");
}

#[test]
fn whoever_may_see_all_of_a_list_sees_all_of_it_and_a_deny_wins() {
    let part = "apiGroups: [''], resources: [pods], verbs: [list], namespaces: [a], filter: true";
    let all = "apiGroups: [''], resources: [pods], verbs: [list]";
    assert_eq!(said(&[part, all], "list pods"), "allow");
    let set =
        || roles(vec![role_with("part", &[part], "  obligations: {mask: none}\n"), role("whole", &[all])]);
    let both = snapshot(set(), &[grant(1, &alice(), "part"), grant(2, &alice(), "whole")]);
    assert_eq!(word(&decided(&both, "list pods", Facts::NONE)), "allow");
    let deny = "action: deny, apiGroups: [''], resources: [pods], verbs: [list], namespaces: [prod]";
    assert_eq!(said(&[part, deny], "list pods"), "deny");
    let review = "action: review, apiGroups: [''], resources: [pods], verbs: [list], namespaces: [prod]";
    let Decision::Review(held) = decided(&snapshot_of(&[part, review]), "list pods", Facts::NONE) else {
        panic!()
    };
    assert!(held.allowed.filter.is_some(), "what people agree to is filtered still");
    // It is also what a role that could be asked for would give.
    let nothing_held = snapshot(roles(vec![role("r", &[part])]), &[]);
    let Decision::Deny(denied) = decided(&nothing_held, "list pods", Facts::NONE) else { panic!() };
    assert_eq!(denied.requestable[0].as_str(), "r");
}

#[test]
fn commands_are_allowed_to_the_letter_and_denied_as_they_may_be_meant() {
    let exec = "apiGroups: [''], resources: [pods/exec], verbs: [create]";
    let rules = [
        format!("{exec}, command: ['ls *', 'cat /var/log/*', sh]"),
        format!("action: review, {exec}, command: [sh, bash], tty: true"),
        format!("action: deny, {exec}, command: [rm]"),
    ];
    let snapshot = snapshot_of(&rules.each_ref().map(String::as_str));
    for (command, tty, expected) in [
        (&["ls", "-l"][..], false, "allow"),
        (&["ls"], true, "allow"),
        (&["cat", "/var/log/x"], false, "allow"),
        (&["cat", "/etc/passwd"], false, "deny"),
        (&["/bin/ls"], false, "deny"),
        (&["sh"], false, "allow"),
        (&["sh"], true, "review"),
        // A review covers what it is about, once somebody has agreed.
        (&["/bin/bash", "-l"], true, "review"),
        (&["bash"], false, "deny"),
        (&["ls", ";rm"], false, "deny"),
        (&["sh", "-c", "rm x"], true, "deny"),
        (&[], false, "deny"),
    ] {
        let decision = decided(&snapshot, "create pods/exec web -n demo", &session(command, tty));
        assert_eq!(word(&decision), expected, "{command:?} {tty}: {decision:?}");
    }
    let whichever = format!("{exec}, tty: false");
    let quiet = snapshot_of(&[&whichever]);
    assert_eq!(word(&decided(&quiet, "get pods/exec web -n demo", &session(&["x"], false))), "allow");
    assert_eq!(word(&decided(&quiet, "get pods/exec web -n demo", &session(&["x"], true))), "deny");
}

#[test]
fn a_denial_says_which_commands_are_covered() {
    let rule = "apiGroups: [''], resources: [pods/exec], verbs: [create], command: ['ls *', 'ps']";
    let (alice, exec) = (alice(), op("create pods/exec web -n demo"));
    let facts = session(&["cat", "/etc/shadow"], false);
    let query = Query { subject: &alice, target: "demo", operation: &exec, facts: &facts };
    let Decision::Deny(denied) = decide(&snapshot_of(&[rule]), &query, start()) else { panic!() };
    assert_eq!(
        denied.message(&query, None),
        "portcullis: denied: alice may not create pods/exec \"web\" in namespace \"demo\" of target demo: no active grant \
         covers it. Your grant covers it for command: ls *, ps."
    );
}

#[test]
fn mistakes_about_filters_and_commands_are_told() {
    let refused = |rule: &str| {
        let yaml = format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: Role\nmetadata: {{name: r}}\nspec:\n  targets: [demo]\n  eligible: \
             {{groups: [dev]}}\n  approval: {{required: 0}}\n  maxDuration: 1h\n  rules:\n  - {{{rule}}}\n  - {{apiGroups: [''], \
             resources: [pods], verbs: [get]}}\n"
        );
        crate::parse_roles("r.yaml", &yaml).unwrap_err().to_string()
    };
    let pods = "apiGroups: [''], resources: [pods], verbs: [list]";
    let exec = "apiGroups: [''], resources: [pods/exec], verbs: [create]";
    for (rule, why) in [
        (format!("{pods}, filter: true"), "limit it by namespaces or resourceNames"),
        (format!("{pods}, namespaces: ['*'], filter: true"), "limit it by namespaces or resourceNames"),
        (format!("action: deny, {pods}, namespaces: [a], filter: true"), "only an allow rule"),
        (
            "apiGroups: [''], resources: [pods], verbs: [get], namespaces: [a], filter: true".to_owned(),
            "neither list nor watch",
        ),
        ("nonResourceURLs: [/x], verbs: [get], filter: true".to_owned(), "limit it by"),
        (format!("{pods}, command: [ls]"), "only a rule about exec"),
        (
            "apiGroups: [''], resources: ['*'], verbs: [create], command: [ls]".to_owned(),
            "only a rule about exec",
        ),
        (
            "apiGroups: [''], resources: [pods/attach], verbs: [create], command: [ls]".to_owned(),
            "only a rule about exec",
        ),
        ("mcp: {methods: [ping]}, tty: true".to_owned(), "only a rule about sessions"),
        (format!("{pods}, tty: true"), "only a rule about sessions"),
        (format!("{exec}, command: []"), "the list is empty"),
        (format!("{exec}, command: ['*']"), "names no command"),
        (format!("{exec}, command:"), "command"),
    ] {
        let error = refused(&rule);
        assert!(error.contains(why) && error.contains("rules[0]"), "{rule}: {error}");
    }
}

#[test]
fn subresources_do_what_they_do_and_not_what_they_are_called() {
    let all = "apiGroups: ['*'], resources: ['*'], verbs: ['*']";
    let look = "apiGroups: [''], resources: [pods, nodes, serviceaccounts], verbs: [get, list, watch]";
    let edit = "apiGroups: [''], resources: [pods, serviceaccounts], verbs: [create, update, patch]";
    for (operation, by_all) in [
        // Whatever listens behind them answers, so that no wildcard gives them.
        ("get nodes/proxy n1", "deny"),
        ("create nodes/proxy n1", "deny"),
        ("get pods/proxy web -n demo", "deny"),
        ("get services/proxy web -n demo", "deny"),
        ("create pods/exec web -n demo", "allow"),
        ("get pods/attach web -n demo", "allow"),
        ("create pods/portforward web -n demo", "allow"),
        ("patch pods/ephemeralcontainers web -n demo", "allow"),
        ("create serviceaccounts/token robot -n demo", "allow"),
        ("update certificatesigningrequests.certificates.k8s.io/approval csr", "allow"),
        ("create pods/eviction web -n demo", "allow"),
        ("deletecollection pods -n demo", "allow"),
        ("impersonate users root", "allow"),
    ] {
        assert_eq!(said(&[all], operation), by_all, "{operation}");
        assert_eq!(said(&[look, edit], operation), "deny", "{operation} is not what its object's rules give");
    }
    // A rule about pods, to deny or to review, has to name their subresources.
    let deny =
        |resource: &str| format!("action: deny, apiGroups: ['*'], resources: ['{resource}'], verbs: ['*']");
    for (resource, operation, expected) in [
        ("pods", "create pods/exec web -n demo", "allow"),
        ("pods/exec", "get pods/exec web -n demo", "deny"),
        ("*/token", "create serviceaccounts/token robot -n demo", "deny"),
        ("pods/ephemeralcontainers", "patch pods/ephemeralcontainers web -n demo", "deny"),
        ("*/approval", "update certificatesigningrequests.certificates.k8s.io/approval csr", "deny"),
        ("pods", "deletecollection pods", "deny"),
    ] {
        assert_eq!(said(&[all, &deny(resource)], operation), expected, "{resource}, {operation}");
    }
    // delete does not give deletecollection, nor the other way round.
    let delete = "apiGroups: [''], resources: [pods], verbs: [delete]";
    assert_eq!(said(&[delete], "deletecollection pods -n demo"), "deny");
    let collection = "apiGroups: [''], resources: [pods], verbs: [deletecollection], namespaces: [demo]";
    assert_eq!(said(&[collection], "delete pods web -n demo"), "deny");
    assert_eq!(said(&[collection], "deletecollection pods"), "deny");
}

#[test]
fn a_dry_run_and_the_field_manager_can_be_told() {
    let rule = "apiGroups: [apps], resources: [deployments], verbs: [patch], \
                when: 'request.dryRun || request.fieldManager == \"kubectl-edit\"'";
    let snapshot = snapshot_of(&[rule]);
    let patch = |facts: &Facts| word(&decided(&snapshot, "patch deployments.apps web -n demo", facts));
    assert_eq!(patch(Facts::NONE), "deny");
    assert_eq!(patch(&Facts { dry_run: true, ..Facts::default() }), "allow");
    assert_eq!(patch(&Facts { field_manager: "kubectl-edit".into(), ..Facts::default() }), "allow");
    assert_eq!(patch(&Facts { field_manager: "helm".into(), ..Facts::default() }), "deny");
}

#[test]
fn a_question_about_all_is_answered_for_all() {
    let all = "apiGroups: ['*'], resources: ['*'], verbs: ['*']";
    let deny = |rest: &str| format!("action: deny, {rest}");
    for operation in ["* *", "get *", "* pods", "get pods -n demo", "delete pods"] {
        assert_eq!(said(&[all], operation), "allow", "{operation}");
    }
    let one = deny(
        "apiGroups: [''], resources: [secrets], verbs: [delete], namespaces: [demo], resourceNames: [db]",
    );
    for (operation, expected) in [
        ("* *", "deny"),
        ("delete *", "deny"),
        ("* secrets", "deny"),
        ("delete secrets -n demo", "deny"),
        ("delete secrets", "deny"),
        ("delete secrets other -n demo", "allow"),
        ("delete secrets -n prod", "allow"),
        ("get secrets", "allow"),
        ("* pods", "allow"),
        ("* *.apps", "allow"),
    ] {
        assert_eq!(said(&[all, &one], operation), expected, "{operation}");
    }
    let exec = deny("apiGroups: [''], resources: [pods/exec], verbs: [create]");
    assert_eq!(said(&[all, &exec], "create pods/*"), "deny");
    let of_one = deny("apiGroups: [''], resources: [pods/exec], verbs: [create], resourceNames: [db]");
    assert_eq!(said(&[all, &of_one], "create pods/exec -n demo"), "deny");
    assert_eq!(said(&[all, &of_one], "create pods/exec web -n demo"), "allow");
    let pods = "apiGroups: [''], resources: [pods], verbs: [get, list]";
    for operation in ["* pods", "get *", "get pods.*"] {
        assert_eq!(said(&[pods], operation), "deny", "{operation}");
    }
    // A role about another resource forbids too.
    let set = roles(vec![
        role("all", &[all]),
        role("no", &["apiGroups: [x], resources: [y], verbs: [get]", &exec]),
    ]);
    let both = snapshot(set, &[grant(1, &alice(), "all"), grant(2, &alice(), "no")]);
    assert_eq!(word(&decided(&both, "* *", Facts::NONE)), "deny");
}

fn listed(rules: &[&str], namespace: &str) -> (Vec<String>, Vec<String>) {
    let Permissions { resources, paths, unsaid } =
        snapshot_of(rules).permissions(&alice(), "demo", namespace, start());
    let resource = |of: &crate::Permission| {
        format!("{} {}.{} {}", of.verbs().join(","), of.resource, of.api_group, of.names.join(","))
    };
    let paths = paths
        .iter()
        .skip(1)
        .map(|of| format!("{} {}", of.verbs().join(","), of.paths().collect::<Vec<_>>().join(",")));
    (resources.iter().map(resource).chain(paths).collect(), unsaid)
}

#[test]
fn what_somebody_may_do_is_listed_without_what_is_denied() {
    let pods = "apiGroups: ['', apps], resources: [pods, pods/log], verbs: [get, delete]";
    let named =
        "apiGroups: [''], resources: [secrets], verbs: [get], resourceNames: [a, b], namespaces: ['demo*']";
    let no_deletes = "action: deny, apiGroups: ['*'], resources: ['*'], verbs: [delete, patch]";
    let metrics = "nonResourceURLs: [/metrics, '/debug*'], verbs: [get]";
    let no_debug = "action: deny, nonResourceURLs: ['/debug*'], verbs: ['*']";
    assert_eq!(
        listed(&[pods, named, no_deletes, metrics, no_debug], "demo"),
        (
            [
                "get pods. ",
                "get pods/log. ",
                "get pods.apps ",
                "get pods/log.apps ",
                "get secrets. a,b",
                "get /metrics"
            ]
            .map(String::from)
            .into(),
            vec![]
        )
    );
    assert!(
        !listed(&[pods, named], "prod").0.iter().any(|line| line.contains("secrets")),
        "another namespace"
    );
    let elsewhere = "action: deny, apiGroups: [''], resources: [pods], verbs: ['*'], namespaces: [prod]";
    assert_eq!(listed(&[pods, elsewhere], "demo").0.len(), 4);
    let gone = listed(&[pods, elsewhere], "prod");
    assert_eq!((gone.0.len(), gone.1.len()), (3, 0));
    let whole = listed(&["apiGroups: [''], resources: [pods], verbs: ['*']", no_deletes], "demo");
    assert_eq!(whole.0, ["get,list,watch,create,update,deletecollection,proxy pods. "]);
}

#[test]
fn what_a_list_cannot_say_is_said_beside_it() {
    let pods = "apiGroups: [''], resources: [pods, secrets, pods/exec], verbs: [get, create]";
    for (rule, unsaid) in [
        (
            "action: deny, apiGroups: [''], resources: [secrets], verbs: [get], resourceNames: [db]",
            "rule 2 of role r forbids a part of it",
        ),
        (
            "action: deny, apiGroups: [''], resources: [pods], verbs: [get], when: 'time.hour < 8'",
            "rule 2 of role r forbids a part of it",
        ),
        (
            "action: deny, apiGroups: [''], resources: [pods/exec], verbs: [create], command: [rm]",
            "rule 2 of role r forbids a part of it",
        ),
        (
            "action: review, apiGroups: [''], resources: [pods], verbs: [get]",
            "rule 2 of role r holds what it is about until somebody has agreed",
        ),
        (
            "apiGroups: [''], resources: [pods/exec], verbs: [create], command: [ls]",
            "rule 2 of role r counts under a condition only",
        ),
        ("apiGroups: ['*'], resources: ['*'], verbs: [get]", "rule 2 of role r leaves */proxy out of *"),
    ] {
        assert_eq!(listed(&[pods, rule], "demo").1, [unsaid], "{rule}");
    }
    let all = "apiGroups: ['*'], resources: ['*'], verbs: [get]";
    let deny = "action: deny, apiGroups: [''], resources: [secrets], verbs: [get]";
    assert_eq!(listed(&[all, deny], "demo").1.len(), 2, "all but one is no list");
    let stale = snapshot_of(&[pods]).permissions(&alice(), "demo", "demo", start() + minutes(60));
    assert!(stale.resources.is_empty() && stale.unsaid[0].contains("has not answered"));
    let nobody = snapshot_of(&[pods]).permissions(&person("bob", &[]), "demo", "demo", start());
    assert!(nobody.resources.is_empty() && nobody.unsaid.is_empty() && nobody.paths.len() == 1);
}

#[test]
fn live_grants_are_those_on_the_target() {
    let set = roles(vec![role("r", &["apiGroups: [''], resources: [pods], verbs: [get]"])]);
    let elsewhere = Grant { target: "other".into(), ..grant(2, &alice(), "r") };
    let over = Grant { expires_at: start(), ..grant(3, &alice(), "r") };
    let snapshot = snapshot(set, &[grant(1, &alice(), "r"), elsewhere, over]);
    let live: Vec<&str> =
        snapshot.live_grants(&alice(), "demo", start()).map(|grant| grant.id.as_str()).collect();
    assert_eq!(live, ["g-000001"]);
    assert_eq!(snapshot.live_grants(&alice(), "unknown", start()).count(), 0);
}
