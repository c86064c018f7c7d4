//! JSON as it streams by: [`reader`] is the strict grammar over chunks, [`scan`] its wide scans, [`text`] the strings,
//! [`masker`] what is done with it.

mod between;
pub(crate) mod escape;
mod masker;
pub(crate) mod reader;
mod scan;
mod text;

pub use masker::JsonMasker;
pub(crate) use masker::{KEY_LIMIT, is_json_object};
