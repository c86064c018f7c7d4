//! The JSON masker: copies what passes, replaces what does not.

use std::str;
use std::sync::Arc;

use super::escape::escape;
use super::reader::{Container, Reader, Scalar, Visitor};
use crate::base64_text::Base64Text;
use crate::placeholder::{Digest, Form};
use crate::rules::{Action, NodeId, ROOT};
use crate::{MaskError, MaskKey, Rules};

/// JSON inside a string is read up to this length, past it the string is masked whole. The API server takes no more for
/// all annotations of an object together (`TotalAnnotationSizeLimitB`).
const EMBEDDED_LIMIT: usize = 256 * 1024;

/// JSON inside a string inside JSON inside a string … is read this deep, past it strings are masked whole.
const EMBEDDED_DEPTH: u8 = 3;

/// Embedded JSON is masked in pieces of this size.
const EMBEDDED_PIECE: usize = 4096;

/// The longest key that any rule names fits with room to spare; a longer one is none of them.
const KEY_LIMIT: usize = 64;

/// Masks JSON as it streams by: one document or several (a watch), in chunks cut anywhere. Byte for byte the same
/// outside of masked values. Takes strict JSON only (RFC 8259) and needs constant memory, whatever the size of the
/// documents and of the values in them.
pub struct JsonMasker {
    reader: Reader,
    masking: Masking,
    /// The body ended, or it was not JSON.
    over: bool,
}

impl JsonMasker {
    /// A masker for one body.
    pub fn new(rules: Arc<Rules>, key: &MaskKey) -> Self {
        Self::embedded(rules, Digest::new(key), 0)
    }

    /// Takes the next chunk and appends what can be given of it to `out`: everything up to the value that is being
    /// masked, if the chunk ends inside one.
    ///
    /// # Errors
    /// [`MaskError::Json`] where the input stops being JSON. Nothing of this chunk from the fault on, and nothing after
    /// it, is ever given: cut the stream.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.guarded(|reader, masking| {
            let mut pass = Pass::new(masking, chunk, out);
            reader.read(chunk, &mut pass)?;
            pass.end_chunk();
            Ok(())
        })
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`MaskError::Json`] when it ends inside a document.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.guarded(|reader, masking| reader.finish(&mut Pass::new(masking, &[], out)))?;
        self.over = true;
        Ok(())
    }

    fn embedded(rules: Arc<Rules>, digest: Digest, depth: u8) -> Self {
        let masking = Masking {
            rules,
            digest,
            depth,
            places: Vec::new(),
            next: Action::Enter(ROOT),
            passed_over: 0,
            key: Key::default(),
            held: None,
        };
        Self { reader: Reader::new(), masking, over: false }
    }

    fn guarded(
        &mut self,
        step: impl FnOnce(&mut Reader, &mut Masking) -> Result<(), MaskError>,
    ) -> Result<(), MaskError> {
        if self.over {
            return Err(MaskError::Over);
        }
        let outcome = step(&mut self.reader, &mut self.masking);
        self.over = outcome.is_err();
        outcome
    }
}

/// Where the masker stands, between chunks as well.
struct Masking {
    rules: Arc<Rules>,
    /// Of the value that is held back.
    digest: Digest,
    /// How many strings this JSON is inside of.
    depth: u8,
    /// The places of the open objects and arrays, as far as rules look into them.
    places: Vec<NodeId>,
    /// What becomes of the next value.
    next: Action,
    /// Open objects and arrays that rules do not look into: of what passes, or of what is held back.
    passed_over: u32,
    key: Key,
    /// The value that is held back.
    held: Option<Held>,
}

/// A value that is held back until it ended: never its bytes, save for JSON in a string, which is masked in its turn.
enum Held {
    Text {
        form: Form,
        empty: bool,
    },
    Base64 {
        text: Base64Text,
        empty: bool,
    },
    Json(Embedded),
    /// Not a string. Its digest is over the JSON as it came.
    Raw {
        form: Form,
    },
}

/// JSON in a string: all of it or, when it is too long, its digest only.
enum Embedded {
    Whole(Vec<u8>),
    TooLong,
}

/// A key, if it is not too long to be one that rules name.
struct Key {
    bytes: [u8; KEY_LIMIT],
    length: usize,
}

/// A chunk on its way through.
struct Pass<'a> {
    masking: &'a mut Masking,
    chunk: &'a [u8],
    out: &'a mut Vec<u8>,
    /// Where in the chunk that begins which was neither given nor digested yet.
    from: usize,
}

impl<'a> Pass<'a> {
    fn new(masking: &'a mut Masking, chunk: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        Self { masking, chunk, out, from: 0 }
    }

    /// Accounts for the chunk up to `at`: given, digested, or dropped because it went through [`Visitor::text`].
    fn settle(&mut self, at: usize) {
        let bytes = &self.chunk[self.from..at];
        match &self.masking.held {
            None => self.out.extend_from_slice(bytes),
            Some(Held::Raw { .. }) => self.masking.digest.update(bytes),
            Some(_) => {}
        }
        self.from = at;
    }

    fn end_chunk(mut self) {
        self.settle(self.chunk.len());
    }

    fn hold(&mut self, held: Held, at: usize) {
        self.settle(at);
        self.masking.held = Some(held);
    }

    /// Gives what stands for the held value, which ends at `at`.
    fn release(&mut self, at: usize) {
        self.settle(at);
        let digest = &mut self.masking.digest;
        match self.masking.held.take() {
            None => {}
            Some(Held::Text { empty: true, .. } | Held::Base64 { empty: true, .. }) => {
                self.out.extend_from_slice(b"\"\"");
            }
            Some(Held::Text { form, .. } | Held::Raw { form }) => digest.write_json(form, self.out),
            Some(Held::Base64 { text, .. }) => {
                text.finish(digest);
                digest.write_json(Form::Base64, self.out);
            }
            Some(Held::Json(embedded)) => self.masking.write_embedded(&embedded, self.out),
        }
    }
}

impl Visitor for Pass<'_> {
    #[inline]
    fn key_begins(&mut self) -> bool {
        let masking = &mut *self.masking;
        masking.key.length = 0;
        masking.passed_over == 0 && masking.rules.reads_keys(masking.place())
    }

    #[inline]
    fn key_ends(&mut self) {
        let masking = &mut *self.masking;
        if masking.passed_over == 0 {
            masking.next = masking.rules.under_key(masking.place(), masking.key.known());
        }
    }

    #[inline]
    fn scalar_begins(&mut self, scalar: Scalar, at: usize) -> bool {
        let masking = &*self.masking;
        if masking.passed_over > 0 {
            return false;
        }
        let action = match masking.next {
            Action::Enter(place) => masking.rules.for_scalar(place),
            action => action,
        };
        let held = match (action, scalar) {
            (Action::Keep | Action::Enter(_), _) | (_, Scalar::Null) => return false,
            (action, Scalar::Other) => Held::raw(action),
            (Action::Mask(Form::Base64), Scalar::String) => {
                Held::Base64 { text: Base64Text::default(), empty: true }
            }
            (Action::Mask(form), Scalar::String) => Held::Text { form, empty: true },
            (Action::Json, Scalar::String) => Held::Json(Embedded::Whole(Vec::with_capacity(EMBEDDED_PIECE))),
        };
        self.hold(held, at);
        true
    }

    #[inline]
    fn scalar_ends(&mut self, at: usize) {
        if self.masking.passed_over == 0 && self.masking.held.is_some() {
            self.release(at);
        }
    }

    #[inline]
    fn opens(&mut self, _: Container, at: usize) {
        let masking = &mut *self.masking;
        match masking.next {
            Action::Enter(place) if masking.passed_over == 0 => masking.places.push(place),
            action => {
                masking.passed_over += 1;
                if masking.passed_over == 1 && action != Action::Keep {
                    self.hold(Held::raw(action), at);
                }
            }
        }
    }

    #[inline]
    fn closes(&mut self, at: usize) {
        let masking = &mut *self.masking;
        if masking.passed_over == 0 {
            masking.places.pop();
        } else {
            masking.passed_over -= 1;
            if masking.passed_over > 0 {
                return;
            }
            if masking.held.is_some() {
                self.release(at);
            }
        }
        // For the next element, if this was one of an array. In an object the next key decides.
        self.masking.next = Action::Enter(self.masking.place());
    }

    #[inline]
    fn text(&mut self, piece: &[u8]) {
        let digest = &mut self.masking.digest;
        match &mut self.masking.held {
            None => self.masking.key.push(piece),
            Some(Held::Text { empty, .. }) => {
                *empty = false;
                digest.update(piece);
            }
            Some(Held::Base64 { text, empty }) => {
                *empty = false;
                text.push(piece, digest);
            }
            Some(Held::Json(embedded)) => embedded.push(piece, digest),
            Some(Held::Raw { .. }) => {}
        }
    }
}

impl Masking {
    fn place(&self) -> NodeId {
        self.places.last().copied().unwrap_or(ROOT)
    }

    /// Writes, as a JSON string, the masked form of JSON that was in a string; its placeholder if it is no JSON object.
    fn write_embedded(&mut self, embedded: &Embedded, out: &mut Vec<u8>) {
        let Embedded::Whole(text) = embedded else { return self.digest.write_json(Form::Plain, out) };
        let start = out.len();
        out.push(b'"');
        let masked = match str::from_utf8(text) {
            Ok("") => true,
            Ok(text) if self.depth < EMBEDDED_DEPTH && is_json_object(text) => {
                self.mask_embedded(text, out).is_ok()
            }
            _ => false,
        };
        if masked {
            return out.push(b'"');
        }
        out.truncate(start);
        self.digest.update(text);
        self.digest.write_json(Form::Plain, out);
    }

    fn mask_embedded(&self, mut text: &str, out: &mut Vec<u8>) -> Result<(), MaskError> {
        let mut masker = JsonMasker::embedded(Arc::clone(&self.rules), self.digest.clone(), self.depth + 1);
        let mut masked = Vec::new();
        while !text.is_empty() {
            // Cut between characters, so is the output.
            let (piece, rest) = text.split_at(text.floor_char_boundary(EMBEDDED_PIECE));
            masker.push(piece.as_bytes(), &mut masked)?;
            escape(&masked, out);
            masked.clear();
            text = rest;
        }
        masker.finish(&mut masked)
    }
}

impl Held {
    fn raw(action: Action) -> Self {
        Self::Raw { form: if let Action::Mask(form) = action { form } else { Form::Plain } }
    }
}

impl Embedded {
    fn push(&mut self, piece: &[u8], digest: &mut Digest) {
        match self {
            Self::Whole(text) if text.len() + piece.len() <= EMBEDDED_LIMIT => text.extend_from_slice(piece),
            Self::Whole(text) => {
                digest.update(text);
                digest.update(piece);
                *self = Self::TooLong;
            }
            Self::TooLong => digest.update(piece),
        }
    }
}

impl Key {
    fn push(&mut self, piece: &[u8]) {
        let end = self.length + piece.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(piece);
        }
        self.length = end;
    }

    /// The key, or nothing for one too long to be known.
    fn known(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Default for Key {
    fn default() -> Self {
        Self { bytes: [0; KEY_LIMIT], length: 0 }
    }
}

/// Reads nothing but the grammar.
pub(super) struct Grammar;

impl Visitor for Grammar {
    fn key_begins(&mut self) -> bool {
        false
    }
    fn key_ends(&mut self) {}
    fn scalar_begins(&mut self, _: Scalar, _: usize) -> bool {
        false
    }
    fn scalar_ends(&mut self, _: usize) {}
    fn opens(&mut self, _: Container, _: usize) {}
    fn closes(&mut self, _: usize) {}
    fn text(&mut self, _: &[u8]) {}
}

fn is_json_object(text: &str) -> bool {
    let mut reader = Reader::new();
    text.trim_ascii_start().starts_with('{')
        && reader.read(text.as_bytes(), &mut Grammar).is_ok()
        && reader.finish(&mut Grammar).is_ok()
        && reader.documents() == 1
}
