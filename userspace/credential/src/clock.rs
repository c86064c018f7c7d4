//! The time that expiries are told in, and spans of it in configuration.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize as _, Deserializer, de::Error as _};

/// Tells the time of day; injected so that tests can turn the clock.
pub(crate) type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The system's.
pub(crate) fn system() -> WallClock {
    Arc::new(Timestamp::now)
}

/// A moment as AWS's libraries take it; to the second, which is all that they keep.
pub(crate) fn system_time(at: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(at.as_second().unsigned_abs());
    if at.as_second() < 0 { UNIX_EPOCH - seconds } else { UNIX_EPOCH + seconds }
}

/// Reads `90s`, `10m`, `1h30m`.
pub(crate) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text)
        .ok_or_else(|| D::Error::custom(format!("{text:?} is no span of time such as 90s, 10m or 1h30m")))
}

fn parse(text: &str) -> Option<SignedDuration> {
    let mut total = SignedDuration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        let mut after = rest[digits..].chars();
        let seconds = match after.next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        total += SignedDuration::from_secs(i64::from(number) * seconds);
        rest = after.as_str();
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_strictly() {
        assert_eq!(parse("1h30m"), Some(SignedDuration::from_mins(90)));
        assert_eq!(parse("90s"), Some(SignedDuration::from_secs(90)));
        for wrong in ["", "10", "m", "10d", "1.5h", "-10m", "10m ", "99999999999s"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
