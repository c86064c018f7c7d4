//! What servers issued to whom: session ids and request states, which only the one who got them may bring back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

type Digest = [u8; 32];

/// Up to this part of its age, what is used need not be noted as younger: most requests are within a session.
const YOUNG: u32 = 24;

/// Whose a session id or a request state is. Digests only: what is kept here opens nothing. What is older than the limit
/// is nobody's, and where there is no more room, the oldest makes it.
#[derive(Debug)]
pub struct Issued {
    capacity: usize,
    age: Duration,
    known: Mutex<Known>,
}

/// The same twice: by what was issued to whom, and by when.
#[derive(Debug, Default)]
struct Known {
    by_what: BTreeMap<(Digest, Digest), Instant>,
    by_time: BTreeSet<(Instant, Digest, Digest)>,
}

impl Issued {
    /// Holds up to `capacity`, each up to `age` after it was issued last.
    #[must_use]
    pub fn new(capacity: usize, age: Duration) -> Self {
        Self { capacity, age, known: Mutex::default() }
    }

    /// `what` was issued to `owner`, maybe once more: its age begins anew.
    pub fn remember(&self, what: &str, owner: [u8; 32], now: Instant) {
        let what = digest(what);
        let mut known = self.known();
        known.remove(what, owner);
        known.insert(what, owner, now);
        while let Some((time, what, owner)) = known.by_time.first().copied()
            && (known.by_time.len() > self.capacity || now.saturating_duration_since(time) > self.age)
        {
            known.remove(what, owner);
        }
    }

    /// Whether it was issued to `owner`. Servers may issue the same to several: a request state that says `step 2`.
    #[must_use]
    pub fn is_owner(&self, what: &str, owner: [u8; 32], now: Instant) -> bool {
        let time = self.known().by_what.get(&(digest(what), owner)).copied();
        time.is_some_and(|time| self.is_live(time, now))
    }

    /// As [`is_owner`](Self::is_owner); its age begins anew, if it is not still about as young.
    #[must_use]
    pub fn used_by(&self, what: &str, owner: [u8; 32], now: Instant) -> bool {
        let what = digest(what);
        let mut known = self.known();
        let Some(time) = known.by_what.get(&(what, owner)).copied() else { return false };
        let is_live = self.is_live(time, now);
        if is_live && now.saturating_duration_since(time) > self.age / YOUNG {
            known.remove(what, owner);
            known.insert(what, owner, now);
        }
        is_live
    }

    /// It is nobody's any more.
    pub fn forget(&self, what: &str) {
        let what = digest(what);
        let mut known = self.known();
        for owner in known.owners(what) {
            known.remove(what, owner);
        }
    }

    fn is_live(&self, time: Instant, now: Instant) -> bool {
        now.saturating_duration_since(time) <= self.age
    }

    /// Between the two maps there is nothing that can panic.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn owners(&self, what: Digest) -> Vec<Digest> {
        let all = (what, [0; 32])..=(what, [u8::MAX; 32]);
        self.by_what.range(all).map(|((_, owner), _)| *owner).collect()
    }

    fn insert(&mut self, what: Digest, owner: Digest, now: Instant) {
        self.by_what.insert((what, owner), now);
        self.by_time.insert((now, what, owner));
    }

    fn remove(&mut self, what: Digest, owner: Digest) {
        if let Some(time) = self.by_what.remove(&(what, owner)) {
            self.by_time.remove(&(time, what, owner));
        }
    }
}

fn digest(what: &str) -> Digest {
    Sha256::digest(what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Digest = [1; 32];
    const BOB: Digest = [2; 32];
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_was_issued_to_one_is_not_anothers() {
        let (issued, now) = (Issued::new(10, HOUR), Instant::now());
        issued.remember("session", ANN, now);
        assert!(issued.is_owner("session", ANN, now) && !issued.is_owner("session", BOB, now));
        assert!(!issued.is_owner("session ", ANN, now));

        issued.remember("step 2", ANN, now);
        issued.remember("step 2", BOB, now + HOUR / 4);
        assert!(issued.is_owner("step 2", ANN, now + HOUR / 2));
        assert!(issued.is_owner("step 2", BOB, now + HOUR / 2));

        issued.forget("step 2");
        assert!(!issued.is_owner("step 2", ANN, now) && !issued.is_owner("step 2", BOB, now));
        assert!(issued.is_owner("session", ANN, now));
    }

    #[test]
    fn age_is_limited_and_begins_anew_with_each_use() {
        let (issued, start) = (Issued::new(10, HOUR), Instant::now());
        issued.remember("session", ANN, start);
        assert!(issued.is_owner("session", ANN, start + HOUR));
        assert!(!issued.is_owner("session", ANN, start + HOUR + Duration::from_secs(1)));
        assert!(!issued.used_by("session", BOB, start + HOUR));
        assert!(issued.used_by("session", ANN, start + HOUR / 100));
        assert!(
            !issued.is_owner("session", ANN, start + HOUR + HOUR / 100),
            "it was as young as that already"
        );
        assert!(issued.used_by("session", ANN, start + HOUR));
        assert!(issued.is_owner("session", ANN, start + 2 * HOUR));
        assert!(!issued.used_by("session", ANN, start + 3 * HOUR));
        assert!(!issued.is_owner("session", ANN, start + 3 * HOUR));
        issued.remember("other", BOB, start + 3 * HOUR);
        assert_eq!(issued.known().by_what.len(), 1, "what is too old takes no room");
    }

    #[test]
    fn room_is_limited_and_the_oldest_makes_it() {
        let (issued, start) = (Issued::new(2, HOUR), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        issued.remember("a", ANN, at(0));
        issued.remember("b", ANN, at(1));
        issued.remember("a", ANN, at(2));
        issued.remember("c", ANN, at(3));
        let kept = ["a", "b", "c"].map(|what| issued.is_owner(what, ANN, at(4)));
        assert_eq!(kept, [true, false, true]);
        assert_eq!(issued.known().by_time.len(), 2);
    }
}
