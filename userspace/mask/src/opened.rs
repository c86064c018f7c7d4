//! Strings that hold documents: opened, masked inside and closed again. What cannot be opened is replaced whole.

use std::str;
use std::sync::Arc;

use crate::json::is_json_object;
use crate::placeholder::Placeholder;
use crate::{JsonMasker, MaskError, Rules};

/// A string is opened up to this length, past it it is replaced whole. The API server takes no more for
/// all annotations of an object together (`TotalAnnotationSizeLimitB`).
const LIMIT: usize = 256 * 1024;

/// A string inside a document inside a string … is opened this deep, past it strings are replaced whole.
const DEPTH: u8 = 3;

/// What is inside is masked in pieces of this size.
const PIECE: usize = 4096;

/// What is in a string that is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    /// A JSON object.
    Json,
}

/// A string on its way: all of it or, when it is too long, its placeholder only.
pub(crate) struct Opened {
    inside: Inside,
    text: Vec<u8>,
    too_long: bool,
}

/// How text is spelled where it stands: with escapes in JSON, as it is elsewhere.
pub(crate) type Spelling = fn(&[u8], &mut Vec<u8>);

impl Opened {
    pub(crate) fn new(inside: Inside) -> Self {
        Self { inside, text: Vec::new(), too_long: false }
    }

    /// Takes the next piece of the string.
    pub(crate) fn push(&mut self, piece: &[u8], placeholder: &mut Placeholder) {
        if !self.too_long && self.text.len() + piece.len() <= LIMIT {
            return self.text.extend_from_slice(piece);
        }
        placeholder.update(&std::mem::take(&mut self.text));
        placeholder.update(piece);
        self.too_long = true;
    }

    /// Ends the string, which is `depth` documents deep inside of others: appends what stands for it to `out`.
    pub(crate) fn finish(
        self,
        rules: &Arc<Rules>,
        depth: u8,
        placeholder: &mut Placeholder,
        spell: Spelling,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        if !self.too_long {
            let masked = match (str::from_utf8(&self.text), self.inside) {
                (Ok(""), _) => true,
                (Ok(text), Inside::Json) => {
                    depth < DEPTH
                        && is_json_object(text)
                        && json(text, rules, depth + 1, placeholder, spell, out).is_ok()
                }
                (Err(_), _) => false,
            };
            if masked {
                return;
            }
            out.truncate(start);
            placeholder.update(&self.text);
        }
        let mut plain = Vec::new();
        placeholder.write(&mut plain);
        spell(&plain, out);
    }
}

fn json(
    mut text: &str,
    rules: &Arc<Rules>,
    depth: u8,
    placeholder: &Placeholder,
    spell: Spelling,
    out: &mut Vec<u8>,
) -> Result<(), MaskError> {
    let mut masker = JsonMasker::inside(Arc::clone(rules), placeholder.clone(), depth);
    let mut masked = Vec::new();
    while !text.is_empty() {
        // Cut between characters, so is the output.
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE));
        masker.push(piece.as_bytes(), &mut masked)?;
        spell(&masked, out);
        masked.clear();
        text = rest;
    }
    masker.finish(&mut masked)
}
