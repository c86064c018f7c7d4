//! What is done where the reader comes by: rules say of each value what becomes of it, and it passes or is held back.

use std::ops::Range;

use super::{Held, Pass, Place};
use crate::json::reader::{Container, Scalar, Visitor};
use crate::rules::{Action, Documents};

impl Visitor for Pass<'_> {
    #[inline]
    fn key_opens(&mut self, at: usize) {
        if self.masking.rules.documents() == Documents::Data {
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
        self.key_opens(name.start - 1);
        if self.key_begins() {
            self.masking.key.take(&chunk[name.start..], name.len());
        }
        self.key_closes(name.end + 1);
        self.key_ends();
    }

    #[inline]
    fn key_begins(&mut self) -> bool {
        let masking = &mut *self.masking;
        masking.key.begin();
        masking.rules.reads_keys(masking.place())
    }

    #[inline]
    fn key_ends(&mut self) {
        let masking = &mut *self.masking;
        masking.next = match masking.key.known() {
            Some(key) => masking.rules.under_key(masking.place(), key),
            None => masking.rules.under_long_key(masking.place()),
        };
    }

    #[inline]
    fn scalar_begins(&mut self, scalar: Scalar, at: usize) -> bool {
        let masking = &mut *self.masking;
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
        if self.masking.held.is_some() {
            self.release(at);
        }
        if self.masking.naming {
            self.masking.name();
        }
        self.between(at);
    }

    #[inline]
    fn opens(&mut self, _: Container, at: usize) -> bool {
        let action = self.masking.next;
        let dropped = self.begins(action, at);
        match action {
            Action::Enter(node) => {
                let drops = self.masking.rules.drops(node);
                self.masking.places.push(Place { node, drops, given: false });
                self.between(at + 1);
            }
            action => {
                self.masking.passes_over = true;
                if !dropped && !matches!(action, Action::Keep | Action::Scan | Action::Name) {
                    let held = self.masking.raw(action);
                    self.hold(held, at);
                }
            }
        }
        !self.masking.passes_over
    }

    #[inline]
    fn closes(&mut self, at: usize) {
        let masking = &mut *self.masking;
        if masking.passes_over {
            masking.passes_over = false;
            if masking.held.is_some() {
                self.release(at);
            }
        } else {
            // No field comes any more that could be dropped.
            self.begins(Action::Keep, at);
            self.masking.places.pop();
        }
        // What comes next is called by no key in here.
        self.masking.key.begin();
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
