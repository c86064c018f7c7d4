//! Tool definitions as they were first seen, or accepted since.

use std::path::PathBuf;

use crate::{Definition, PinError};

/// A pinned tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// As it was first seen, or accepted since.
    pub definition: Definition,
    /// As the server describes it now, where that differs.
    pub changed: Option<Definition>,
}

/// The definitions of one target's tools.
#[derive(Debug)]
pub struct Pins;

impl Pins {
    /// Opens the file; without one, they are kept in memory.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn open(_path: Option<PathBuf>) -> Result<Self, PinError> {
        unimplemented!()
    }

    /// A tool's pin.
    #[must_use]
    pub fn tool(&self, _name: &str) -> Option<Pinned> {
        unimplemented!()
    }

    /// Makes the changed definition with this digest the pinned one.
    ///
    /// # Errors
    /// Where no such definition is known, or the file cannot be written.
    pub fn accept(&self, _name: &str, _digest: &[u8; 32]) -> Result<(), PinError> {
        unimplemented!()
    }
}
