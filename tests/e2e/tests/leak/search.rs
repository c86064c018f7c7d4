//! The search for planted values: whole or in pieces, in each form that bytes take on their way, all at once.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::values::Planted;

/// A value up to this long is searched for by all its pieces of [`PIECE`] bytes, a longer one by those that part it into
/// [`LONG_PIECE`] bytes each.
const SHORT: usize = 64;
const PIECE: usize = 12;
const LONG_PIECE: usize = 16;

/// Characters of base64 that [`PIECE`] bytes determine, wherever they begin.
const BASE64_PIECE: usize = 15;

/// No needle is shorter.
const START: usize = 8;
/// Of the table of starts, as a power of two.
const BITS: u32 = 23;

/// How a piece is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// As it is.
    Raw,
    /// Its bytes from the last to the first.
    Reversed,
    /// In base64, of either alphabet, wherever in a longer text it begins.
    Base64,
    /// In hexadecimal digits.
    Hex,
    /// With the escapes of JSON, as Go or as others write them.
    Json,
}

/// A piece of a value that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hit {
    /// The value's number.
    pub(crate) value: usize,
    /// How the piece is spelled there.
    pub(crate) form: Form,
    /// Where it is.
    pub(crate) at: usize,
}

/// Finds planted values in bytes. The needles are known by how they begin: an automaton of so many would be larger than
/// any cache.
pub(crate) struct Searcher {
    needles: Vec<(Vec<u8>, usize, Form)>,
    /// By their first [`START`] bytes.
    by_start: HashMap<u64, Vec<usize>>,
    /// A bit for each start, to tell most places apart at once.
    starts: Vec<u64>,
}

impl Searcher {
    /// A search for `values`.
    pub(crate) fn new(values: &[Planted]) -> Self {
        let mut searcher =
            Self { needles: Vec::new(), by_start: HashMap::new(), starts: vec![0; 1 << (BITS - 6)] };
        for (number, planted) in values.iter().enumerate() {
            for range in &planted.secret {
                for (form, needle) in needles(&planted.value[range.clone()]) {
                    searcher.add(needle, number, form);
                }
            }
        }
        searcher
    }

    /// How many spellings of pieces are searched for.
    pub(crate) fn len(&self) -> usize {
        self.needles.len()
    }

    /// The first hit of each value.
    pub(crate) fn look(&self, bytes: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut known: HashSet<usize> = HashSet::new();
        for (at, start) in bytes.windows(START).enumerate() {
            let start = start_of(start);
            let (word, bit) = bit_of(start);
            if self.starts[word] & bit == 0 {
                continue;
            }
            for (needle, value, form) in
                self.by_start.get(&start).into_iter().flatten().map(|at| &self.needles[*at])
            {
                if !known.contains(value) && bytes[at..].starts_with(needle) {
                    known.insert(*value);
                    hits.push(Hit { value: *value, form: *form, at });
                }
            }
        }
        hits
    }

    fn add(&mut self, needle: Vec<u8>, value: usize, form: Form) {
        let start = start_of(&needle[..START]);
        let (word, bit) = bit_of(start);
        self.starts[word] |= bit;
        let alike = self.by_start.entry(start).or_default();
        if !alike.iter().any(|at| self.needles[*at].0 == needle) {
            alike.push(self.needles.len());
            self.needles.push((needle, value, form));
        }
    }
}

fn start_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("as many bytes as a start has"))
}

fn bit_of(start: u64) -> (usize, u64) {
    let hash = start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS);
    ((hash >> 6) as usize, 1 << (hash & 63))
}

/// All that a secret is searched for by.
fn needles(secret: &[u8]) -> Vec<(Form, Vec<u8>)> {
    let mut needles = Vec::new();
    for piece in pieces(secret) {
        needles.push((Form::Raw, piece.to_vec()));
        needles.push((Form::Reversed, piece.iter().rev().copied().collect()));
        let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        needles.push((Form::Hex, hex.to_ascii_uppercase().into_bytes()));
        needles.push((Form::Hex, hex.into_bytes()));
    }
    if secret.len() <= SHORT {
        base64(secret, |text| {
            needles.extend(windows(text, BASE64_PIECE).map(|part| (Form::Base64, part.to_vec())));
        });
    } else {
        for piece in pieces(secret) {
            base64(piece, |text| needles.push((Form::Base64, text.to_vec())));
        }
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        for escaped in [json(text), go_json(text)] {
            let spelled = |part: &&[u8]| part.contains(&b'\\');
            let parts = windows(escaped.as_bytes(), PIECE).filter(spelled);
            needles.extend(parts.map(|part| (Form::Json, part.to_vec())));
        }
    }
    needles
}

fn pieces(secret: &[u8]) -> Vec<&[u8]> {
    if secret.len() <= SHORT {
        return windows(secret, PIECE).collect();
    }
    let last = &secret[secret.len() - LONG_PIECE..];
    secret.chunks_exact(LONG_PIECE).chain([last]).collect()
}

/// Every part of `length`, or the whole if it is shorter.
fn windows(bytes: &[u8], length: usize) -> impl Iterator<Item = &[u8]> {
    bytes.windows(length.min(bytes.len()).max(1))
}

/// The characters that `bytes` determine in base64 in which they begin at any of three places, in both alphabets.
fn base64(bytes: &[u8], mut give: impl FnMut(&[u8])) {
    for before in 0..3 {
        let text = STANDARD_NO_PAD.encode([&[0; 2][..before], bytes].concat());
        let (first, end) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
        let text = &text[first..end];
        give(text.as_bytes());
        if text.contains(['+', '/']) {
            give(text.replace('+', "-").replace('/', "_").as_bytes());
        }
    }
}

fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Go escapes what HTML would take for its own.
fn go_json(text: &str) -> String {
    json(text).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "one part of several")]

    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;
    use crate::values::Place;

    const SECRETS: [&[u8]; 4] = [
        b"hunter2x",
        b"correct \"horse\" & battery\\staple",
        &[0xfb, 0xff, 0xfe, 0x3e, 0x80, 1, 2, 0xf7, 9, 0xef, 0xbe, 0xfa, 7],
        &[b'~'; 0],
    ];

    fn searcher() -> Searcher {
        let long: Vec<u8> = (0..1000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        let secrets = [SECRETS[0], SECRETS[1], SECRETS[2], &long];
        Searcher::new(&secrets.map(|value| Planted {
            place: Place::SecretData,
            shape: "test",
            value: value.to_vec(),
            secret: vec![0..value.len()],
        }))
    }

    fn found(searcher: &Searcher, bytes: &[u8]) -> Vec<(usize, Form)> {
        searcher.look(bytes).into_iter().map(|hit| (hit.value, hit.form)).collect()
    }

    #[test]
    fn each_form_is_found() {
        let searcher = searcher();
        for (number, secret) in SECRETS[..3].iter().enumerate() {
            let mut reversed = secret.to_vec();
            reversed.reverse();
            let hex: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
            assert_eq!(found(&searcher, secret), [(number, Form::Raw)]);
            assert_eq!(found(&searcher, &reversed), [(number, Form::Reversed)]);
            assert_eq!(found(&searcher, hex.as_bytes()), [(number, Form::Hex)]);
            for before in 0..4 {
                let inside = [&b"{{{{"[..before], secret, b"}}"].concat();
                for text in [STANDARD.encode(&inside), URL_SAFE.encode(&inside)] {
                    assert_eq!(found(&searcher, text.as_bytes()), [(number, Form::Base64)], "{before}");
                }
            }
        }
    }

    #[test]
    fn escapes_are_known() {
        let escaped = br#"\"horse\" \u0026 bat"#;
        assert_eq!(found(&searcher(), escaped), [(1, Form::Json)]);
        assert_eq!(found(&searcher(), br#"rse\" & ba"#), []);
    }

    #[test]
    fn a_piece_is_enough() {
        let searcher = searcher();
        let middle = &SECRETS[1][9..21];
        assert_eq!(found(&searcher, middle), [(1, Form::Raw)]);
        assert_eq!(
            found(&searcher, STANDARD.encode([b"x", middle, b"yz"].concat()).as_bytes()),
            [(1, Form::Base64)]
        );
        assert_eq!(found(&searcher, &middle[..11]), []);
        let long: Vec<u8> = (0..1000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        assert_eq!(found(&searcher, &long[700..731]), [(3, Form::Raw)]);
        assert_eq!(found(&searcher, STANDARD.encode(&long[701..760]).as_bytes()), [(3, Form::Base64)]);
    }

    #[test]
    fn nothing_else_is_found() {
        let noise: Vec<u8> =
            (0..200_000_u32).map(|at| (at.wrapping_mul(2_246_822_519) >> 15) as u8).collect();
        assert_eq!(found(&searcher(), &noise), []);
        assert_eq!(found(&searcher(), STANDARD.encode(&noise).as_bytes()), []);
    }
}
