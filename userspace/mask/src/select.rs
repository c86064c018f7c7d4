//! Lists and watches with what somebody may not see left out: objects of other namespaces, objects of other names.
//!
//! [`ListFilter`] reads the JSON that an API server answers a list or a watch with, holds one object at a time until it
//! knows whose it is, and gives the others byte for byte. What is neither a list nor a Table nor a watch is an error:
//! nothing of it could be told apart.

mod list;
mod object;
mod pass;
mod watch;

use self::list::Splitter;
use self::watch::{Events, Watch};
use crate::MaskError;

/// An object is at most as large as what a request may carry (apiserver, 3 MiB), and a little more.
const LARGEST_OBJECT: usize = 4 * 1024 * 1024;

/// Whether an object may be seen, by its namespace (empty where it has none) and its name.
pub type Covers = Box<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// Filters the JSON of one answer as it streams by, in chunks cut anywhere. Holds one object at a time, of at most 4 MiB.
pub struct ListFilter {
    shape: Shape,
    covers: Covers,
    withheld: u64,
    /// The body ended, or was not what it should be.
    over: bool,
}

enum Shape {
    List(Box<Splitter>),
    Watch(Box<Events>),
}

/// What an answer is in place of a list or a watch whose objects can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// Neither `items` nor `rows`, or something that is neither list nor Table.
    #[error("it is neither a list nor a Table")]
    NotAList,
    /// A member beside those of lists and Tables: what it holds could be about any object.
    #[error("it has a member that lists and Tables do not have")]
    UnknownMember,
    /// An element that is no object, or whose metadata cannot be read.
    #[error("it holds something that is no object of Kubernetes")]
    NotAnObject,
    /// A row without its object (`includeObject=None`).
    #[error("a row of its Table comes without the object that it is about")]
    BareRow,
    /// An event of a type that watches do not have, or without its object.
    #[error("it holds something that is no event of a watch")]
    NotAnEvent,
    /// An object over 4 MiB.
    #[error("one object in it is over 4 MiB")]
    TooLarge,
}

impl ListFilter {
    /// A filter for the answer to a `list`: a list of any kind, of metadata alone, or a Table with objects in its rows.
    #[must_use]
    pub fn list(covers: Covers) -> Self {
        Self { shape: Shape::List(Box::new(Splitter::of_list())), covers, withheld: 0, over: false }
    }

    /// A filter for the events of a `watch`.
    #[must_use]
    pub fn watch(covers: Covers) -> Self {
        Self {
            shape: Shape::Watch(Box::new(Events::new(Watch::default()))),
            covers,
            withheld: 0,
            over: false,
        }
    }

    /// Takes the next chunk and appends what can be given of it to `out`.
    ///
    /// # Errors
    /// [`MaskError::Json`] and [`MaskError::List`] where the input is not what it should be. Nothing can be given after
    /// that: cut the stream.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        if self.over {
            return Err(MaskError::Over);
        }
        let outcome = match &mut self.shape {
            Shape::List(list) => list.push(chunk, &self.covers, &mut self.withheld, out),
            Shape::Watch(events) => events.push(chunk, &self.covers, &mut self.withheld, out),
        };
        self.over = outcome.is_err();
        outcome
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When it ends inside a document, or was no list.
    pub fn finish(&mut self) -> Result<(), MaskError> {
        if std::mem::replace(&mut self.over, true) {
            return Err(MaskError::Over);
        }
        match &mut self.shape {
            Shape::List(list) => list.finish(),
            Shape::Watch(events) => events.finish(),
        }
    }

    /// How many objects and events were left out so far.
    #[must_use]
    pub fn withheld(&self) -> u64 {
        self.withheld
    }
}

/// Appends to what is held of one object.
fn hold(held: &mut Vec<u8>, bytes: &[u8]) -> Result<(), ListFault> {
    if held.len() + bytes.len() > LARGEST_OBJECT {
        return Err(ListFault::TooLarge);
    }
    held.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests;
