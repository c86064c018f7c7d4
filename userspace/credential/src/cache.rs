//! What was fetched, kept until it ends.
//!
//! One fetch a key at a time, however many wait for it. It runs as a task of its own, so that a waiter whose
//! connection goes away takes nothing from the others. A value is renewed before it ends; where that fails it is
//! used to its end, and then the failure is what everybody gets. After a failure nobody asks again for a while,
//! longer each time, so that a service in trouble is not hammered.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use crate::{Unavailable, Why, clock::WallClock};

/// How many values are kept at most; past that, the one used longest ago goes.
const ROOM: usize = 1024;
/// The longest that a fetch may take.
const FETCH_LIMIT: Duration = Duration::from_secs(20);
/// How long a request waits for a renewal while the value that it renews can still be used.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nobody asks again for this long after a first failure, doubled with each further one.
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_secs(30);

/// A fetched value and its time.
#[derive(Clone)]
pub(crate) struct Held<V> {
    pub(crate) value: V,
    /// When it was made. Should the clock be set back before that, its other times mean nothing.
    pub(crate) made: Timestamp,
    /// From here on it is renewed.
    pub(crate) renew: Timestamp,
    /// From here on it is not used.
    pub(crate) expires: Timestamp,
    /// From here on it is of no use for making the next one either.
    pub(crate) keep: Timestamp,
}

/// Values by key. Clones share them.
pub(crate) struct Cache<K, V> {
    shared: Arc<Shared<K, V>>,
}

struct Shared<K, V> {
    clock: WallClock,
    room: usize,
    runtime: OnceLock<Handle>,
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V> {
    by_key: HashMap<K, Entry<V>>,
    uses: u64,
}

struct Entry<V> {
    held: Option<Held<V>>,
    failure: Option<Failure>,
    flight: Option<Flight<V>>,
    used: u64,
}

type Flight<V> = watch::Receiver<Option<Result<V, Unavailable>>>;

struct Failure {
    error: Unavailable,
    until: Timestamp,
    backoff: SignedDuration,
}

impl<K, V> Cache<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty cache. Fetches run on the runtime of whoever makes it, where there is one, else of the first to ask.
    pub(crate) fn new(clock: WallClock) -> Self {
        Self::with_room(clock, ROOM)
    }

    fn with_room(clock: WallClock, room: usize) -> Self {
        let runtime = Handle::try_current().map_or_else(|_| OnceLock::new(), OnceLock::from);
        let entries = Mutex::new(Entries { by_key: HashMap::new(), uses: 0 });
        Self { shared: Arc::new(Shared { clock, room, runtime, entries }) }
    }

    /// The value for `key`. `fetch` is given the one before, where that may help to make the next.
    ///
    /// # Errors
    /// When there is no value that may be used and none can be fetched.
    pub(crate) async fn get<F, R>(&self, key: K, fetch: F) -> Result<V, Unavailable>
    where
        F: FnOnce(Option<V>) -> R,
        R: Future<Output = Result<Held<V>, Unavailable>> + Send + 'static,
    {
        let (flight, usable) = match self.look(&key, fetch) {
            Looked::Answer(answer) => return answer,
            Looked::Wait(flight, usable) => (flight, usable),
        };
        match usable {
            None => landed(flight).await,
            Some(value) => match timeout(PATIENCE, landed(flight)).await {
                Ok(Ok(fresh)) => Ok(fresh),
                Ok(Err(_)) | Err(_) => Ok(value),
            },
        }
    }

    fn look<F, R>(&self, key: &K, fetch: F) -> Looked<V>
    where
        F: FnOnce(Option<V>) -> R,
        R: Future<Output = Result<Held<V>, Unavailable>> + Send + 'static,
    {
        let now = (self.shared.clock)();
        let mut entries = self.shared.lock();
        entries.uses += 1;
        let uses = entries.uses;
        if !entries.by_key.contains_key(key) {
            entries.make_room(self.shared.room, now);
        }
        let entry = entries.by_key.entry(key.clone()).or_insert_with(Entry::empty);
        entry.used = uses;
        let held = entry.held.as_ref().filter(|held| held.made <= now && now < held.keep);
        let usable = held.filter(|held| now < held.expires);
        if let Some(held) = usable
            && now < held.renew
        {
            return Looked::Answer(Ok(held.value.clone()));
        }
        let usable = usable.map(|held| held.value.clone());
        if let Some(flight) = entry.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
            return Looked::Wait(flight.clone(), usable);
        }
        if let Some(failure) = entry.failure.as_ref().filter(|failure| failure.counts(now)) {
            return Looked::Answer(usable.ok_or_else(|| failure.error.clone()));
        }
        let previous = held.map(|held| held.value.clone());
        let (landing, flight) = watch::channel(None);
        entry.flight = Some(flight.clone());
        drop(entries);
        self.start(key.clone(), fetch(previous), landing);
        Looked::Wait(flight, usable)
    }

    /// Fetches in a task: nobody who waits can take it along.
    fn start<R>(&self, key: K, fetch: R, landing: watch::Sender<Option<Result<V, Unavailable>>>)
    where
        R: Future<Output = Result<Held<V>, Unavailable>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        shared.runtime.get_or_init(Handle::current).clone().spawn(async move {
            // A task inside the task, so that a panic is a failure like others and the key is not stuck.
            let mut task = tokio::spawn(fetch);
            let fetched = match timeout(FETCH_LIMIT, &mut task).await {
                Ok(Ok(fetched)) => fetched,
                Ok(Err(_)) => Err(interrupted()),
                Err(_) => {
                    task.abort();
                    let why = Why::Unreachable(format!("no answer within {FETCH_LIMIT:?}"));
                    Err(Unavailable { what: "fetch a credential".into(), why })
                }
            };
            let answer = fetched.as_ref().map(|held| held.value.clone()).map_err(Clone::clone);
            shared.finish(&key, fetched);
            // Everybody may have gone away.
            landing.send(Some(answer)).ok();
        });
    }
}

impl<K: Clone + Eq + Hash, V> Shared<K, V> {
    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, key: &K, fetched: Result<Held<V>, Unavailable>) {
        let now = (self.clock)();
        let mut entries = self.lock();
        entries.sweep(now);
        // Nothing that is being fetched is thrown out to make room.
        let Some(entry) = entries.by_key.get_mut(key) else { return };
        entry.flight = None;
        match fetched {
            Ok(held) => {
                entry.held = Some(held);
                entry.failure = None;
            }
            Err(error) => {
                tracing::warn!(%error, "credential not renewed");
                let doubled = entry.failure.as_ref().map(|failure| failure.backoff * 2);
                let backoff = doubled.map_or(FIRST_BACKOFF, |doubled| doubled.min(LONGEST_BACKOFF));
                entry.failure = Some(Failure { error, until: now + backoff, backoff });
            }
        }
    }
}

impl<K: Clone + Eq + Hash, V> Entries<K, V> {
    /// Drops what cannot be used any more, and wipes it with that.
    fn sweep(&mut self, now: Timestamp) {
        for entry in self.by_key.values_mut() {
            entry.held.take_if(|held| now >= held.keep);
        }
        self.by_key.retain(|_, entry| {
            let failing = entry.failure.as_ref().is_some_and(|failure| failure.remembered(now));
            entry.flight.is_some() || entry.held.is_some() || failing
        });
    }

    fn make_room(&mut self, room: usize, now: Timestamp) {
        if self.by_key.len() < room {
            return;
        }
        self.sweep(now);
        while self.by_key.len() >= room {
            let idle = self.by_key.iter().filter(|(_, entry)| entry.flight.is_none());
            let Some(oldest) = idle.min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone()) else {
                return;
            };
            self.by_key.remove(&oldest);
        }
    }
}

impl<V> Entry<V> {
    fn empty() -> Self {
        Self { held: None, failure: None, flight: None, used: 0 }
    }
}

impl Failure {
    /// Whether it is too early to ask again. A clock that was set back must not make that long.
    fn counts(&self, now: Timestamp) -> bool {
        now < self.until && self.until.duration_since(now) <= LONGEST_BACKOFF
    }

    /// Whether the next failure would follow upon this one.
    fn remembered(&self, now: Timestamp) -> bool {
        now < self.until + LONGEST_BACKOFF
    }
}

enum Looked<V> {
    Answer(Result<V, Unavailable>),
    /// A fetch is under way, and here is what may be used if it takes long.
    Wait(Flight<V>, Option<V>),
}

async fn landed<V: Clone>(mut flight: Flight<V>) -> Result<V, Unavailable> {
    let landed = flight.wait_for(Option::is_some).await.map_err(|_| interrupted())?;
    landed.clone().unwrap_or_else(|| Err(interrupted()))
}

fn interrupted() -> Unavailable {
    let why = Why::Unreachable("it was interrupted; the daemon's log says more".into());
    Unavailable { what: "fetch a credential".into(), why }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
