//! A tool as its server describes it.

use std::sync::Arc;

/// The definition of a tool: JSON as the server sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    text: Arc<str>,
}

impl Definition {
    /// The JSON as the server sent it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 over the canonical JSON: keys sorted, no white space.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        unimplemented!()
    }

    /// What became of it in `other`: a unified diff of the indented JSON.
    #[must_use]
    pub fn diff(&self, _other: &Definition) -> String {
        unimplemented!()
    }
}
