//! Rules that hold a request until people agree to it.

use super::*;

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
