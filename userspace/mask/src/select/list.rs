//! A list or a Table, taken apart: its elements are held until they are known, all else passes, once it is known to be one.

use super::object::{Members, Object, Row, read};
use super::pass::{Filtered, Pass, Stand};
use super::{ListFault, hold};
use crate::json::reader::{Container, Scalar, Visitor};

/// The longest key that is looked for fits with room to spare.
const LONGEST_KEY: usize = 32;

/// A list or a Table that is taken apart.
pub(super) type Splitter = Filtered<List>;

/// Where in a list it stands.
pub(super) struct List {
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
        Self::new(List::at(1))
    }

    /// For a list that is the object of an event.
    pub(super) fn of_event() -> Self {
        Self::new(List::at(2))
    }
}

impl List {
    fn at(base: usize) -> Self {
        Self {
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
        }
    }

    /// Elements given of the last array.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Gives what is of the list itself.
    fn give(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ListFault> {
        if !self.is_list {
            return hold(&mut self.head, bytes);
        }
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn member(&self) -> Result<Next, ListFault> {
        let Self { base, depth, in_metadata, key, .. } = self;
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

impl Stand for List {
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ListFault> {
        match self.way {
            Way::Out => self.give(bytes, out),
            Way::Gap => hold(&mut self.gap, bytes),
            Way::Held => hold(&mut self.held, bytes),
            Way::Nowhere => Ok(()),
        }
    }

    fn end(&self) -> Result<(), ListFault> {
        if self.is_list { Ok(()) } else { Err(ListFault::NotAList) }
    }
}

impl Pass<'_, List> {
    fn turn(&mut self, at: usize, way: Way) {
        self.settle(at);
        self.stand.way = way;
    }

    /// It is a list.
    fn begin(&mut self) {
        self.stand.is_list = true;
        self.release(|list| &mut list.head);
    }

    /// An element ended.
    fn element(&mut self, elements: Elements) -> Result<(), ListFault> {
        let covered = match elements {
            Elements::Items => {
                let Object { metadata: Members(metadata), .. } = read(&self.stand.held)?;
                (self.covers)(&metadata.namespace, &metadata.name)
            }
            Elements::Rows => {
                let row: Row<'_> = read(&self.stand.held)?;
                let metadata = row.metadata()?;
                (self.covers)(&metadata.namespace, &metadata.name)
            }
        };
        if covered {
            let first = self.stand.given == 0;
            self.out.extend(self.stand.gap.iter().filter(|byte| !(first && **byte == b',')));
            self.out.extend_from_slice(&self.stand.held);
            self.stand.given += 1;
        } else {
            *self.withheld += 1;
        }
        self.stand.gap.clear();
        self.stand.held.clear();
        Ok(())
    }
}

impl Visitor for Pass<'_, List> {
    fn key_begins(&mut self) -> bool {
        let List { base, depth, in_metadata, .. } = *self.stand;
        self.stand.key.clear();
        depth <= base || depth == base + 1 && in_metadata
    }

    fn key_ends(&mut self) {
        match self.stand.member() {
            Ok(next) => self.stand.next = next,
            Err(fault) => self.fail(fault),
        }
    }

    fn scalar_begins(&mut self, scalar: Scalar, at: usize) -> bool {
        let List { base, depth, next, elements, .. } = *self.stand;
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
        if self.stand.way == Way::Nowhere {
            self.turn(at, Way::Out);
            self.decide(|pass| pass.stand.give(b"null", pass.out));
            self.stand.next = Next::Kept;
        }
    }

    fn opens(&mut self, container: Container, at: usize) -> bool {
        let List { base, depth, next, elements, in_metadata, .. } = *self.stand;
        self.stand.depth += 1;
        if depth < base {
            let is_list = depth == 0 || next == Next::List;
            if !is_list || container != Container::Object {
                self.fail(ListFault::NotAList);
            }
        } else if depth == base {
            match (next, container) {
                (Next::Elements(elements), Container::Array) => {
                    self.turn(at + 1, Way::Gap);
                    self.stand.elements = Some(elements);
                    self.stand.given = 0;
                    self.begin();
                }
                (Next::Elements(_), Container::Object) => self.fail(ListFault::NotAList),
                (next, _) => self.stand.in_metadata = next == Next::Metadata,
            }
        } else if depth == base + 1 && elements.is_some() {
            if container == Container::Array {
                self.fail(ListFault::NotAnObject);
            }
            self.turn(at, Way::Held);
            return false;
        } else if in_metadata && depth == base + 1 {
            self.fail(ListFault::UnknownMember);
        }
        true
    }

    fn closes(&mut self, at: usize) {
        self.stand.depth -= 1;
        let List { base, depth, elements, .. } = *self.stand;
        match elements {
            Some(elements) if depth == base + 1 => {
                self.turn(at, Way::Gap);
                self.decide(|pass| pass.element(elements));
            }
            Some(_) if depth == base => {
                self.turn(at, Way::Out);
                self.release(|list| &mut list.gap);
                self.stand.elements = None;
            }
            _ => {}
        }
        if depth == base {
            self.stand.in_metadata = false;
        }
    }

    fn text(&mut self, piece: &[u8]) {
        let room = LONGEST_KEY.saturating_sub(self.stand.key.len());
        self.stand.key.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}
