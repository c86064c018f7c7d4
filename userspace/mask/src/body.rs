//! Masking a response body in the content type and coding that it came in.

use std::sync::Arc;

use crate::gzip::GzipMasker;
use crate::{JsonMasker, MaskError, MaskKey, ProtobufMasker, Rules, TextMasker};

/// Masks the body of one response; what came compressed leaves compressed. Memory is bounded, and every push gives all
/// that can be given, so that the events of a watch are not kept waiting.
pub struct BodyMasker {
    masker: Box<dyn Masker>,
    whole: bool,
}

/// What a body of some format goes through.
pub(crate) trait Masker: Send {
    /// Takes the next bytes and appends what can be given to `out`.
    fn push(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError>;
    /// Ends the body and appends what is left to `out`.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError>;
    /// How many bytes are held until more is known.
    fn held(&self) -> usize {
        0
    }
    /// Whether something is held that can be given once nothing more has come for a while.
    fn holds(&self) -> bool {
        false
    }
    /// Gives what is so held.
    fn flush(&mut self, _out: &mut Vec<u8>) -> Result<(), MaskError> {
        Ok(())
    }
}

/// A format that bodies come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Json,
    Protobuf,
    ProtobufWatch,
}

impl BodyMasker {
    /// A masker for a body whose `Content-Type` is `content_type`, of JSON or Kubernetes' protobuf, and whose
    /// `Content-Encoding` is `coding`: empty or `identity`, or `gzip`.
    ///
    /// # Errors
    /// [`MaskError::Type`] for any other type, [`MaskError::Coding`] for any other coding, and for several at once.
    pub fn new(
        content_type: &str,
        coding: &str,
        rules: Arc<Rules>,
        key: &MaskKey,
    ) -> Result<Self, MaskError> {
        let format = Type::of(content_type).ok_or_else(|| MaskError::Type(content_type.to_owned()))?;
        let masker: Box<dyn Masker> = match format {
            Type::Json => Box::new(JsonMasker::new(rules, key)),
            Type::Protobuf => Box::new(ProtobufMasker::object(rules, key)),
            Type::ProtobufWatch => Box::new(ProtobufMasker::watch(rules, key)),
        };
        Self::coded(masker, coding, format == Type::Protobuf)
    }

    /// A masker for the body of a request for a log, which may have asked for some number of bytes (`cut_off`): in text the
    /// detectors of `rules` mask, in anything else (an error) `rules` do.
    ///
    /// # Errors
    /// As [`BodyMasker::new`].
    pub fn for_log(
        content_type: &str,
        coding: &str,
        rules: Arc<Rules>,
        key: &MaskKey,
        cut_off: bool,
    ) -> Result<Self, MaskError> {
        if !is_text(content_type) {
            return Self::new(content_type, coding, rules, key);
        }
        let masker = TextMasker::of_log(Arc::clone(rules.detectors()), key, cut_off);
        Self::coded(Box::new(masker), coding, false)
    }

    fn coded(masker: Box<dyn Masker>, coding: &str, whole: bool) -> Result<Self, MaskError> {
        let masker = match coding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => masker,
            "gzip" | "x-gzip" => Box::new(GzipMasker::new(masker)),
            _ => return Err(MaskError::Coding(coding.to_owned())),
        };
        Ok(Self { masker, whole })
    }

    /// Whether a body of this `Content-Type` can be masked.
    pub fn reads(content_type: &str) -> bool {
        Type::of(content_type).is_some()
    }

    /// Whether a log's body of this `Content-Type` can be masked.
    pub fn reads_log(content_type: &str) -> bool {
        is_text(content_type) || Self::reads(content_type)
    }

    /// Whether nothing is given before the body has ended.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// How many bytes are held until more is known.
    pub fn held(&self) -> usize {
        self.masker.held()
    }

    /// Whether something is held that [`flush`](Self::flush) gives: do that when nothing more has come for a while.
    pub fn holds(&self) -> bool {
        self.masker.holds()
    }

    /// Gives what is held although more may come; see [`TextMasker::flush`].
    ///
    /// # Errors
    /// When the body was over, or was not what it should be.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.masker.flush(out)
    }

    /// Takes the next bytes of the body and appends what can be given to the client to `out`.
    ///
    /// # Errors
    /// When the body is not what it should be; see [`JsonMasker::push`] and [`ProtobufMasker::push`]. Cut the stream then.
    pub fn push(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.masker.push(body, out)
    }

    /// Ends the body and appends what is left to `out`.
    ///
    /// # Errors
    /// When the body is cut off.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.masker.finish(out)
    }
}

impl Masker for JsonMasker {
    fn push(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.push(body, out)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.finish(out)
    }
}

impl Masker for ProtobufMasker {
    fn push(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.push(body, out)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.finish(out)
    }

    fn held(&self) -> usize {
        self.held()
    }
}

impl Masker for TextMasker {
    fn push(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.push(body, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.finish(out);
        Ok(())
    }

    fn holds(&self) -> bool {
        self.holds()
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        self.flush(out);
        Ok(())
    }
}

fn is_text(content_type: &str) -> bool {
    essence(content_type).eq_ignore_ascii_case("text/plain")
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

impl Type {
    fn of(content_type: &str) -> Option<Self> {
        let essence = essence(content_type);
        if essence.eq_ignore_ascii_case("application/json") {
            return Some(Self::Json);
        }
        if !essence.eq_ignore_ascii_case("application/vnd.kubernetes.protobuf") {
            return None;
        }
        let watch = content_type
            .split(';')
            .skip(1)
            .map(str::trim)
            .any(|parameter| parameter.eq_ignore_ascii_case("stream=watch"));
        Some(if watch { Self::ProtobufWatch } else { Self::Protobuf })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_by_their_essence() {
        for (text, of) in [
            ("application/json", Some(Type::Json)),
            ("Application/JSON; charset=utf-8", Some(Type::Json)),
            ("application/json;stream=watch", Some(Type::Json)),
            ("application/vnd.kubernetes.protobuf", Some(Type::Protobuf)),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some(Type::Protobuf),
            ),
            ("application/vnd.kubernetes.protobuf; stream=watch", Some(Type::ProtobufWatch)),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;stream=watch",
                Some(Type::ProtobufWatch),
            ),
            ("application/cbor", None),
            ("application/yaml", None),
            ("text/plain", None),
            ("application/jsonx", None),
            ("", None),
        ] {
            assert_eq!(Type::of(text), of, "{text}");
        }
    }
}
