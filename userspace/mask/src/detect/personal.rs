//! Personal data, by check digits: opt-in, for much that is no secret looks like it.

use super::Personal;
use super::alphabet::{ALNUM, Alphabet};
use super::view::{Hold, Secret, Verdict, View};

const LOCAL: Alphabet = Alphabet::of(b"A-Za-z0-9._%+-");
const DOMAIN: Alphabet = Alphabet::of(b"A-Za-z0-9.-");
const GROUPED: Alphabet = Alphabet::of(b"A-Z0-9 ");
const DIGITS: Alphabet = Alphabet::of(b"0-9 -");
/// RFC 5321, section 4.5.3.1; a longer word is none.
const LOCAL_LIMIT: usize = 64;
const DOMAIN_LIMIT: usize = 255;

/// Where a word begins that may be personal data, from `from` on. One that may go on counts.
pub(crate) fn find(wanted: &[Personal], view: View<'_>, from: usize) -> Option<usize> {
    let mut start = from;
    if view.before(from).last().is_some_and(|byte| LOCAL.contains(*byte)) {
        start = view.run(from, LOCAL).end;
    }
    let (address, account) = (wanted.contains(&Personal::Email), wanted.contains(&Personal::Iban));
    while start < view.bytes.len() {
        let run = view.run(start, LOCAL);
        let word = &view.bytes[start..run.end];
        let candidate = match word {
            [] => false,
            _ if run.open => true,
            [b'0'..=b'9', ..] => true,
            [b'A'..=b'Z', b'A'..=b'Z', ..] if account => true,
            _ => address && view.bytes.get(run.end) == Some(&b'@'),
        };
        if candidate {
            return Some(start);
        }
        start = run.end.max(start + 1);
    }
    None
}

pub(crate) fn verify(wanted: &[Personal], view: View<'_>, start: usize) -> Verdict {
    for kind in wanted {
        let found = match kind {
            Personal::Card => card(view, start)?,
            Personal::Iban => iban(view, start)?,
            Personal::Ssn => ssn(view, start)?,
            Personal::Email => email(view, start)?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// 13 to 19 digits, alone or in groups, of an issuer that there is.
fn card(view: View<'_>, start: usize) -> Verdict {
    const MOST: usize = 19 + 18;
    let (mut digits, mut groups, mut at) = (Vec::with_capacity(19), Vec::new(), start);
    while at - start <= MOST {
        match view.get(at, start)? {
            Some(digit @ b'0'..=b'9') => digits.push(digit - b'0'),
            // One separator between digits.
            Some(b' ' | b'-') if at > start && view.bytes[at - 1].is_ascii_digit() => {
                groups.push((at, digits.len()));
            }
            Some(byte) if ALNUM.contains(byte) => break,
            _ => {
                groups.push((at, digits.len()));
                break;
            }
        }
        at += 1;
    }
    // Other numbers may follow: the longest part that checks.
    let number = groups.into_iter().rev().find(|(_, length)| {
        let digits = &digits[..*length];
        (13..=19).contains(length) && matches!(digits, [2..=6, ..]) && luhn(digits)
    });
    Ok(number.and_then(|(end, _)| Secret::whole(start, end)))
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| {
            let digit = u32::from(digit) << (place % 2);
            digit / 10 + digit % 10
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != digits[0])
}

/// Two letters, two check digits and 11 to 30 letters and digits, alone or in groups of four.
fn iban(view: View<'_>, start: usize) -> Verdict {
    const MOST: usize = 34 + 8;
    for (at, is) in [u8::is_ascii_uppercase, u8::is_ascii_uppercase, u8::is_ascii_digit, u8::is_ascii_digit]
        .iter()
        .enumerate()
    {
        if !view.get(start + at, start)?.is_some_and(|byte| is(&byte)) {
            return Ok(None);
        }
    }
    let run = view.run_up_to(start, GROUPED, MOST + 1);
    if run.open && run.end - start <= MOST {
        return Err(Hold(start));
    }
    // Words in capitals may follow: the longest part that checks.
    let text = &view.bytes[start..run.end.min(start + MOST)];
    let ends = (15..=text.len()).rev().filter(|&end| {
        text[end - 1] != b' '
            && !text.get(end).or(view.bytes.get(start + end)).is_some_and(|byte| ALNUM.contains(*byte))
    });
    for end in ends {
        let letters: Vec<u8> = text[..end].iter().copied().filter(|byte| *byte != b' ').collect();
        if (15..=34).contains(&letters.len()) && mod_97(&letters) == 1 {
            return Ok(Secret::whole(start, start + end));
        }
    }
    Ok(None)
}

fn mod_97(letters: &[u8]) -> u32 {
    let moved = letters[4..].iter().chain(&letters[..4]);
    moved.fold(0, |rest, &letter| match letter {
        b'0'..=b'9' => (rest * 10 + u32::from(letter - b'0')) % 97,
        _ => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    })
}

/// `123-45-6789`
fn ssn(view: View<'_>, start: usize) -> Verdict {
    const LENGTH: usize = 11;
    for at in 0..LENGTH {
        let byte = view.get(start + at, start)?;
        let fits = if at == 3 || at == 6 {
            byte == Some(b'-')
        } else {
            byte.is_some_and(|byte| byte.is_ascii_digit())
        };
        if !fits {
            return Ok(None);
        }
    }
    let more = view
        .get(start + LENGTH, start)?
        .is_some_and(|byte| DIGITS.contains(byte) && byte != b' ' || ALNUM.contains(byte));
    let text = &view.bytes[start..start + LENGTH];
    let given_out = &text[..3] != b"000"
        && &text[..3] != b"666"
        && text[0] != b'9'
        && &text[4..6] != b"00"
        && &text[7..] != b"0000";
    Ok((given_out && !more).then(|| Secret::whole(start, start + LENGTH)).flatten())
}

fn email(view: View<'_>, start: usize) -> Verdict {
    let local = view.run_up_to(start, LOCAL, LOCAL_LIMIT + 1);
    if local.end - start > LOCAL_LIMIT || (!local.open && view.bytes.get(local.end) != Some(&b'@')) {
        return Ok(None);
    }
    if local.open {
        return Err(Hold(start));
    }
    let run = view.run_up_to(local.end + 1, DOMAIN, DOMAIN_LIMIT + 1);
    if run.open && run.end - local.end <= DOMAIN_LIMIT {
        return Err(Hold(start));
    }
    let domain = &view.bytes[local.end + 1..run.end];
    // The full stop of a sentence is none of it.
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let top = domain.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let named = domain.len() <= DOMAIN_LIMIT
        && top.len() >= 2
        && top.len() < domain.len()
        && top.iter().all(u8::is_ascii_alphabetic)
        && !domain.starts_with(b".");
    Ok(named.then(|| Secret::whole(start, local.end + 1 + domain.len())).flatten())
}
