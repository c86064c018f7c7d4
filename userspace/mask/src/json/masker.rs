//! The JSON masker: copies what passes, replaces what does not. [`visit`] asks the rules what becomes of a value, [`held`] is
//! what does not just pass; in it are [`scanned`] text, and JSON [`inside`] of strings.

mod held;
mod inside;
mod scanned;
mod visit;

use std::sync::Arc;

use super::key::Key;
use super::reader::Reader;
use crate::detect::Scanner;
use crate::placeholder::Placeholder;
use crate::rules::{Action, NodeId, ROOT};
use crate::{MaskError, MaskKey, Rules};
use held::Held;

/// Masks JSON as it streams by: one document or several (a watch), in chunks cut anywhere. Byte for byte the same
/// outside of masked values. Takes strict JSON only (RFC 8259) and needs constant memory, whatever the size of the
/// documents and of the values in them; only rules for data hold strings that may be JSON, up to 16 MiB of what they say.
pub struct JsonMasker {
    reader: Reader,
    masking: Masking,
    /// The body ended, or it was not JSON.
    over: bool,
}

impl JsonMasker {
    /// A masker for one body.
    pub fn new(rules: Arc<Rules>, key: &MaskKey) -> Self {
        Self::inside(rules, Placeholder::new(key), 0)
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

    /// A masker for a document that stands at `place` in another, which is not JSON.
    pub(crate) fn at(rules: Arc<Rules>, placeholder: Placeholder, place: NodeId) -> Self {
        let mut masker = Self::inside(rules, placeholder, 0);
        masker.masking.places.push(Place { node: place, drops: false, given: true });
        masker.masking.next = Action::Enter(place);
        masker
    }

    /// A masker for a document that is in a string of another, and so on, `depth` times.
    pub(crate) fn inside(rules: Arc<Rules>, placeholder: Placeholder, depth: u8) -> Self {
        let masking = Masking {
            rules,
            placeholder,
            depth,
            places: Vec::new(),
            next: Action::Enter(ROOT),
            passes_over: false,
            key: Key::default(),
            naming: false,
            held: None,
            scanner: None,
        };
        Self { reader: Reader::new(), masking, over: false }
    }

    /// How many documents ended so far.
    pub(crate) fn documents(&self) -> u64 {
        self.reader.documents()
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
    placeholder: Placeholder,
    /// How many strings this JSON is inside of.
    depth: u8,
    /// The places of the open objects and arrays, as far as rules look into them.
    places: Vec<Place>,
    /// What becomes of the next value.
    next: Action,
    /// Rules do not look into the object or array at hand: it passes, or is held back.
    passes_over: bool,
    /// The key at hand, or the text by which an object says its name.
    key: Key,
    /// It is the latter.
    naming: bool,
    /// The value that is held back.
    held: Option<Held>,
    /// Looks at the text of what is scanned, if there ever was any to look at.
    scanner: Option<Box<Scanner>>,
}

/// An open object or array.
struct Place {
    node: NodeId,
    /// Fields of it may be dropped.
    drops: bool,
    /// A field of it was given.
    given: bool,
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

    /// Accounts for the chunk up to `at`: given, digested, held, or dropped because it went through
    /// [`Visitor::text`](super::reader::Visitor::text).
    fn settle(&mut self, at: usize) {
        let bytes = &self.chunk[self.from..at];
        match &mut self.masking.held {
            None => self.out.extend_from_slice(bytes),
            Some(Held::Raw { .. }) => self.masking.placeholder.update(bytes),
            Some(Held::Scanned { begun } | Held::Key { begun }) => {
                *begun = true;
                self.masking.scanner().push(bytes, self.out);
            }
            Some(Held::Between(between)) => between.push(bytes),
            Some(Held::Inside(inside)) => inside.spell(bytes),
            Some(_) => {}
        }
        self.from = at;
    }

    fn end_chunk(mut self) {
        self.settle(self.chunk.len());
        // A name this long is none that rules know: what becomes of its value is known before it ends.
        if matches!(&self.masking.held, Some(Held::Between(between)) if between.is_full()) {
            let action = self.masking.rules.under_long_key(self.masking.place());
            self.begins(action, self.chunk.len());
        }
    }
}

impl Masking {
    fn place(&self) -> NodeId {
        self.places.last().map_or(ROOT, |place| place.node)
    }

    /// The object at hand has said its name.
    fn name(&mut self) {
        self.naming = false;
        // One that is too long to be known leaves the object where it is, without a name.
        if let (Some(place), Some(name)) = (self.places.last_mut(), self.key.known()) {
            place.node = self.rules.named(place.node, name);
            (place.drops, place.given) = (self.rules.drops(place.node), true);
        }
    }
}
