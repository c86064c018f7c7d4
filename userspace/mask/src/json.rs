//! JSON as it streams by: [`reader`] is the strict grammar over chunks, [`scan`] its wide scans, [`text`] the strings,
//! [`masker`] what is done with it.

mod between;
pub(crate) mod escape;
mod grammar;
mod key;
mod masker;
pub(crate) mod reader;
mod scan;
mod text;

pub(crate) use grammar::Grammar;
pub(crate) use key::KEY_LIMIT;
pub use masker::JsonMasker;
