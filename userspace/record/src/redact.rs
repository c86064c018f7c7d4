//! Credentials that ride in a URL do not belong into evidence.

use portcullis_identity::{REDACTED, redact};

/// Query parameters whose value is a credential: RFC 6750 section 2.3, OAuth, and what proxies in use accept.
const CREDENTIALS: &[&str] = &[
    "access_token",
    "api_key",
    "apikey",
    "assertion",
    "auth",
    "authorization",
    "bearer",
    "client_secret",
    "code",
    "id_token",
    "jwt",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-security-token",
    "x-amz-signature",
];

/// The parameter that has the words of an exec's command.
const COMMAND: &[u8] = b"command";

/// A request target with the values of credentials in its query replaced by `[redacted]`, and an exec's command redacted as
/// a command line. Names are compared as a server reads them: percent-decoded, credentials in any case. Everything
/// else stays as it was sent.
pub fn redact_query(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    // Go's url.ParseQuery splits at `&` only; `;` is taken as well, in case something older is in front.
    let pieces: Vec<&str> = query.split_inclusive(['&', ';']).collect();
    let bare = |piece: &&str| piece.trim_end_matches(['&', ';']).to_owned();
    let values: Vec<String> = pieces.iter().map(bare).filter_map(|piece| word_of_command(&piece)).collect();
    // What a word is depends on the one before it.
    let mut words = redact(values.clone()).into_iter().zip(values);
    let mut safe = format!("{path}?");
    for piece in pieces {
        let parameter = piece.trim_end_matches(['&', ';']);
        let word = word_of_command(parameter).and_then(|_| words.next());
        match (parameter.split_once('='), word) {
            (Some((name, _)), _) if is_credential(name) => {
                safe.push_str(name);
                safe.push('=');
                safe.push_str(REDACTED);
            }
            (Some((name, _)), Some((redacted, word))) if redacted != word => {
                safe.push_str(name);
                safe.push('=');
                encode(&redacted, &mut safe);
            }
            _ => safe.push_str(parameter),
        }
        safe.push_str(&piece[parameter.len()..]);
    }
    safe
}

/// A parameter's value, if it is a word of a command.
fn word_of_command(parameter: &str) -> Option<String> {
    let (name, value) = parameter.split_once('=')?;
    (decoded(name) == COMMAND).then(|| String::from_utf8_lossy(&decoded(value)).into_owned())
}

fn is_credential(name: &str) -> bool {
    let name = decoded(name).to_ascii_lowercase();
    CREDENTIALS.iter().any(|credential| credential.as_bytes() == name)
}

/// As Go's url.QueryUnescape.
fn decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        let (byte, rest) = match (first, rest) {
            (b'%', [high, low, rest @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (b'%', &bytes[1..]),
            },
            (b'+', rest) => (b' ', rest),
            _ => (*first, rest),
        };
        decoded.push(byte);
        bytes = rest;
    }
    decoded
}

/// As much of Go's url.QueryEscape as keeps a value one; brackets stay legible.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'~'
            | b'/'
            | b'='
            | b'['
            | b']' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_what_is_no_credential() {
        for target in [
            "/api/v1/pods",
            "/api/v1/pods?",
            "/api/v1/pods?limit=500&continue=abc",
            "/api/v1/namespaces/d/pods/p/exec?command=sh&command=-c&command=a%3Bb&container=c&tty=true",
            "/x?token",
            "/x?&&a=b;c",
        ] {
            assert_eq!(redact_query(target), target);
        }
    }

    #[test]
    fn replaces_credentials_however_they_are_spelt() {
        for (target, safe) in [
            ("/x?access_token=abc", "/x?access_token=[redacted]"),
            ("/x?a=b&token=abc&c=d", "/x?a=b&token=[redacted]&c=d"),
            ("/x?TOKEN=abc;a=1", "/x?TOKEN=[redacted];a=1"),
            ("/x?%74oken=abc=def", "/x?%74oken=[redacted]"),
            ("/x?a=1?token=2&token=3", "/x?a=1?token=2&token=[redacted]"),
        ] {
            assert_eq!(redact_query(target), safe);
        }
    }
    #[test]
    fn a_command_is_redacted_as_a_command_line() {
        let exec = |words: &str| format!("/api/v1/namespaces/d/pods/p/exec?{words}&container=c");
        for (words, safe) in [
            (
                "command=sh&command=-c&command=echo+DB_PASSWORD%3Dhunter2",
                "command=sh&command=-c&command=echo+DB_PASSWORD=[redacted]",
            ),
            (
                "command=mysql&command=--password&command=hunter2",
                "command=mysql&command=--password&command=[redacted]",
            ),
            (
                "%63ommand=login&command=--token%3Dhunter2;tty=1",
                "%63ommand=login&command=--token=[redacted];tty=1",
            ),
            ("command=printf&command=%25s%26", "command=printf&command=%25s%26"),
        ] {
            assert_eq!(redact_query(&exec(words)), exec(safe));
        }
    }
}
