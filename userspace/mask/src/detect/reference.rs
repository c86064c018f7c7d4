//! What stands where a secret would and is none: a name that stands for it (`$PASSWORD`, `{{ .Values.x }}`, `<token>`), the
//! path of a file that it is in, a mask of ours.
//!
//! It is one as a whole or not at all: passwords begin with `$`, `{` and `/` as well.

use super::alphabet::Alphabet;
use super::value::{Quoting, looks_chosen, looks_random, unit};
use super::view::{Hold, View};
use crate::placeholder::is_placeholder;

/// Bytes of a name in brackets.
const NAME_LIMIT: usize = 128;
const NAME: Alphabet = Alphabet::of(b"A-Za-z0-9 _./-");
/// What is printed, but for braces.
const TEMPLATE: Alphabet = Alphabet::of(b" -z|~");
const IN_PATHS: Alphabet = Alphabet::of(b"A-Za-z0-9_.-");

/// What opens and closes a name, and what it is spelled in.
const BRACKETS: [(&[u8], &[u8], Alphabet); 9] = [
    (b"${", b"}", NAME),
    (b"$(", b")", NAME),
    (b"{{", b"}}", TEMPLATE),
    (b"{", b"}", NAME),
    (b"<", b">", NAME),
    (b"\\u003c", b"\\u003e", NAME),
    (b"[", b"]", NAME),
    (b"%(", b")s", NAME),
    (b"%", b"%", NAME),
];

/// Whether a name in brackets stands at `start`, and nothing more of a value behind it.
pub(super) fn is_bracketed(view: View<'_>, start: usize) -> Result<bool, Hold> {
    for (open, close, alphabet) in BRACKETS {
        if !view.starts_with(start, open, start)? {
            if view.paused && open.starts_with(&view.bytes[start..]) {
                return Ok(true);
            }
            continue;
        }
        let from = start + open.len();
        let run = view.run_up_to(from, alphabet, NAME_LIMIT);
        let name = view.bytes[from..run.end].trim_ascii();
        if run.end - from == NAME_LIMIT || looks_random(name) {
            continue;
        }
        if run.open {
            return Err(Hold(start));
        }
        if view.paused && close.starts_with(&view.bytes[run.end..]) {
            return Ok(true);
        }
        if name.is_empty() || !view.starts_with(run.end, close, start)? {
            continue;
        }
        if unit(view, run.end + close.len(), start)?.is_none_or(|unit| ends(unit.meaning)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether no value goes on with this.
fn ends(meaning: u8) -> bool {
    Quoting::None.ends_at(meaning) && !b"([{<".contains(&meaning)
}

/// Whether all of `value` refers to another, or is `going_on` and may come to.
pub(super) fn is_reference(value: &[u8], going_on: bool) -> bool {
    let whole = View { bytes: value, ended: true, paused: going_on };
    value.strip_prefix(b"$").is_some_and(is_variable)
        || is_placeholder(value, going_on)
        || is_bracketed(whole, 0) == Ok(true)
}

/// In capitals or without digits, as `DB2_PASSWORD` and `dbPassword`.
fn is_variable(name: &[u8]) -> bool {
    let is = |kind: fn(&u8) -> bool| name.iter().all(|byte| kind(byte) || *byte == b'_');
    is(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) && !looks_random(name)
        || is(u8::is_ascii_alphabetic)
}

/// Whether all of `value` is the path of a file: `/run/secrets/db`, `~/.pgpass`, `../x`.
pub(super) fn is_path(value: &[u8]) -> bool {
    let roots = [&b"/"[..], b"~/", b"./", b"../"];
    let Some(path) = roots.iter().find_map(|root| value.strip_prefix(*root)) else { return false };
    let has = |part: &[u8], is: fn(&u8) -> bool| part.iter().any(is);
    let is_word = |part: &[u8]| {
        part.iter().all(|byte| IN_PATHS.contains(*byte))
            && !looks_random(part)
            && !(has(part, u8::is_ascii_digit)
                && has(part, u8::is_ascii_lowercase)
                && has(part, u8::is_ascii_uppercase))
    };
    // A single name has nothing else that speaks for a path.
    path.split(|byte| *byte == b'/').all(is_word) && (path.contains(&b'/') || !looks_chosen(path))
}
