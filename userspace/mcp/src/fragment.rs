//! JSON in the midst of other text: after a heading, between fences, at the end of a line of a log.

use std::ops::Range;

use portcullis_mask::{JsonContainer, JsonReader, JsonScalar, JsonVisitor, MaskError};

/// The objects and arrays of JSON in a text, as far as reading for them takes no more than some times its length.
pub(crate) struct Fragments<'t> {
    text: &'t str,
    /// Where the search goes on, and how many bytes it may still read.
    at: usize,
    left: u64,
}

/// How often a text may be read over.
const PASSES: u64 = 8;

/// Where the first object or array ends.
#[derive(Default)]
struct End(Option<usize>);

impl<'t> Fragments<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        Self { text, at: 0, left: text.len() as u64 * PASSES }
    }
}

impl Iterator for Fragments<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        while let Some(ahead) = self.text[self.at..].find(['{', '[']) {
            let start = self.at + ahead;
            let rest = &self.text.as_bytes()[start..];
            let mut end = End::default();
            let read = match JsonReader::new().read(rest, &mut end) {
                Err(MaskError::Json { offset, .. }) => offset,
                _ => rest.len() as u64,
            };
            self.left = self.left.checked_sub(read.max(1))?;
            if let Some(length) = end.0 {
                self.at = start + length;
                return Some(start..self.at);
            }
            self.at = start + 1;
        }
        None
    }
}

impl JsonVisitor for End {
    fn key_begins(&mut self) -> bool {
        false
    }

    fn key_ends(&mut self) {}

    fn scalar_begins(&mut self, _: JsonScalar, _: usize) -> bool {
        false
    }

    fn scalar_ends(&mut self, _: usize) {}

    fn opens(&mut self, _: JsonContainer, _: usize) -> bool {
        false
    }

    fn closes(&mut self, at: usize) {
        self.0 = self.0.or(Some(at));
    }

    fn text(&mut self, _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<&str> {
        Fragments::of(text).map(|range| &text[range]).collect()
    }

    #[test]
    fn json_is_found_among_other_text() {
        for (text, found) in [
            ("Result:\n```json\n{\"a\": [1, {}]}\n```\n", vec!["{\"a\": [1, {}]}"]),
            ("[INFO] é={\"a\":1}, [2] end", vec!["{\"a\":1}", "[2]"]),
            ("{ return [x]; } {\"a\":", vec![]),
            ("[[[1]", vec!["[1]"]),
            ("", vec![]),
        ] {
            assert_eq!(all(text), found, "{text}");
        }
    }

    #[test]
    fn a_text_is_read_a_few_times_at_most() {
        let brackets = "[".repeat(100_000);
        let mut fragments = Fragments::of(&brackets);
        assert!(fragments.next().is_none());
        assert!(fragments.at <= 2 * PASSES as usize * 10, "stopped at {}", fragments.at);
    }
}
