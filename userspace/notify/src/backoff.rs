//! When to try again.

use std::time::Duration;

use jiff::Timestamp;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait that an endpoint can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// The pause after `failed` failures in a row (at least 1): doubling from a second to a minute, of which between half
/// and all is waited, by `luck` from 0 to 1, so that many senders do not come back together. An endpoint that asks for
/// longer is given it, within reason.
pub(crate) fn pause(failed: u32, luck: f64, asked: Option<Duration>) -> Duration {
    let full = FIRST.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(LONGEST);
    let ours = full.mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0);
    ours.max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

/// Reads `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(at.duration_since(now).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_minute() {
        let full: Vec<u64> = (1..=9).map(|failed| pause(failed, 1.0, None).as_secs()).collect();
        assert_eq!(full, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(3, 0.0, None), Duration::from_secs(2));
        assert_eq!(pause(u32::MAX, 1.0, None), LONGEST);
    }

    #[test]
    fn an_endpoint_is_given_the_time_it_asks_for_within_reason() {
        let asked = |seconds| pause(1, 0.5, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(0), pause(1, 0.5, None));
        assert_eq!(asked(20), Duration::from_secs(20));
        assert_eq!(asked(u64::MAX), LONGEST_ASKED);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(Duration::ZERO));
        for bad in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
    }
}
