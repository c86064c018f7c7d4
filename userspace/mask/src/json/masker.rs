//! The JSON masker: copies what passes, replaces what does not.

mod inside;
mod scanned;

use std::ops::Range;
use std::sync::Arc;

use super::between::Between;
use super::escape::escape;
use super::key::{KEY_LIMIT, Key};
use super::reader::{Container, Reader, Scalar, Visitor};
use crate::base64_text::Base64Text;
use crate::detect::Scanner;
use crate::opened::Opened;
use crate::placeholder::{Form, How, Mask, Placeholder};
use crate::rules::{Action, Documents, NodeId, ROOT};
use crate::{MaskError, MaskKey, Rules};
use inside::Inside;

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
            passed_over: 0,
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
    /// Open objects and arrays that rules do not look into: of what passes, or of what is held back.
    passed_over: u32,
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

/// A value that is held back until it ended: never its bytes, save for documents in a string, which are masked in their turn.
enum Held {
    Text {
        form: Form,
        empty: bool,
    },
    Base64 {
        text: Base64Text,
        empty: bool,
    },
    Opened(Opened),
    /// It passes, quotes, escapes and all, but for what detectors find.
    Scanned {
        /// The scanner has a part of it.
        begun: bool,
    },
    /// A key, or a name that decides as one does: it passes, but for what detectors find.
    Key {
        /// The scanner has a part of it.
        begun: bool,
    },
    /// A string that may be JSON.
    Inside(Box<Inside>),
    /// A number that has to stay one.
    Number,
    /// Not a value: what is between two of which the next may be dropped.
    Between(Between),
    /// It is dropped.
    Dropped,
    /// Not a string. Its placeholder is of the JSON as it came.
    Raw {
        form: Form,
    },
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

    /// Accounts for the chunk up to `at`: given, digested, held, or dropped because it went through [`Visitor::text`].
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

    /// Gives or drops what was held back before a value, which begins at `at`. Returns whether it is dropped.
    #[inline]
    fn begins(&mut self, action: Action, at: usize) -> bool {
        matches!(self.masking.held, Some(Held::Between(_) | Held::Dropped)) && self.begins_held(action, at)
    }

    #[cold]
    fn begins_held(&mut self, action: Action, at: usize) -> bool {
        self.settle(at);
        match (self.masking.held.take(), self.masking.places.last_mut()) {
            (Some(Held::Between(between)), Some(place)) if !action.drops() => {
                between.give(!place.given, self.out);
                place.given = true;
                false
            }
            _ => {
                self.masking.held = Some(Held::Dropped);
                true
            }
        }
    }

    /// Holds back what comes at `at`, if it may be before a value that is dropped.
    #[inline]
    fn between(&mut self, at: usize) {
        if self.masking.places.last().is_some_and(|place| place.drops) {
            self.hold(Held::Between(Between::default()), at);
        }
    }

    fn hold(&mut self, held: Held, at: usize) {
        self.settle(at);
        self.masking.held = Some(held);
    }

    /// Holds back a scalar that begins at `at`, if `action` says so.
    fn hold_scalar(&mut self, action: Action, scalar: Scalar, at: usize) -> bool {
        let masking = &mut *self.masking;
        let held = match (action, scalar) {
            (Action::Scan, Scalar::String) => masking.scanned(),
            (Action::Text, Scalar::String) => Held::Inside(Box::default()),
            (Action::Scan | Action::Text, _) => return false,
            (_, Scalar::Other) if masking.rules.documents() == Documents::Data => {
                if matches!(self.chunk[at], b't' | b'f') {
                    return false;
                }
                Held::Number
            }
            (_, Scalar::Other) => masking.raw(action),
            (Action::Mask(mask), _) => masking.text(mask),
            (action, _) => match Opened::new(action, &mut masking.placeholder) {
                Some(opened) => Held::Opened(opened),
                None => return false,
            },
        };
        // What a scanned string says does not matter, but how it is spelled between its quotes.
        let (between_quotes, wanted) = match held {
            Held::Scanned { .. } => (true, false),
            Held::Inside(_) => (true, true),
            _ => (false, true),
        };
        self.hold(held, at + usize::from(between_quotes));
        wanted
    }

    /// Gives what stands for the held value, which ends at `at`.
    fn release(&mut self, at: usize) {
        match self.masking.held {
            Some(Held::Scanned { begun } | Held::Key { begun }) => return self.release_scanned(begun, at),
            Some(Held::Inside(_)) => return self.release_inside(at),
            _ => {}
        }
        self.settle(at);
        let Masking { rules, placeholder, depth, held, .. } = &mut *self.masking;
        match held.take() {
            None
            | Some(
                Held::Scanned { .. } | Held::Key { .. } | Held::Inside(_) | Held::Between(_) | Held::Dropped,
            ) => {}
            Some(Held::Number) => self.out.push(b'0'),
            Some(Held::Text { empty: true, .. } | Held::Base64 { empty: true, .. }) => {
                self.out.extend_from_slice(b"\"\"");
                placeholder.begin(How::Digest);
            }
            Some(Held::Text { form, .. } | Held::Raw { form }) => placeholder.write_json(form, self.out),
            Some(Held::Base64 { text, .. }) => {
                text.finish(placeholder);
                placeholder.write_json(Form::Base64, self.out);
            }
            Some(Held::Opened(opened)) => {
                self.out.push(b'"');
                opened.finish(rules, *depth, placeholder, escape, self.out);
                self.out.push(b'"');
            }
        }
    }
}

impl Visitor for Pass<'_> {
    #[inline]
    fn key_opens(&mut self, at: usize) {
        if self.masking.rules.documents() == Documents::Data && self.masking.passed_over == 0 {
            self.hold(Held::Key { begun: false }, at + 1);
        }
    }

    #[inline]
    fn key_closes(&mut self, at: usize) {
        if let Some(Held::Key { .. }) = self.masking.held {
            self.release(at);
        }
    }

    #[inline]
    fn key(&mut self, chunk: &[u8], name: Range<usize>) {
        if self.masking.passed_over > 0 {
            return;
        }
        self.key_opens(name.start - 1);
        let masking = &mut *self.masking;
        let (rules, place) = (&masking.rules, masking.place());
        if rules.reads_keys(place) {
            masking.key.take(&chunk[name.start..], name.len());
            masking.next = if name.len() > KEY_LIMIT {
                rules.under_long_key(place)
            } else {
                rules.under_key(place, &chunk[name.clone()])
            };
        } else {
            masking.key.begin();
            masking.next = rules.under_key(place, b"");
        }
        self.key_closes(name.end + 1);
    }

    #[inline]
    fn key_begins(&mut self) -> bool {
        let masking = &mut *self.masking;
        masking.key.begin();
        masking.passed_over == 0 && masking.rules.reads_keys(masking.place())
    }

    #[inline]
    fn key_ends(&mut self) {
        let masking = &mut *self.masking;
        if masking.passed_over == 0 {
            masking.next = match masking.key.known() {
                Some(key) => masking.rules.under_key(masking.place(), key),
                None => masking.rules.under_long_key(masking.place()),
            };
        }
    }

    #[inline]
    fn scalar_begins(&mut self, scalar: Scalar, at: usize) -> bool {
        let masking = &mut *self.masking;
        if masking.passed_over > 0 {
            return false;
        }
        let action = match masking.next {
            Action::Enter(place) => masking.rules.for_scalar(place),
            action => action,
        };
        if self.begins(action, at) {
            return false;
        }
        let masking = &mut *self.masking;
        match (action, scalar) {
            (Action::Keep | Action::Enter(_), _) | (_, Scalar::Null) => false,
            (Action::Name, _) => {
                masking.naming = scalar == Scalar::String;
                masking.key.begin();
                if masking.naming && masking.rules.documents() == Documents::Data {
                    self.hold(Held::Key { begun: false }, at + 1);
                }
                self.masking.naming
            }
            _ => self.hold_scalar(action, scalar, at),
        }
    }

    #[inline]
    fn scalar_ends(&mut self, at: usize) {
        if self.masking.passed_over > 0 {
            return;
        }
        if self.masking.held.is_some() {
            self.release(at);
        }
        if self.masking.naming {
            self.masking.name();
        }
        self.between(at);
    }

    #[inline]
    fn opens(&mut self, _: Container, at: usize) {
        if self.masking.passed_over > 0 {
            self.masking.passed_over += 1;
            return;
        }
        let action = self.masking.next;
        let dropped = self.begins(action, at);
        match action {
            Action::Enter(node) => {
                let drops = self.masking.rules.drops(node);
                self.masking.places.push(Place { node, drops, given: false });
                self.between(at + 1);
            }
            action => {
                self.masking.passed_over = 1;
                if !dropped && !matches!(action, Action::Keep | Action::Scan | Action::Name) {
                    let held = self.masking.raw(action);
                    self.hold(held, at);
                }
            }
        }
    }

    #[inline]
    fn closes(&mut self, at: usize) {
        let masking = &mut *self.masking;
        if masking.passed_over > 1 {
            masking.passed_over -= 1;
            return;
        }
        if masking.passed_over == 1 {
            masking.passed_over = 0;
            if masking.held.is_some() {
                self.release(at);
            }
        } else {
            // No field comes any more that could be dropped.
            self.begins(Action::Keep, at);
            self.masking.places.pop();
        }
        // For the next element, if this was one of an array. In an object the next key decides.
        self.masking.next = Action::Enter(self.masking.place());
        self.between(at);
    }

    #[inline]
    fn text(&mut self, piece: &[u8]) {
        let placeholder = &mut self.masking.placeholder;
        match &mut self.masking.held {
            None | Some(Held::Between(_) | Held::Key { .. }) => self.masking.key.push(piece),
            Some(Held::Text { empty, .. }) => {
                *empty = false;
                placeholder.update(piece);
            }
            Some(Held::Base64 { text, empty }) => {
                *empty = false;
                text.push(piece, placeholder);
            }
            Some(Held::Opened(opened)) => opened.push(piece, placeholder),
            Some(Held::Inside(inside)) => {
                if !inside.says(piece, placeholder) {
                    self.scan_on();
                }
            }
            Some(Held::Raw { .. } | Held::Number | Held::Scanned { .. } | Held::Dropped) => {}
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

    /// A string to be masked.
    fn text(&mut self, Mask { form, how }: Mask) -> Held {
        self.placeholder.begin(how);
        match form {
            Form::Plain => Held::Text { form, empty: true },
            Form::Base64 => Held::Base64 { text: Base64Text::default(), empty: true },
        }
    }

    /// Anything else that is to be masked.
    fn raw(&mut self, action: Action) -> Held {
        let (Action::Mask(Mask { form, how }) | Action::Helm(Mask { form, how })) = action else {
            return Held::Raw { form: Form::Plain };
        };
        self.placeholder.begin(how);
        Held::Raw { form }
    }
}
