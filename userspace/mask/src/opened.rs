//! Strings that hold documents: opened, masked inside and closed again. What cannot be opened is replaced whole.

use std::str;
use std::sync::Arc;

use crate::base64_text::Base64Text;
use crate::helm::{self, mask_release};
use crate::placeholder::{Form, How, Mask, Placeholder, encode};
use crate::quotes::mask_quotes;
use crate::rules::Action;
use crate::{JsonMasker, MaskError, Rules};

/// A text is opened up to this length, past it it is replaced whole. The API server takes no more for
/// all annotations of an object together (`TotalAnnotationSizeLimitB`).
const LIMIT: usize = 256 * 1024;

/// A string inside a document inside a string … is opened this deep, past it strings are replaced whole.
pub(crate) const DEPTH: u8 = 3;

/// What is inside is masked in pieces of this size.
const PIECE: usize = 4096;

/// A string on its way: all of it or, when it is too long, its placeholder only.
pub(crate) struct Opened {
    inside: Inside,
    text: Vec<u8>,
    too_long: bool,
    /// How the string is read for its placeholder, if it is base64.
    base64: Option<Base64Text>,
}

/// What is in a string that is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Json,
    Helm,
    Quotes,
}

/// How text is spelled where it stands: with escapes in JSON, as it is elsewhere.
pub(crate) type Spelling = fn(&[u8], &mut Vec<u8>);

impl Opened {
    /// For a string that is to be opened, and is replaced by `placeholder` if it cannot be.
    pub(crate) fn new(action: Action, placeholder: &mut Placeholder) -> Option<Self> {
        let (inside, base64) = match action {
            Action::Json => (Inside::Json, false),
            Action::Quotes => (Inside::Quotes, false),
            Action::Helm(Mask { form, how }) => {
                placeholder.begin(how);
                (Inside::Helm, form == Form::Base64)
            }
            _ => return None,
        };
        Some(Self {
            inside,
            text: Vec::with_capacity(PIECE),
            too_long: false,
            base64: base64.then(Base64Text::default),
        })
    }

    /// Takes the next piece of the string.
    pub(crate) fn push(&mut self, piece: &[u8], placeholder: &mut Placeholder) {
        let limit = if self.inside == Inside::Helm { helm::LIMIT } else { LIMIT };
        if !self.too_long && self.text.len() + piece.len() <= limit {
            return self.text.extend_from_slice(piece);
        }
        let text = std::mem::take(&mut self.text);
        self.replace(&text, placeholder);
        self.replace(piece, placeholder);
        self.too_long = true;
    }

    /// Ends the string, which is `depth` documents deep inside of others: appends what stands for it to `out`.
    pub(crate) fn finish(
        mut self,
        rules: &Arc<Rules>,
        depth: u8,
        placeholder: &mut Placeholder,
        spell: Spelling,
        out: &mut Vec<u8>,
    ) {
        if !self.too_long {
            let start = out.len();
            if self.text.is_empty() || self.opened(rules, depth, placeholder, spell, out) {
                // It needed none; the next value has a mask of its own.
                return placeholder.begin(How::Digest);
            }
            out.truncate(start);
            let text = std::mem::take(&mut self.text);
            self.replace(&text, placeholder);
        }
        let mut plain = Vec::new();
        if let Some(text) = &self.base64 {
            text.finish(placeholder);
            placeholder.write(&mut plain);
            return encode(&plain, out);
        }
        placeholder.write(&mut plain);
        spell(&plain, out);
    }

    /// Whether the string could be opened, and `out` has what is in it now.
    fn opened(
        &self,
        rules: &Arc<Rules>,
        depth: u8,
        placeholder: &mut Placeholder,
        spell: Spelling,
        out: &mut Vec<u8>,
    ) -> bool {
        match (self.inside, str::from_utf8(&self.text)) {
            (_, Err(_)) => false,
            (Inside::Quotes, Ok(message)) => {
                let mut masked = Vec::new();
                mask_quotes(message.as_bytes(), placeholder, &mut masked);
                spell(&masked, out);
                true
            }
            _ if depth >= DEPTH => false,
            (Inside::Json, Ok(text)) => {
                json(text, rules, depth + 1, placeholder, spell, out).is_ok_and(|is_object| is_object)
            }
            (Inside::Helm, Ok(text)) => rules.release().is_some_and(|rules| {
                mask_release(text.as_bytes(), rules, placeholder, depth + 1, out).is_ok()
            }),
        }
    }

    fn replace(&mut self, text: &[u8], placeholder: &mut Placeholder) {
        match &mut self.base64 {
            Some(base64) => base64.push(text, placeholder),
            None => placeholder.update(text),
        }
    }
}

/// Whether the text is one JSON object; then `out` has it as it is masked.
fn json(
    mut text: &str,
    rules: &Arc<Rules>,
    depth: u8,
    placeholder: &Placeholder,
    spell: Spelling,
    out: &mut Vec<u8>,
) -> Result<bool, MaskError> {
    if !text.trim_ascii_start().starts_with('{') {
        return Ok(false);
    }
    let mut masker = JsonMasker::inside(Arc::clone(rules), placeholder.clone(), depth);
    let mut masked = Vec::with_capacity(PIECE);
    while !text.is_empty() {
        // Cut between characters, so is the output.
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE));
        masker.push(piece.as_bytes(), &mut masked)?;
        spell(&masked, out);
        masked.clear();
        text = rest;
    }
    masker.finish(&mut masked)?;
    Ok(masker.documents() == 1)
}
