//! Whether a text is JSON at all.

use super::reader::{Container, Reader, Scalar, Visitor};

/// Reads nothing but the grammar.
pub(crate) struct Grammar;

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

/// Whether a text is one JSON object and nothing else.
pub(crate) fn is_json_object(text: &str) -> bool {
    let mut reader = Reader::new();
    text.trim_ascii_start().starts_with('{')
        && reader.read(text.as_bytes(), &mut Grammar).is_ok()
        && reader.finish(&mut Grammar).is_ok()
        && reader.documents() == 1
}
