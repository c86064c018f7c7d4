//! How long a decision takes with 1,000 roles and 100,000 grants, and what a snapshot of them costs.
//!
//!     cargo run --release -p portcullis-access --example decide

#![allow(clippy::print_stdout)] // the figures are all it is for

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portcullis_access::{
    Access, AccessConfig, AccessError, Applied, Change, Clock, Decision, Event, Facts, Grant, GrantId, Hold,
    HoldId, Live, NewHold, NewRequest, Operation, Person, Query, Request, RequestId, ReviewTerms, RoleSet,
    Store, SystemClock, decide, parse_roles,
};
use portcullis_identity::{Method, Subject};

const ROLES: usize = 1_000;
const GRANTS: usize = 100_000;
const PEOPLE: usize = 10_000;
const TEAMS: usize = 50;
const ROUNDS: usize = 400_000;

fn main() -> Result<(), AccessError> {
    let mut config = AccessConfig::new("unused".into(), (0..10).map(|n| format!("cluster-{n}")).collect());
    config.max_snapshot_age = Duration::from_secs(3600);
    let begun = Instant::now();
    let access = Access::with_store(config, roles()?, Arc::new(SystemClock), Arc::new(Full))?;
    println!("load and index {GRANTS} grants   {:>10.1?}", begun.elapsed());
    let begun = Instant::now();
    access.reload_targets((0..10).map(|n| format!("cluster-{n}")).collect());
    println!("rebuild the snapshot        {:>10.1?}", begun.elapsed());
    let begun = Instant::now();
    access.refresh()?;
    println!("refresh, nothing changed    {:>10.1?}", begun.elapsed());

    changes(&access)?;
    let people: Vec<Subject> = (0..PEOPLE).map(subject).collect();
    measure(&access, &people, "allowed by a grant", "get", "kind7");
    measure(&access, &people, "denied by a rule", "delete", "kind7");
    measure(&access, &people, "denied, with advice", "get", "kind999999");
    Ok(())
}

/// What publishing a change costs, without a database: an approval that begins a grant, and a hold from the question to
/// its being spent.
fn changes(access: &Access) -> Result<(), AccessError> {
    const CHANGES: u32 = 200;
    let lead = Subject { groups: ["leads".to_owned()].into(), ..subject(PEOPLE + 1) };
    let asker = |n: u32| subject(n as usize * 7);
    let mut requests = Vec::new();
    for n in 0..CHANGES {
        let new = NewRequest {
            role: format!("role-{}", n as usize * 7 % TEAMS).parse()?,
            target: Some("cluster-1".into()),
            duration: Duration::from_secs(600),
            starts_at: None,
            reason: "measuring".into(),
            denied: None,
            emergency: false,
        };
        requests.push(access.request(&asker(n), &new)?);
    }
    let begun = Instant::now();
    let mut grants = Vec::new();
    for request in &requests {
        let approved = access.approve(&lead, &request.id, "")?;
        grants.extend(approved.grant.zip(Some(approved.role)));
    }
    println!("publish an approval         {:>10.1?}", begun.elapsed() / CHANGES);
    let begun = Instant::now();
    for (n, (grant, role)) in (0..).zip(&grants) {
        let new = NewHold {
            target: "cluster-1".into(),
            operation: operation("delete", "kind7"),
            role: role.clone(),
            rule: 0,
            grant: grant.clone(),
            terms: ReviewTerms { required: 1, groups: lead.groups.clone(), wait: Duration::from_secs(300) },
            digest: String::new(),
            client: String::new(),
            command: Vec::new(),
            diff: None,
            spend_within: Duration::from_secs(30),
        };
        let hold = access.hold(&asker(n), &new)?;
        access.approve_hold(&lead, &hold.id, "")?;
        access.spend(&hold.id)?;
    }
    println!("hold, approve and spend     {:>10.1?}", begun.elapsed() / CHANGES);
    Ok(())
}

/// Decisions one by one, and the clock's own cost with them.
fn measure(access: &Access, people: &[Subject], what: &str, verb: &str, resource: &str) {
    let snapshot = access.snapshot();
    let now = SystemClock.now();
    let mut nanos = Vec::with_capacity(ROUNDS);
    let (mut allowed, mut operation) = (0, operation(verb, resource));
    for round in 0..ROUNDS {
        let n = round.wrapping_mul(7919) % people.len();
        let target = format!("cluster-{}", n % 10);
        if let (Operation::Resource { resource, .. }, "kind7") = (&mut operation, resource) {
            *resource = format!("kind{}", role_of(n, 0));
        }
        let query = Query { subject: &people[n], target: &target, operation: &operation, facts: Facts::NONE };
        let begun = Instant::now();
        let decision = black_box(decide(black_box(&snapshot), black_box(&query), now));
        nanos.push(begun.elapsed().as_nanos());
        allowed += usize::from(matches!(decision, Decision::Allow(_)));
    }
    nanos.sort_unstable();
    let at = |share: f64| nanos[(ROUNDS as f64 * share) as usize];
    println!(
        "{what:<20} {allowed:>7} allowed   p50 {:>6} ns   p99 {:>6} ns   p99.9 {:>6} ns",
        at(0.5),
        at(0.99),
        at(0.999)
    );
}

/// Each role is about a kind of its own, in ten namespaces, for one of fifty teams.
fn roles() -> Result<RoleSet, AccessError> {
    let namespaces: Vec<String> = (0..10).map(|n| format!("ns-{n}")).collect();
    let manifest = |n: usize| {
        format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: Role\nmetadata: {{name: role-{n}}}\nspec:\n  targets: ['cluster-*']\n  \
             eligible: {{groups: [team-{}]}}\n  approval: {{required: 1, groups: [leads]}}\n  maxDuration: 4h\n  rules:\n  \
             - {{apiGroups: [''], resources: [kind{n}, kind{n}/log], verbs: [get, list, watch], namespaces: [{}]}}\n  \
             - {{apiGroups: [apps], resources: [kind{n}], verbs: ['*']}}\n  \
             - {{action: deny, apiGroups: [''], resources: [kind{n}], verbs: [delete]}}\n",
            n % TEAMS,
            namespaces.join(", ")
        )
    };
    let roles = (0..ROLES).map(|n| parse_roles("roles", &manifest(n))).collect::<Result<Vec<_>, _>>()?;
    RoleSet::new(roles.into_iter().flatten().collect())
}

fn subject(n: usize) -> Subject {
    Subject {
        issuer: "unix".into(),
        id: n.to_string(),
        name: format!("user-{n}"),
        groups: (0..3).map(|k| format!("team-{}", (n + k) % TEAMS)).collect(),
        method: Method::Unix,
        account: None,
    }
}

fn role_of(person: usize, nth: usize) -> usize {
    (person * 31 + nth * 101) % ROLES
}

fn operation(verb: &str, resource: &str) -> Operation {
    Operation::Resource {
        verb: verb.into(),
        api_group: String::new(),
        api_version: "v1".into(),
        resource: resource.into(),
        subresource: String::new(),
        namespace: "ns-9".into(),
        name: "web".into(),
    }
}

/// A store with ten grants for each of ten thousand people.
struct Full;

impl Store for Full {
    fn load(&self, _ended_since: Timestamp) -> Result<Live, AccessError> {
        let starts_at = Timestamp::now();
        let expires_at = starts_at + Duration::from_secs(4 * 3600);
        let grant = |n: usize| {
            let (person, nth) = (n % PEOPLE, n / PEOPLE);
            Ok(Grant {
                id: format!("g-{n:06x}").parse()?,
                request: format!("r-{n:06x}").parse()?,
                subject: Person::from(&subject(person)),
                role: format!("role-{}", role_of(person, nth)).parse()?,
                target: format!("cluster-{}", person % 10),
                reason: "measuring".into(),
                approved_by: Vec::new(),
                starts_at,
                expires_at,
                ended: None,
                emergency: false,
            })
        };
        let grants = (0..GRANTS).map(grant).collect::<Result<_, AccessError>>()?;
        Ok(Live { revision: 0, requests: Vec::new(), grants, holds: Vec::new() })
    }
    fn since(&self, revision: u64) -> Result<Option<Live>, AccessError> {
        Ok(Some(Live { revision, requests: Vec::new(), grants: Vec::new(), holds: Vec::new() }))
    }
    fn revision(&self) -> Result<u64, AccessError> {
        Ok(0)
    }
    fn apply(&self, revision: u64, change: &Change) -> Result<Applied, AccessError> {
        Ok(Applied::Done(revision + change.events.len() as u64))
    }
    fn request(&self, _id: &RequestId) -> Result<Option<Request>, AccessError> {
        Ok(None)
    }
    fn grant(&self, _id: &GrantId) -> Result<Option<Grant>, AccessError> {
        Ok(None)
    }
    fn hold(&self, _id: &HoldId) -> Result<Option<Hold>, AccessError> {
        Ok(None)
    }
    fn requests(&self, _limit: u32) -> Result<Vec<Request>, AccessError> {
        Ok(Vec::new())
    }
    fn grants(&self, _limit: u32) -> Result<Vec<Grant>, AccessError> {
        Ok(Vec::new())
    }
    fn holds(&self, _limit: u32) -> Result<Vec<Hold>, AccessError> {
        Ok(Vec::new())
    }
    fn events(&self, _after: u64, _limit: u32) -> Result<Vec<Event>, AccessError> {
        Ok(Vec::new())
    }
    fn token_used(&self, _id: &str) -> Result<bool, AccessError> {
        Ok(false)
    }
    fn cursor(&self, _name: &str) -> Result<u64, AccessError> {
        Ok(0)
    }
    fn advance_cursor(&self, _name: &str, _from: u64, _to: u64) -> Result<bool, AccessError> {
        Ok(true)
    }
    fn lease(&self, _: &str, _: &str, _: Timestamp, _: Duration) -> Result<bool, AccessError> {
        Ok(true)
    }
}
