//! Wall-clock time, injected wherever it matters.

use jiff::Timestamp;

/// Tells the time. Grants end at a time of day, so this is the wall clock, not a monotonic one.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
