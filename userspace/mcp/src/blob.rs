//! What becomes of base64 blobs in messages, by their media type.

use serde::Deserialize;

/// The media types whose blobs pass.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlobPolicy {
    /// Media types, or all of a kind: `image/*`.
    pub pass: Vec<String>,
}

impl Default for BlobPolicy {
    fn default() -> Self {
        Self { pass: vec!["image/*".to_owned(), "audio/*".to_owned()] }
    }
}
