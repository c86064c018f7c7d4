//! Expectations about roles, for a team's CI: who, holding what, may do what. They are put to [`decide`] itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use portcullis_identity::{Method, Subject};
use serde::Deserialize;
use serde_json::Value;

use crate::load::{Places, documents, lines_of, read_yaml};
use crate::manifest::{ApiVersion, TestKind};
use crate::{
    AccessError, Caller, Decision, DiscoveryPolicy, Facts, Operation, Query, RoleName, RoleSet, Snapshot,
    decide,
};

/// One expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTest {
    /// What it is about, in words.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    /// Its first line, counted from 1.
    pub line: u64,
    /// The target asked of.
    pub target: String,
    subject: Subject,
    holds: Vec<RoleName>,
    request: Operation,
    facts: Facts,
    at: Timestamp,
    expect: Expect,
    by: Option<By>,
}

/// The expectations of one file, any number of documents of kind `PolicyTest`; `file` is its name in errors.
///
/// # Errors
/// [`AccessError::Manifest`].
pub fn parse_policy_tests(file: &str, text: &str) -> Result<Vec<PolicyTest>, AccessError> {
    let mut tests = Vec::new();
    for (lines_before, document) in documents(text) {
        let manifest: TestManifest = read_yaml(file, lines_before, document)?;
        let lines = lines_of(file, lines_before, document, |tests: TestLines| tests.tests)?;
        tests.extend(manifest.tests.into_iter().zip(lines).map(|(test, line)| test.at(file, line)));
    }
    Ok(tests)
}

impl PolicyTest {
    /// Whether the expectation holds under these roles.
    ///
    /// # Errors
    /// What was decided instead, or why nothing could be.
    pub fn run(&self, roles: &Arc<RoleSet>, discovery: &DiscoveryPolicy) -> Result<(), String> {
        let snapshot =
            Snapshot::supposing(roles, discovery, &self.subject, &self.target, &self.holds, self.at)
                .map_err(|error| error.to_string())?;
        let query = Query {
            subject: &self.subject,
            target: &self.target,
            operation: &self.request,
            facts: &self.facts,
        };
        let by_rule = |role: &RoleName, rule: usize| {
            (Some(By { role: role.clone(), rule: Some(rule) }), place(roles, role, rule))
        };
        let (decided, (by, said)) = match decide(&snapshot, &query, self.at) {
            Decision::Allow(allowed) => (Expect::Allow, by_rule(&allowed.role, allowed.rule)),
            Decision::Review(review) => (Expect::Review, by_rule(&review.by.role, review.by.rule)),
            Decision::Deny(denied) => match denied.rule() {
                Some(rule) => (Expect::Deny, by_rule(&rule.role, rule.rule)),
                None => (Expect::Deny, (None, "no rule".to_owned())),
            },
        };
        let by_whom = |expected: &By| by.as_ref().is_some_and(|by| expected.includes(by));
        if decided == self.expect && self.by.as_ref().is_none_or(by_whom) {
            return Ok(());
        }
        let by = self.by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
        let Self { expect, subject, request, target, .. } = self;
        Err(format!(
            "{subject}, {request} of target {target}: expected {expect}{by}, got {decided} by {said}"
        ))
    }
}

/// `rule 3 of role pod-admin (roles/pods.yaml:31)`
fn place(roles: &RoleSet, name: &RoleName, rule: usize) -> String {
    match roles.get(name) {
        Some(role) => format!("rule {} of role {name} ({})", rule + 1, role.rule_at(rule)),
        None => format!("{name}, which is open to all"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TestManifest {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: TestKind,
    tests: Vec<RawTest>,
}

/// The same, for nothing but where the tests stand.
#[derive(Deserialize)]
struct TestLines {
    tests: Places,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTest {
    name: String,
    subject: RawSubject,
    #[serde(default)]
    holds: Vec<RoleName>,
    target: String,
    request: Request,
    #[serde(default)]
    facts: RawFacts,
    expect: Expect,
    #[serde(default)]
    by: Option<By>,
}

impl RawTest {
    fn at(self, file: &str, line: u64) -> PolicyTest {
        let RawTest { name, subject: who, holds, target, request, facts, expect, by } = self;
        let RawSubject { name: who, groups } = who;
        let subject = Subject {
            issuer: "policy-test".into(),
            id: who.clone(),
            name: who,
            groups,
            method: Method::Unix,
            account: None,
        };
        let (file, request) = (file.to_owned(), request.0);
        let RawFacts { at, process, dry_run, field_manager, command, container, tty, stdin, arguments } =
            facts;
        let (process, arguments) = (process.map(Arc::new), arguments.map(|fields| Arc::new(fields.into())));
        let facts = Facts { process, dry_run, field_manager, command, container, tty, stdin, arguments };
        PolicyTest { name, file, line, target, subject, holds, request, facts, at, expect, by }
    }
}

/// What conditions look at; what is left out is not the case, and the time a fixed one.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RawFacts {
    at: Timestamp,
    process: Option<Caller>,
    dry_run: bool,
    field_manager: String,
    command: Vec<String>,
    container: String,
    tty: bool,
    stdin: bool,
    arguments: Option<serde_json::Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSubject {
    name: String,
    #[serde(default)]
    groups: BTreeSet<String>,
}

/// `delete pods web -n demo`
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Request(Operation);

impl TryFrom<String> for Request {
    type Error = AccessError;

    fn try_from(text: String) -> Result<Self, AccessError> {
        text.parse().map(Self)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Allow,
    Deny,
    Review,
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Expect::Allow => "allow",
            Expect::Deny => "deny",
            Expect::Review => "review",
        })
    }
}

/// `pod-admin`, or `pod-admin/3` for its third rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct By {
    role: RoleName,
    /// Counted from 0; people count from 1.
    rule: Option<usize>,
}

impl By {
    fn includes(&self, other: &By) -> bool {
        self.role == other.role && (self.rule.is_none() || self.rule == other.rule)
    }
}

impl TryFrom<String> for By {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (role, rule) = match text.split_once('/') {
            None => (text.as_str(), None),
            Some((role, number)) => match number.parse::<usize>() {
                Ok(number) if number > 0 => (role, Some(number - 1)),
                _ => {
                    return Err(format!(
                        "{text:?}: write ROLE or ROLE/NUMBER, its first rule being number 1"
                    ));
                }
            },
        };
        let role = role.parse().map_err(|error: AccessError| error.to_string())?;
        Ok(Self { role, rule })
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.rule {
            Some(rule) => write!(f, "rule {} of role {}", rule + 1, self.role),
            None => write!(f, "role {}", self.role),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::load_roles;
    use crate::testing::*;

    const HEAD: &str = "# of the team\napiVersion: portcullis.dev/v1alpha1\nkind: PolicyTest\ntests:\n";

    fn test(lines: &str) -> PolicyTest {
        let text =
            format!("{HEAD}- name: one\n  subject: {{name: alice, groups: [dev]}}\n  target: demo\n{lines}");
        parse_policy_tests("t.yaml", &text).unwrap_or_else(|error| panic!("{error}")).remove(0)
    }

    fn run(lines: &str) -> Result<(), String> {
        let set = roles(vec![
            role(
                "pods",
                &[
                    "apiGroups: [''], resources: [pods], verbs: ['*']",
                    "action: deny, apiGroups: [''], resources: [pods], verbs: [delete], namespaces: [prod]",
                ],
            ),
            role_with("far", &["apiGroups: ['*'], resources: ['*'], verbs: ['*']"], "  targets: [other]\n"),
        ]);
        test(lines).run(&Arc::new(set), &DiscoveryPolicy::default())
    }

    #[test]
    fn what_holds_is_said_to_hold() {
        for lines in [
            "  request: get pods web -n demo\n  expect: deny\n",
            "  holds: [pods]\n  request: get pods web -n demo\n  expect: allow\n",
            "  holds: [pods]\n  request: get pods web -n demo\n  expect: allow\n  by: pods\n",
            "  holds: [pods]\n  request: get pods web -n demo\n  expect: allow\n  by: pods/1\n",
            "  holds: [pods]\n  request: delete pods web -n prod\n  expect: deny\n  by: pods/2\n",
            "  request: get /version\n  expect: allow\n  by: discovery\n",
        ] {
            run(lines).unwrap_or_else(|error| panic!("{error}\n{lines}"));
        }
    }

    #[test]
    fn expectations_can_say_what_conditions_look_at() {
        let set = Arc::new(roles(vec![role(
            "pods",
            &[
                "apiGroups: [''], resources: [pods/exec], verbs: [create], when: 'time.hour >= 8 && time.hour < 18'",
                "action: review, apiGroups: [''], resources: [pods/exec], verbs: [create], \
                 when: '\"rm\" in request.command'",
                "action: deny, apiGroups: [''], resources: [pods/exec], verbs: [create], \
                 when: 'has(process.uid) && process.uid == 0'",
            ],
        )]));
        let run = |facts: &str, expect: &str| {
            let lines = format!(
                "  holds: [pods]\n  request: create pods/exec web -n demo\n  facts: {{{facts}}}\n  expect: {expect}\n"
            );
            test(&lines).run(&set, &DiscoveryPolicy::default())
        };
        let noon = "at: '2026-03-01T12:00:00Z'";
        let root = "process: {uid: 0, gid: 0, exe: /usr/bin/kubectl, argv: [kubectl]}";
        run(noon, "allow").unwrap();
        run("at: '2026-03-01T07:59:59Z'", "deny").unwrap();
        run(&format!("{noon}, command: [ls]"), "allow\n  by: pods/1").unwrap();
        run(&format!("{noon}, command: [rm, -rf, /]"), "review\n  by: pods/2").unwrap();
        run(&format!("{noon}, {root}"), "deny\n  by: pods/3").unwrap();
        let error = run(&format!("{noon}, command: [rm]"), "allow").unwrap_err();
        assert!(
            error.ends_with("expected allow, got review by rule 2 of role pods (test.yaml:11)"),
            "{error}"
        );
    }

    #[test]
    fn expectations_can_say_with_which_arguments_a_tool_is_called() {
        let set = Arc::new(roles(vec![role(
            "files",
            &[
                "mcp: {methods: [tools/call], tools: [read]}, when: 'request.arguments.path.startsWith(\"/srv/\")'",
            ],
        )]));
        let run = |facts: &str, expect: &str| {
            let lines = format!(
                "  holds: [files]\n  request: mcp tools/call read\n  facts: {{{facts}}}\n  expect: {expect}\n"
            );
            test(&lines).run(&set, &DiscoveryPolicy::default())
        };
        run("arguments: {path: /srv/a, limit: 1}", "allow\n  by: files/1").unwrap();
        run("arguments: {path: /etc/a}", "deny").unwrap();
        run("arguments: {path: [/srv/a]}", "deny").unwrap();
        run("arguments: {}", "deny").unwrap();
        run("", "deny").unwrap();
    }

    #[test]
    fn what_does_not_hold_is_said_with_what_was_decided() {
        for (lines, said) in [
            (
                "  request: get pods web -n demo\n  expect: allow\n",
                "alice, get pods \"web\" in namespace \"demo\" of target demo: expected allow, got deny by no rule",
            ),
            (
                "  holds: [pods]\n  request: get pods web -n demo\n  expect: deny\n  by: pods/2\n",
                "expected deny by rule 2 of role pods, got allow by rule 1 of role pods (test.yaml:10)",
            ),
            (
                "  holds: [pods]\n  request: delete pods web -n prod\n  expect: deny\n  by: far\n",
                "expected deny by role far, got deny by rule 2 of role pods (test.yaml:11)",
            ),
            (
                "  request: list pods\n  expect: deny\n  by: pods\n",
                "expected deny by role pods, got deny by no rule",
            ),
            ("  request: get /version\n  expect: deny\n", "got allow by discovery, which is open to all"),
            ("  holds: [gone]\n  request: list pods\n  expect: deny\n", "there is no role gone"),
            (
                "  holds: [far]\n  request: list pods\n  expect: deny\n",
                "role far does not cover a target \"demo\"",
            ),
        ] {
            let error = run(lines).unwrap_err();
            assert!(error.contains(said), "{error}\n{lines}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let good = "- name: one\n  subject: {name: a}\n  target: t\n  request: list pods\n  expect: deny\n";
        let two = parse_policy_tests("t.yaml", &format!("{HEAD}{good}{good}---\n{HEAD}{good}")).unwrap();
        assert_eq!(two.iter().map(|test| test.line).collect::<Vec<_>>(), [5, 10, 20]);
        for (from, to, said) in [
            (
                "list pods",
                "get pods",
                "t.yaml:8: tests[0].request: \"get pods\" is no request: get is about one object",
            ),
            ("expect: deny", "expect: maybe", "t.yaml:9: tests[0].expect: unknown variant `maybe`"),
            (
                "expect: deny",
                "expect: deny\n  by: x/0",
                "t.yaml:10: tests[0].by: \"x/0\": write ROLE or ROLE/NUMBER",
            ),
            ("target: t", "tarbet: t", "t.yaml:7: tests[0].tarbet: unknown field `tarbet`"),
            ("{name: a}", "{nam: a}", "tests[0].subject.nam: unknown field `nam`"),
            (
                "expect: deny",
                "facts: {pid: 1}\n  expect: deny",
                "t.yaml:9: tests[0].facts.pid: unknown field `pid`",
            ),
            (
                "expect: deny",
                "facts: {arguments: [a]}\n  expect: deny",
                "t.yaml:9: tests[0].facts.arguments: ",
            ),
            ("expect: deny", "facts: {at: noon}\n  expect: deny", "t.yaml:9: tests[0].facts.at: "),
        ] {
            let error =
                parse_policy_tests("t.yaml", &format!("{HEAD}{}", good.replace(from, to))).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        let role = format!("{HEAD}{good}").replace("PolicyTest", "Role");
        assert!(parse_policy_tests("t.yaml", &role).is_err());
    }

    /// The manual's own examples are read as they stand in it.
    #[test]
    fn the_manual_is_true() {
        let manual =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/roles.md")).unwrap();
        let blocks = manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let (mut roles, mut tests) = (0, 0);
        for block in blocks {
            if block.contains("kind: Role\n") {
                roles += crate::parse_roles("manual", block).unwrap_or_else(|error| panic!("{error}")).len();
            } else if block.contains("kind: PolicyTest\n") {
                tests += parse_policy_tests("manual", block).unwrap_or_else(|error| panic!("{error}")).len();
            } else if let Some(rule) = block.strip_prefix("  - ") {
                let rule = format!("  - {rule}");
                let head = "apiVersion: portcullis.dev/v1alpha1\nkind: Role\nmetadata: {name: r}\nspec:\n  targets: ['*']\n  \
                            eligible: {groups: [g]}\n  approval: {required: 0}\n  maxDuration: 1h\n  rules:\n";
                crate::parse_roles("manual", &format!("{head}{rule}"))
                    .unwrap_or_else(|error| panic!("{error}"));
            }
        }
        assert_eq!((roles, tests), (2, 1));
    }

    #[test]
    fn the_examples_hold() {
        let examples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/roles"));
        let roles = Arc::new(load_roles(examples).unwrap());
        let mut ran = 0;
        for entry in std::fs::read_dir(examples.join("tests")).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            for test in parse_policy_tests(&path.display().to_string(), &text).unwrap() {
                let outcome = test.run(&roles, &DiscoveryPolicy::default());
                outcome.unwrap_or_else(|error| panic!("{}:{}: {error}", test.file, test.line));
                ran += 1;
            }
        }
        assert!(ran > 10, "{ran}");
    }
}
