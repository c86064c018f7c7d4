use std::collections::VecDeque;

use portcullis_identity::Method;

use super::*;
use crate::store::{EventAction, Live};
use crate::testing::*;
use crate::{Decision, Ended, Facts, Query, decide};

const PODS: &str = "apiGroups: [''], resources: [pods], verbs: [get]";

struct Scene {
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    access: Access,
}

impl Scene {
    /// `pods` needs one approval by leads, `two` needs two, `free` none, `anywhere` covers every target.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let access = access(dir.path(), &clock, Self::roles());
        Self { dir, clock, access }
    }

    fn roles() -> RoleSet {
        roles(vec![
            role("pods", &[PODS]),
            role_with("two", &[PODS], "  approval: {required: 2, groups: [leads, sec]}\n"),
            role_with("free", &[PODS], "  approval: {required: 0}\n  maxDuration: 20m\n"),
            role_with("anywhere", &[PODS], "  targets: ['*']\n"),
        ])
    }

    fn reopen(self) -> Self {
        let Self { dir, clock, access: old } = self;
        drop(old);
        let access = access(dir.path(), &clock, Self::roles());
        Self { dir, clock, access }
    }

    fn ask(&self, role: &str) -> Request {
        self.access.request(&alice(), &new(role)).unwrap()
    }

    fn granted(&self) -> GrantId {
        self.access.approve(&bob(), &self.ask("pods").id, "").unwrap().grant.unwrap()
    }

    fn may_get_pods(&self) -> bool {
        let operation = op("get pods web -n prod");
        let query = Query { subject: &alice(), target: "demo", operation: &operation, facts: Facts::NONE };
        matches!(decide(&self.access.snapshot(), &query, self.clock.now()), Decision::Allow(_))
    }

    fn actions(&self) -> Vec<EventAction> {
        self.access.events(0, 100).unwrap().into_iter().map(|event| event.action).collect()
    }
}

fn new(role: &str) -> NewRequest {
    NewRequest {
        role: role.parse().unwrap(),
        target: None,
        duration: minutes(15),
        reason: "incident 7".into(),
        denied: None,
        emergency: false,
    }
}

fn alice() -> Subject {
    person("alice", &["dev"])
}

fn bob() -> Subject {
    person("bob", &["leads", "dev"])
}

fn carol() -> Subject {
    person("carol", &["sec"])
}

fn said<T: std::fmt::Debug>(result: Result<T, AccessError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_window_opens_on_approval_and_closes_by_itself() {
    let scene = Scene::new();
    let request = scene.ask("pods");
    assert_eq!((request.state, request.target.as_str()), (RequestState::Pending, "demo"));
    assert!(!scene.may_get_pods());

    scene.clock.advance(minutes(30)); // pending time is not granted time
    let request = scene.access.approve(&bob(), &request.id, "go ahead").unwrap();
    assert_eq!(request.state, RequestState::Approved);
    assert_eq!(request.approvals[0].comment.as_deref(), Some("go ahead"));
    let grant = scene.access.find_grant(request.grant.as_ref().unwrap()).unwrap();
    assert_eq!((grant.starts_at, grant.expires_at), (start() + minutes(30), start() + minutes(45)));
    assert_eq!(grant.approved_by[0].name, "bob");
    assert!(scene.may_get_pods());

    scene.clock.advance(minutes(15));
    assert!(!scene.may_get_pods(), "the snapshot itself knows the end");
    scene.access.refresh().unwrap();
    let ended = scene.access.find_grant(&grant.id).unwrap().ended;
    assert_eq!(ended, Some(Ended::Expired { at: grant.expires_at }));
    use EventAction::{Approved, GrantExpired, Granted, Requested};
    assert_eq!(scene.actions(), [Requested, Approved, Granted, GrantExpired]);
    let events = scene.access.events(1, 1).unwrap();
    assert_eq!((events[0].seq, events[0].by.as_ref().unwrap().name.as_str()), (2, "bob"));
    assert_eq!(events[0].subject.name, "alice");
}

#[test]
fn who_may_approve() {
    let scene = Scene::new();
    let lead_alice = person("alice", &["dev", "leads"]);
    let accounts_of_alice = [
        lead_alice.clone(),
        Subject { issuer: "https://idp".into(), id: "x".into(), ..lead_alice.clone() },
        Subject {
            issuer: "https://idp".into(),
            id: "x".into(),
            name: "Alice@example.com".into(),
            ..lead_alice.clone()
        },
        Subject {
            issuer: "https://idp".into(),
            name: "a.smith".into(),
            method: Method::Oidc,
            account: None,
            ..lead_alice.clone()
        },
        Subject { id: "alice".into(), name: "root".into(), ..lead_alice },
    ];
    let request = scene.ask("pods");
    for account in accounts_of_alice {
        let error = said(scene.access.approve(&account, &request.id, ""));
        assert!(error.ends_with("cannot approve it: someone else has to"), "{error}");
    }
    for outsider in [carol(), person("dave", &[]), person("eve", &["dev"])] {
        let error = said(scene.access.approve(&outsider, &request.id, ""));
        assert!(
            error.ends_with("may not decide requests for role pods: its approvers are group leads"),
            "{error}"
        );
    }
    assert!(!scene.may_get_pods());
    scene.access.approve(&bob(), &request.id, "").unwrap();

    let again = said(scene.access.approve(&bob(), &request.id, ""));
    assert_eq!(again, format!("request {} is no longer pending: it is approved", request.id));
    assert_eq!(said(scene.access.deny(&bob(), &request.id, "")), again);
    let nothing = "r-ffffff".parse().unwrap();
    assert_eq!(said(scene.access.approve(&bob(), &nothing, "")), "there is no request r-ffffff");
}

#[test]
fn two_approvals_are_two_people() {
    let scene = Scene::new();
    let request = scene.ask("two");
    assert_eq!(scene.access.approve(&bob(), &request.id, "").unwrap().state, RequestState::Pending);
    let second_account =
        Subject { issuer: "https://idp".into(), id: "77".into(), name: "bob@example.com".into(), ..bob() };
    for same in [bob(), second_account] {
        let error = said(scene.access.approve(&same, &request.id, ""));
        assert!(error.ends_with("it needs another person"), "{error}");
    }
    assert!(!scene.may_get_pods());
    let scene = scene.reopen(); // the first approval is not forgotten
    assert_eq!(scene.access.approve(&carol(), &request.id, "").unwrap().state, RequestState::Approved);
    assert!(scene.may_get_pods());
}

#[test]
fn what_cannot_be_asked_for() {
    let scene = Scene::new();
    let ask = |subject: &Subject, change: fn(&mut NewRequest)| {
        let mut request = new("pods");
        change(&mut request);
        said(scene.access.request(subject, &request))
    };
    type Mistake = (fn(&mut NewRequest), &'static str);
    let table: &[Mistake] = &[
        (|r| r.role = "none".parse().unwrap(), "there is no role none"),
        (|r| r.target = Some("other".into()), "role pods does not cover a target \"other\""),
        (|r| r.target = Some("demoo".into()), "role pods does not cover a target \"demoo\""),
        (|r| r.role = "anywhere".parse().unwrap(), "role anywhere covers the targets demo, other: name one"),
        (|r| r.duration = minutes(241), "role pods is granted for at most 4h, not 4h1m"),
        (|r| r.duration = Duration::ZERO, "role pods is granted for at most 4h, not 0s"),
        (
            |r| r.reason = "  ".into(),
            "the reason must be one line of 1 to 500 characters without control characters",
        ),
        (|r| r.reason = "a\nb".into(), "the reason must be one line"),
        (|r| r.reason = "a\u{1b}[2Jb".into(), "the reason must be one line"),
        (|r| r.reason = "a\u{202e}b".into(), "the reason must be one line"),
        (|r| r.reason = "a".repeat(501), "the reason must be one line"),
    ];
    for (change, expected) in table {
        let error = ask(&alice(), *change);
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(ask(&carol(), |_| ()), "carol may not ask for role pods: it is for group dev");
    assert!(scene.actions().is_empty());

    for _ in 0..50 {
        scene.ask("pods");
    }
    let error = said(scene.access.request(&alice(), &new("pods")));
    assert_eq!(error, "alice already has 50 requests and grants open; withdraw or revoke some");
}

#[test]
fn a_role_without_approval_is_live_at_once_and_ends_all_the_same() {
    let scene = Scene::new();
    let request = scene.ask("free");
    assert_eq!(request.state, RequestState::Approved);
    assert!(scene.may_get_pods());
    assert_eq!(scene.actions(), [EventAction::Requested, EventAction::Granted]);
    scene.clock.advance(minutes(15));
    scene.access.refresh().unwrap();
    assert!(!scene.may_get_pods());
}

#[test]
fn a_request_is_denied_withdrawn_or_forgotten() {
    let scene = Scene::new();
    let denied = scene.access.deny(&bob(), &scene.ask("pods").id, "not today").unwrap();
    assert_eq!(denied.state, RequestState::Denied);
    assert_eq!(denied.refusal.unwrap().comment.as_deref(), Some("not today"));
    let withdrawn = scene.access.deny(&alice(), &scene.ask("pods").id, "").unwrap();
    assert_eq!(withdrawn.state, RequestState::Cancelled);
    let error = said(scene.access.deny(&carol(), &scene.ask("pods").id, ""));
    assert!(error.starts_with("carol may not decide"), "{error}");

    let waiting = scene.ask("pods");
    scene.clock.advance(minutes(60));
    let late = format!("request {} is no longer pending: it is expired", waiting.id);
    assert_eq!(said(scene.access.approve(&bob(), &waiting.id, "")), late);
    scene.access.refresh().unwrap();
    assert_eq!(scene.access.find_request(&waiting.id).unwrap().state, RequestState::Expired);
    assert_eq!(said(scene.access.approve(&bob(), &waiting.id, "")), late);
    assert!(scene.access.grants(&GrantFilter::default()).unwrap().is_empty());
}

#[test]
fn who_may_revoke() {
    for revoker in [alice(), bob(), person("root", &["admins"])] {
        let scene = Scene::new();
        let grant = scene.granted();
        let mut changes = scene.access.subscribe();
        assert!(!changes.has_changed().unwrap());
        for outsider in [carol(), person("eve", &["dev"])] {
            let error = said(scene.access.revoke(&outsider, &grant, "because"));
            assert!(error.contains("may not revoke"), "{error}");
        }
        assert!(said(scene.access.revoke(&revoker, &grant, "")).starts_with("the reason must be"));
        assert!(scene.may_get_pods());

        scene.access.revoke(&revoker, &grant, "incident over").unwrap();
        assert!(changes.has_changed().unwrap(), "streams are told");
        let ended = changes.borrow_and_update().grant_live(&grant, scene.clock.now()).unwrap_err();
        assert_eq!(ended.to_string(), format!("revoked by {}: incident over", revoker.name));
        assert!(!scene.may_get_pods());
        let again = said(scene.access.revoke(&revoker, &grant, "twice"));
        assert_eq!(again, format!("grant {grant} has ended: {ended}"));
    }
}

#[test]
fn an_extension_is_approved_like_a_request() {
    let scene = Scene::new();
    let grant = scene.granted();
    assert!(said(scene.access.extend(&bob(), &grant, minutes(10), "more")).contains("only its holder"));
    assert!(said(scene.access.extend(&alice(), &grant, minutes(300), "more")).contains("at most 4h"));
    let extension = scene.access.extend(&alice(), &grant, minutes(10), "more").unwrap();
    assert_eq!((extension.state, extension.extends.as_ref()), (RequestState::Pending, Some(&grant)));
    assert!(said(scene.access.approve(&alice(), &extension.id, "")).contains("someone else"));
    scene.access.approve(&bob(), &extension.id, "").unwrap();
    assert_eq!(scene.access.find_grant(&grant).unwrap().expires_at, start() + minutes(25));

    // Never further ahead than the role's longest duration.
    let long = scene.access.extend(&alice(), &grant, minutes(240), "all day").unwrap();
    scene.access.approve(&bob(), &long.id, "").unwrap();
    assert_eq!(scene.access.find_grant(&grant).unwrap().expires_at, start() + minutes(240));

    // What is over stays over, also for an approval that comes later.
    let late = scene.access.extend(&alice(), &grant, minutes(10), "more").unwrap();
    scene.access.revoke(&bob(), &grant, "enough").unwrap();
    assert!(said(scene.access.approve(&bob(), &late.id, "")).contains("has ended: revoked by bob: enough"));
    assert!(!scene.may_get_pods());
}

#[test]
fn other_roles_apply_at_once() {
    let scene = Scene::new();
    let grant = scene.granted();
    let waiting = scene.ask("pods");
    let mut changes = scene.access.subscribe();
    scene.access.reload_roles(roles(vec![role_with("pods", &[PODS], "  maxDuration: 5m\n")]));
    assert!(scene.may_get_pods());
    assert!(said(scene.access.approve(&bob(), &waiting.id, "")).contains("at most 5m"));
    scene.access.reload_roles(roles(vec![role("another", &[PODS])]));
    assert!(!scene.may_get_pods());
    assert!(said(scene.access.approve(&bob(), &waiting.id, "")).contains("no role pods"));
    let ended = changes.borrow_and_update().grant_live(&grant, scene.clock.now()).unwrap_err();
    assert!(matches!(ended, Ended::RoleWithdrawn { .. }));
    scene.access.reload_roles(Scene::roles());
    assert!(changes.borrow_and_update().grant_live(&grant, scene.clock.now()).is_ok());
    scene.access.reload_targets(["other".to_owned()].into());
    assert!(!scene.may_get_pods());
    assert!(changes.borrow_and_update().grant_live(&grant, scene.clock.now()).is_err());
}

#[test]
fn a_request_carries_what_was_denied() {
    let scene = Scene::new();
    let denied = |operation: &str| {
        Some(Attempt {
            id: "d-7f3a9c".parse().unwrap(),
            at: start(),
            operation: op(operation),
            command: vec!["kubectl".into(), "get".into()],
        })
    };
    let covered = NewRequest { denied: denied("get pods web -n prod"), ..new("pods") };
    let request = scene.access.request(&alice(), &covered).unwrap();
    assert_eq!(request.denied, covered.denied);
    let pending = RequestFilter { state: Some(RequestState::Pending), subject: None };
    assert_eq!(scene.access.requests(&pending).unwrap(), std::slice::from_ref(&request));
    assert_eq!(scene.access.approve(&bob(), &request.id, "").unwrap().denied, covered.denied);
    let scene = scene.reopen();
    assert_eq!(scene.access.find_request(&request.id).unwrap().denied, covered.denied);

    let free = NewRequest { denied: denied("get pods web -n prod"), ..new("free") };
    let granted = scene.access.request(&alice(), &free).unwrap();
    assert_eq!((granted.state, granted.denied), (RequestState::Approved, free.denied));

    let useless = NewRequest { denied: denied("delete pods web -n prod"), ..new("pods") };
    let error = said(scene.access.request(&alice(), &useless));
    assert!(
        error.starts_with("role pods has changed and does not cover what was denied (delete pods"),
        "{error}"
    );
}

#[test]
fn requests_of_older_builds_are_still_read() {
    let request = serde_json::to_value(Scene::new().ask("pods")).unwrap();
    let mut older = request.clone();
    assert_eq!(older.as_object_mut().unwrap().remove("denied"), Some(serde_json::Value::Null));
    let read = serde_json::from_value::<Request>(older).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), request);
}

#[test]
fn grants_are_revoked_by_what_they_have_in_common() {
    let scene = Scene::new();
    let zoe = person("zoe", &["dev"]);
    let hold = |who: &Subject, role: &str| {
        scene.access.request(who, &NewRequest { target: Some("demo".into()), ..new(role) }).unwrap()
    };
    let approved = |who: &Subject, role: &str| {
        scene.access.approve(&bob(), &hold(who, role).id, "").unwrap().grant.unwrap()
    };
    let select = |subject: Option<&str>, role: Option<&str>, target: Option<&str>| Selection {
        subject: subject.map(str::to_owned),
        role: role.map(|role| role.parse().unwrap()),
        target: target.map(str::to_owned),
    };
    let revoke = |by: &Subject, selection: &Selection| {
        let ended = scene.access.revoke_all(by, selection, "incident over")?;
        assert!(
            ended
                .iter()
                .all(|grant| matches!(&grant.ended, Some(Ended::Revoked { by, .. }) if by.name == "bob"))
        );
        Ok::<Vec<GrantId>, AccessError>(ended.into_iter().map(|grant| grant.id).collect())
    };
    let live = || scene.access.grants(&GrantFilter { live: true, subject: None }).unwrap().len();

    let (pods, anywhere) = (approved(&alice(), "pods"), approved(&alice(), "anywhere"));
    let (free, zoes) = (hold(&alice(), "free").grant.unwrap(), approved(&zoe, "pods"));
    assert_eq!(live(), 4);

    // One that bob may not revoke, and all of them stay. (Role `free` has no approvers.)
    let error = said(revoke(&bob(), &select(Some("alice"), None, None)));
    let expected = format!("nothing was revoked: bob may not revoke {free} of alice (role free);");
    assert!(error.starts_with(&expected), "{error}");
    let error = said(revoke(&zoe, &select(None, Some("pods"), None)));
    assert!(error.contains(pods.as_str()) && !error.contains(zoes.as_str()), "{error}");
    assert_eq!(live(), 4);

    for nobody in [
        select(Some("Alice"), None, None),
        select(Some("zoe"), Some("anywhere"), None),
        select(None, Some("pods"), Some("other")),
        select(None, Some("gone"), None),
    ] {
        assert!(said(revoke(&bob(), &nobody)).starts_with("nothing was revoked: no live grant is "));
    }
    let error = said(revoke(&bob(), &select(Some("zoe"), Some("anywhere"), Some("demo"))));
    assert!(
        error.ends_with("no live grant is of role anywhere, held by \"zoe\", on target \"demo\""),
        "{error}"
    );
    let wordless = scene.access.revoke_all(&bob(), &select(None, Some("pods"), None), "");
    assert!(said(wordless).starts_with("the reason must be"));

    assert_eq!(revoke(&bob(), &select(Some("alice"), Some("pods"), None)).unwrap(), [pods]);
    assert_eq!(revoke(&bob(), &select(Some("alice"), Some("anywhere"), Some("demo"))).unwrap(), [anywhere]);
    assert_eq!(revoke(&bob(), &select(None, Some("pods"), Some("demo"))).unwrap(), [zoes]);
    assert_eq!(live(), 1);
    let revoked = scene.actions().into_iter().filter(|action| *action == EventAction::Revoked);
    assert_eq!(revoked.count(), 3);
}

#[test]
fn only_administrators_end_everything() {
    let scene = Scene::new();
    scene.granted();
    scene.access.request(&person("zoe", &["dev"]), &new("free")).unwrap();
    let all = Selection::default();
    for other in [alice(), bob()] {
        let error = said(scene.access.revoke_all(&other, &all, "panic"));
        assert!(error.ends_with("may not revoke every grant: only members of adminGroups may"), "{error}");
    }
    assert!(scene.may_get_pods());
    let admin = person("root", &["admins"]);
    assert_eq!(scene.access.revoke_all(&admin, &all, "lockdown").unwrap().len(), 2);
    assert!(!scene.may_get_pods());
    assert!(scene.access.revoke_all(&admin, &all, "lockdown").unwrap().is_empty(), "nothing is left to end");
}

#[test]
fn everything_is_there_after_a_restart() {
    let scene = Scene::new();
    let grant = scene.granted();
    let waiting = scene.ask("pods");
    let before = scene.access.events(0, 100).unwrap();
    let scene = scene.reopen();
    assert!(scene.may_get_pods());
    assert_eq!(scene.access.events(0, 100).unwrap(), before);
    let pending = RequestFilter { state: Some(RequestState::Pending), subject: None };
    assert_eq!(scene.access.requests(&pending).unwrap(), [waiting]);
    assert_eq!(scene.access.requests(&RequestFilter::default()).unwrap().len(), 2);
    let mine = GrantFilter { live: true, subject: Some(Person::from(&alice())) };
    assert_eq!(scene.access.grants(&mine).unwrap()[0].id, grant);
    let others = GrantFilter { subject: Some(Person::from(&bob())), ..mine };
    assert!(scene.access.grants(&others).unwrap().is_empty());

    scene.clock.advance(minutes(90)); // the daemon was down when the grant ended
    let scene = scene.reopen();
    assert!(!scene.may_get_pods());
    assert!(scene.access.grants(&mine).unwrap().is_empty());
    assert!(scene.access.find_grant(&grant).unwrap().ended.is_some());
}

#[test]
fn another_writer_is_noticed_and_never_overwritten() {
    let scene = Scene::new();
    let other = access(scene.dir.path(), &scene.clock, Scene::roles());
    let request = other.request(&alice(), &new("pods")).unwrap();
    // Neither side has refreshed since the other wrote.
    let grant = scene.access.approve(&bob(), &request.id, "").unwrap().grant.unwrap();
    assert!(said(other.approve(&bob(), &request.id, "")).contains("it is approved"));
    other.revoke(&bob(), &grant, "over").unwrap();
    assert!(scene.may_get_pods(), "not known here before the next refresh");
    scene.access.refresh().unwrap();
    assert!(!scene.may_get_pods());
}

#[test]
fn of_two_writers_at_once_one_decides_anew() {
    let scene = Scene::new();
    let request = scene.ask("pods");
    let store = SqliteStore::open(&scene.dir.path().join("db")).unwrap();
    let mut intruder = Some(change_of(&store, &request.id));
    let approved = scene.access.change(&mut scene.access.lock(), |state, now| {
        // Someone denies it after this side has looked and before it writes.
        if let Some(change) = intruder.take() {
            store.apply(state.revision, &change).unwrap();
        }
        let act = Act { state, subject: &bob(), now, pending_for: minutes(60), admins: &BTreeSet::new() };
        act.approve(scene.access.pending(state, &request.id, now)?, "")
    });
    assert!(said(approved).ends_with("it is denied"));
    assert!(!scene.may_get_pods());
}

/// What another process would write to deny this request.
fn change_of(store: &SqliteStore, id: &RequestId) -> Change {
    let request = store.request(id).unwrap().unwrap();
    let event = Event { action: EventAction::Denied, ..store.events(0, 1).unwrap().remove(0) };
    let request = Request { state: RequestState::Denied, ..request };
    Change { requests: vec![request], events: vec![event], ..Change::default() }
}

#[test]
fn a_dead_store_closes_everything() {
    let scene = Scene::new();
    let broken = Arc::new(Faulty {
        inner: SqliteStore::open(&scene.dir.path().join("db2")).unwrap(),
        faults: Mutex::default(),
    });
    let config = AccessConfig::new("unused".into(), targets());
    let access = Access::with_store(config, Scene::roles(), scene.clock.clone(), broken.clone()).unwrap();
    let scene = Scene { access, ..scene };
    scene.granted();
    broken.faults.lock().unwrap().extend([Fault::Deaf; 3]);
    scene.clock.advance(Duration::from_secs(11));
    for _ in 0..2 {
        scene.access.refresh().unwrap_err();
        assert!(!scene.may_get_pods());
    }
    scene.access.reload_roles(Scene::roles()); // makes nothing fresher
    assert!(!scene.may_get_pods());
    broken.faults.lock().unwrap().clear();
    scene.access.refresh().unwrap();
    assert!(scene.may_get_pods());
}

#[test]
fn nothing_is_published_that_is_not_durable() {
    let scene = Scene::new();
    let store = Arc::new(Faulty {
        inner: SqliteStore::open(&scene.dir.path().join("db2")).unwrap(),
        faults: Mutex::default(),
    });
    let config = AccessConfig::new("unused".into(), targets());
    let access = Access::with_store(config, Scene::roles(), scene.clock.clone(), store.clone()).unwrap();
    let scene = Scene { access, ..scene };
    let request = scene.ask("pods");
    store.faults.lock().unwrap().push_back(Fault::Down);
    scene.access.approve(&bob(), &request.id, "").unwrap_err();
    assert!(!scene.may_get_pods());
    // An id that is taken is drawn again.
    store.faults.lock().unwrap().extend([Fault::Taken, Fault::Taken]);
    scene.access.approve(&bob(), &request.id, "").unwrap();
    assert!(scene.may_get_pods());
    store.faults.lock().unwrap().extend([Fault::Taken; ATTEMPTS as usize]);
    assert!(matches!(scene.access.request(&alice(), &new("pods")), Err(AccessError::Contended)));
}

#[derive(Clone, Copy)]
enum Fault {
    /// Cannot say its revision.
    Deaf,
    /// Cannot write.
    Down,
    /// Has the new id already.
    Taken,
}

/// A store whose next writes and confirmations fail as told.
struct Faulty {
    inner: SqliteStore,
    faults: Mutex<VecDeque<Fault>>,
}

impl Faulty {
    fn next_if(&self, concerns: fn(&mut Fault) -> bool) -> Option<Fault> {
        self.faults.lock().unwrap().pop_front_if(concerns)
    }

    fn down() -> AccessError {
        AccessError::Store { path: "db".into(), what: "is down".into() }
    }
}

impl Store for Faulty {
    fn load(&self, ended_since: Timestamp) -> Result<Live, AccessError> {
        self.inner.load(ended_since)
    }
    fn revision(&self) -> Result<u64, AccessError> {
        match self.next_if(|fault| matches!(fault, Fault::Deaf)) {
            None => self.inner.revision(),
            Some(_) => Err(Self::down()),
        }
    }
    fn apply(&self, revision: u64, change: &Change) -> Result<Applied, AccessError> {
        match self.next_if(|fault| !matches!(fault, Fault::Deaf)) {
            None => self.inner.apply(revision, change),
            Some(Fault::Taken) => Ok(Applied::IdTaken),
            Some(_) => Err(Self::down()),
        }
    }
    fn request(&self, id: &RequestId) -> Result<Option<Request>, AccessError> {
        self.inner.request(id)
    }
    fn grant(&self, id: &GrantId) -> Result<Option<Grant>, AccessError> {
        self.inner.grant(id)
    }
    fn requests(&self, limit: u32) -> Result<Vec<Request>, AccessError> {
        self.inner.requests(limit)
    }
    fn grants(&self, limit: u32) -> Result<Vec<Grant>, AccessError> {
        self.inner.grants(limit)
    }
    fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, AccessError> {
        self.inner.events(after, limit)
    }
}
