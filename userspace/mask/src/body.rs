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

    /// A masker for what a web server says: JSON is masked by `rules`, any other text by their detectors. What has no type is
    /// taken for text.
    ///
    /// # Errors
    /// As [`BodyMasker::new`], for what is no text.
    pub fn for_web(
        content_type: &str,
        coding: &str,
        rules: Arc<Rules>,
        key: &MaskKey,
    ) -> Result<Self, MaskError> {
        let essence = essence(content_type).to_ascii_lowercase();
        let masker: Box<dyn Masker> = if is_json(&essence) {
            Box::new(JsonMasker::new(rules, key))
        } else if essence.is_empty() || is_written(&essence) {
            Box::new(TextMasker::new(Arc::clone(rules.detectors()), key))
        } else {
            return Err(MaskError::Type(content_type.to_owned()));
        };
        Self::coded(masker, coding, false)
    }

    /// Whether a `Content-Type` is that of a picture, a sound or a font, in which nothing is written.
    pub fn is_picture(content_type: &str) -> bool {
        let essence = essence(content_type).to_ascii_lowercase();
        let kind = essence.split('/').next().unwrap_or_default();
        matches!(kind, "image" | "audio" | "video" | "font") && !is_written(&essence)
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

fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence.ends_with("+json")
}

/// Whether a media type, in lower case, is text that people can read.
fn is_written(essence: &str) -> bool {
    const WRITTEN: [&str; 8] = [
        "application/javascript",
        "application/jsonl",
        "application/openmetrics-text",
        "application/toml",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/yaml",
    ];
    essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("+yaml")
        || WRITTEN.contains(&essence)
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
    fn what_a_web_server_says_is_masked_by_what_it_is() {
        let rules = crate::Profile::default().for_data();
        let key = MaskKey::from_bytes([7; 32]);
        let mask = |content_type: &str, body: &str| {
            let mut masker = BodyMasker::for_web(content_type, "", Arc::clone(&rules), &key)?;
            let mut out = Vec::new();
            masker.push(body.as_bytes(), &mut out)?;
            masker.finish(&mut out)?;
            Ok::<_, MaskError>(String::from_utf8(out).unwrap())
        };
        for (content_type, body) in [
            ("", "db_password=Tr0ub4dor&3xyz"),
            ("text/html; charset=utf-8", "<p>db_password=Tr0ub4dor&3xyz</p>"),
            ("application/problem+json", r#"{"detail":"db_password=Tr0ub4dor&3xyz"}"#),
            ("image/svg+xml", "<text>db_password=Tr0ub4dor&3xyz</text>"),
        ] {
            assert!(!mask(content_type, body).unwrap().contains("Tr0ub4dor"), "{content_type}");
        }
        for content_type in ["application/octet-stream", "application/zip", "image/png"] {
            assert!(matches!(mask(content_type, ""), Err(MaskError::Type(_))), "{content_type}");
        }
        for (content_type, is) in
            [("image/png", true), ("Font/woff2", true), ("image/svg+xml", false), ("", false)]
        {
            assert_eq!(BodyMasker::is_picture(content_type), is, "{content_type}");
        }
    }

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
