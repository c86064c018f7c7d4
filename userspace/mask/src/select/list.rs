//! A list or a Table, taken apart: its elements are held until they are known, all else passes, once it is known to be one.

use super::object::{Members, Object, Row, read};
use super::{Covers, ListFault, hold};
use crate::MaskError;
use crate::json::reader::{Container, Reader, Scalar, Visitor};

/// The longest key that is looked for fits with room to spare.
const LONGEST_KEY: usize = 32;

/// Where a splitter stands between two chunks.
pub(super) struct Splitter {
    reader: Reader,
    state: State,
}

struct State {
    /// Open objects and arrays around the members of the list: one, or two where it lies in an event.
    base: usize,
    depth: usize,
    key: Vec<u8>,
    next: Next,
    /// Inside the list's metadata.
    in_metadata: bool,
    elements: Option<Elements>,
    way: Way,
    /// What comes before it is known to be a list: an object's own fields are nobody's to see.
    head: Vec<u8>,
    /// What stands between the element that was given last and the next one.
    gap: Vec<u8>,
    held: Vec<u8>,
    /// Elements given of the array at hand.
    given: u64,
    /// The list has been seen to be one.
    is_list: bool,
    fault: Option<ListFault>,
}

/// What the next value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Kept,
    Elements(Elements),
    Metadata,
    /// It tells how many objects there are, those included that are left out.
    Count,
    /// The list, in an event.
    List,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Elements {
    Items,
    Rows,
}

/// Where bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    Gap,
    Held,
    Nowhere,
}

impl Splitter {
    /// For a list by itself.
    pub(super) fn of_list() -> Self {
        Self::at(1)
    }

    /// For a list that is the object of an event.
    pub(super) fn of_event() -> Self {
        Self::at(2)
    }

    fn at(base: usize) -> Self {
        let state = State {
            base,
            depth: 0,
            key: Vec::with_capacity(LONGEST_KEY),
            next: Next::Kept,
            in_metadata: false,
            elements: None,
            way: Way::Out,
            head: Vec::new(),
            gap: Vec::new(),
            held: Vec::new(),
            given: 0,
            is_list: false,
            fault: None,
        };
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
        match self.state.fault {
            Some(fault) => Err(MaskError::List(fault)),
            None => read,
        }
    }

    pub(super) fn finish(&mut self) -> Result<(), MaskError> {
        // No number or literal can be the last thing in a list, so there is nothing left to tell anybody.
        self.reader.finish(&mut Nobody)?;
        if self.state.is_list { Ok(()) } else { Err(MaskError::List(ListFault::NotAList)) }
    }

    /// Elements given of the last array.
    pub(super) fn given(&self) -> u64 {
        self.state.given
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
    /// Sends the chunk up to `at` where bytes go now.
    fn settle(&mut self, at: usize) {
        if self.state.fault.is_some() {
            return;
        }
        let bytes = &self.chunk[self.from..at];
        self.from = at;
        let held = match self.state.way {
            Way::Out => return self.give(bytes),
            Way::Nowhere => return,
            Way::Gap => hold(&mut self.state.gap, bytes),
            Way::Held => hold(&mut self.state.held, bytes),
        };
        if let Err(fault) = held {
            self.fail(fault);
        }
    }

    /// Gives what is of the list itself.
    fn give(&mut self, bytes: &[u8]) {
        if self.state.is_list {
            self.out.extend_from_slice(bytes);
        } else if let Err(fault) = hold(&mut self.state.head, bytes) {
            self.fail(fault);
        }
    }

    /// It is a list.
    fn begin(&mut self) {
        self.state.is_list = true;
        self.out.append(&mut self.state.head);
    }

    fn turn(&mut self, at: usize, way: Way) {
        self.settle(at);
        self.state.way = way;
    }

    fn fail(&mut self, fault: ListFault) {
        self.state.fault.get_or_insert(fault);
    }

    /// An element ended.
    fn decide(&mut self, elements: Elements) -> Result<(), ListFault> {
        let covered = match elements {
            Elements::Items => {
                let Object { metadata: Members(metadata), .. } = read(&self.state.held)?;
                (self.covers)(&metadata.namespace, &metadata.name)
            }
            Elements::Rows => {
                let row: Row<'_> = read(&self.state.held)?;
                let metadata = row.metadata()?;
                (self.covers)(&metadata.namespace, &metadata.name)
            }
        };
        if covered {
            let first = self.state.given == 0;
            self.out.extend(self.state.gap.iter().filter(|byte| !(first && **byte == b',')));
            self.out.extend_from_slice(&self.state.held);
            self.state.given += 1;
        } else {
            *self.withheld += 1;
        }
        self.state.gap.clear();
        self.state.held.clear();
        Ok(())
    }

    fn member(&self) -> Result<Next, ListFault> {
        let State { base, depth, in_metadata, key, .. } = &*self.state;
        match (&key[..], *depth) {
            (b"remainingItemCount", depth) if depth == base + 1 && *in_metadata => Ok(Next::Count),
            // What else ListMeta has (apimachinery, meta/v1). An object's own metadata would be more.
            (b"resourceVersion" | b"continue" | b"selfLink", depth) if depth == base + 1 && *in_metadata => {
                Ok(Next::Kept)
            }
            (_, depth) if depth == base + 1 && *in_metadata => Err(ListFault::UnknownMember),
            (_, depth) if depth > *base => Ok(Next::Kept),
            (b"items", depth) if depth == *base => Ok(Next::Elements(Elements::Items)),
            (b"rows", depth) if depth == *base => Ok(Next::Elements(Elements::Rows)),
            (b"metadata", depth) if depth == *base => Ok(Next::Metadata),
            (b"kind" | b"apiVersion" | b"columnDefinitions", depth) if depth == *base => Ok(Next::Kept),
            (b"object", depth) if depth < *base => Ok(Next::List),
            (b"type", depth) if depth < *base => Ok(Next::Kept),
            _ => Err(ListFault::UnknownMember),
        }
    }
}

impl Visitor for Pass<'_> {
    fn key_begins(&mut self) -> bool {
        let State { base, depth, in_metadata, .. } = *self.state;
        self.state.key.clear();
        depth <= base || depth == base + 1 && in_metadata
    }

    fn key_ends(&mut self) {
        match self.member() {
            Ok(next) => self.state.next = next,
            Err(fault) => self.fail(fault),
        }
    }

    fn scalar_begins(&mut self, scalar: Scalar, at: usize) -> bool {
        let State { base, depth, next, elements, .. } = *self.state;
        if depth < base && (depth == 0 || next == Next::List) {
            self.fail(ListFault::NotAList);
        } else if depth == base && matches!(next, Next::Elements(_)) {
            // An empty list is `null` where Go had none.
            if scalar == Scalar::Null {
                self.begin();
            } else {
                self.fail(ListFault::NotAList);
            }
        } else if depth == base + 1 && elements.is_some() {
            self.fail(ListFault::NotAnObject);
        } else if next == Next::Count && depth == base + 1 {
            self.turn(at, Way::Nowhere);
        }
        false
    }

    fn scalar_ends(&mut self, at: usize) {
        if self.state.way == Way::Nowhere {
            self.turn(at, Way::Out);
            self.give(b"null");
            self.state.next = Next::Kept;
        }
    }

    fn opens(&mut self, container: Container, at: usize) {
        let State { base, depth, next, elements, in_metadata, .. } = *self.state;
        self.state.depth += 1;
        if depth < base {
            let is_list = depth == 0 || next == Next::List;
            if !is_list || container != Container::Object {
                self.fail(ListFault::NotAList);
            }
        } else if depth == base {
            match (next, container) {
                (Next::Elements(elements), Container::Array) => {
                    self.turn(at + 1, Way::Gap);
                    self.state.elements = Some(elements);
                    self.state.given = 0;
                    self.begin();
                }
                (Next::Elements(_), Container::Object) => self.fail(ListFault::NotAList),
                (next, _) => self.state.in_metadata = next == Next::Metadata,
            }
        } else if depth == base + 1 && elements.is_some() {
            if container == Container::Array {
                self.fail(ListFault::NotAnObject);
            }
            self.turn(at, Way::Held);
        } else if in_metadata && depth == base + 1 {
            self.fail(ListFault::UnknownMember);
        }
    }

    fn closes(&mut self, at: usize) {
        self.state.depth -= 1;
        let State { base, depth, elements, .. } = *self.state;
        match elements {
            Some(elements) if depth == base + 1 => {
                self.turn(at, Way::Gap);
                if self.state.fault.is_none()
                    && let Err(fault) = self.decide(elements)
                {
                    self.fail(fault);
                }
            }
            Some(_) if depth == base => {
                self.turn(at, Way::Out);
                self.out.append(&mut self.state.gap);
                self.state.elements = None;
            }
            _ => {}
        }
        if depth == base {
            self.state.in_metadata = false;
        }
    }

    fn text(&mut self, piece: &[u8]) {
        let room = LONGEST_KEY.saturating_sub(self.state.key.len());
        self.state.key.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

/// Wants to know nothing.
pub(super) struct Nobody;

impl Visitor for Nobody {
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
