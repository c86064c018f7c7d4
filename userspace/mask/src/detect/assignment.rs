//! Values that are assigned to what is called a secret: `password=…`, `"token": "…"`, `AWS_SECRET_KEY: …`.
//!
//! What a password is called says enough where it is assigned as machines do it (`password=x`, `"password":"x"`); in
//! prose (`password: x`) and for what else is called a secret (often a name: `secret="shop/db"`) the value itself has to look
//! like one.

use super::reference::{is_bracketed, is_path};
use super::value::{LONGEST_UNIT, Quoting, is_stand_in, looks_chosen, looks_random, unit};
use super::view::{Hold, Secret, Tail, Verdict, View};

/// A value is looked at up to this length; one that is longer is secret unseen.
const VALUE_LIMIT: usize = 1024;

/// A word that keys of secrets end in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyword {
    /// In lower case.
    pub(crate) word: &'static str,
    /// Where in it the gram begins that it is found by.
    pub(crate) gram: usize,
    kind: Kind,
    /// What has to stand before it, if not any of these will do.
    after: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Password,
    Secret,
}

/// What a key may be of that is secret.
const KEYS: &[&str] = &[
    "api",
    "access",
    "account",
    "secret",
    "private",
    "shared",
    "signing",
    "encryption",
    "master",
    "storage",
    "auth",
    "encrypt",
    "application",
    "app",
    "consumer",
    "service",
    "deploy",
    "license",
    "admin",
    "client",
    "hmac",
    "session",
    "root",
];

/// What a token is of that is a place in a list: clients send it back for the next page (AWS, Google, Kubernetes, Azure).
const CURSORS: &[&str] = &["next", "nextpage", "next_page", "next-page", "continue", "continuation"];

pub(crate) const KEYWORDS: &[Keyword] = &[
    Keyword { word: "password", gram: 2, kind: Kind::Password, after: &[] },
    Keyword { word: "passwd", gram: 2, kind: Kind::Password, after: &[] },
    Keyword { word: "passphrase", gram: 3, kind: Kind::Password, after: &[] },
    Keyword { word: "pwd", gram: 0, kind: Kind::Password, after: &[] },
    Keyword { word: "pass", gram: 0, kind: Kind::Password, after: &["_", "-", "."] },
    Keyword { word: "secret", gram: 1, kind: Kind::Secret, after: &[] },
    Keyword { word: "token", gram: 1, kind: Kind::Secret, after: &[] },
    Keyword { word: "key", gram: 0, kind: Kind::Secret, after: KEYS },
    Keyword { word: "credential", gram: 6, kind: Kind::Secret, after: &[] },
    Keyword { word: "credentials", gram: 6, kind: Kind::Secret, after: &[] },
    Keyword { word: "string", gram: 0, kind: Kind::Secret, after: &["connection"] },
    Keyword { word: "signature", gram: 2, kind: Kind::Secret, after: &[] },
    Keyword { word: "sig", gram: 0, kind: Kind::Secret, after: &["?", "&", "\\u0026", "amp;"] },
    Keyword { word: "authorization", gram: 4, kind: Kind::Secret, after: &[] },
];

/// How a value is assigned.
#[derive(Debug, Clone, Copy)]
struct Assigned {
    /// Where the value begins.
    at: usize,
    quoting: Quoting,
    /// As machines write it: `key=value`, or key and value in quotes.
    exactly: bool,
}

impl Keyword {
    /// Looks at the gram at `gram`.
    pub(crate) fn verify(&self, view: View<'_>, gram: usize) -> Verdict {
        let before = view.before(gram);
        let (head, rest) = self.word.as_bytes().split_at(self.gram);
        let Some(split) = before.len().checked_sub(head.len()) else { return Ok(None) };
        if !before[split..].eq_ignore_ascii_case(head) || !self.may_follow(&before[..split]) {
            return Ok(None);
        }
        let start = gram - head.len();
        for (at, &letter) in rest.iter().enumerate() {
            if !view.get(gram + at, usize::MAX)?.is_some_and(|byte| byte.eq_ignore_ascii_case(&letter)) {
                return Ok(None);
            }
        }
        let Some(assigned) = assigned(view, start, gram + rest.len())? else { return Ok(None) };
        self.value(view, assigned)
    }

    fn may_follow(&self, before: &[u8]) -> bool {
        let apart = match before {
            [start @ .., b'_' | b'-' | b' ' | b'.'] => start,
            all => all,
        };
        let ends_in = |before: &[u8], word: &str| {
            let at = before.len().checked_sub(word.len());
            at.is_some_and(|at| before[at..].eq_ignore_ascii_case(word.as_bytes()))
        };
        let any_of = |words: &[&str]| words.iter().any(|word| ends_in(apart, word) || ends_in(before, word));
        match self.word {
            "token" => !any_of(CURSORS),
            _ => self.after.is_empty() || any_of(self.after),
        }
    }

    fn value(&self, view: View<'_>, assigned: Assigned) -> Verdict {
        let start = assigned.at;
        let view = view.up_to(start + VALUE_LIMIT + LONGEST_UNIT);
        let mut quoting = assigned.quoting;
        let mut run = quoting.run(view, start);
        // `${NAME}`, `<name>`
        if quoting == Quoting::None && opens_bracket(view, start, run.end)? {
            if is_bracketed(view, start)? {
                return Ok(None);
            }
            quoting = Quoting::Bracket;
            run = quoting.run(view, start);
        }
        let value = &view.bytes[start..run.end];
        if run.open && value.len() <= VALUE_LIMIT {
            return Err(Hold(start));
        }
        let looks_secret = || looks_random(value) || looks_chosen(value);
        // A call (`password = read(…)`) is not its value.
        let called = || quoting == Quoting::None && view.bytes.get(run.end) == Some(&b'(') && !looks_secret();
        let secret = match self.kind {
            _ if value.len() > VALUE_LIMIT => true,
            _ if is_stand_in(value, view.may_go_on(run.end)) || called() => false,
            Kind::Password if assigned.exactly => value.len() >= 4 && !is_path(value),
            Kind::Password => looks_chosen(value) && !is_path(value),
            Kind::Secret => looks_random(value),
        };
        Ok(secret.then_some(Secret { start, end: run.end, tail: Tail::Value(quoting) }))
    }
}

/// Whether a value without quotes that would end at `end` begins with a bracket there.
fn opens_bracket(view: View<'_>, start: usize, end: usize) -> Result<bool, Hold> {
    let brackets: &[u8] = match &view.bytes[start..end] {
        b"" => b"{[<",
        b"$" => b"{(",
        b"%" => b"(",
        _ => return Ok(false),
    };
    Ok(unit(view, end, start)?.is_some_and(|next| brackets.contains(&next.meaning)))
}

/// Reads what follows a key that begins at `key` with its last word ending at `at`: `=`, `:`, `":"` and the like.
fn assigned(view: View<'_>, key: usize, mut at: usize) -> Result<Option<Assigned>, Hold> {
    // Nothing of this is secret.
    let hold = usize::MAX;
    // `PASSWORD_1`, `token2`
    if view.get(at, hold)? == Some(b'_') && view.get(at + 1, hold)?.is_some_and(|byte| byte.is_ascii_digit())
    {
        at += 1;
    }
    let digits = at;
    while at - digits < 4 && view.get(at, hold)?.is_some_and(|byte| byte.is_ascii_digit()) {
        at += 1;
    }
    let mut quoted_key = false;
    if let Some(quote) = unit(view, at, hold)?.filter(|unit| matches!(unit.meaning, b'"' | b'\'')) {
        quoted_key = true;
        at += quote.length;
    }
    let after_key = at;
    at = view.after_spaces(at)?;
    let spaced = at > after_key;
    let sign = match view.get(at, hold)? {
        Some(sign @ (b'=' | b':')) => {
            at += 1;
            // `:=`, `=>`, `==`
            if matches!(view.get(at, hold)?, Some(b'=' | b'>')) {
                at += 1;
            }
            Some(sign)
        }
        // A flag's value: `--password x`
        _ if spaced && !quoted_key && is_flag(view.before(key)) => None,
        _ => return Ok(None),
    };
    let after_sign = at;
    at = view.after_spaces(at)?;
    let glued = !spaced && at == after_sign;
    let quote = unit(view, at, at)?.filter(|unit| matches!(unit.meaning, b'"' | b'\'' | b'`'));
    let quoting = quote.map_or(Quoting::None, |unit| Quoting::Quote(unit.meaning));
    at += quote.map_or(0, |unit| unit.length);
    let exactly =
        if quote.is_some() { quoted_key || sign == Some(b'=') } else { glued && sign == Some(b'=') };
    Ok(Some(Assigned { at, quoting, exactly }))
}

/// Whether what stands before the last word of a key makes it a flag: `--db-`.
fn is_flag(before: &[u8]) -> bool {
    let name = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    before[before.len() - name..].starts_with(b"--")
}
