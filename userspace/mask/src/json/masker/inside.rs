//! Strings that may be JSON: masked inside, and put back in a string.
//!
//! What begins as no JSON does is scanned as it comes. What does begin so is held until it ended: if it was JSON to its end and
//! something in it was masked, the string is spelled anew; otherwise it keeps its spelling to the byte.

use std::sync::Arc;

use super::{Held, Masking, Pass};
use crate::JsonMasker;
use crate::opened::DEPTH;
use crate::placeholder::Placeholder;

/// What is longer and begins as JSON is replaced whole.
const LIMIT: usize = 16 * 1024 * 1024;

/// A string that may be JSON, as far as it has come.
#[derive(Default)]
pub(super) struct Inside {
    /// As it is spelled in the document, and what it says.
    spelled: Vec<u8>,
    said: Vec<u8>,
    reading: Reading,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// White space only, so far.
    #[default]
    Nothing,
    /// It begins as JSON does.
    Json,
    /// It does, and is too long or too deep inside of other strings to be opened. The placeholder has it.
    Closed,
}

impl Inside {
    /// Takes the next bytes of its spelling.
    pub(super) fn spell(&mut self, bytes: &[u8]) {
        if self.reading != Reading::Closed {
            self.spelled.extend_from_slice(bytes);
        }
    }

    /// Takes the next piece of what it says. Whether it may still be JSON.
    pub(super) fn says(&mut self, piece: &[u8], placeholder: &mut Placeholder) -> bool {
        if self.reading == Reading::Nothing {
            match piece.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(b'{' | b'[' | b'"') => self.reading = Reading::Json,
                Some(_) => return false,
                None => {}
            }
        }
        if self.reading != Reading::Closed {
            self.said.extend_from_slice(piece);
            if self.said.len() > LIMIT {
                self.close(placeholder);
            }
        } else {
            placeholder.update(piece);
        }
        true
    }

    /// It will be replaced whole.
    fn close(&mut self, placeholder: &mut Placeholder) {
        placeholder.update(&std::mem::take(&mut self.said));
        (self.spelled, self.reading) = (Vec::new(), Reading::Closed);
    }
}

impl Pass<'_> {
    /// The string at hand is no JSON: it is scanned from its start on.
    #[cold]
    pub(super) fn scan_on(&mut self) {
        let Some(Held::Inside(inside)) = self.masking.held.take() else { return };
        let Held::Scanned { mut begun } = self.masking.scanned() else { return };
        if !inside.spelled.is_empty() {
            begun = true;
            self.masking.scanner().push(&inside.spelled, self.out);
        }
        self.masking.held = Some(Held::Scanned { begun });
    }

    /// Gives what stands for a string that may be JSON and ends at `at`.
    pub(super) fn release_inside(&mut self, at: usize) {
        self.settle(at - 1);
        let Some(Held::Inside(mut inside)) = self.masking.held.take() else { return };
        let masking = &mut *self.masking;
        if inside.reading == Reading::Json && masking.depth >= DEPTH {
            inside.close(&mut masking.placeholder);
        }
        match inside.reading {
            Reading::Nothing => self.out.extend_from_slice(&inside.spelled),
            Reading::Closed => {
                let mut plain = Vec::new();
                masking.placeholder.write(&mut plain);
                spell(&String::from_utf8_lossy(&plain), self.out);
            }
            Reading::Json => match masking.masked(&inside.said) {
                Some(masked) if masked.as_bytes() == inside.said => {
                    self.out.extend_from_slice(&inside.spelled);
                }
                Some(masked) => spell(&masked, self.out),
                None => {
                    masking.scanned();
                    masking.scanner().push(&inside.spelled, self.out);
                    masking.end_scanned(self.out);
                }
            },
        }
        // The closing quote.
        self.settle(at);
    }
}

impl Masking {
    /// What becomes of what a string says, if that is JSON.
    fn masked(&self, said: &[u8]) -> Option<String> {
        let rules = Arc::clone(self.rules.inside());
        let mut masker = JsonMasker::inside(rules, self.placeholder.clone(), self.depth + 1);
        let mut masked = Vec::with_capacity(said.len());
        masker.push(said, &mut masked).ok()?;
        masker.finish(&mut masked).ok()?;
        String::from_utf8(masked).ok()
    }
}

/// Appends `text` to the inside of a JSON string, with no more escapes than JSON asks for: people read it.
fn spell(text: &str, out: &mut Vec<u8>) {
    let quoted = serde_json::Value::from(text).to_string();
    out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
}
