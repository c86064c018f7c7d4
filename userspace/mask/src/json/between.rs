//! What stands between the fields of an object of which some are dropped: held back until it is known whether the next
//! field is given, so that the commas come out right.

/// White space on either side of a name is held up to this length, and past it given up; nobody's indentation is this
/// deep. A longer name than this, in whatever spelling, is none that rules know.
const LIMIT: usize = 8 * 1024;

/// The text from the end of one field to the value of the next: a comma, white space, a name, a colon.
#[derive(Default)]
pub(super) struct Between {
    text: Vec<u8>,
    part: Part,
    /// White space that was held.
    space: usize,
    name: usize,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Before,
    Name {
        escaped: bool,
    },
    After,
}

impl Between {
    pub(super) fn push(&mut self, text: &[u8]) {
        for &byte in text {
            match self.part {
                Part::Before if byte == b'"' => self.part = Part::Name { escaped: false },
                Part::Name { escaped: false } if byte == b'"' => self.part = Part::After,
                Part::Name { escaped } => self.part = Part::Name { escaped: byte == b'\\' && !escaped },
                Part::Before | Part::After if byte.is_ascii_whitespace() => {
                    self.space += 1;
                    if self.space > LIMIT && !self.is_full() {
                        continue;
                    }
                }
                Part::Before | Part::After => {}
            }
            self.name += usize::from(matches!(self.part, Part::Name { .. }));
            self.text.push(byte);
        }
    }

    /// Whether the name is too long to be held to its end.
    pub(super) fn is_full(&self) -> bool {
        self.name > LIMIT
    }

    /// Gives the text; without its comma, if nothing was given that it could part the next field from.
    pub(super) fn give(&self, first: bool, out: &mut Vec<u8>) {
        let text = self.text.as_slice();
        let comma = text.iter().position(|byte| !byte.is_ascii_whitespace()).filter(|at| text[*at] == b',');
        match comma {
            Some(at) if first => {
                out.extend_from_slice(&text[..at]);
                out.extend_from_slice(&text[at + 1..]);
            }
            _ => out.extend_from_slice(text),
        }
    }
}
