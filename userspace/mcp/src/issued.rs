//! What servers issued to whom: session ids and request states, which only the one who got them may bring back.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

type Digest = [u8; 32];

/// Up to this part of its age, what is used need not be noted as younger: most requests are within a session.
const YOUNG: u32 = 24;

/// Whose something is: a person's, for one purpose. Both are digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Who.
    pub person: [u8; 32],
    /// Where and for what.
    pub purpose: [u8; 32],
}

/// Whose a session id or a request state is. Digests only: what is kept here opens nothing. What is older than the limit
/// is nobody's. Where there is no more room, that makes it, and else the oldest of whoever has the most: nobody can have
/// what is others' forgotten.
#[derive(Debug)]
pub struct Issued {
    capacity: usize,
    age: Duration,
    known: Mutex<Known>,
}

/// The same twice: by what was issued to whom, and by who got it and when.
#[derive(Debug, Default)]
struct Known {
    by_what: BTreeMap<(Digest, Owner), Instant>,
    by_person: HashMap<Digest, BTreeSet<(Instant, Digest, Owner)>>,
}

impl Issued {
    /// Holds up to `capacity`, each up to `age` after it was issued last.
    #[must_use]
    pub fn new(capacity: usize, age: Duration) -> Self {
        Self { capacity, age, known: Mutex::default() }
    }

    /// `what` was issued to `owner`, maybe once more: its age begins anew.
    pub fn remember(&self, what: &str, owner: Owner, now: Instant) {
        let what = digest(what);
        let mut known = self.known();
        known.remove(what, owner);
        known.insert(what, owner, now);
        while known.by_what.len() > self.capacity
            && let Some((what, owner)) = known.first_to_go(|time| !self.is_live(time, now))
        {
            known.remove(what, owner);
        }
    }

    /// Whether it was issued to `owner`. Servers may issue the same to several: a request state that says `step 2`.
    #[must_use]
    pub fn is_owner(&self, what: &str, owner: Owner, now: Instant) -> bool {
        let time = self.known().by_what.get(&(digest(what), owner)).copied();
        time.is_some_and(|time| self.is_live(time, now))
    }

    /// As [`is_owner`](Self::is_owner); its age begins anew, if it is not still about as young.
    #[must_use]
    pub fn used_by(&self, what: &str, owner: Owner, now: Instant) -> bool {
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
    fn owners(&self, what: Digest) -> Vec<Owner> {
        let [first, last] = [[0; 32], [u8::MAX; 32]].map(|all| Owner { person: all, purpose: all });
        self.by_what.range((what, first)..=(what, last)).map(|((_, owner), _)| *owner).collect()
    }

    fn first_to_go(&self, is_old: impl Fn(Instant) -> bool) -> Option<(Digest, Owner)> {
        let oldest = self.by_person.values().filter_map(|theirs| Some((theirs.first()?, theirs.len())));
        oldest
            .max_by_key(|((time, ..), count)| (is_old(*time), *count))
            .map(|((_, what, owner), _)| (*what, *owner))
    }

    fn insert(&mut self, what: Digest, owner: Owner, now: Instant) {
        self.by_what.insert((what, owner), now);
        self.by_person.entry(owner.person).or_default().insert((now, what, owner));
    }

    fn remove(&mut self, what: Digest, owner: Owner) {
        let Some(time) = self.by_what.remove(&(what, owner)) else { return };
        if let Entry::Occupied(mut theirs) = self.by_person.entry(owner.person) {
            theirs.get_mut().remove(&(time, what, owner));
            if theirs.get().is_empty() {
                theirs.remove();
            }
        }
    }
}

fn digest(what: &str) -> Digest {
    Sha256::digest(what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Owner = Owner { person: [1; 32], purpose: [0; 32] };
    const BOB: Owner = Owner { person: [2; 32], purpose: [0; 32] };
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
        assert_eq!(issued.known().by_what.len(), 2);
    }

    #[test]
    fn room_is_made_by_what_is_too_old_and_by_whoever_has_the_most() {
        let (issued, start) = (Issued::new(3, HOUR), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        issued.remember("bob's", BOB, at(0));
        for (number, what) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let purpose = [number as u8; 32];
            issued.remember(what, Owner { purpose, ..ANN }, at(1 + number as u64));
        }
        assert!(issued.is_owner("bob's", BOB, at(9)), "another's many do not push it out");
        assert_eq!(issued.known().by_what.len(), 3);

        issued.remember("e", ANN, at(2) + HOUR);
        assert!(!issued.known().by_person.contains_key(&BOB.person), "what is too old goes first");
        assert_eq!(issued.known().by_what.len(), 3);
    }
}
