//! Protobuf as Kubernetes speaks it: an object in an envelope, or the events of a watch, each behind its length.
//! [`wire`] reads fields, [`schema`] says what they are called in JSON, where rules name them, [`routes`] what becomes of
//! them then, [`walk`] masks, [`edits`] makes the changes, [`masker`] is what bodies go through.
//!
//! The length of a message comes before it, and masking changes lengths. So one message is held whole, up to [`LIMIT`]:
//! an object or list, or one event of a watch.

mod edits;
mod masker;
mod routes;
mod schema;
mod walk;
mod wire;

pub use masker::ProtobufMasker;

/// The longest body or event that is masked in protobuf, in bytes. Larger ones are asked for in JSON, which streams.
pub const LIMIT: usize = 4 * 1024 * 1024;
