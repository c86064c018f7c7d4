//! What follows `Bearer` and `Basic` (RFC 6750, RFC 7617).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::alphabet::Alphabet;
use super::value::looks_random;
use super::view::{Hold, Secret, Tail, Verdict, View};

/// RFC 6750, section 2.1.
const TOKEN68: Alphabet = Alphabet::of(b"A-Za-z0-9._~+/=-");
const LEAST: usize = 8;
const LIMIT: usize = 1024;

/// Padded or not.
const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A scheme of authorization.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scheme {
    Bearer,
    Basic,
}

impl Scheme {
    /// Its name, in two parts: the second begins with the gram that it is found by.
    pub(crate) const fn name(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Bearer => (b"bea", b"rer"),
            Self::Basic => (b"ba", b"sic"),
        }
    }

    /// Looks at the gram at `gram`.
    pub(crate) fn verify(self, view: View<'_>, gram: usize) -> Verdict {
        let (head, rest) = self.name();
        let Some(start) = gram.checked_sub(head.len()) else { return Ok(None) };
        let name = |at, part: &[u8]| {
            view.bytes[at..].get(..part.len()).is_some_and(|is| is.eq_ignore_ascii_case(part))
        };
        if !name(start, head) || !name(gram, rest) || view.inside_word(start) {
            return Ok(None);
        }
        let space = gram + rest.len();
        let from = view.after_spaces(space)?;
        if from == space {
            return Ok(None);
        }
        let run = view.run(from, TOKEN68);
        let token = &view.bytes[from..run.end];
        if run.open && token.len() < LIMIT {
            return Err(Hold(from));
        }
        let secret = token.len() >= LEAST
            && match self {
                Self::Bearer => token.len() >= LIMIT || looks_random(token),
                Self::Basic => is_user_and_password(token),
            };
        Ok(secret.then_some(Secret { start: from, end: run.end, tail: Tail::Run(TOKEN68) }))
    }
}

fn is_user_and_password(token: &[u8]) -> bool {
    // Of a long one the start is enough.
    let start = &token[..token.len().min(LIMIT / 4 * 4)];
    STANDARD.decode(start).is_ok_and(|text| text.contains(&b':') && text.iter().all(|byte| *byte >= b' '))
}
