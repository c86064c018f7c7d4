//! The events of a watch: each is held whole, and given or left out.

use super::list::Splitter;
use super::object::{Event, Members, Object, Table, read};
use super::pass::{Filtered, Pass, Stand};
use super::{ListFault, hold};
use crate::MaskError;
use crate::json::reader::{Container, Scalar, Visitor};

/// Bytes that are kept for the next event.
const ROOM: usize = 16 * 1024;

/// A watch whose events are filtered.
pub(super) type Events = Filtered<Watch>;

/// Where in a watch it stands.
#[derive(Default)]
pub(super) struct Watch {
    in_event: bool,
    held: Vec<u8>,
    /// The last event was given, so what ends its line is given too.
    given: bool,
}

impl Stand for Watch {
    /// Holds what is part of an event, and gives what stands behind one that was given.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ListFault> {
        if self.in_event {
            return hold(&mut self.held, bytes);
        }
        if self.given {
            out.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn end(&self) -> Result<(), ListFault> {
        Ok(())
    }
}

impl Pass<'_, Watch> {
    /// An event ended.
    fn event(&mut self) -> Result<(), MaskError> {
        let mut held = std::mem::take(&mut self.stand.held);
        self.judge(&held)?;
        // Its room is the next one's; of a large one no more than an idle watch may keep.
        held.clear();
        held.shrink_to(ROOM);
        self.stand.held = held;
        Ok(())
    }

    /// Gives an event, or what is left of it.
    fn judge(&mut self, held: &[u8]) -> Result<(), MaskError> {
        let event: Event<'_, Object<'_>> = read(held).map_err(|_| ListFault::NotAnEvent)?;
        let Event { kind, object: Members(object) } = &event;
        let Members(metadata) = &object.metadata;
        let given = match &**kind {
            "ERROR" if object.is_status() => true,
            "BOOKMARK" | "ADDED" | "MODIFIED" | "DELETED" if object.is_table() => {
                return self.table(held, kind == "BOOKMARK");
            }
            // It is about no object: only about how far the watch has come.
            "BOOKMARK" => metadata.name.is_empty(),
            "ADDED" | "MODIFIED" | "DELETED" => (self.covers)(&metadata.namespace, &metadata.name),
            _ => return Err(ListFault::NotAnEvent.into()),
        };
        self.give_if(given, held);
        Ok(())
    }

    fn give_if(&mut self, given: bool, event: &[u8]) {
        self.stand.given = given;
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
        self.stand.given = splitter.stand.given() > 0 || column_definitions.is_some();
        if self.stand.given {
            self.out.append(&mut left);
        }
        Ok(())
    }
}

impl Visitor for Pass<'_, Watch> {
    fn key_begins(&mut self) -> bool {
        false
    }

    fn key_ends(&mut self) {}

    fn scalar_begins(&mut self, _: Scalar, _: usize) -> bool {
        self.fail(ListFault::NotAnEvent);
        false
    }

    fn scalar_ends(&mut self, _: usize) {}

    fn opens(&mut self, _: Container, at: usize) -> bool {
        self.settle(at);
        self.stand.in_event = true;
        false
    }

    fn closes(&mut self, at: usize) {
        self.settle(at);
        self.stand.in_event = false;
        self.decide(Self::event);
    }

    fn text(&mut self, _: &[u8]) {}
}
