//! Values in assignments: where one ends, quoted or not, through escapes; and whether it looks like a secret.
//!
//! Text in a log is often JSON, or JSON in a string of JSON, so an escape is read for what it denotes: `\"`, `\\\"`
//! and `\u0026` end a value as `"` and `&` would, and no end ever falls inside an escape.

use super::reference::is_reference;
use super::view::{Hold, Run, View};

/// More backslashes than this in a row are no escape.
const BACKSLASHES: usize = 16;

/// Bytes of the longest escape.
pub(crate) const LONGEST_UNIT: usize = BACKSLASHES + 5;

/// How a value is quoted, and so what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// White space, quotes, brackets and what separates fields.
    None,
    /// The same but brackets: the value begins with one.
    Bracket,
    /// This quote, or a line's end.
    Quote(u8),
    /// White space, quotes and angle brackets.
    Url,
}

/// A character, or an escape for what it denotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Beyond ASCII all are the same: 0x80.
    pub(crate) meaning: u8,
    pub(crate) length: usize,
}

/// Reads the unit at `at`, or none at the end of the stream.
pub(crate) fn unit(view: View<'_>, at: usize, hold: usize) -> Result<Option<Unit>, Hold> {
    let Some(byte) = view.get(at, hold)? else { return Ok(None) };
    if byte != b'\\' {
        return Ok(Some(Unit { meaning: byte, length: 1 }));
    }
    let rest = &view.bytes[at..view.bytes.len().min(at + BACKSLASHES)];
    let slashes = rest.iter().take_while(|&&byte| byte == b'\\').count();
    let itself = Unit { meaning: b'\\', length: slashes };
    let Some(escaped) = view.get(at + slashes, hold)? else { return Ok(Some(itself)) };
    let meaning = match escaped {
        b'"' | b'\'' | b'`' | b'/' => escaped,
        b'n' | b'r' | b't' => b'\n',
        b'u' => {
            let from = at + slashes + 1;
            let mut value = 0;
            for at in from..from + 4 {
                match view.get(at, hold)?.and_then(|digit| char::from(digit).to_digit(16)) {
                    Some(digit) => value = value << 4 | digit,
                    None => return Ok(Some(itself)),
                }
            }
            let meaning = u8::try_from(value).map_or(0x80, |byte| byte.min(0x80));
            return Ok(Some(Unit { meaning, length: slashes + 5 }));
        }
        _ => return Ok(Some(itself)),
    };
    Ok(Some(Unit { meaning, length: slashes + 1 }))
}

impl Quoting {
    pub(crate) fn ends_at(self, meaning: u8) -> bool {
        match self {
            Self::Quote(quote) => meaning == quote || meaning == b'\n' || meaning == b'\r',
            _ if meaning <= b' ' || meaning == 0x7f => true,
            Self::None => b"\"'`,;&()[]{}<>|".contains(&meaning),
            Self::Bracket => b"\"'`,;&|".contains(&meaning),
            Self::Url => b"\"'`<>".contains(&meaning),
        }
    }

    /// The value at `from`, up to its end.
    pub(crate) fn run(self, view: View<'_>, from: usize) -> Run {
        let mut at = from;
        loop {
            match unit(view, at, at) {
                Err(Hold(_)) => return Run { end: at, open: true },
                Ok(Some(unit)) if !self.ends_at(unit.meaning) => at += unit.length,
                Ok(_) => return Run { end: at, open: false },
            }
        }
    }
}

/// Whether a value is one that stands for another (`$PASSWORD`, `{{ .Values.x }}`, `****`) or for none (`null`), or is
/// `going_on` and may become one.
pub(crate) fn is_stand_in(value: &[u8], going_on: bool) -> bool {
    const WORDS: [&str; 30] = [
        "true",
        "false",
        "null",
        "nil",
        "none",
        "undefined",
        "yes",
        "no",
        "on",
        "off",
        "empty",
        "unset",
        "set",
        "required",
        "optional",
        "missing",
        "invalid",
        "incorrect",
        "expired",
        "changed",
        "hidden",
        "redacted",
        "masked",
        "unknown",
        "prompt",
        "string",
        "password",
        "wrong",
        "default",
        "enabled",
    ];
    let word = |word: &&str| {
        let word = if going_on { word.get(..value.len()).unwrap_or(word) } else { word };
        value.eq_ignore_ascii_case(word.as_bytes())
    };
    value.iter().all(|byte| value.first() == Some(byte))
        || WORDS.iter().any(word)
        || is_reference(value, going_on)
}

/// Whether a value looks as if nobody had made it up to be read: letters and digits mixed without a break, as names are not.
pub(crate) fn looks_random(value: &[u8]) -> bool {
    /// A name's random suffix (`web-649fbd68db-x7k2p`) is shorter.
    const UNBROKEN: usize = 12;
    let mixed = |run: &[u8]| {
        run.len() >= UNBROKEN
            && run.iter().any(u8::is_ascii_digit)
            && run.iter().any(u8::is_ascii_alphabetic)
            && entropy(run) > 2.5
    };
    let all = |is: fn(&u8) -> bool| value.iter().any(is);
    value.split(|byte| !byte.is_ascii_alphanumeric()).any(mixed)
        || (value.len() >= 20
            && !value.contains(&b'/')
            && all(u8::is_ascii_digit)
            && all(u8::is_ascii_lowercase)
            && all(u8::is_ascii_uppercase)
            && entropy(value) > 3.8)
}

/// Whether a value looks like a password rather than a word of a sentence.
pub(crate) fn looks_chosen(value: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| value.iter().any(is);
    let kinds = [
        has(u8::is_ascii_lowercase),
        value[1.min(value.len())..].iter().any(u8::is_ascii_uppercase),
        has(u8::is_ascii_digit),
        has(|byte| byte.is_ascii_punctuation() && !b".-_/:".contains(byte)),
    ];
    let kinds = kinds.iter().filter(|has| **has).count();
    value.len() >= 6 && kinds >= 2 && (value.len() >= 8 || has(u8::is_ascii_digit))
}

/// Shannon's entropy in bits a byte.
fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for &byte in value {
        counts[usize::from(byte)] += 1;
    }
    let length = value.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0).map(|&count| f64::from(count) / length);
    -shares.map(|share| share * share.log2()).sum::<f64>()
}
