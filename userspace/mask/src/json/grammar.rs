//! JSON that is read for its grammar alone.

use super::reader::{Container, Scalar, Visitor};

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
    fn opens(&mut self, _: Container, _: usize) -> bool {
        true
    }
    fn closes(&mut self, _: usize) {}
    fn text(&mut self, _: &[u8]) {}
}
