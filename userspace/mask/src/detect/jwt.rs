//! JSON Web Tokens (RFC 7519), signed or encrypted: known by a header that decodes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::alphabet::{Alphabet, BASE64_URL};
use super::view::{Hold, Secret, Tail, Verdict, View};

/// `{"` begins every header that is spelled without space.
pub(crate) const START: [u8; 3] = *b"eyJ";
const PARTS: Alphabet = Alphabet::of(b"A-Za-z0-9_.-");
/// Bytes of a header that are looked at, in whole quanta; one with a certificate in it is longer.
const HEADER_LIMIT: usize = 2048;
/// Bytes after the header.
const LEAST_REST: usize = 9;

/// Members of a header: the one that each has, and those that make one long (RFC 7515, 4.1).
const LONG: [&[u8]; 3] = [b"\"alg\"", b"\"x5c\"", b"\"jwk\""];

pub(crate) fn verify(view: View<'_>, start: usize) -> Verdict {
    if !view.bytes[start..].starts_with(&START) || view.inside_word(start) {
        return Ok(None);
    }
    let header = view.run_up_to(start, BASE64_URL, HEADER_LIMIT + 1);
    if header.end - start > HEADER_LIMIT {
        let end = start + HEADER_LIMIT;
        let is_header = URL_SAFE_NO_PAD.decode(&view.bytes[start..end]).is_ok_and(|text| names(&text, &LONG));
        return Ok(is_header.then_some(Secret { start, end, tail: Tail::Run(PARTS) }));
    }
    if header.open {
        return Err(Hold(start));
    }
    let rest = view.run_up_to(header.end, PARTS, LEAST_REST);
    let is_short = rest.end - header.end < LEAST_REST;
    if view.bytes.get(header.end) != Some(&b'.') || (is_short && !rest.open) {
        return Ok(None);
    }
    if is_short {
        return Err(Hold(start));
    }
    let is_header = URL_SAFE_NO_PAD.decode(&view.bytes[start..header.end]).is_ok_and(|header| {
        let text = header.trim_ascii();
        text.ends_with(b"}") && names(text, &LONG[..1])
    });
    Ok(is_header.then_some(Secret { start, end: rest.end, tail: Tail::Run(PARTS) }))
}

fn names(header: &[u8], members: &[&[u8]]) -> bool {
    header.starts_with(b"{") && header.windows(5).any(|name| members.contains(&name))
}
