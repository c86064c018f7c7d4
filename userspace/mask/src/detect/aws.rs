//! Secret keys of AWS: forty characters of base64 that nothing marks but the id of an access key before them.

use super::alphabet::Alphabet;
use super::view::{Hold, Secret, Verdict, View};

/// How far after an id its key is looked for.
pub(crate) const REACH: usize = 256;
const LENGTH: usize = 40;
const KEY: Alphabet = Alphabet::of(b"A-Za-z0-9+/");

/// Where a run of the alphabet begins, from `from` on and before `until`.
pub(crate) fn find(view: View<'_>, from: usize, until: usize) -> Option<usize> {
    let until = until.min(view.bytes.len());
    (from..until).find(|&at| {
        KEY.contains(view.bytes[at]) && !view.before(at).last().is_some_and(|before| KEY.contains(*before))
    })
}

pub(crate) fn verify(view: View<'_>, start: usize) -> Verdict {
    // `\n` of JSON in a log ends in a letter of the alphabet.
    let start = match (view.before(start).last(), view.bytes.get(start)) {
        (Some(b'\\'), Some(b'n' | b'r' | b't')) => start + 1,
        _ => start,
    };
    let run = view.run(start, KEY);
    let length = run.end - start;
    if run.open && length <= LENGTH {
        return Err(Hold(start));
    }
    let key = &view.bytes[start..run.end];
    let mixed = key.iter().any(u8::is_ascii_uppercase) && key.iter().any(u8::is_ascii_lowercase);
    Ok((length == LENGTH && mixed).then(|| Secret::whole(start, run.end)).flatten())
}
