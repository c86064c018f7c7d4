//! How long a decision takes with 1,000 roles and 100,000 grants, without and with conditions, what a snapshot of them
//! costs, and that the database is not asked.
//!
//!     cargo run --release -p portcullis-access --example decide [-- --json]

#![allow(clippy::print_stdout)] // the figures are all it is for

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portcullis_access::{
    Access, AccessConfig, AccessError, Applied, Caller, Change, Clock, Decision, Event, Facts, Grant,
    GrantId, Hold, HoldId, Live, NewHold, NewRequest, Operation, Person, Query, Request, RequestId,
    ReviewTerms, RoleSet, Store, SystemClock, decide, parse_roles,
};
use portcullis_identity::{Method, Subject};
use serde::Serialize;

const ROLES: usize = 1_000;
const GRANTS: usize = 100_000;
const PEOPLE: usize = 10_000;
const TEAMS: usize = 50;
const ROUNDS: usize = 400_000;

/// What a team might write: the real client, the people of a team, the hours of a place, some namespaces.
const CONDITION: &str = r#"process.exe.matches("^/usr/(local/)?bin/kubectl[0-9.]*$")
        && subject.groups.exists(group, group.startsWith("team-"))
        && time.now.getHours("Europe/Berlin") < 24
        && request.namespace.startsWith("ns-")"#;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    roles: usize,
    grants: usize,
    plain: Measured,
    cel: Measured,
    /// Asked of the store while deciding.
    database_queries: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    load_millis: f64,
    rebuild_millis: f64,
    /// What one more snapshot takes of the process's memory; the roles and grants themselves are shared.
    snapshot_bytes: u64,
    allowed: Decisions,
    denied_by_rule: Decisions,
    denied_with_advice: Decisions,
    /// From an approval to the snapshot that has its grant.
    publish_approval_micros: f64,
    /// From the question to the snapshot in which its approval is spent.
    hold_micros: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decisions {
    /// How many of them allowed.
    allowed: usize,
    p50_nanos: u128,
    p99_nanos: u128,
    p999_nanos: u128,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let json = std::env::args().any(|argument| argument == "--json");
    let store = Arc::new(Full::default());
    let plain = measure(&store, "")?;
    let cel = measure(&store, &format!("\n    when: |\n        {CONDITION}"))?;
    let database_queries = store.during_decisions.load(Ordering::Relaxed);
    let figures = Figures { roles: ROLES, grants: GRANTS, plain, cel, database_queries };
    if json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures);
    }
    if database_queries != 0 {
        return Err(format!("{database_queries} database queries while deciding").into());
    }
    Ok(())
}

fn measure(store: &Arc<Full>, when: &str) -> Result<Measured, AccessError> {
    let targets = || (0..10).map(|n| format!("cluster-{n}")).collect();
    let mut config = AccessConfig::new("unused".into(), targets());
    config.max_snapshot_age = Duration::from_secs(3600);
    let roles = roles(when)?;
    let begun = Instant::now();
    let access =
        Access::with_store(config, roles, Arc::new(SystemClock), Arc::clone(store) as Arc<dyn Store>)?;
    let load_millis = millis(begun);

    // The snapshot before is kept, so that what the next one takes is new memory.
    let (before, kept) = (resident(), access.snapshot());
    let begun = Instant::now();
    access.reload_targets(targets());
    let rebuild_millis = millis(begun);
    let snapshot_bytes = resident().saturating_sub(before);
    drop(kept);

    let people: Vec<Subject> = (0..PEOPLE).map(subject).collect();
    let (publish_approval_micros, hold_micros) = changes(&access)?;
    store.count(true);
    let measured = Measured {
        load_millis,
        rebuild_millis,
        snapshot_bytes,
        allowed: decisions(&access, &people, "get", "kind7"),
        denied_by_rule: decisions(&access, &people, "delete", "kind7"),
        denied_with_advice: decisions(&access, &people, "get", "kind999999"),
        publish_approval_micros,
        hold_micros,
    };
    store.count(false);
    Ok(measured)
}

/// What publishing a change costs, without a database: an approval that begins a grant, and a hold from the question to
/// its being spent.
fn changes(access: &Access) -> Result<(f64, f64), AccessError> {
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
    let publishing = begun.elapsed().as_secs_f64() * 1e6 / f64::from(CHANGES);
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
    let holding = begun.elapsed().as_secs_f64() * 1e6 / f64::from(CHANGES);
    Ok((publishing, holding))
}

/// Decisions one by one, and the clock's own cost with them.
/// Decisions one by one, and the clock's own cost with them.
fn decisions(access: &Access, people: &[Subject], verb: &str, resource: &str) -> Decisions {
    let snapshot = access.snapshot();
    let now = SystemClock.now();
    let facts = facts();
    let mut nanos = Vec::with_capacity(ROUNDS);
    let (mut allowed, mut operation) = (0, operation(verb, resource));
    for round in 0..ROUNDS {
        let n = round.wrapping_mul(7919) % people.len();
        let target = format!("cluster-{}", n % 10);
        if let (Operation::Resource { resource, .. }, "kind7") = (&mut operation, resource) {
            *resource = format!("kind{}", role_of(n, 0));
        }
        let query = Query { subject: &people[n], target: &target, operation: &operation, facts: &facts };
        let begun = Instant::now();
        let decision = black_box(decide(black_box(&snapshot), black_box(&query), now));
        nanos.push(begun.elapsed().as_nanos());
        allowed += usize::from(matches!(decision, Decision::Allow(_)));
    }
    nanos.sort_unstable();
    let at = |share: f64| nanos[(ROUNDS as f64 * share) as usize];
    Decisions { allowed, p50_nanos: at(0.5), p99_nanos: at(0.99), p999_nanos: at(0.999) }
}

fn print(figures: &Figures) {
    for (what, of) in [("without conditions", &figures.plain), ("with conditions", &figures.cel)] {
        println!("{what}: {ROLES} roles, {GRANTS} grants");
        println!("  load and index           {:>8.1} ms", of.load_millis);
        println!("  rebuild the snapshot     {:>8.1} ms", of.rebuild_millis);
        println!("  publish an approval      {:>8.1} µs", of.publish_approval_micros);
        println!("  hold, approve and spend  {:>8.1} µs", of.hold_micros);
        println!("  memory of one more       {:>8.1} MB", of.snapshot_bytes as f64 / 1e6);
        for (what, of) in [
            ("allowed by a grant", &of.allowed),
            ("denied by a rule", &of.denied_by_rule),
            ("denied, with advice", &of.denied_with_advice),
        ] {
            let Decisions { allowed, p50_nanos, p99_nanos, p999_nanos } = of;
            println!(
                "  {what:<20} {allowed:>7} allowed   p50 {p50_nanos:>6} ns   p99 {p99_nanos:>6} ns   p99.9 {p999_nanos:>6} ns"
            );
        }
    }
    println!("database queries while deciding: {}", figures.database_queries);
}

/// Each role is about a kind of its own, in ten namespaces, for one of fifty teams.
fn roles(when: &str) -> Result<RoleSet, AccessError> {
    let namespaces: Vec<String> = (0..10).map(|n| format!("ns-{n}")).collect();
    let manifest = |n: usize| {
        format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: Role\nmetadata: {{name: role-{n}}}\nspec:\n  targets: ['cluster-*']\n  \
             eligible: {{groups: [team-{}]}}\n  approval: {{required: 1, groups: [leads]}}\n  maxDuration: 4h\n  rules:\n  \
             - apiGroups: ['']\n    resources: [kind{n}, kind{n}/log]\n    verbs: [get, list, watch]\n    namespaces: [{}]{when}\n  \
             - apiGroups: [apps]\n    resources: [kind{n}]\n    verbs: ['*']{when}\n  \
             - action: deny\n    apiGroups: ['']\n    resources: [kind{n}]\n    verbs: [delete]{when}\n",
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

fn facts() -> Facts {
    let argv = ["kubectl", "get", "kind7", "web", "-n", "ns-9"];
    let process = Caller {
        uid: 1001,
        gid: 1001,
        exe: "/usr/local/bin/kubectl1.33".into(),
        argv: argv.map(String::from).into(),
        tty: Some("/dev/pts/1".into()),
        loginuid: Some(1001),
    };
    Facts { process: Some(process.into()), ..Facts::default() }
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

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

/// The memory of this process, in bytes; 0 where that cannot be read.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_else(|_| String::new());
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok());
    kilobytes.map_or(0, |kilobytes: u64| kilobytes * 1024)
}

/// A store with ten grants for each of ten thousand people, that counts how often it is asked.
#[derive(Default)]
struct Full {
    queries: AtomicU64,
    /// What `queries` came to while decisions were made.
    during_decisions: AtomicU64,
}

impl Full {
    fn asked(&self) {
        self.queries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts from now on, or adds up what was counted.
    fn count(&self, begin: bool) {
        let queries = self.queries.swap(0, Ordering::Relaxed);
        if !begin {
            self.during_decisions.fetch_add(queries, Ordering::Relaxed);
        }
    }
}

impl Store for Full {
    fn load(&self, _ended_since: Timestamp) -> Result<Live, AccessError> {
        self.asked();
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
        self.asked();
        Ok(Some(Live { revision, requests: Vec::new(), grants: Vec::new(), holds: Vec::new() }))
    }
    fn revision(&self) -> Result<u64, AccessError> {
        self.asked();
        Ok(0)
    }
    fn apply(&self, revision: u64, change: &Change) -> Result<Applied, AccessError> {
        self.asked();
        Ok(Applied::Done(revision + change.events.len() as u64))
    }
    fn request(&self, _id: &RequestId) -> Result<Option<Request>, AccessError> {
        self.asked();
        Ok(None)
    }
    fn grant(&self, _id: &GrantId) -> Result<Option<Grant>, AccessError> {
        self.asked();
        Ok(None)
    }
    fn hold(&self, _id: &HoldId) -> Result<Option<Hold>, AccessError> {
        self.asked();
        Ok(None)
    }
    fn holds(&self, _limit: u32) -> Result<Vec<Hold>, AccessError> {
        self.asked();
        Ok(Vec::new())
    }
    fn requests(&self, _limit: u32) -> Result<Vec<Request>, AccessError> {
        self.asked();
        Ok(Vec::new())
    }
    fn grants(&self, _limit: u32) -> Result<Vec<Grant>, AccessError> {
        self.asked();
        Ok(Vec::new())
    }
    fn events(&self, _after: u64, _limit: u32) -> Result<Vec<Event>, AccessError> {
        self.asked();
        Ok(Vec::new())
    }
    fn token_used(&self, _id: &str) -> Result<bool, AccessError> {
        self.asked();
        Ok(false)
    }
    fn cursor(&self, _name: &str) -> Result<u64, AccessError> {
        self.asked();
        Ok(0)
    }
    fn advance_cursor(&self, _name: &str, _from: u64, _to: u64) -> Result<bool, AccessError> {
        self.asked();
        Ok(true)
    }
    fn lease(&self, _: &str, _: &str, _: Timestamp, _: Duration) -> Result<bool, AccessError> {
        self.asked();
        Ok(true)
    }
}
