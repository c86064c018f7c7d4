//! Whether a recording is what was written.

use std::fmt;

use serde::Serialize;

use crate::damage::Damage;
use crate::recording::Recording;
use crate::summary::State;
use crate::walk::{self, Found};
use crate::{Body, Event, RecordError, SessionId};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The session.
    pub id: SessionId,
    /// In short.
    pub verdict: Verdict,
    /// Frames that are as they were written.
    pub frames: u64,
    /// Everything that is wrong, in order.
    pub damage: Vec<Damage>,
}

/// The outcome of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Every frame from the first to the last is there and as it was written.
    Intact,
    /// So far the same; the session goes on.
    Live,
    /// Every frame that is there is as it was written, but the end is missing: the recorder died, or could not write.
    Incomplete,
    /// Something is missing or was changed.
    Damaged,
}

impl Verification {
    pub(crate) fn of(recording: &Recording) -> Result<Self, RecordError> {
        let live = recording.is_live()?;
        let (mut frames, mut damage, mut state) = (0, Vec::new(), State::Incomplete);
        for found in recording.entries()? {
            match found? {
                Found::Entry(entry) => {
                    frames += 1;
                    if matches!(entry.body, Body::Event(Event::SessionEnded { .. })) {
                        state = State::Ended;
                    }
                }
                Found::Damage(found) => damage.push(found),
            }
        }
        // A write can be torn at the very end only, and not behind the event that closed the session.
        let last_segment = walk::segments(recording.dir())?.last().copied();
        let only_torn =
            damage.iter().all(|damage| damage.is_torn_tail() && Some(damage.segment) == last_segment);
        let verdict = match (damage.is_empty(), state) {
            (true, State::Ended) => Verdict::Intact,
            (_, State::Incomplete) if only_torn && live => Verdict::Live,
            (_, State::Incomplete) if only_torn => Verdict::Incomplete,
            _ => Verdict::Damaged,
        };
        Ok(Self { id: recording.id().clone(), verdict, frames, damage })
    }
}

/// One line, and one more for each place that is damaged.
impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Intact => "intact",
            Verdict::Live => "intact so far, still being recorded",
            Verdict::Incomplete => "intact, but its end was not recorded",
            Verdict::Damaged => "DAMAGED",
        };
        write!(f, "{}  {verdict}, {} frames", self.id, self.frames)?;
        self.damage.iter().try_for_each(|damage| write!(f, "\n  {damage}"))
    }
}
