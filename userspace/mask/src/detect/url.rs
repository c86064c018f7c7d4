//! Passwords in connection strings: `scheme://user:PASSWORD@host`. Only the password is secret.

use super::value::{Quoting, is_stand_in, unit};
use super::view::{Hold, Secret, Tail, Verdict, View};

/// Bytes of a user's name and of a password that are looked at. What is longer than a password is secret unseen, host and all.
const USER_LIMIT: usize = 1024;
const PASSWORD_LIMIT: usize = 1024;

/// What it is known by, as it is and as some write it in JSON.
pub(crate) const SIGNS: [&[u8]; 2] = [b"://", br":\/\/"];

/// Looks at the colon at `at`.
pub(crate) fn verify(view: View<'_>, at: usize) -> Verdict {
    if !view.before(at).last().is_some_and(u8::is_ascii_alphanumeric) {
        return Ok(None);
    }
    let mut user = None;
    for sign in SIGNS {
        if view.starts_with(at, sign, usize::MAX)? {
            user = Some(at + sign.len());
        }
    }
    let Some(user) = user else { return Ok(None) };
    let Some(start) = after_user(view, user)? else { return Ok(None) };
    // The last @ ends the password, as those who split URLs have it; a slash before any @ ends a port, or is spelled sloppily.
    let (mut end, mut at) = (None, start);
    while let Some(unit) = unit(view, at, start)? {
        match unit.meaning {
            meaning if Quoting::Url.ends_at(meaning) => break,
            _ if at - start > PASSWORD_LIMIT => {
                return Ok(Some(Secret { start, end: at, tail: Tail::Value(Quoting::Url) }));
            }
            b'@' => end = Some(at),
            b'/' | b'?' | b'#' if end.is_some() => break,
            b'/' | b'?' | b'#' if view.bytes[start..at].iter().all(u8::is_ascii_digit) => break,
            _ => {}
        }
        at += unit.length;
    }
    Ok(end
        .filter(|&end| !is_stand_in(&view.bytes[start..end], false))
        .and_then(|end| Secret::whole(start, end)))
}

/// Where a password begins, if a user's name (it may be empty) and a colon stand at `from`.
fn after_user(view: View<'_>, from: usize) -> Result<Option<usize>, Hold> {
    for at in from..from + USER_LIMIT {
        match view.get(at, usize::MAX)? {
            Some(b':') => return Ok(Some(at + 1)),
            Some(b'/' | b'?' | b'#' | b'@' | b'[' | b'\\' | b'"' | b'\'' | b'`' | b'<' | b'>' | ..=b' ')
            | None => break,
            Some(_) => {}
        }
    }
    Ok(None)
}
