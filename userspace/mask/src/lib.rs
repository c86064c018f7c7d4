//! Streaming maskers: bytes of an API server's answer go in, the same bytes come out with every secret value replaced
//! by a stable keyed placeholder. Pure computation, in bounded memory, over chunks cut anywhere; what cannot be read is
//! an error, never a guess.
//!
//! [`Profile`] says which resources are masked and by which [`Rules`]; [`BodyMasker`] masks a response body,
//! [`JsonMasker`] and [`ProtobufMasker`] what is inside it, [`filter()`] a whole stream; [`PlaceholderGuard`] finds
//! placeholders that come back in a write, where they would replace the secret by its mask, and [`restore()`] puts the real
//! values back where they stand as they stood. [`ListFilter`] leaves out of
//! lists and watches what somebody may not see at all.

mod base64_text;
mod body;
mod cover;
mod detect;
mod digest;
mod error;
mod filter;
mod guard;
mod gzip;
mod helm;
mod json;
mod key;
mod names;
mod opened;
mod packed;
mod path;
mod placeholder;
mod policy;
mod profile;
mod protobuf;
mod quotes;
mod restore;
mod rules;
mod select;
mod terminal;
mod text;

pub use body::BodyMasker;
pub use cover::CoverMasker;
pub use detect::{DetectorConfig, DetectorError, Detectors, Pattern, Personal};
pub use error::{JsonFault, MaskError, ProtobufFault};
pub use filter::{Format, filter};
pub use guard::{FoundPlaceholder, PlaceholderGuard};
pub use json::JsonMasker;
pub use json::reader::{
    Container as JsonContainer, Reader as JsonReader, Scalar as JsonScalar, Visitor as JsonVisitor,
};
pub use key::MaskKey;
pub use packed::packs_placeholder;
pub use path::{FieldPath, PathError};
pub use placeholder::PREFIX_TEXT as PLACEHOLDER_PREFIX;
pub use policy::{MaskPolicy, PolicyError};
pub use profile::Profile;
pub use protobuf::{LIMIT as PROTOBUF_LIMIT, ProtobufMasker};
pub use restore::{RestoreError, Restored, RestoredValues, Why, Write, restore};
pub use rules::{Rules, RulesError};
pub use select::{Covers, ListFault, ListFilter};
pub use terminal::TerminalMasker;
pub use text::TextMasker;
