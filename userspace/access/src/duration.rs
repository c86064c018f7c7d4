//! How long, as people write it: `30m`, `4h`, `1h30m`.

use std::time::Duration;

use jiff::fmt::friendly::{Spacing, SpanParser, SpanPrinter};
use serde::Serializer;

use crate::AccessError;

/// Reads `90s`, `30m`, `4h`, `1h30m`, `1h 30m`. Days are left out: they are not always 24 hours.
///
/// # Errors
/// [`AccessError::BadDuration`] for anything else, and for nothing at all (`0m`).
pub fn parse_duration(text: &str) -> Result<Duration, AccessError> {
    SpanParser::new()
        .parse_unsigned_duration(text.trim())
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| AccessError::BadDuration(text.to_owned()))
}

/// Writes a duration as [`parse_duration`] reads it, without spaces: `1h30m`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    SpanPrinter::new().spacing(Spacing::None).unsigned_duration_to_string(&duration)
}

/// For `#[serde(with = "duration::text")]`.
pub(crate) mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// For `#[serde(serialize_with = …)]`.
pub(crate) fn serialize_option<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => text::serialize(duration, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms() {
        let table = [
            ("90s", 90),
            ("30m", 1800),
            ("4h", 14400),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            (" 2 hours ", 7200),
        ];
        for (text, seconds) in table {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in ["", "0m", "30", "-5m", "1d", "soon", "4h ago"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["90s", "30m", "4h", "1h30m"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
        }
        assert_eq!(format_duration(Duration::from_secs(5400)), "1h30m");
    }
}
