//! What was issued to whom: session ids and request states.

use std::time::{Duration, Instant};

/// Whose a session id or request state is; digests only.
#[derive(Debug)]
pub struct Issued;

impl Issued {
    /// Holds up to `capacity`, each up to `age`.
    #[must_use]
    pub fn new(_capacity: usize, _age: Duration) -> Self {
        Self
    }

    /// `what` was issued to `owner`.
    pub fn remember(&self, _what: &str, _owner: [u8; 32], _now: Instant) {
        unimplemented!()
    }

    /// Whom it was issued to.
    #[must_use]
    pub fn owner(&self, _what: &str, _now: Instant) -> Option<[u8; 32]> {
        unimplemented!()
    }

    /// It is no longer good.
    pub fn forget(&self, _what: &str) {
        unimplemented!()
    }
}
