//! The two clocks of a recording: one says when it began, the other how long ago everything else was.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where a recorder takes its time from.
pub trait Clock: Send + Sync {
    /// The time of day; asked once a session.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment. Never goes back, whatever is done to the time of day.
    fn monotonic(&self) -> Duration;
}

/// The host's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}
