use super::*;
use crate::testing::{op, role};

fn fit(rule: &str, operation: &str) -> Fit {
    role("r", &[rule]).rules[0].fit(&Asked::of(&op(operation)))
}

fn touches(rule: &str, operation: &str) -> bool {
    let allow = "apiGroups: [''], resources: [pods], verbs: [get]";
    role("r", &[allow, &format!("action: deny, {rule}")]).rules[1].touches(&Asked::of(&op(operation)))
}

#[test]
fn allow_rules_match_as_in_rbac() {
    use Fit::{InANamespace, No, Yes};
    let pods = "apiGroups: [''], resources: [pods], verbs: [get, list]";
    let named = "apiGroups: [''], resources: [secrets], verbs: ['*'], resourceNames: [db]";
    let prod = "apiGroups: [''], resources: [pods], verbs: ['*'], namespaces: [prod, 'stage-*']";
    let all = "apiGroups: ['*'], resources: ['*'], verbs: ['*']";
    let table = [
        (pods, "get pods web -n prod", Yes),
        (pods, "list pods", Yes),
        (pods, "watch pods", No),
        (pods, "get pods.metrics.k8s.io web -n prod", No),
        (pods, "get pods/log web -n prod", No),
        (pods, "get podtemplates x -n prod", No),
        ("apiGroups: [''], resources: [pods/log], verbs: [get]", "get pods/log web -n prod", Yes),
        ("apiGroups: [''], resources: [pods/log], verbs: [get]", "get pods web -n prod", No),
        (
            "apiGroups: [apps], resources: ['*/scale'], verbs: [patch]",
            "patch deployments.apps/scale web -n p",
            Yes,
        ),
        ("apiGroups: [apps], resources: ['*/scale'], verbs: [patch]", "patch deployments.apps web -n p", No),
        (named, "get secrets db -n prod", Yes),
        (named, "get secrets other -n prod", No),
        // RBAC: a name restricts what has no name to nothing.
        (named, "list secrets -n prod", No),
        (named, "create secrets -n prod", No),
        (named, "list secrets db -n prod", Yes),
        (prod, "get pods web -n prod", Yes),
        (prod, "get pods web -n stage-1", Yes),
        (prod, "get pods web -n stage", No),
        (prod, "get pods web -n production", No),
        (prod, "list pods", InANamespace),
        (prod, "get pods web", No),
        ("apiGroups: [''], resources: [pods], verbs: [get], namespaces: [a, '*']", "get pods x", Yes),
        (all, "delete nodes n1", Yes),
        (all, "create pods/exec web -n prod", Yes),
        (all, "get /metrics", No),
        ("nonResourceURLs: [/metrics, '/debug/*'], verbs: [get]", "get /metrics", Yes),
        ("nonResourceURLs: [/metrics, '/debug/*'], verbs: [get]", "get /metrics/x", No),
        ("nonResourceURLs: [/metrics, '/debug/*'], verbs: [get]", "get /debug/pprof", Yes),
        ("nonResourceURLs: [/metrics, '/debug/*'], verbs: [get]", "post /metrics", No),
        ("nonResourceURLs: ['*'], verbs: ['*']", "get pods web -n prod", No),
    ];
    for (rule, operation, expected) in table {
        assert_eq!(fit(rule, operation), expected, "{rule} / {operation}");
    }
}

#[test]
fn proxy_subresources_have_to_be_named() {
    let all = "apiGroups: ['*'], resources: ['*'], verbs: ['*']";
    for resource in ["nodes/proxy n1", "pods/proxy web -n prod", "services/proxy web -n prod"] {
        assert_eq!(fit(all, &format!("get {resource}")), Fit::No);
        assert_eq!(
            fit("apiGroups: [''], resources: ['*/proxy'], verbs: [get]", &format!("get {resource}")),
            Fit::Yes
        );
        assert!(touches(all, &format!("get {resource}")));
    }
    let nodes = "apiGroups: [''], resources: [nodes/proxy], verbs: [get]";
    assert_eq!(fit(nodes, "get nodes/proxy n1"), Fit::Yes);
}

#[test]
fn streams_are_create_however_they_arrive() {
    for stream in ["exec", "attach", "portforward"] {
        let rule = |verb: &str| format!("apiGroups: [''], resources: [pods/{stream}], verbs: [{verb}]");
        for verb in ["get", "create"] {
            let operation = format!("{verb} pods/{stream} web -n prod");
            assert_eq!(fit(&rule("create"), &operation), Fit::Yes);
            assert_eq!(fit(&rule("get"), &operation), Fit::No);
            assert!(touches(&rule("create"), &operation));
        }
        assert!(touches(&rule("get"), &format!("get pods/{stream} web -n prod")));
    }
}

#[test]
fn a_deny_reaches_what_a_collection_may_include() {
    let prod = "apiGroups: [''], resources: [secrets], verbs: ['*'], namespaces: [prod]";
    let named = "apiGroups: [''], resources: [secrets], verbs: ['*'], resourceNames: [db]";
    let table = [
        (prod, "get secrets db -n prod", true),
        (prod, "get secrets db -n dev", false),
        (prod, "list secrets -n dev", false),
        (prod, "list secrets", true),
        (prod, "watch secrets", true),
        (prod, "list secrets db", true),
        (prod, "list pods", false),
        (named, "get secrets db -n dev", true),
        (named, "get secrets other -n dev", false),
        (named, "list secrets -n dev", true),
        (named, "list secrets other -n dev", false),
        (named, "deletecollection secrets -n dev", true),
        (named, "create secrets -n dev", false),
        (
            "apiGroups: [''], resources: [namespaces], verbs: [delete], namespaces: [prod]",
            "delete namespaces prod -n prod",
            true,
        ),
        ("nonResourceURLs: ['/openapi*'], verbs: ['*']", "get /openapi/v3", true),
        // `kubectl auth can-i get '/*'`
        ("nonResourceURLs: [/metrics], verbs: ['*']", "get /*", true),
        ("nonResourceURLs: ['/debug/pprof*'], verbs: ['*']", "get /debug/*", true),
        ("nonResourceURLs: ['/debug*'], verbs: ['*']", "get /debug/*", true),
        ("nonResourceURLs: [/metrics], verbs: ['*']", "get /debug/*", false),
        ("nonResourceURLs: [/metrics], verbs: ['*']", "get /metrics/*", false),
    ];
    for (rule, operation, expected) in table {
        assert_eq!(touches(rule, operation), expected, "{rule} / {operation}");
    }
}

#[test]
fn narrower_rules_weigh_less() {
    let rules = [
        "apiGroups: [''], resources: [pods], verbs: [get], namespaces: [prod], resourceNames: [web]",
        "apiGroups: [''], resources: [pods], verbs: [get], namespaces: [prod]",
        "apiGroups: [''], resources: [pods], verbs: [get], namespaces: ['prod-*']",
        "apiGroups: [''], resources: [pods], verbs: [get]",
        "apiGroups: [''], resources: [pods], verbs: ['*']",
        "apiGroups: [''], resources: ['*'], verbs: ['*']",
        "apiGroups: ['*'], resources: ['*'], verbs: ['*']",
    ];
    let breadths: Vec<u64> = rules.iter().map(|rule| role("r", &[rule]).rules[0].breadth()).collect();
    assert!(breadths.is_sorted_by(|a, b| a < b), "{breadths:?}");
}
