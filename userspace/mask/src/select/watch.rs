//! The events of a watch: each is held whole, and given or left out.

use super::list::{Nobody, Splitter};
use super::object::{Event, Members, Object, Table, read};
use super::{Covers, ListFault, hold};
use crate::MaskError;
use crate::json::reader::{Container, Reader, Scalar, Visitor};

/// Where a watch stands between two chunks.
pub(super) struct Events {
    reader: Reader,
    state: State,
}

struct State {
    depth: usize,
    held: Vec<u8>,
    /// The last event was given, so what ends its line is given too.
    given: bool,
    fault: Option<MaskError>,
}

impl Events {
    pub(super) fn new() -> Self {
        let state = State { depth: 0, held: Vec::new(), given: false, fault: None };
        Self { reader: Reader::new(), state }
    }

    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        covers: &Covers,
        withheld: &mut u64,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError> {
        let mut pass = Pass { state: &mut self.state, covers, withheld, chunk, out, from: 0 };
        let read = self.reader.read(chunk, &mut pass);
        if read.is_ok() {
            pass.settle(chunk.len());
        }
        match self.state.fault.take() {
            Some(fault) => Err(fault),
            None => read,
        }
    }

    pub(super) fn finish(&mut self) -> Result<(), MaskError> {
        self.reader.finish(&mut Nobody)
    }
}

/// A chunk on its way through.
struct Pass<'a> {
    state: &'a mut State,
    covers: &'a Covers,
    withheld: &'a mut u64,
    chunk: &'a [u8],
    out: &'a mut Vec<u8>,
    /// Where in the chunk that begins which has not been settled.
    from: usize,
}

impl Pass<'_> {
    /// Holds the chunk up to `at` when that is part of an event, and gives what stands behind one that was given.
    fn settle(&mut self, at: usize) {
        if self.state.fault.is_some() {
            return;
        }
        let bytes = &self.chunk[self.from..at];
        self.from = at;
        if self.state.depth > 0 {
            if let Err(fault) = hold(&mut self.state.held, bytes) {
                self.fail(fault.into());
            }
        } else if self.state.given {
            self.out.extend_from_slice(bytes);
        }
    }

    fn fail(&mut self, fault: MaskError) {
        self.state.fault.get_or_insert(fault);
    }

    /// An event ended. Gives it, or what is left of it.
    fn decide(&mut self) -> Result<(), MaskError> {
        let held = std::mem::take(&mut self.state.held);
        let event: Event<'_, Object<'_>> = read(&held).map_err(|_| ListFault::NotAnEvent)?;
        let Event { kind, object: Members(object) } = &event;
        let Members(metadata) = &object.metadata;
        let given = match &**kind {
            "ERROR" if object.is_status() => true,
            "BOOKMARK" | "ADDED" | "MODIFIED" | "DELETED" if object.is_table() => {
                return self.table(&held, kind == "BOOKMARK");
            }
            // It is about no object: only about how far the watch has come.
            "BOOKMARK" => metadata.name.is_empty(),
            "ADDED" | "MODIFIED" | "DELETED" => (self.covers)(&metadata.namespace, &metadata.name),
            _ => return Err(ListFault::NotAnEvent.into()),
        };
        self.give_if(given, &held);
        Ok(())
    }

    fn give_if(&mut self, given: bool, event: &[u8]) {
        self.state.given = given;
        if given {
            self.out.extend_from_slice(event);
        } else {
            *self.withheld += 1;
        }
    }

    /// An event about rows. What the columns are is said in the first one only, so that one is given without its rows
    /// rather than not at all.
    fn table(&mut self, held: &[u8], is_bookmark: bool) -> Result<(), MaskError> {
        let event: Event<'_, Table<'_>> = read(held).map_err(|_| ListFault::NotAnEvent)?;
        let Members(Table { rows, column_definitions }) = &event.object;
        if is_bookmark {
            let mut nameless = true;
            for Members(row) in rows.iter().flatten() {
                nameless &= row.metadata()?.name.is_empty();
            }
            self.give_if(nameless, held);
            return Ok(());
        }
        let mut splitter = Splitter::of_event();
        let mut left = Vec::with_capacity(held.len());
        splitter.push(held, self.covers, self.withheld, &mut left)?;
        splitter.finish()?;
        self.state.given = splitter.given() > 0 || column_definitions.is_some();
        if self.state.given {
            self.out.append(&mut left);
        }
        Ok(())
    }
}

impl Visitor for Pass<'_> {
    fn key_begins(&mut self) -> bool {
        false
    }

    fn key_ends(&mut self) {}

    fn scalar_begins(&mut self, _: Scalar, _: usize) -> bool {
        if self.state.depth == 0 {
            self.fail(ListFault::NotAnEvent.into());
        }
        false
    }

    fn scalar_ends(&mut self, _: usize) {}

    fn opens(&mut self, _: Container, at: usize) {
        if self.state.depth == 0 {
            self.settle(at);
        }
        self.state.depth += 1;
    }

    fn closes(&mut self, at: usize) {
        if self.state.depth == 1 {
            self.settle(at);
            if self.state.fault.is_none()
                && let Err(fault) = self.decide()
            {
                self.fail(fault);
            }
        }
        self.state.depth -= 1;
    }

    fn text(&mut self, _: &[u8]) {}
}
