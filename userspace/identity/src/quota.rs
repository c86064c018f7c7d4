//! A bound on what one uid can hold of something at a time, so that nobody takes what the others need.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Uid;

/// How many of something each uid may hold at a time.
#[derive(Debug)]
pub struct Quota {
    limit: usize,
    held: Mutex<HashMap<Uid, usize>>,
}

/// One of what a uid may hold; given back when dropped.
#[derive(Debug)]
pub struct Share {
    quota: Arc<Quota>,
    uid: Uid,
}

impl Quota {
    /// `limit` for each uid.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: Mutex::default() })
    }

    /// How many a uid may hold.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// One more for `uid`; `None` when it holds all it may.
    #[must_use]
    pub fn take(self: &Arc<Self>, uid: Uid) -> Option<Share> {
        let mut held = self.held();
        let count = held.entry(uid).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Share { quota: Arc::clone(self), uid })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Uid, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.quota.held().entry(self.uid) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_uid_has_its_own_and_gets_back_what_it_gives_back() {
        let quota = Quota::new(2);
        let (alice, bob) = (Uid(1), Uid(2));
        let first = quota.take(alice).unwrap();
        let _second = quota.take(alice).unwrap();
        assert!(quota.take(alice).is_none());
        let theirs = quota.take(bob).unwrap();
        drop(first);
        assert!(quota.take(alice).is_some());
        drop(theirs);
        assert_eq!(quota.held().len(), 1, "who holds nothing is forgotten");
    }
}
