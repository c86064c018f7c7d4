//! Wall-clock time, injected wherever it matters.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use crate::AccessError;

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

/// Reads a moment as people write one for `request --at`: `2026-03-02T09:00`, by the clocks of `zone`, or with an
/// offset of its own (`2026-03-02T09:00:00Z`).
///
/// # Errors
/// [`AccessError::BadMoment`] for anything else, and for a time that those clocks show twice or never.
pub fn parse_moment(text: &str, zone: &TimeZone) -> Result<Timestamp, AccessError> {
    let text = text.trim();
    let shown = || {
        let shown: civil::DateTime = text.parse().ok()?;
        zone.to_ambiguous_timestamp(shown).unambiguous().ok()
    };
    text.parse().ok().or_else(shown).ok_or_else(|| AccessError::BadMoment(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_people_write_them() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let read = |text| parse_moment(text, &berlin).map(|moment| moment.to_string());
        for (text, moment) in [
            ("2026-03-02T09:00", "2026-03-02T08:00:00Z"),
            (" 2026-07-02 09:00:30 ", "2026-07-02T07:00:30Z"),
            ("2026-03-02T09:00:00Z", "2026-03-02T09:00:00Z"),
            ("2026-03-02T09:00+05:00", "2026-03-02T04:00:00Z"),
        ] {
            assert_eq!(read(text).unwrap(), moment, "{text}");
        }
        // What the clocks skip in spring and show twice in autumn is no moment.
        for text in ["2026-03-29T02:30", "2026-10-25T02:30", "tomorrow", "09:00", ""] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("is no moment"), "{error}");
        }
    }
}
