//! Masking a response body in the content coding it came in.

use std::sync::Arc;

use crate::gzip::GzipMasker;
use crate::{JsonMasker, MaskError, MaskKey, Rules};

/// Masks the JSON body of one response; what came compressed leaves compressed. Constant memory, and every push gives
/// all that can be given, so that the events of a watch are not kept waiting.
pub struct BodyMasker(Coding);

enum Coding {
    Identity(Box<JsonMasker>),
    Gzip(Box<GzipMasker>),
}

impl BodyMasker {
    /// A masker for a body whose `Content-Encoding` is `coding`: empty or `identity`, or `gzip`.
    ///
    /// # Errors
    /// [`MaskError::Coding`] for any other coding, and for several at once.
    pub fn new(coding: &str, rules: Arc<Rules>, key: &MaskKey) -> Result<Self, MaskError> {
        let masker = JsonMasker::new(rules, key);
        match coding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self(Coding::Identity(Box::new(masker)))),
            "gzip" | "x-gzip" => Ok(Self(Coding::Gzip(Box::new(GzipMasker::new(masker))))),
            _ => Err(MaskError::Coding(coding.to_owned())),
        }
    }

    /// Takes the next bytes of the body and appends what can be given to the client to `out`.
    ///
    /// # Errors
    /// When the body is not what it should be; see [`JsonMasker::push`]. Cut the stream then.
    pub fn push(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        match &mut self.0 {
            Coding::Identity(masker) => masker.push(body, out),
            Coding::Gzip(masker) => masker.push(body, out),
        }
    }

    /// Ends the body and appends what is left to `out`.
    ///
    /// # Errors
    /// When the body is cut off.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        match &mut self.0 {
            Coding::Identity(masker) => masker.finish(out),
            Coding::Gzip(masker) => masker.finish(out),
        }
    }
}
