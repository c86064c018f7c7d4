//! What is held back: a value until it ended, when something is given in its stead; and what stands before a value until it is
//! known whether that is dropped.

use super::inside::Inside;
use super::{Masking, Pass};
use crate::base64_text::Base64Text;
use crate::json::between::Between;
use crate::json::escape::escape;
use crate::json::reader::Scalar;
use crate::opened::Opened;
use crate::placeholder::{Form, How, Mask};
use crate::rules::{Action, Documents};

/// A value that is held back until it ended: never its bytes, save for documents in a string, which are masked in their turn.
pub(super) enum Held {
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

impl Pass<'_> {
    /// Gives or drops what was held back before a value, which begins at `at`. Returns whether it is dropped.
    #[inline]
    pub(super) fn begins(&mut self, action: Action, at: usize) -> bool {
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
    pub(super) fn between(&mut self, at: usize) {
        if self.masking.places.last().is_some_and(|place| place.drops) {
            self.hold(Held::Between(Between::default()), at);
        }
    }

    pub(super) fn hold(&mut self, held: Held, at: usize) {
        self.settle(at);
        self.masking.held = Some(held);
    }

    /// Holds back a scalar that begins at `at`, if `action` says so.
    pub(super) fn hold_scalar(&mut self, action: Action, scalar: Scalar, at: usize) -> bool {
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
    pub(super) fn release(&mut self, at: usize) {
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

impl Masking {
    /// A string to be masked.
    fn text(&mut self, Mask { form, how }: Mask) -> Held {
        self.placeholder.begin(how);
        match form {
            Form::Plain => Held::Text { form, empty: true },
            Form::Base64 => Held::Base64 { text: Base64Text::default(), empty: true },
        }
    }

    /// Anything else that is to be masked.
    pub(super) fn raw(&mut self, action: Action) -> Held {
        let (Action::Mask(Mask { form, how }) | Action::Helm(Mask { form, how })) = action else {
            return Held::Raw { form: Form::Plain };
        };
        self.placeholder.begin(how);
        Held::Raw { form }
    }
}
