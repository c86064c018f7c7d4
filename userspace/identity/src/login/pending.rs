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

    /// It has been completed, well or not, and cannot be again. An error where it was forgotten meanwhile: somebody who
    /// logged out is not logged in by what was under way.
    pub(super) fn used(mut self) -> Result<(), LoginError> {
        self.pending = None;
        let mut slots = self.waiting.slots();
        let slot = slots.get_mut(&self.id).ok_or(LoginError::Unknown)?;
        slot.state = State::Used;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;
    use crate::oidc::OidcConfig;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn issuer() -> Arc<Issuer> {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let config = r#"{"name": "x", "issuer": "http://127.0.0.1:1", "clientId": "x"}"#;
        let config: OidcConfig = serde_json::from_str(config).unwrap();
        let clock: Clock = Arc::new(|| NOW);
        Issuer::new(&config, &clock).unwrap()
    }

    fn seat(uid: u32) -> Seat {
        Seat { uid: Uid(uid), session: Some(1) }
    }

    fn after(seconds: i64) -> Timestamp {
        NOW.checked_add(SignedDuration::from_secs(seconds)).unwrap()
    }

    fn add(waiting: &Waiting, issuer: &Arc<Issuer>, uid: u32, now: Timestamp) -> Result<String, LoginError> {
        let interval = SignedDuration::from_secs(5);
        let flow = Flow::Device { code: Secret::random(), interval, next_poll: now };
        let expires = now.checked_add(SignedDuration::from_secs(600)).unwrap();
        waiting.add(Pending { seat: seat(uid), issuer: Arc::clone(issuer), expires, flow }, now)
    }

    #[test]
    fn one_call_works_on_a_login_at_a_time_and_may_be_given_up() {
        let (waiting, issuer) = (Waiting::default(), issuer());
        let id = add(&waiting, &issuer, 1, NOW).unwrap();
        let taken = waiting.take(&id, &[seat(1)], NOW).ok().unwrap();
        assert_eq!(waiting.take(&id, &[seat(1)], NOW).err(), Some(LoginError::Busy));
        drop(taken); // the client hung up
        let taken = waiting.take(&id, &[seat(1)], NOW).ok().unwrap();
        taken.used().unwrap();
        assert_eq!(waiting.take(&id, &[seat(1)], NOW).err(), Some(LoginError::Used));
        assert_eq!(waiting.take(&id, &[seat(2)], NOW).err(), Some(LoginError::NotYours));
        assert_eq!(waiting.take(&id, &[seat(1)], after(600)).err(), Some(LoginError::Unknown));
    }

    #[test]
    fn what_was_forgotten_does_not_come_back() {
        let (waiting, issuer) = (Waiting::default(), issuer());
        let id = add(&waiting, &issuer, 1, NOW).unwrap();
        let taken = waiting.take(&id, &[seat(1)], NOW).ok().unwrap();
        waiting.forget(&[seat(1)]);
        drop(taken);
        assert_eq!(waiting.take(&id, &[seat(1)], NOW).err(), Some(LoginError::Unknown));
        let id = add(&waiting, &issuer, 1, NOW).unwrap();
        let taken = waiting.take(&id, &[seat(1)], NOW).ok().unwrap();
        waiting.forget(&[seat(1)]);
        assert_eq!(taken.used(), Err(LoginError::Unknown));
    }

    #[test]
    fn nobody_fills_it_up_for_good() {
        let (waiting, issuer) = (Waiting::default(), issuer());
        for _ in 0..MAX {
            add(&waiting, &issuer, 1, NOW).unwrap();
        }
        assert_eq!(waiting.slots().len(), MAX_OF_UID);
        for uid in 2.. {
            if waiting.slots().len() == MAX {
                break;
            }
            add(&waiting, &issuer, uid, NOW).unwrap();
        }
        assert_eq!(add(&waiting, &issuer, 9_999, NOW), Err(LoginError::TooMany));
        add(&waiting, &issuer, 9_999, after(600)).unwrap();
    }
}
