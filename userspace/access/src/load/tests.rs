use std::time::Duration;

use super::*;
use crate::testing::person;
use crate::{MaskLevel, PresentAs, RecordLevel};

const GOOD: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata:
  name: pod-admin
spec:
  description: Looks after pods
  targets: [demo, 'eu-*']
  eligible:
    groups: [dev]
    users: [zoe]
  approval:
    required: 2
    groups: [leads]
  maxDuration: 4h
  obligations:
    mask: none
    record: metadata
  rules:
  - apiGroups: ['']
    resources: [pods, pods/log]
    verbs: [get, list]
    namespaces: [prod]
  - action: deny
    apiGroups: ['']
    resources: [pods]
    verbs: [delete]
    reason: the pipeline deletes
";

fn error(yaml: &str) -> String {
    match parse_roles("roles.yaml", yaml) {
        Ok(_) => panic!("accepted:\n{yaml}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_role_has_all_that_its_file_says() {
    let role = parse_roles("roles.yaml", GOOD).unwrap().remove(0);
    assert_eq!(role.name.as_str(), "pod-admin");
    assert_eq!(role.description, "Looks after pods");
    assert!(role.covers_target("demo") && role.covers_target("eu-1") && !role.covers_target("us-1"));
    assert!(role.is_eligible(&person("alice", &["dev"])) && role.is_eligible(&person("zoe", &[])));
    assert!(!role.is_eligible(&person("alice", &["leads"])));
    assert!(role.is_approver(&person("bob", &["leads"])) && !role.is_approver(&person("bob", &["dev"])));
    assert_eq!((role.approval.required, role.max_duration), (2, Duration::from_secs(4 * 3600)));
    assert_eq!((role.obligations.mask, role.obligations.record), (MaskLevel::None, RecordLevel::Metadata));
    assert_eq!(role.rules.len(), 2);
    assert_eq!(role.rules[1].reason.as_deref(), Some("the pipeline deletes"));
    assert_eq!(role.defined_at(), "roles.yaml:1");
}

#[test]
fn a_file_holds_several_documents() {
    let two = format!(
        "# roles of the team\n---\n{GOOD}---\n# nothing\n---\n{}...\n",
        GOOD.replace("pod-admin", "second")
    );
    let roles = parse_roles("roles.yaml", &two).unwrap();
    assert_eq!(roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(), ["pod-admin", "second"]);
    assert_eq!(roles[1].defined_at(), format!("roles.yaml:{}", 3 + GOOD.lines().count() + 3));

    let broken = two.replace("name: second", "nam: second");
    let line = 3 + GOOD.lines().count() + 3 + 3;
    assert_eq!(
        error(&broken),
        format!("roles.yaml:{line}: metadata.nam: unknown field `nam`, expected one of name")
    );
}

#[test]
fn every_mistake_is_named_with_its_place() {
    // A field that is missing is reported at the last key of the mapping that lacks it.
    // what to replace, by what, and the error after "roles.yaml:"
    let table = [
        ("v1alpha1", "v2", "1: apiVersion: \"portcullis.dev/v2\" is not \"portcullis.dev/v1alpha1\""),
        ("kind: Role", "kind: ClusterRole", "2: kind: \"ClusterRole\" is not \"Role\""),
        ("kind: Role\n", "", "4: the document: missing field `kind`"),
        (
            "pod-admin",
            "Pod Admin",
            "4: metadata.name: \"Pod Admin\" is not a role name: lower-case letters, digits, `-` and `.`, at most 63 of them",
        ),
        (
            "pod-admin",
            "discovery",
            "4: metadata.name: \"discovery\" is the name under which open discovery paths are recorded",
        ),
        ("  targets: [demo, 'eu-*']\n", "", "17: spec: missing field `targets`"),
        ("[demo, 'eu-*']", "[]", "7: spec.targets: the list is empty"),
        ("'eu-*'", "'*-eu'", "7: spec.targets[1]: \"*-eu\": `*` may stand only at the end"),
        (
            "    groups: [dev]\n    users: [zoe]\n",
            "    users: []\n",
            "9: spec.eligible: name at least one of groups and users, or nobody could ask for the role",
        ),
        (
            "users: [zoe]",
            "users: ['*']",
            "9: spec.eligible: users: \"*\" is not a name; there are no patterns here",
        ),
        ("    groups: [leads]\n", "", "12: spec.approval: required is 2, but no groups say who can approve"),
        ("required: 2", "required: -2", "12: spec.approval.required:"),
        ("4h", "4", "14: spec.maxDuration: \"4\" is not a duration: write 90s, 30m, 4h or 1h30m"),
        ("4h", "9000h", "14: spec.maxDuration: 9000h is too long to be temporary: at most 168h"),
        (
            "mask: none",
            "mask: nothing",
            "16: spec.obligations.mask: unknown variant `nothing`, expected one of none, default",
        ),
        (
            "action: deny",
            "action: refuse",
            "23: spec.rules[1].action: unknown variant `refuse`, expected one of allow, deny, review",
        ),
        ("action: deny", "actoin: deny", "23: spec.rules[1].actoin: unknown field `actoin`"),
        (
            "verbs: [delete]",
            "verbs: [remove]",
            "23: spec.rules[1]: verbs: \"remove\" is never requested; known are get, list,",
        ),
        ("verbs: [delete]", "verbs: []", "23: spec.rules[1]: verbs: the list is empty"),
        ("    verbs: [delete]\n", "", "23: spec.rules[1]: missing field `verbs`"),
        (
            "namespaces: [prod]",
            "namespaces: []",
            "19: spec.rules[0]: namespaces: the list is empty; leave it out to mean all",
        ),
        ("namespaces: [prod]", "namespaces:", "22: spec.rules[0].namespaces:"),
        (
            "namespaces: [prod]",
            "namespaces: ['']",
            "22: spec.rules[0].namespaces[0]: an empty name matches nothing",
        ),
        (
            "namespaces: [prod]",
            "resourceNames: ['a*']",
            "19: spec.rules[0]: resourceNames are whole names, without `*`",
        ),
        (
            "namespaces: [prod]",
            "nonResourceURLs: [/x]",
            "19: spec.rules[0]: a rule has either apiGroups and resources",
        ),
        (
            "apiGroups: ['']\n    resources: [pods, pods/log]",
            "apiGroups: [apps/v1]\n    resources: [x]",
            "19: spec.rules[0]: apiGroups: \"apps/v1\" has a version; write the group alone",
        ),
        ("pods/log]", "pods/*]", "20: spec.rules[0].resources[1]: \"pods/*\" is no resource"),
        ("[pods, pods/log]", "[Pods]", "20: spec.rules[0].resources[0]: \"Pods\" is no resource"),
        (
            "  rules:\n  - apiGroups",
            "  rules:\n  - action: deny\n    apiGroups",
            "6: spec: rules: no rule allows anything",
        ),
        (
            "action: deny",
            "action: review\n    review: {required: 0}",
            "23: spec.rules[1]: review: required is 0, so nobody would be asked",
        ),
        (
            "action: deny",
            "action: review\n    review: {wait: 31m}",
            "23: spec.rules[1]: review: wait: a request is held for at most 30m, not 31m",
        ),
        (
            "action: deny",
            "action: deny\n    review: {wait: 5m}",
            "23: spec.rules[1]: review: only a rule with action review has terms of review",
        ),
        (
            "action: deny",
            "action: review\n    review: {groups: ['*']}",
            "23: spec.rules[1]: review: groups: \"*\" is not a name",
        ),
        ("action: deny", "action: deny\n    when:", "24: spec.rules[1].when:"),
        (
            "action: deny",
            "action: deny\n    when: subject.nmae == 'x'",
            "24: spec.rules[1].when: 1:8: subject has no field \"nmae\"",
        ),
        (
            "  - apiGroups: ['']\n",
            "  - when: \"'--context' in process.argv\"\n    apiGroups: ['']\n",
            "19: spec.rules[0]: when: process.argv is what the client says of itself",
        ),
        (
            "    apiGroups: ['']\n    resources: [pods]\n    verbs: [delete]\n",
            "    mcp: {methods: [tools/call], tools: []}\n",
            "24: spec.rules[1].mcp: tools: the list is empty",
        ),
        (
            "    apiGroups: ['']\n    resources: [pods]\n    verbs: [delete]\n",
            "    mcp: {methods: [prompts/get], tools: [x]}\n",
            "24: spec.rules[1].mcp: tools: none of the methods is about one; those are tools/call",
        ),
        (
            "    apiGroups: ['']\n    resources: [pods]\n    verbs: [delete]\n",
            "    mcp: {methods: ['*']}\n    verbs: [get]\n",
            "23: spec.rules[1]: verbs: a rule about MCP has methods instead",
        ),
        (
            "    apiGroups: ['']\n    resources: [pods]\n    verbs: [delete]\n",
            "    mcp: {methods: ['*']}\n    namespaces: [x]\n",
            "23: spec.rules[1]: a rule has either apiGroups and resources",
        ),
        ("maxDuration: 4h", "maxDuration: 4h\n  presentAs: me", "15: spec.presentAs: unknown variant `me`"),
        (
            "maxDuration: 4h",
            "maxDuration: 4h\n  presentAs: {awsRole: role/x}",
            "15: spec.presentAs: \"role/x\" is no role of AWS",
        ),
        (
            "maxDuration: 4h",
            "maxDuration: 4h\n  presentAs: {serviceAccount: {namespace: a, name: B}}",
            "15: spec.presentAs: \"a\"/\"B\" is no service account",
        ),
        (
            "  name: pod-admin",
            "  name: pod-admin\n  name: again",
            "5: metadata.?: duplicate mapping key: name",
        ),
        ("metadata:", "metadata: [", "3: metadata"),
    ];
    for (from, to, expected) in table {
        assert!(GOOD.contains(from), "{from}");
        let error = error(&GOOD.replacen(from, to, 1));
        assert!(
            error.starts_with(&format!("roles.yaml:{expected}")),
            "{from:?} → {to:?}\n got {error}\nwant {expected}"
        );
    }
}

#[test]
fn a_directory_is_read_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), GOOD).unwrap();
    std::fs::write(dir.path().join("b.yml"), GOOD.replace("pod-admin", "other")).unwrap();
    std::fs::write(dir.path().join("README.md"), "not a role").unwrap();
    std::fs::write(dir.path().join(".hidden.yaml"), "not a role").unwrap();
    let roles = load_roles(dir.path()).unwrap();
    assert_eq!(roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(), ["other", "pod-admin"]);

    std::fs::write(dir.path().join("c.yaml"), format!("\n{GOOD}")).unwrap();
    let error = load_roles(dir.path()).unwrap_err().to_string();
    let (a, c) = (dir.path().join("a.yaml"), dir.path().join("c.yaml"));
    assert_eq!(
        error,
        format!("role pod-admin is defined twice: in {}:1 and in {}:2", a.display(), c.display())
    );

    let missing = load_roles(&dir.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("cannot read roles from") && missing.contains("none"), "{missing}");
}

#[test]
fn the_examples_that_are_shipped_are_good() {
    let roles = load_roles(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/roles"))).unwrap();
    assert!(roles.iter().len() >= 3);
}

#[test]
fn a_review_asks_the_approvers_of_its_role_unless_it_says_who() {
    let review = |from: &str, to: &str| {
        let yaml = GOOD.replacen("action: deny", "action: review", 1).replacen(from, to, 1);
        parse_roles("roles.yaml", &yaml).map(|mut roles| roles.remove(0).rules.remove(1).review().cloned())
    };
    let terms = review("", "").unwrap().unwrap();
    assert_eq!((terms.required, terms.wait), (1, Duration::from_secs(300)));
    assert_eq!(terms.groups, ["leads".to_owned()].into());
    let said = "    review: {required: 2, groups: [sec], wait: 30m}\n    apiGroups: ['']\n    resources: [pods]\n    verbs: [delete]";
    let terms =
        review("    apiGroups: ['']\n    resources: [pods]\n    verbs: [delete]", said).unwrap().unwrap();
    assert_eq!((terms.required, terms.wait), (2, Duration::from_secs(1800)));
    assert_eq!(terms.groups, ["sec".to_owned()].into());
    // Nobody is not a group that could be asked.
    let error =
        review("    required: 2\n    groups: [leads]\n", "    required: 0\n").unwrap_err().to_string();
    assert_eq!(
        error,
        "roles.yaml:22: spec.rules[1].review: name the groups that can agree: the role has no approval groups"
    );
}

#[test]
fn a_review_does_not_name_what_is_never_held() {
    let review = |methods: &str| {
        let rule = format!("    mcp: {{methods: [{methods}]}}\n");
        let yaml = GOOD.replacen("action: deny", "action: review", 1).replacen(
            "    apiGroups: ['']\n    resources: [pods]\n    verbs: [delete]\n",
            &rule,
            1,
        );
        parse_roles("roles.yaml", &yaml).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(review("tools/call, 'tools/*', '*'"), Ok(()));
    for open in ["tools/list", "initialize", "session/stream"] {
        let expected = format!(
            "roles.yaml:23: spec.rules[1]: mcp: methods: \"{open}\" is open to all who use the server, and never held"
        );
        assert_eq!(review(&format!("tools/call, {open}")), Err(expected));
    }
}

#[test]
fn a_role_says_as_whom_it_goes_to_the_target() {
    let presented = |how: &str| {
        let yaml = GOOD.replacen("maxDuration: 4h", &format!("maxDuration: 4h\n  presentAs: {how}"), 1);
        parse_roles("roles.yaml", &yaml).unwrap().remove(0).present_as
    };
    assert_eq!(parse_roles("roles.yaml", GOOD).unwrap()[0].present_as, PresentAs::Target);
    assert_eq!(presented("target"), PresentAs::Target);
    assert_eq!(presented("impersonate"), PresentAs::Impersonate);
    let (namespace, name) = ("portcullis".into(), "engineer".into());
    assert_eq!(
        presented("{serviceAccount: {namespace: portcullis, name: engineer}}"),
        PresentAs::ServiceAccount { namespace, name }
    );
    let arn = "arn:aws-us-gov:iam::111122223333:role/team/web";
    assert_eq!(presented(&format!("{{awsRole: '{arn}'}}")), PresentAs::AwsRole(arn.into()));
}

#[test]
fn what_a_role_unmasks_is_named_field_by_field() {
    let with = |unmask: &str| {
        let obligations = format!("    record: metadata\n    unmask:\n    - {unmask}\n");
        GOOD.replace("    record: metadata\n", &obligations)
    };
    let role = |unmask: &str| parse_roles("roles.yaml", &with(unmask)).unwrap().remove(0);
    let shown = |unmask: &str| role(unmask).obligations.unmask[0].to_string();
    assert_eq!(
        shown("{resources: [secrets], paths: [data.username, 'data[tls.crt]']}"),
        "secrets: data.username, data[tls.crt]"
    );
    assert_eq!(
        shown("{groups: [example.test], resources: [widgets], paths: ['**.user']}"),
        "widgets.example.test: **.user"
    );
    // Approvers are told of that, and all the more of a role that masks nothing.
    let told = |text: &str| parse_roles("roles.yaml", text).unwrap().remove(0).obligations.unmasks();
    let some = with("{resources: [secrets], paths: [data.username]}").replace("mask: none", "mask: default");
    assert_eq!(told(&some), ["secrets: data.username"]);
    assert_eq!(told(GOOD), ["everything: nothing at all is masked"]);
    for (unmask, expected) in [
        (
            "{resources: [secrets], paths: [data..a]}",
            "spec.obligations.unmask[0].paths[0]: path \"data..a\": a name is missing",
        ),
        ("{resources: [secrets], paths: []}", "each needs at least one"),
        ("{resources: ['*'], paths: [data.a]}", "\"*\": name the resources themselves"),
        ("{resources: [secrets], path: [data.a]}", "unknown field `path`"),
        ("{paths: [data.a]}", "missing field `resources`"),
    ] {
        let error = error(&with(unmask));
        assert!(error.contains(expected) && error.starts_with("roles.yaml:19: "), "{unmask}: {error}");
    }
}
