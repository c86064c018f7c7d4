//! One message of a server, masked.

use portcullis_mask::{MaskError, MaskKey, Profile};

use crate::BlobPolicy;

/// Masks the messages of a server.
#[derive(Debug)]
pub struct MessageMasker;

impl MessageMasker {
    /// One that masks by `profile`, with placeholders made by `key`.
    #[must_use]
    pub fn new(_profile: &Profile, _key: &MaskKey, _blobs: &BlobPolicy) -> Self {
        Self
    }

    /// One that passes everything.
    #[must_use]
    pub fn unmasked() -> Self {
        Self
    }

    /// Appends `message`, one JSON-RPC message, to `out`, masked.
    ///
    /// # Errors
    /// What cannot be masked.
    pub fn mask(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        out.extend_from_slice(message);
        Ok(())
    }
}
