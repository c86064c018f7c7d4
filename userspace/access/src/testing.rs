//! What the tests of this crate share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use portcullis_identity::{Method, Subject};

use crate::store::testing::Place;
use crate::*;

/// When the tests' clock starts.
pub(crate) fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// A clock that moves when it is told to.
pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(start())))
    }

    pub(crate) fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// `alice of sre,dev`
pub(crate) fn person(name: &str, groups: &[&str]) -> Subject {
    Subject {
        issuer: "unix".into(),
        id: format!("uid-{name}"),
        name: name.into(),
        groups: groups.iter().map(ToString::to_string).collect(),
        method: Method::Unix,
        account: None,
    }
}

/// `get pods/log web -n prod`, `list nodes`, `create deployments.apps -n x`, `get /metrics`, `mcp tools/call search`.
pub(crate) fn op(text: &str) -> Operation {
    if text.starts_with("mcp ") {
        return text.parse().unwrap();
    }
    let mut words = text.split(' ');
    let verb = words.next().unwrap().to_owned();
    let what = words.next().unwrap();
    if what.starts_with('/') {
        return Operation::NonResource { verb, path: what.into() };
    }
    let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
    let (resource, api_group) = resource.split_once('.').unwrap_or((resource, ""));
    let (mut name, mut namespace) = ("", "");
    while let Some(word) = words.next() {
        match word {
            "-n" => namespace = words.next().unwrap(),
            other => name = other,
        }
    }
    Operation::Resource {
        verb,
        api_group: api_group.into(),
        api_version: "v1".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// A role for target `demo` and group `dev`, approved by `leads`, with these rules in YAML flow style.
pub(crate) fn role(name: &str, rules: &[&str]) -> Role {
    role_with(name, rules, "")
}

/// As [`role`], with further lines of its `spec`.
pub(crate) fn role_with(name: &str, rules: &[&str], more: &str) -> Role {
    let rules: String = rules.iter().map(|rule| format!("  - {{{rule}}}\n")).collect();
    let defaults = [
        ("targets:", "  targets: [demo]\n"),
        ("eligible:", "  eligible: {groups: [dev]}\n"),
        ("approval:", "  approval: {required: 1, groups: [leads]}\n"),
        ("maxDuration:", "  maxDuration: 4h\n"),
    ];
    let defaults: String =
        defaults.iter().filter(|(key, _)| !more.contains(key)).map(|(_, line)| *line).collect();
    let yaml = format!(
        "apiVersion: portcullis.dev/v1alpha1\nkind: Role\nmetadata: {{name: {name}}}\nspec:\n{defaults}{more}  rules:\n{rules}"
    );
    parse_roles("test.yaml", &yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")).remove(0)
}

pub(crate) fn roles(roles: Vec<Role>) -> RoleSet {
    RoleSet::new(roles).unwrap()
}

pub(crate) fn targets() -> BTreeSet<String> {
    ["demo", "other"].map(String::from).into()
}

/// A grant of `role` on `demo` to `subject`, for the first hour.
pub(crate) fn grant(n: u32, subject: &Subject, role: &str) -> Grant {
    Grant {
        id: format!("g-{n:06x}").parse().unwrap(),
        request: format!("r-{n:06x}").parse().unwrap(),
        subject: Person::from(subject),
        role: role.parse().unwrap(),
        target: "demo".into(),
        reason: "because".into(),
        approved_by: Vec::new(),
        starts_at: start(),
        expires_at: start().checked_add(minutes(60)).unwrap(),
        ended: None,
        emergency: false,
    }
}

/// The approved request that [`grant`] came of.
pub(crate) fn request(n: u32, subject: &Subject, role: &str) -> Request {
    let grant = grant(n, subject, role);
    Request {
        id: grant.request,
        subject: grant.subject,
        role: grant.role,
        target: grant.target,
        duration: minutes(60),
        starts_at: None,
        reason: grant.reason,
        extends: None,
        state: RequestState::Approved,
        created_at: start(),
        expires_at: grant.expires_at,
        approvals: Vec::new(),
        decided_at: Some(start()),
        refusal: None,
        grant: Some(grant.id),
        denied: None,
        emergency: false,
        unmasks: Vec::new(),
    }
}

/// A hold that waits, of Alice, under grant number `n`.
pub(crate) fn hold(n: u32) -> Hold {
    let grant = grant(n, &person("alice", &["dev"]), "pods");
    Hold {
        id: format!("h-{n:06x}").parse().unwrap(),
        subject: grant.subject,
        target: grant.target,
        operation: op("delete pods web -n prod"),
        role: grant.role,
        rule: 0,
        grant: grant.id,
        terms: ReviewTerms { required: 1, groups: ["leads".to_owned()].into(), wait: minutes(5) },
        digest: "ab".repeat(32),
        client: "4711@12345".into(),
        command: vec!["kubectl".into(), "delete".into()],
        diff: None,
        state: HoldState::Pending,
        created_at: start(),
        expires_at: start() + minutes(5),
        approvals: Vec::new(),
        decided_at: None,
        refusal: None,
        spend_within: Duration::from_secs(30),
        abandoned: false,
    }
}

pub(crate) fn snapshot(set: RoleSet, grants: &[Grant]) -> Snapshot {
    snapshot_with(set, grants, &[])
}

pub(crate) fn snapshot_with(set: RoleSet, grants: &[Grant], requests: &[Request]) -> Snapshot {
    let grants: Vec<Arc<Grant>> = grants.iter().cloned().map(Arc::new).collect();
    let requests: Vec<Arc<Request>> = requests.iter().cloned().map(Arc::new).collect();
    let open = DiscoveryPolicy::default().compile().unwrap();
    Snapshot::new(
        start(),
        Duration::from_secs(10),
        Arc::new(set),
        targets().into_iter().collect(),
        Arc::new(open),
        grants.iter(),
        requests.iter(),
    )
}

/// The service over a store at `place`: a bastion of several, if called again.
pub(crate) fn access(place: &Place, clock: &Arc<TestClock>, set: RoleSet) -> Access {
    let config = AccessConfig {
        store: place.config(),
        admin_groups: ["admins".to_owned()].into(),
        ..AccessConfig::new("unused".into(), targets())
    };
    Access::open(config, set, clock.clone()).unwrap()
}
