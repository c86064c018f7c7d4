//! What stands between the fields of an object of which some are dropped: held back until it is known whether the next
//! field is given, so that the commas come out right.

/// White space is held up to this length, past it it is given up; nobody's indentation is this deep. A name that is known
/// in full is shorter in any spelling.
const LIMIT: usize = 16 * 1024;

/// The text from the end of one field to the value of the next: a comma, white space, a name, a colon.
#[derive(Default)]
pub(super) struct Between(Vec<u8>);

impl Between {
    pub(super) fn push(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
        if self.0.len() > LIMIT {
            let name = self.0.iter().position(|byte| *byte == b'"').unwrap_or(self.0.len());
            let mut at = 0;
            self.0.retain(|byte| {
                at += 1;
                at > name || !byte.is_ascii_whitespace()
            });
            let end = self.0.trim_ascii_end().len();
            self.0.truncate(end);
        }
    }

    /// Whether there is more of it than should be held.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() > LIMIT
    }

    /// Gives the text; without its comma, if nothing was given that it could part the next field from.
    pub(super) fn give(&self, first: bool, out: &mut Vec<u8>) {
        let text = self.0.as_slice();
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
