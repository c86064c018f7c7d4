//! Request bodies: from JSON, YAML or protobuf to an object of the wanted type, strict as the client asks.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use crate::kinds::Resource;
use crate::negotiate::Encoding;
use crate::protobuf;
use crate::request::Query;
use crate::schema::{Mismatch, Type, UnknownField, schema};
use crate::status::Status;

/// What a client wants done about fields the server does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in `Warning` headers.
    Warn,
    /// Refuse.
    Strict,
}

/// Decodes objects of one kind and collects the warnings about them.
pub(crate) struct Decoder {
    kind: &'static str,
    api_version: String,
    object_type: &'static Type,
    validation: Validation,
    /// `Warning` headers for the answer.
    pub warnings: Vec<HeaderValue>,
}

impl Validation {
    /// The query's `fieldValidation`.
    ///
    /// # Errors
    /// 422 for a value that is none of the three.
    pub(crate) fn of(query: &Query) -> Result<Validation, Status> {
        match query.filled("fieldValidation") {
            Some("Ignore") => Ok(Validation::Ignore),
            Some("Strict") => Ok(Validation::Strict),
            Some("Warn") | None => Ok(Validation::Warn),
            Some(other) => {
                Err(Status::unprocessable(format!("fieldValidation: Unsupported value: {other:?}")))
            }
        }
    }
}

impl Decoder {
    /// A decoder of objects of the resource.
    pub(crate) fn new(resource: &Resource, validation: Validation) -> Decoder {
        Decoder::of_kind(resource.kind, resource.api_version(), schema().get(resource.schema), validation)
    }

    /// A decoder of another kind, such as `Scale` or `DeleteOptions`.
    pub(crate) fn of_kind(
        kind: &'static str,
        api_version: String,
        object_type: &'static Type,
        validation: Validation,
    ) -> Decoder {
        Decoder { kind, api_version, object_type, validation, warnings: Vec::new() }
    }

    /// The object in a body, without its kind and version.
    ///
    /// # Errors
    /// 415 for a foreign content type; 400 for a body that does not parse or fit, or is of another kind.
    pub(crate) fn decode(&mut self, headers: &HeaderMap, body: &[u8]) -> Result<Value, Status> {
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let object = match Encoding::of_media_type(media) {
            Some(Encoding::Json) => serde_json::from_slice(body).map_err(|_| self.unrecognized(body))?,
            Some(Encoding::Yaml) => parse_yaml(body).ok_or_else(|| self.unrecognized(body))?,
            Some(Encoding::Protobuf) => {
                protobuf::decode(body, self.object_type).map_err(|_| self.unrecognized(body))?.object
            }
            None => {
                return Err(Status::unsupported_media_type(
                    "application/json, application/yaml, application/vnd.kubernetes.protobuf",
                ));
            }
        };
        self.accept(object)
    }

    /// Checks kind and fields of a parsed object and puts it in order.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn accept(&mut self, mut object: Value) -> Result<Value, Status> {
        let kind = object["kind"].as_str().unwrap_or(self.kind);
        let version =
            object["apiVersion"].as_str().filter(|version| !version.is_empty()).unwrap_or(&self.api_version);
        if kind != self.kind && !kind.is_empty() || version != self.api_version {
            return Err(Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {}: no kind {kind:?} is registered for version \
                 {version:?} here",
                self.kind
            )));
        }
        if let Some(fields) = object.as_object_mut() {
            fields.shift_remove("kind");
            fields.shift_remove("apiVersion");
        }
        let mut unknown = Vec::new();
        let object =
            self.object_type.conform(object, &mut unknown).map_err(|Mismatch(why)| self.unusable(&why))?;
        self.judge(&unknown)?;
        Ok(object)
    }

    fn judge(&mut self, unknown: &[UnknownField]) -> Result<(), Status> {
        let each: Vec<String> =
            unknown.iter().map(|UnknownField(path)| format!("unknown field {path:?}")).collect();
        match self.validation {
            Validation::Strict if !each.is_empty() => {
                Err(self.unusable(&format!("strict decoding error: {}", each.join(", "))))
            }
            Validation::Warn => {
                self.warnings.extend(each.iter().filter_map(|message| warning(message)));
                Ok(())
            }
            Validation::Strict | Validation::Ignore => Ok(()),
        }
    }

    fn unusable(&self, why: &str) -> Status {
        let version = self.api_version.rsplit('/').next().unwrap_or_default();
        Status::bad_request(format!(
            "{} in version {version:?} cannot be handled as a {}: {why}",
            self.kind, self.kind
        ))
    }

    /// Quotes the start of the body, as the real server does: a leak the gate must mask.
    fn unrecognized(&self, body: &[u8]) -> Status {
        let start: String = String::from_utf8_lossy(body).chars().take(30).collect();
        let why = match serde_json::from_slice::<Value>(body) {
            Err(error) if error.is_eof() => "unexpected end of JSON input".to_owned(),
            Err(error) => error.to_string(),
            Ok(_) => "not an object".to_owned(),
        };
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             {why} ({start} ...)",
            self.kind
        ))
    }
}

/// A `Warning` header (RFC 7234 code 299) of that text.
pub(crate) fn warning(message: &str) -> Option<HeaderValue> {
    let quoted = message.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_str(&format!("299 - \"{quoted}\"")).ok()
}

/// A YAML document as JSON.
pub(crate) fn parse_yaml(body: &[u8]) -> Option<Value> {
    serde_saphyr::from_str(std::str::from_utf8(body).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(content_type: &str, body: &str, validation: Validation) -> Result<(Value, usize), Status> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().expect("a header value"));
        let mut decoder = Decoder::new(Resource::core("configmaps"), validation);
        let object = decoder.decode(&headers, body.as_bytes())?;
        Ok((object, decoder.warnings.len()))
    }

    #[test]
    fn strictness_and_wording_are_as_captured() {
        let body = r#"{"kind":"ConfigMap","apiVersion":"v1","datum":{"a":"b"},"metadata":{"name":"bad"}}"#;
        assert_eq!(
            decode("application/json", body, Validation::Strict).unwrap_err().message,
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "datum""#
        );
        assert_eq!(decode("application/json", body, Validation::Warn).unwrap().1, 1);
        assert_eq!(decode("application/json", body, Validation::Ignore).unwrap().1, 0);
        assert_eq!(decode("text/plain", "x", Validation::Warn).unwrap_err().reason, "UnsupportedMediaType");
        let refusal =
            decode("application/json", r#"{"apiVersion":"v1","kind":"Secret","metadata":"#, Validation::Warn);
        assert_eq!(
            refusal.unwrap_err().message,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse \
             error: unexpected end of JSON input ({\"apiVersion\":\"v1\",\"kind\":\"Sec ...)"
        );
    }

    #[test]
    fn yaml_is_read() {
        let body = "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: made\ndata:\n  a: \"1\"\n";
        let (object, _) = decode("application/yaml", body, Validation::Strict).expect("reads");
        assert_eq!(object["data"]["a"], "1");
    }
}
