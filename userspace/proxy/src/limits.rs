//! What one uid may have open at once. File descriptors and memory are everybody's: whoever takes more is told so, and
//! the others and the recorder go on.

use std::sync::Arc;

use portcullis_identity::{Quota, Share, Uid};

/// Connections over the limit that are still told why; more are just closed.
const TURNED_AWAY: usize = 16;
/// Bodies held whole for the write-back guard, up to 3 MiB each.
const HELD_WRITES: usize = 8;
/// Large answers held whole for their masks, up to [`PROTOBUF_LIMIT`](portcullis_mask::PROTOBUF_LIMIT) each.
const HELD_ANSWERS: usize = 8;

/// The limits of each uid.
pub struct Limits {
    connections: Arc<Quota>,
    turned_away: Arc<Quota>,
    held_writes: Arc<Quota>,
    held_answers: Arc<Quota>,
}

/// A connection's place among those of its uid.
pub(crate) struct Place {
    /// The limit that is exceeded, when the connection is there only to be told so.
    pub(crate) over: Option<usize>,
    _share: Share,
}

impl Limits {
    /// At most `connections` served at a time for each uid.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        Self {
            connections: Quota::new(connections),
            turned_away: Quota::new(TURNED_AWAY),
            held_writes: Quota::new(HELD_WRITES),
            held_answers: Quota::new(HELD_ANSWERS),
        }
    }

    /// A place for one more connection; `None` when it is to be closed without a word.
    pub(crate) fn place(&self, uid: Uid) -> Option<Place> {
        if let Some(share) = self.connections.take(uid) {
            return Some(Place { over: None, _share: share });
        }
        let share = self.turned_away.take(uid)?;
        Some(Place { over: Some(self.connections.limit()), _share: share })
    }

    /// Room to hold the body of one more write; `None` when `uid` has too many under way.
    pub(crate) fn held_write(&self, uid: Uid) -> Option<Share> {
        self.held_writes.take(uid)
    }

    /// Room to hold one more large answer; `None` when `uid` has too many under way.
    pub(crate) fn held_answer(&self, uid: Uid) -> Option<Share> {
        self.held_answers.take(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_over_the_limit_are_told_and_the_rest_is_closed() {
        let limits = Limits::new(2);
        let served: Vec<Place> = (0..2).filter_map(|_| limits.place(Uid(1))).collect();
        assert!(served.iter().all(|place| place.over.is_none()));
        let told: Vec<Place> = (0..TURNED_AWAY).filter_map(|_| limits.place(Uid(1))).collect();
        assert_eq!(told.len(), TURNED_AWAY);
        assert!(told.iter().all(|place| place.over == Some(2)));
        assert!(limits.place(Uid(1)).is_none());
        assert!(limits.place(Uid(2)).is_some_and(|place| place.over.is_none()), "others are not concerned");
    }
}
