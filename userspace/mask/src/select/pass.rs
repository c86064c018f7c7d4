//! A chunk on its way through a filter: a visitor turns at places in it, and what is between two of them goes where the
//! filter stands.

use super::{Covers, ListFault};
use crate::MaskError;
use crate::json::Grammar;
use crate::json::reader::{Reader, Visitor};

/// Where a filter stands between two chunks.
pub(super) trait Stand {
    /// Takes the next bytes: appends them to `out`, holds or drops them.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ListFault>;
    /// Whether it was what it should be, now that it is over.
    fn end(&self) -> Result<(), ListFault>;
}

/// JSON that is read and filtered chunk by chunk.
pub(super) struct Filtered<S> {
    reader: Reader,
    pub(super) stand: S,
}

/// A chunk on its way through.
pub(super) struct Pass<'a, S> {
    pub(super) stand: &'a mut S,
    pub(super) covers: &'a Covers,
    pub(super) withheld: &'a mut u64,
    pub(super) out: &'a mut Vec<u8>,
    chunk: &'a [u8],
    /// Where in the chunk that begins which has not been settled.
    from: usize,
    fault: Option<MaskError>,
}

impl<S: Stand> Filtered<S> {
    pub(super) fn new(stand: S) -> Self {
        Self { reader: Reader::new(), stand }
    }

    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        covers: &Covers,
        withheld: &mut u64,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError>
    where
        for<'a> Pass<'a, S>: Visitor,
    {
        let mut pass = Pass { stand: &mut self.stand, covers, withheld, out, chunk, from: 0, fault: None };
        let read = self.reader.read(chunk, &mut pass);
        if read.is_ok() {
            pass.settle(chunk.len());
        }
        pass.fault.map_or(read, Err)
    }

    /// Ends the JSON. No number or literal can be the last thing in what is filtered, so there is nobody to tell.
    pub(super) fn finish(&mut self) -> Result<(), MaskError> {
        self.reader.finish(&mut Grammar)?;
        Ok(self.stand.end()?)
    }
}

impl<S: Stand> Pass<'_, S> {
    /// Sends the chunk up to `at` where the filter stands now. After a fault nothing goes anywhere.
    pub(super) fn settle(&mut self, at: usize) {
        if self.fault.is_some() {
            return;
        }
        let bytes = &self.chunk[self.from..at];
        self.from = at;
        let taken = self.stand.take(bytes, self.out);
        self.note(taken);
    }

    /// Gives what was held, unless there was a fault.
    pub(super) fn release(&mut self, held: impl FnOnce(&mut S) -> &mut Vec<u8>) {
        if self.fault.is_none() {
            self.out.append(held(self.stand));
        }
    }

    pub(super) fn fail(&mut self, fault: ListFault) {
        self.note(Err(fault));
    }

    /// Decides on what ended, unless there was a fault before.
    pub(super) fn decide<E: Into<MaskError>>(&mut self, decide: impl FnOnce(&mut Self) -> Result<(), E>) {
        if self.fault.is_none() {
            let decided = decide(self);
            self.note(decided);
        }
    }

    fn note<E: Into<MaskError>>(&mut self, outcome: Result<(), E>) {
        if let Err(fault) = outcome {
            self.fault.get_or_insert_with(|| fault.into());
        }
    }
}
