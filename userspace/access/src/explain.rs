//! What each role has to say about one request, for people who write roles or wonder why they were denied.

use std::time::Duration;

use portcullis_identity::Subject;
use serde::Serialize;

use crate::role::{ApprovalTerms, Role, RoleSet};
use crate::{Operation, RoleName, duration};

/// One role and one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The role.
    pub role: RoleName,
    /// `file:line` of its definition.
    pub defined_at: String,
    /// Whether the person may ask for it.
    pub eligible: bool,
    /// What a grant of it, alone, would mean for the request.
    pub verdict: Verdict,
    /// Who would have to agree.
    pub approval: ApprovalTerms,
    /// The longest grant.
    #[serde(with = "duration::text")]
    pub max_duration: Duration,
}

/// What a role says about a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "says")]
pub enum Verdict {
    /// It allows it.
    Allow(RuleAt),
    /// It forbids it, and would whatever else is held.
    Deny(RuleAt),
    /// It would allow it, were it limited to one of these namespaces.
    OnlyInNamespaces {
        /// Names, or `prefix*`.
        namespaces: Vec<String>,
    },
    /// It is not about it.
    Nothing,
    /// It is not about this target.
    OtherTargets,
}

/// A rule and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleAt {
    /// Counted from 0.
    pub rule: usize,
    /// `file:line`.
    pub at: String,
    /// What the rule says about itself.
    pub reason: Option<String>,
}

impl RoleSet {
    /// What every role says, by name.
    #[must_use]
    pub fn explain(&self, subject: &Subject, target: &str, operation: &Operation) -> Vec<Explanation> {
        let explain = |role: &Role| Explanation {
            role: role.name.clone(),
            defined_at: role.defined_at(),
            eligible: role.is_eligible(subject),
            verdict: verdict(role, target, operation),
            approval: role.approval.clone(),
            max_duration: role.max_duration,
        };
        self.iter().map(explain).collect()
    }
}

/// A deny rule wins, as in [`decide`](crate::decide()).
fn verdict(role: &Role, target: &str, operation: &Operation) -> Verdict {
    let at = |rule: usize| RuleAt { rule, at: role.rule_at(rule), reason: role.rules[rule].reason.clone() };
    if !role.covers_target(target) {
        return Verdict::OtherTargets;
    }
    if let Some(rule) = role.denying(operation) {
        return Verdict::Deny(at(rule));
    }
    if let Some(rule) = role.allowing(operation) {
        return Verdict::Allow(at(rule));
    }
    let namespaces: Vec<String> = role.namespaces_for(operation).map(ToString::to_string).collect();
    if namespaces.is_empty() { Verdict::Nothing } else { Verdict::OnlyInNamespaces { namespaces } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::*;

    #[test]
    fn each_role_says_what_it_would_do_and_where() {
        let set = roles(vec![
            role_with(
                "ops",
                &[
                    "apiGroups: [''], resources: [pods], verbs: ['*'], namespaces: [demo, 'stage-*']",
                    "action: deny, apiGroups: [''], resources: [pods], verbs: [delete], reason: not by hand",
                ],
                "  eligible: {users: [zoe]}\n",
            ),
            role_with("far", &["apiGroups: ['*'], resources: ['*'], verbs: ['*']"], "  targets: [other]\n"),
        ]);
        let says = |operation: &str| {
            let mut said = set.explain(&person("alice", &["dev"]), "demo", &op(operation));
            assert_eq!((said[0].role.as_str(), said[0].eligible), ("far", true));
            assert_eq!(said[0].verdict, Verdict::OtherTargets);
            assert_eq!((said[1].eligible, said[1].defined_at.as_str()), (false, "test.yaml:1"));
            said.remove(1).verdict
        };
        let rule = |rule, line, reason: Option<&str>| RuleAt {
            rule,
            at: format!("test.yaml:{line}"),
            reason: reason.map(str::to_owned),
        };
        assert_eq!(says("get pods web -n demo"), Verdict::Allow(rule(0, 10, None)));
        assert_eq!(says("delete pods web -n demo"), Verdict::Deny(rule(1, 11, Some("not by hand"))));
        assert_eq!(says("get nodes one"), Verdict::Nothing);
        let namespaces = ["demo", "stage-*"].map(String::from).into();
        assert_eq!(says("list pods"), Verdict::OnlyInNamespaces { namespaces });
    }

    proptest! {
        /// What is explained is what is decided.
        #[test]
        fn a_verdict_is_the_decision_of_whoever_holds_that_role_alone(
            verb in prop::sample::select(vec!["get", "list", "delete", "create"]),
            resource in prop::sample::select(vec!["pods", "pods/log", "secrets", "deployments.apps"]),
            namespace in prop::sample::select(vec!["", " -n demo", " -n prod", " -n stage-1"]),
        ) {
            let set = std::sync::Arc::new(roles(vec![
                role("a", &["apiGroups: [''], resources: [pods, pods/log], verbs: [get, list], namespaces: [demo]"]),
                role("b", &[
                    "apiGroups: ['*'], resources: ['*'], verbs: ['*']",
                    "action: deny, apiGroups: ['*'], resources: ['*'], verbs: [delete, list], namespaces: [prod]",
                ]),
                role("c", &["apiGroups: [''], resources: [secrets], verbs: ['*'], namespaces: ['stage-*']"]),
            ]));
            let alice = person("alice", &["dev"]);
            let operation = op(&format!("{verb} {resource} x{namespace}"));
            let query = crate::Query { subject: &alice, target: "demo", operation: &operation, facts: crate::Facts::NONE };
            for said in set.explain(&alice, "demo", &operation) {
                let held = [said.role.clone()];
                let snapshot =
                    crate::Snapshot::supposing(&set, &Default::default(), &alice, "demo", &held, start()).unwrap();
                match (crate::decide(&snapshot, &query, start()), said.verdict) {
                    (crate::Decision::Allow(allowed), Verdict::Allow(at)) => prop_assert_eq!(allowed.rule, at.rule),
                    (crate::Decision::Deny(denied), Verdict::Deny(at)) =>
                        prop_assert_eq!(denied.rule().unwrap().rule, at.rule),
                    (crate::Decision::Deny(denied), Verdict::Nothing | Verdict::OnlyInNamespaces { .. }) =>
                        prop_assert_eq!(denied.rule(), None),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
