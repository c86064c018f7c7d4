//! Logins that have begun and not ended: whose they are, and that each serves once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{LoginError, Seat};
use crate::Uid;
use crate::oidc::Issuer;
use crate::secret::Secret;

/// More of one uid, and its oldest is forgotten: somebody who interrupts and begins again is not kept out.
const MAX_OF_UID: usize = 4;
const MAX: usize = 256;

/// A login that has begun.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) seat: Seat,
    pub(super) issuer: Arc<Issuer>,
    pub(super) expires: Timestamp,
    pub(super) flow: Flow,
}

#[derive(Debug)]
pub(super) enum Flow {
    Device { code: Secret, interval: SignedDuration, next_poll: Timestamp },
    Browser { verifier: Secret, state: Secret, nonce: Secret, redirect_uri: String },
}

/// All of them, by login id.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<String, Slot>>);

#[derive(Debug)]
struct Slot {
    seat: Seat,
    expires: Timestamp,
    begun: Timestamp,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting(Box<Pending>),
    /// Some call is asking the provider.
    Busy,
    /// Completed. Remembered until it would have expired, to say so to whoever comes with it again.
    Used,
}

/// A login that one call works on. It goes on waiting when that call is given up.
pub(super) struct Taken<'w> {
    waiting: &'w Waiting,
    id: String,
    pending: Option<Box<Pending>>,
}

impl Waiting {
    /// Remembers a login; the id is a secret of its own.
    pub(super) fn add(&self, pending: Pending, now: Timestamp) -> Result<String, LoginError> {
        let mut slots = self.slots();
        slots.retain(|_, slot| slot.expires > now);
        while slots.values().filter(|slot| slot.counts_for(pending.seat.uid)).count() >= MAX_OF_UID {
            let of_uid = slots.iter().filter(|(_, slot)| slot.counts_for(pending.seat.uid));
            let oldest = of_uid.min_by_key(|(_, slot)| slot.begun).map(|(id, _)| id.clone());
            match oldest {
                Some(id) => slots.remove(&id),
                None => break,
            };
        }
        if slots.len() >= MAX {
            return Err(LoginError::TooMany);
        }
        let id = Secret::random().reveal().to_owned();
        let slot = Slot {
            seat: pending.seat,
            expires: pending.expires,
            begun: now,
            state: State::Waiting(Box::new(pending)),
        };
        slots.insert(id.clone(), slot);
        Ok(id)
    }

    /// Takes a login of `seat` to work on it. Nobody else can meanwhile.
    pub(super) fn take(&self, id: &str, seats: &[Seat], now: Timestamp) -> Result<Taken<'_>, LoginError> {
        let mut slots = self.slots();
        slots.retain(|_, slot| slot.expires > now);
        let slot = slots.get_mut(id).ok_or(LoginError::Unknown)?;
        if !seats.contains(&slot.seat) {
            return Err(LoginError::NotYours);
        }
        match std::mem::replace(&mut slot.state, State::Busy) {
            State::Waiting(pending) => Ok(Taken { waiting: self, id: id.to_owned(), pending: Some(pending) }),
            State::Busy => Err(LoginError::Busy),
            State::Used => {
                slot.state = State::Used;
                Err(LoginError::Used)
            }
        }
    }

    /// Forgets those of some seats.
    pub(super) fn forget(&self, seats: &[Seat]) {
        self.slots().retain(|_, slot| !seats.contains(&slot.seat) || matches!(slot.state, State::Used));
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn counts_for(&self, uid: Uid) -> bool {
        self.seat.uid == uid && !matches!(self.state, State::Used)
    }
}

impl Taken<'_> {
    pub(super) fn pending(&mut self) -> Result<&mut Pending, LoginError> {
        self.pending.as_deref_mut().ok_or(LoginError::Used)
    }

    /// It has been completed, well or not, and cannot be again.
    pub(super) fn used(mut self) -> Result<Box<Pending>, LoginError> {
        if let Some(slot) = self.waiting.slots().get_mut(&self.id) {
            slot.state = State::Used;
        }
        self.pending.take().ok_or(LoginError::Used)
    }

    /// It has come to nothing.
    pub(super) fn give_up(mut self) {
        self.pending = None;
        self.waiting.slots().remove(&self.id);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take()
            && let Some(slot) = self.waiting.slots().get_mut(&self.id)
        {
            slot.state = State::Waiting(pending);
        }
    }
}
