//! Others that write at the same time, and a store that fails.

use std::collections::VecDeque;

use super::*;
use crate::{Grant, GrantId};

on_both_stores! {
    another_writer_is_noticed_and_never_overwritten
    of_two_writers_at_once_one_decides_anew
    a_dead_store_closes_everything
    nothing_is_published_that_is_not_durable
}

fn another_writer_is_noticed_and_never_overwritten(scene: Scene) {
    let other = scene.neighbour();
    let request = other.request(&alice(), &new("pods")).unwrap();
    // Neither side has refreshed since the other wrote.
    let grant = scene.access.approve(&bob(), &request.id, "").unwrap().grant.unwrap();
    assert!(said(other.approve(&bob(), &request.id, "")).contains("it is approved"));
    other.revoke(&bob(), &grant, "over").unwrap();
    assert!(scene.may_get_pods(), "not known here before the next refresh");
    scene.access.refresh().unwrap();
    assert!(!scene.may_get_pods());
}

fn of_two_writers_at_once_one_decides_anew(scene: Scene) {
    let request = scene.ask("pods");
    let store = scene.place.open();
    store.load(start()).unwrap();
    let mut intruder = Some(change_of(store.as_ref(), &request.id));
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
fn change_of(store: &dyn Store, id: &RequestId) -> Change {
    let request = store.request(id).unwrap().unwrap();
    let event = Event { action: EventAction::Denied, ..store.events(0, 1).unwrap().remove(0) };
    let request = Request { state: RequestState::Denied, ..request };
    Change { requests: vec![request], events: vec![event], ..Change::default() }
}

fn a_dead_store_closes_everything(scene: Scene) {
    let broken = Arc::new(Faulty { inner: scene.place.open(), faults: Mutex::default() });
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

fn nothing_is_published_that_is_not_durable(scene: Scene) {
    let store = Arc::new(Faulty { inner: scene.place.open(), faults: Mutex::default() });
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
    /// Cannot say what was written.
    Deaf,
    /// Cannot write.
    Down,
    /// Has the new id already.
    Taken,
}

/// A store whose next writes and looks fail as told.
struct Faulty {
    inner: Arc<dyn Store>,
    faults: Mutex<VecDeque<Fault>>,
}

impl Faulty {
    fn next_if(&self, concerns: fn(&mut Fault) -> bool) -> Option<Fault> {
        self.faults.lock().unwrap().pop_front_if(concerns)
    }

    fn down() -> AccessError {
        AccessError::Store { store: "db".into(), what: "is down".into() }
    }
}

impl Store for Faulty {
    fn load(&self, since: Timestamp) -> Result<Live, AccessError> {
        self.inner.load(since)
    }
    fn since(&self, revision: u64) -> Result<Option<Live>, AccessError> {
        match self.next_if(|fault| matches!(fault, Fault::Deaf)) {
            None => self.inner.since(revision),
            Some(_) => Err(Self::down()),
        }
    }
    fn revision(&self) -> Result<u64, AccessError> {
        self.inner.revision()
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
    fn hold(&self, id: &HoldId) -> Result<Option<Hold>, AccessError> {
        self.inner.hold(id)
    }
    fn requests(&self, limit: u32) -> Result<Vec<Request>, AccessError> {
        self.inner.requests(limit)
    }
    fn grants(&self, limit: u32) -> Result<Vec<Grant>, AccessError> {
        self.inner.grants(limit)
    }
    fn holds(&self, limit: u32) -> Result<Vec<Hold>, AccessError> {
        self.inner.holds(limit)
    }
    fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, AccessError> {
        self.inner.events(after, limit)
    }
    fn token_used(&self, id: &str) -> Result<bool, AccessError> {
        self.inner.token_used(id)
    }
    fn cursor(&self, name: &str) -> Result<u64, AccessError> {
        self.inner.cursor(name)
    }
    fn advance_cursor(&self, name: &str, from: u64, to: u64) -> Result<bool, AccessError> {
        self.inner.advance_cursor(name, from, to)
    }
    fn lease(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        lasting: Duration,
    ) -> Result<bool, AccessError> {
        self.inner.lease(name, holder, now, lasting)
    }
}
