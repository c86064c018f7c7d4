//! Credentials that ride in a URL do not belong into evidence.

use portcullis_identity::REDACTED;

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

/// A request target with the values of credentials in its query replaced by `[redacted]`. Names are compared as
/// a server reads them: percent-decoded, in any case. Everything else stays as it was sent.
pub fn redact_query(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let mut safe = String::with_capacity(target.len());
    safe.push_str(path);
    let mut separator = '?';
    // Go's url.ParseQuery splits at `&` only; `;` is taken as well, in case something older is in front.
    let mut rest = query;
    loop {
        let end = rest.find(['&', ';']).unwrap_or(rest.len());
        safe.push(separator);
        match rest[..end].split_once('=') {
            Some((name, _)) if is_credential(name) => {
                safe.push_str(name);
                safe.push('=');
                safe.push_str(REDACTED);
            }
            _ => safe.push_str(&rest[..end]),
        }
        let Some(next) = rest[end..].chars().next() else { return safe };
        separator = next;
        rest = &rest[end + 1..];
    }
}

fn is_credential(name: &str) -> bool {
    let mut decoded = Vec::with_capacity(name.len());
    let mut bytes = name.as_bytes();
    while let [first, rest @ ..] = bytes {
        let (byte, rest) = match (first, rest) {
            (b'%', [high, low, rest @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (b'%', &bytes[1..]),
            },
            _ => (*first, rest),
        };
        decoded.push(byte.to_ascii_lowercase());
        bytes = rest;
    }
    CREDENTIALS.iter().any(|credential| credential.as_bytes() == decoded)
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
}
