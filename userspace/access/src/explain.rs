//! What each role has to say about one request, for people who write roles or wonder why they were denied.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::condition::Case;
use crate::decide::{USUAL_REQUEST, all_agree};
use crate::filter::Filter;
use crate::role::{ReviewTerms, Role, RoleSet, Said};
use crate::{ApprovalTerms, Ask, Query, RoleName, duration};

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
    /// The conditions of its rules about the request, and what they came to.
    pub conditions: Vec<ConditionAt>,
    /// Who would have to agree.
    pub approval: ApprovalTerms,
    /// The longest grant.
    #[serde(with = "duration::text")]
    pub max_duration: Duration,
    /// Which condition of automatic approval, counted from 0, would give it to this person now, for the usual time.
    pub auto_approved: Option<usize>,
    /// For how long at most this person may take it in an emergency, without approval.
    #[serde(serialize_with = "duration::serialize_option")]
    pub emergency: Option<Duration>,
}

/// What a role says about a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "says")]
pub enum Verdict {
    /// It allows it.
    Allow(RuleAt),
    /// It allows a part of it: the answer is filtered.
    Filter {
        /// The rule that says so.
        by: RuleAt,
        /// What is shown.
        filter: Filter,
    },
    /// It allows it, once these people have agreed to the very request.
    Review {
        /// The rule that holds it.
        by: RuleAt,
        /// Who has to agree.
        terms: ReviewTerms,
    },
    /// It does not allow it, but holds it under whichever grant does.
    Hold {
        /// The rule that holds it.
        by: RuleAt,
        /// Who has to agree.
        terms: ReviewTerms,
    },
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

/// A condition and what it came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionAt {
    /// Its rule, counted from 0.
    pub rule: usize,
    /// `file:line` of the rule.
    pub at: String,
    /// The condition.
    pub when: String,
    /// Whether it holds.
    pub outcome: Outcome,
}

/// What a condition came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Outcome {
    /// It holds.
    True,
    /// It does not.
    False,
    /// That cannot be told: an allow rule does not count then, a deny or review rule does.
    Error {
        /// Why.
        message: String,
    },
}

impl RoleSet {
    /// What every role says about `query`, by name.
    #[must_use]
    pub fn explain(&self, query: &Query<'_>, now: Timestamp) -> Vec<Explanation> {
        let case = Case::new(query, now);
        self.iter().map(|role| explain(role, &case, now)).collect()
    }
}

fn explain(role: &Role, case: &Case<'_>, now: Timestamp) -> Explanation {
    let Query { subject, target, .. } = case.query;
    let outcome = |when| match case.test(when) {
        Ok(true) => Outcome::True,
        Ok(false) => Outcome::False,
        Err(message) => Outcome::Error { message },
    };
    let about = role.rules.iter().enumerate().filter(|(_, rule)| rule.is_about(&case.asked));
    let conditions = about.flat_map(|(number, rule)| {
        let at = |(when, outcome)| ConditionAt { rule: number, at: role.rule_at(number), when, outcome };
        let session = rule.session().map(|terms| {
            let included = terms.include(rule.action, case.query.facts);
            (terms.to_string(), if included { Outcome::True } else { Outcome::False })
        });
        let when = rule.when.as_ref().map(|when| (when.to_string(), outcome(when)));
        session.into_iter().chain(when).map(at).collect::<Vec<_>>()
    });
    let here = role.covers_target(target);
    let eligible = role.is_eligible(subject);
    let ask = Ask { role: &role.name, target, duration: role.max_duration.min(USUAL_REQUEST) };
    Explanation {
        role: role.name.clone(),
        defined_at: role.defined_at(),
        eligible,
        verdict: verdict(role, case),
        conditions: if here { conditions.collect() } else { Vec::new() },
        approval: role.approval.clone(),
        max_duration: role.max_duration,
        auto_approved: if eligible && here { role.auto_approves(subject, &ask, now) } else { None },
        emergency: if here { role.may_break_glass(subject) } else { None },
    }
}

/// As [`decide`](crate::decide()) for somebody who holds this role alone.
fn verdict(role: &Role, case: &Case<'_>) -> Verdict {
    let at = |rule: usize| RuleAt { rule, at: role.rule_at(rule), reason: role.rules[rule].reason.clone() };
    if !role.covers_target(case.query.target) {
        return Verdict::OtherTargets;
    }
    let mut holding = Vec::new();
    let Said { denied, allowed, filtered } = role.say(case, &mut holding);
    if let Some(rule) = denied {
        return Verdict::Deny(at(rule));
    }
    if !holding.is_empty() {
        return match (all_agree(holding), allowed.or(filtered)) {
            (Ok((terms, by)), Some(_)) => Verdict::Review { by: at(by.rule), terms },
            (Ok((terms, by)), None) => Verdict::Hold { by: at(by.rule), terms },
            (Err(rules), _) => {
                let numbers: Vec<String> = rules.iter().map(|by| (by.rule + 1).to_string()).collect();
                let reason = format!("rules {} hold it for different people", numbers.join(" and "));
                Verdict::Deny(RuleAt { reason: Some(reason), ..at(rules[0].rule) })
            }
        };
    }
    if let Some(rule) = allowed {
        return Verdict::Allow(at(rule));
    }
    if let Some(rule) = filtered {
        return Verdict::Filter { by: at(rule), filter: role.filter(case) };
    }
    let namespaces: Vec<String> = role.namespaces_for(&case.asked).map(ToString::to_string).collect();
    if namespaces.is_empty() { Verdict::Nothing } else { Verdict::OnlyInNamespaces { namespaces } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Facts;
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
            let (alice, operation) = (person("alice", &["dev"]), op(operation));
            let query = Query { subject: &alice, target: "demo", operation: &operation, facts: Facts::NONE };
            let mut said = set.explain(&query, start());
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

    #[test]
    fn conditions_say_what_they_came_to_and_who_would_be_asked() {
        let terms = "  approval: {required: 1, groups: [leads], autoApprove: [{when: 'time.hour == 12'}], \
                     emergency: {groups: [dev], maxDuration: 1h}}\n  maxDuration: 4h\n";
        let set = roles(vec![
            role_with(
                "pods",
                &[
                    "apiGroups: [''], resources: [pods], verbs: ['*'], when: 'request.dryRun'",
                    "apiGroups: [''], resources: [pods], verbs: [get]",
                    "action: review, apiGroups: [''], resources: [pods], verbs: [get], when: 'process.uid > 0'",
                    "action: deny, apiGroups: [''], resources: [pods], verbs: [get], when: 'time.hour != 12'",
                    "action: deny, apiGroups: [''], resources: [secrets], verbs: [get], when: 'true'",
                ],
                terms,
            ),
            role(
                "prod",
                &[
                    "apiGroups: [''], resources: [services], verbs: [get]",
                    "action: review, apiGroups: [''], resources: [pods], verbs: [list], namespaces: [prod]",
                ],
            ),
        ]);
        let (alice, get) = (person("alice", &["dev"]), op("get pods web -n demo"));
        let query = Query { subject: &alice, target: "demo", operation: &get, facts: Facts::NONE };
        let said = set.explain(&query, start());
        let Verdict::Review { by, terms } = &said[0].verdict else { panic!("{:?}", said[0]) };
        assert_eq!((by.rule, by.at.as_str(), terms.required), (2, "test.yaml:12", 1));
        let came_to: Vec<(usize, bool)> = said[0]
            .conditions
            .iter()
            .map(|condition| (condition.rule, matches!(condition.outcome, Outcome::Error { .. })))
            .collect();
        assert_eq!(came_to, [(0, false), (2, true), (3, false)]);
        assert_eq!(
            (&said[0].conditions[0].outcome, &said[0].conditions[2].outcome),
            (&Outcome::False, &Outcome::False)
        );
        assert_eq!((said[0].auto_approved, said[0].emergency), (Some(0), Some(minutes(60))));
        assert_eq!((&said[1].verdict, said[1].auto_approved), (&Verdict::Nothing, None));

        let later = set.explain(&query, start() + minutes(60));
        assert!(matches!(&later[0].verdict, Verdict::Deny(by) if by.rule == 3), "{:?}", later[0]);
        assert_eq!(later[0].auto_approved, None);
        let list = op("list pods");
        let said = set.explain(&Query { operation: &list, ..query }, start());
        assert!(matches!(&said[1].verdict, Verdict::Hold { by, .. } if by.rule == 1), "{:?}", said[1]);
        let json = serde_json::to_value(&said).unwrap();
        assert_eq!(
            (&json[1]["verdict"]["says"], &json[0]["approval"]["reason"]),
            (&"hold".into(), &"required".into())
        );
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
                role("d", &[
                    "apiGroups: [''], resources: [pods], verbs: [get, list]",
                    "action: review, apiGroups: [''], resources: [pods, secrets], verbs: ['*'], namespaces: [demo]",
                    "action: review, apiGroups: [''], resources: [secrets], verbs: [get], review: {groups: [sec]}",
                    "action: deny, apiGroups: [''], resources: [pods], verbs: ['*'], when: 'process.uid == 0 && request.name == \"x\" && request.verb == \"delete\"'",
                ]),
            ]));
            let alice = person("alice", &["dev"]);
            let operation = op(&format!("{verb} {resource} x{namespace}"));
            let query = crate::Query { subject: &alice, target: "demo", operation: &operation, facts: Facts::NONE };
            for said in set.explain(&query, start()) {
                let held = [said.role.clone()];
                let snapshot =
                    crate::Snapshot::supposing(&set, &Default::default(), &alice, "demo", &held, start()).unwrap();
                match (crate::decide(&snapshot, &query, start()), said.verdict) {
                    (crate::Decision::Allow(allowed), Verdict::Allow(at)) => prop_assert_eq!(allowed.rule, at.rule),
                    (crate::Decision::Review(review), Verdict::Review { by, terms }) => {
                        prop_assert_eq!(review.by.rule, by.rule);
                        prop_assert_eq!(review.terms, terms);
                    }
                    (crate::Decision::Deny(denied), Verdict::Deny(at)) => match denied.reason {
                        crate::DenyReason::NobodyMayAgree { rules } => prop_assert_eq!(rules[0].rule, at.rule),
                        _ => prop_assert_eq!(denied.rule().unwrap().rule, at.rule),
                    },
                    (
                        crate::Decision::Deny(denied),
                        Verdict::Nothing | Verdict::OnlyInNamespaces { .. } | Verdict::Hold { .. },
                    ) =>
                        prop_assert_eq!(denied.rule(), None),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
