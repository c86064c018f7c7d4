//! From objects to HTTP answers: shape, encoding, compression, and the headers every answer carries.

use std::convert::Infallible;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT, VARY, WARNING,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Map, Value, json};

use crate::kinds::Resource;
use crate::negotiate::{self, Encoding, Form, Shape};
use crate::object;
use crate::protobuf;
use crate::request::Query;
use crate::schema::schema;
use crate::status::Status;
use crate::table;

/// The body of an answer: bytes at hand or a stream.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers shorter than this go out as they are.
const GZIP_FROM: usize = 128 * 1024;

/// How one client wants to be answered.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Encoding and shape.
    pub form: Form,
    /// Indented JSON, which curl and browsers get.
    pub pretty: bool,
    /// What the rows of a Table carry.
    pub include: Include,
    gzip: bool,
}

/// What the rows of a Table carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    /// Cells only.
    None,
    /// The object's metadata.
    Metadata,
    /// The whole object.
    Object,
}

/// A page of a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    /// Version of the answer.
    pub version: u64,
    /// Where the next page starts, empty at the end.
    pub next: String,
    /// How many objects follow, where known.
    pub remaining: Option<usize>,
}

impl Client {
    /// Reads what the client accepts.
    ///
    /// # Errors
    /// 406, or 400 for an unknown `includeObject`.
    pub(crate) fn new(headers: &HeaderMap, query: &Query) -> Result<Client, Status> {
        let include = match query.filled("includeObject") {
            Some("None") => Include::None,
            Some("Metadata") | None => Include::Metadata,
            Some("Object") => Include::Object,
            Some(other) => {
                return Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}")));
            }
        };
        let accepts = |header: &HeaderValue| header.to_str().is_ok_and(|value| value.contains("gzip"));
        Ok(Client {
            form: negotiate::negotiate(headers)?,
            pretty: wants_pretty(headers, query),
            include,
            gzip: headers.get(ACCEPT_ENCODING).is_some_and(accepts),
        })
    }

    /// One object of the resource.
    pub(crate) fn object(&self, code: StatusCode, resource: &Resource, object: &Value) -> Response<Body> {
        let (value, schema_name) = self.shape_one(resource, object, true);
        self.encoded(code, &value, schema_name)
    }

    /// An object of another kind, such as `Scale` or a review, already typed.
    pub(crate) fn foreign(&self, code: StatusCode, value: &Value, schema_name: &str) -> Response<Body> {
        self.encoded(code, value, schema_name)
    }

    /// A page of objects.
    pub(crate) fn list<'a>(
        &self,
        resource: &Resource,
        objects: impl Iterator<Item = &'a Value>,
        page: &Page,
    ) -> Response<Body> {
        let mut meta = Map::new();
        meta.insert("resourceVersion".to_owned(), json!(page.version.to_string()));
        if !page.next.is_empty() {
            meta.insert("continue".to_owned(), json!(page.next));
        }
        if let Some(remaining) = page.remaining {
            meta.insert("remainingItemCount".to_owned(), json!(remaining));
        }
        let list_schema = format!("{}List", resource.schema);
        let (value, schema_name) = match self.form.shape {
            Shape::Table => (table::table(resource, objects, &Value::Object(meta), self.include, true), ""),
            Shape::Metadata => {
                let items: Vec<Value> = objects.map(partial).collect();
                (
                    json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
                        "items": items}),
                    "meta.v1.PartialObjectMetadataList",
                )
            }
            Shape::Object => {
                let items: Vec<&Value> = objects.collect();
                (
                    json!({"kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
                        "metadata": meta, "items": items}),
                    list_schema.as_str(),
                )
            }
        };
        self.encoded(StatusCode::OK, &value, schema_name)
    }

    /// The object in the wanted shape, and the type it then has. `columns` is for the first Table of a watch.
    pub(crate) fn shape_one<'a>(
        &self,
        resource: &'a Resource,
        object: &Value,
        columns: bool,
    ) -> (Value, &'a str) {
        match self.form.shape {
            Shape::Object => (object::typed(resource, object), resource.schema),
            Shape::Metadata => (partial(object), "meta.v1.PartialObjectMetadata"),
            Shape::Table => {
                let meta = json!({"resourceVersion": object::meta(object, "resourceVersion")});
                (table::table(resource, std::iter::once(object), &meta, self.include, columns), "")
            }
        }
    }

    fn encoded(&self, code: StatusCode, value: &Value, schema_name: &str) -> Response<Body> {
        let bytes = match self.form.encoding {
            Encoding::Json => json_bytes(value, self.pretty),
            Encoding::Yaml => yaml_bytes(value),
            Encoding::Protobuf => protobuf::encode(value, schema().get(schema_name)),
        };
        let mut response = bytes_response(code, self.form.encoding.media_type(), bytes, self.gzip);
        if self.gzip && response.headers().contains_key(CONTENT_ENCODING) {
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        response
    }
}

/// A refusal, encoded as the client takes it.
pub(crate) fn refusal(status: &Status, headers: &HeaderMap, query: &Query) -> Response<Body> {
    let value = status.to_value();
    let encoding = negotiate::negotiate_status(headers);
    let bytes = match encoding {
        Encoding::Protobuf => protobuf::encode(&value, schema().get("meta.v1.Status")),
        Encoding::Yaml => yaml_bytes(&value),
        Encoding::Json => json_bytes(&value, wants_pretty(headers, query)),
    };
    let mut response = bytes_response(status.code, encoding.media_type(), bytes, false);
    if status.code == StatusCode::FORBIDDEN {
        response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    }
    if status.code == StatusCode::GATEWAY_TIMEOUT {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Any bytes as an answer, compressed when that is wanted and worth it.
pub(crate) fn bytes_response(
    code: StatusCode,
    content_type: &str,
    bytes: Vec<u8>,
    gzip: bool,
) -> Response<Body> {
    let compress = gzip && bytes.len() >= GZIP_FROM;
    let bytes = if compress { compressed(&bytes) } else { bytes };
    let mut response = Response::new(Full::new(Bytes::from(bytes)).boxed_unsync());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).expect("content types are ASCII"));
    if compress {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A short text, as `/readyz` and unknown paths answer.
pub(crate) fn text(code: StatusCode, text: &str) -> Response<Body> {
    let mut response = bytes_response(code, "text/plain; charset=utf-8", text.as_bytes().to_vec(), false);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Adds `Warning` headers.
pub(crate) fn warn(mut response: Response<Body>, warnings: Vec<HeaderValue>) -> Response<Body> {
    for warning in warnings {
        response.headers_mut().append(WARNING, warning);
    }
    response
}

/// JSON as Go writes it: `<`, `>` and `&` escaped, a newline after compact documents.
pub(crate) fn json_bytes(value: &Value, pretty: bool) -> Vec<u8> {
    let written = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    let bytes = written.expect("a JSON value is written to memory");
    let mut escaped = Vec::with_capacity(bytes.len() + 1);
    for byte in bytes {
        // These occur inside strings only.
        match byte {
            b'<' => escaped.extend_from_slice(b"\\u003c"),
            b'>' => escaped.extend_from_slice(b"\\u003e"),
            b'&' => escaped.extend_from_slice(b"\\u0026"),
            byte => escaped.push(byte),
        }
    }
    if !pretty {
        escaped.push(b'\n');
    }
    escaped
}

/// The object's metadata alone.
pub(crate) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn yaml_bytes(value: &Value) -> Vec<u8> {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    serde_saphyr::to_string(&sorted).expect("a JSON value is written to memory").into_bytes()
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("compressing to memory does not fail")
}

fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(asked) = query.get("pretty") {
        return matches!(asked, "1" | "true" | "");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|prefix| agent.starts_with(prefix))
}
