//! Signatures over message bodies: ours, on what is sent and on what programs send us, and Slack's on its callbacks.
//!
//! Both sign the time together with the body, so that what is overheard is worthless minutes later. Codes are compared
//! in constant time.

use std::fmt::Write;

use hmac::Mac;
use jiff::Timestamp;

use crate::secret::Secret;

/// The header that carries our signature: `t=<unix seconds>,v1=<hex>`.
pub const SIGNATURE_HEADER: &str = "x-portcullis-signature";

/// How far, in seconds, a signed time may lie from now, either way.
pub const WINDOW_SECONDS: i64 = 300;

/// Why a signed message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No signature, or more than one.
    #[error("the message needs exactly one {0} header")]
    Missing(&'static str),
    /// Not of the form that it should have.
    #[error("the signature is not of the form {0}")]
    Malformed(&'static str),
    /// Sent too long ago, or by someone whose clock is wrong.
    #[error(
        "the signed time is more than {WINDOW_SECONDS} seconds from ours: an old message sent again, \
         or a wrong clock"
    )]
    Stale,
    /// Forged, altered, or made with another secret.
    #[error("the signature does not verify: the message was altered, or signed with another secret")]
    Wrong,
}

/// `t=<unix seconds>,v1=<hex>`: the HMAC-SHA256 over time, a dot, and the body.
pub(crate) fn signature(secret: &Secret, at: Timestamp, body: &[u8]) -> String {
    let time = at.as_second().to_string();
    let mac = secret.mac(&[time.as_bytes(), b".", body]).finalize().into_bytes();
    format!("t={time},v1={}", hex(&mac))
}

/// Checks a signature as [`signature`] makes it. Returns the code, which is the same however the header spelt it, and
/// the last moment at which it is accepted.
pub(crate) fn verify(
    secret: &Secret,
    header: &str,
    now: Timestamp,
    body: &[u8],
) -> Result<([u8; 32], Timestamp), SignatureError> {
    let malformed = SignatureError::Malformed("t=<unix seconds>,v1=<64 hexadecimal digits>");
    let (time, code) = header.split_once(',').ok_or(malformed)?;
    let time = time.trim().strip_prefix("t=").ok_or(malformed)?;
    let code = code.trim().strip_prefix("v1=").and_then(unhex).ok_or(malformed)?;
    let until = fresh(time, now, malformed)?;
    let mac = secret.mac(&[time.as_bytes(), b".", body]);
    mac.verify_slice(&code).map_err(|_| SignatureError::Wrong)?;
    Ok((code, until))
}

/// Checks Slack's signature (`v0=<hex>` over `v0:<time>:<body>`), as Slack documents it under "Verifying requests".
pub(crate) fn verify_slack(
    secret: &Secret,
    time: &str,
    header: &str,
    now: Timestamp,
    body: &[u8],
) -> Result<(), SignatureError> {
    let malformed = SignatureError::Malformed("v0=<64 hexadecimal digits>");
    let code = header.strip_prefix("v0=").and_then(unhex).ok_or(malformed)?;
    fresh(time, now, SignatureError::Malformed("X-Slack-Request-Timestamp: <unix seconds>"))?;
    let mac = secret.mac(&[b"v0:", time.as_bytes(), b":", body]);
    mac.verify_slice(&code).map_err(|_| SignatureError::Wrong)
}

/// The end of the window of a signed time, when `now` lies in it.
fn fresh(time: &str, now: Timestamp, malformed: SignatureError) -> Result<Timestamp, SignatureError> {
    // Digits alone: `+5` and `05` would be other spellings of a time that was signed once.
    let canonical = time.bytes().all(|b| b.is_ascii_digit()) && !(time.len() > 1 && time.starts_with('0'));
    let second: i64 = if canonical { time.parse().map_err(|_| malformed)? } else { return Err(malformed) };
    if second.abs_diff(now.as_second()) > WINDOW_SECONDS.unsigned_abs() {
        return Err(SignatureError::Stale);
    }
    Timestamp::from_second(second + WINDOW_SECONDS + 1).map_err(|_| SignatureError::Stale)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_else(|_| unreachable!("writing to a String cannot fail"));
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret() -> Secret {
        Secret::new(b"a secret of the webhook".to_vec())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The example of Slack's documentation.
    #[test]
    fn slacks_documented_example() {
        let secret = Secret::new(b"8f742231b10e8888abcd99yyyzzz85a5".to_vec());
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let code = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let verify = |time: &str, code: &str, body: &str, now: i64| {
            verify_slack(&secret, time, code, at(now), body.as_bytes())
        };
        assert_eq!(verify("1531420618", code, body, 1531420618), Ok(()));
        assert_eq!(
            verify("1531420618", code, &body.replace("foobar", "foobaz"), 1531420618),
            Err(SignatureError::Wrong)
        );
        assert_eq!(verify("1531420619", code, body, 1531420618), Err(SignatureError::Wrong));
        assert_eq!(verify("1531420618", code, body, 1531420618 + 301), Err(SignatureError::Stale));
        assert_eq!(verify("1531420618", code, body, 1531420618 - 301), Err(SignatureError::Stale));
        for (time, code) in
            [("1531420618", &code[3..]), ("1531420618", "v0="), ("01531420618", code), ("", code)]
        {
            assert!(matches!(verify(time, code, body, 1531420618), Err(SignatureError::Malformed(_))));
        }
    }

    /// What the Python in docs/notifications.md computes.
    #[test]
    fn ours_is_what_the_documentation_says() {
        let text = signature(&Secret::new(b"0123456789abcdef".to_vec()), at(1700000000), br#"{"version":1}"#);
        assert_eq!(text, "t=1700000000,v1=d4d5218e4060ea8d4e3266cccc3a4dad71e647b6992c00beec425264a92b2c5f");
    }

    #[test]
    fn ours_holds_for_its_body_its_secret_and_its_time() {
        let header = signature(&secret(), at(1000), b"body");
        let (code, until) = verify(&secret(), &header, at(1000), b"body").unwrap();
        assert_eq!(until, at(1301), "accepted at 1300 for the last time");
        assert!(verify(&secret(), &header, at(1300), b"body").is_ok());
        assert_eq!(
            verify(
                &secret(),
                &header.to_uppercase().replace("T=", "t=").replace("V1=", "v1="),
                at(700),
                b"body"
            )
            .unwrap()
            .0,
            code
        );
        assert_eq!(verify(&secret(), &header, at(1301), b"body"), Err(SignatureError::Stale));
        assert_eq!(verify(&secret(), &header, at(699), b"body"), Err(SignatureError::Stale));
        assert_eq!(verify(&secret(), &header, at(1000), b"bodY"), Err(SignatureError::Wrong));
        assert_eq!(verify(&Secret::new(vec![1; 32]), &header, at(1000), b"body"), Err(SignatureError::Wrong));
        let later = header.replace("t=1000", "t=1001");
        assert_eq!(verify(&secret(), &later, at(1000), b"body"), Err(SignatureError::Wrong));
    }

    #[test]
    fn other_forms_are_refused() {
        let good = signature(&secret(), at(1000), b"");
        let code = good.split_once("v1=").unwrap().1;
        for bad in [
            "",
            "t=1000",
            &format!("v1={code}"),
            &format!("v1={code},t=1000"),
            &format!("t=+1000,v1={code}"),
            &format!("t=01000,v1={code}"),
            &format!("t=1000,v1={code}00"),
            &format!("t=1000,v1={}", &code[2..]),
            &format!("t=1000,v1={code},v1={code}"),
            &format!("t=1000,v0={code}"),
            &format!("t= 1000,v1={code}"),
            &format!("t=99999999999999999999,v1={code}"),
            &format!("t=,v1={code}"),
        ] {
            assert!(
                matches!(verify(&secret(), bad, at(1000), b""), Err(SignatureError::Malformed(_))),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_header_panics_or_passes(header in "(t=)?[0-9+-]{0,20},?(v1=)?[0-9a-fA-F]{0,70}|\\PC*") {
            prop_assert!(verify(&secret(), &header, at(1000), b"x").is_err());
        }
    }
}
