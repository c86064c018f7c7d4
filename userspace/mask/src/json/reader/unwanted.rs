//! Objects and arrays of which nothing is wanted: read as strictly as any, but with nobody to tell.

use super::{Container, Expecting, Fault, Reader, Scalar, Visitor};

/// One of them, from its first byte on.
pub(super) struct Unwanted {
    expecting: Expecting,
    /// It, and what is open in it.
    open: usize,
    /// Where it ended.
    end: Option<usize>,
}

impl Unwanted {
    pub(super) fn begin(expecting: Expecting) -> Self {
        Self { expecting, open: 1, end: None }
    }
}

impl Default for Unwanted {
    fn default() -> Self {
        Self::begin(Expecting::Document)
    }
}

impl Reader {
    /// Takes all of one from `at` on, as far as the chunk has it.
    pub(super) fn pass_over(
        &mut self,
        chunk: &[u8],
        mut at: usize,
        visitor: &mut impl Visitor,
    ) -> Result<(usize, Expecting), Fault> {
        let mut unwanted = std::mem::take(&mut self.unwanted);
        let mut expecting = unwanted.expecting;
        while let Some(&byte) = chunk.get(at) {
            (at, expecting) = self.token(chunk, at, byte, expecting, &mut unwanted)?;
            if let Some(end) = unwanted.end {
                visitor.closes(end);
                return Ok((at, expecting));
            }
        }
        self.unwanted = Unwanted { expecting, ..unwanted };
        Ok((at, Expecting::EndOfUnwanted))
    }
}

/// Counts what is open.
impl Visitor for Unwanted {
    fn key_begins(&mut self) -> bool {
        false
    }
    fn key_ends(&mut self) {}
    fn scalar_begins(&mut self, _: Scalar, _: usize) -> bool {
        false
    }
    fn scalar_ends(&mut self, _: usize) {}
    fn opens(&mut self, _: Container, _: usize) -> bool {
        self.open += 1;
        true
    }
    fn closes(&mut self, at: usize) {
        self.open -= 1;
        if self.open == 0 {
            self.end = Some(at);
        }
    }
    fn text(&mut self, _: &[u8]) {}
}
