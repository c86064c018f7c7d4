//! What several bastions on one store need of each other: to hear of changes, and to do some things only once.

use std::time::Duration;

use tokio::sync::watch;

use super::Access;
use crate::AccessError;

/// Says when to look at the store again: see [`Access::wakes`].
#[derive(Debug, Clone)]
pub struct Wakes(Option<watch::Receiver<u64>>);

impl Wakes {
    /// Waits until the store has news, as far as it can tell, and at most this long.
    pub async fn wait(&mut self, at_most: Duration) {
        let news = async {
            let told = match &mut self.0 {
                Some(changes) => changes.changed().await.is_ok(),
                None => false,
            };
            if !told {
                std::future::pending::<()>().await; // a store that is gone would be news each time
            }
        };
        tokio::time::timeout(at_most, news).await.ok();
    }
}

impl Access {
    /// When to call [`Access::refresh`]: each second, and at once when another bastion has written.
    #[must_use]
    pub fn wakes(&self) -> Wakes {
        Wakes(self.store.changes())
    }

    /// The number of the last event that is known here; wakes on any change, whoever made it.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }

    /// How far a reader of [`Access::events`] has come: 0, or the number of the last event it is done with.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    pub fn cursor(&self, name: &str) -> Result<u64, AccessError> {
        self.store.cursor(name)
    }

    /// Moves a reader's cursor from where it saw it. Of several bastions that try, one is told `true`.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    pub fn advance_cursor(&self, name: &str, from: u64, to: u64) -> Result<bool, AccessError> {
        self.store.advance_cursor(name, from, to)
    }

    /// Takes or keeps the lease `name` for `lasting` from now; `false` while another holder has it. Bastions whose
    /// clocks differ by more than `lasting` may both believe to have it.
    ///
    /// # Errors
    /// [`AccessError::Store`].
    pub fn lease(&self, name: &str, holder: &str, lasting: Duration) -> Result<bool, AccessError> {
        self.store.lease(name, holder, self.now(), lasting)
    }
}
