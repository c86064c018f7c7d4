//! Durations in the configuration: text such as `30s`, `10m`, `1h30m`.

use jiff::SignedDuration;
use jiff::fmt::friendly::{Spacing, SpanParser, SpanPrinter};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub(crate) fn serialize<S: Serializer>(duration: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

/// Never negative: [`SpanParser::parse_unsigned_duration`]. Whether zero makes sense is the field's to say.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
    let text = String::deserialize(deserializer)?;
    SpanParser::new()
        .parse_unsigned_duration(text.trim())
        .ok()
        .and_then(|duration| SignedDuration::try_from(duration).ok())
        .ok_or_else(|| D::Error::custom(format!("{text:?} is not a duration such as 30s, 10m or 1h30m")))
}

/// As it is read, without spaces.
pub(crate) fn text(duration: SignedDuration) -> String {
    SpanPrinter::new().spacing(Spacing::None).duration_to_string(&duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Serialize, Deserialize)]
    struct Field(#[serde(with = "super")] SignedDuration);

    #[test]
    fn durations_are_text() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400), ("0s", 0)] {
            let field: Field = serde_json::from_value(text.into()).unwrap();
            assert_eq!(field.0.as_secs(), seconds);
        }
        for bad in ["", "10", "-5m", "soon"] {
            assert!(serde_json::from_value::<Field>(bad.into()).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_value(Field(SignedDuration::from_secs(5400))).unwrap(), "1h30m");
    }
}
