//! Content negotiation: which encoding and which shape of answer the client's Accept header asks for.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::status::Status;

/// How an answer is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What an object is turned into before it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object or list itself.
    Object,
    /// `meta.k8s.io/v1` Table.
    Table,
    /// `PartialObjectMetadata` or its list.
    Metadata,
}

/// The chosen form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// Encoding.
    pub encoding: Encoding,
    /// Shape.
    pub shape: Shape,
}

/// One clause of an Accept header.
struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Encoding {
    /// The media type of one object.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The encoding of that media type (parameters cut off), if it is one of ours.
    pub(crate) fn of_media_type(media: &str) -> Option<Encoding> {
        [Encoding::Json, Encoding::Yaml, Encoding::Protobuf]
            .into_iter()
            .find(|known| known.media_type() == media)
    }
}

/// The form the client prefers among those we have.
///
/// # Errors
/// 406 when it takes none of them.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Form, Status> {
    let accept = accept(headers);
    let clauses = clauses(&accept);
    if clauses.is_empty() {
        return Ok(Form { encoding: Encoding::Json, shape: Shape::Object });
    }
    let mut refusal = Status::not_acceptable();
    for clause in &clauses {
        let encoding = match clause.media {
            "*/*" | "application/*" => Encoding::Json,
            media => match Encoding::of_media_type(media) {
                Some(encoding) => encoding,
                None => continue,
            },
        };
        let Some(shape) = clause.shape() else { continue };
        if (encoding, shape) == (Encoding::Protobuf, Shape::Table) {
            refusal = Status::not_acceptable_table();
            continue;
        }
        return Ok(Form { encoding, shape });
    }
    Err(refusal)
}

/// The encoding for a `Status`: what the client takes, JSON where it takes nothing of ours.
pub(crate) fn negotiate_status(headers: &HeaderMap) -> Encoding {
    let accept = accept(headers);
    let plain = clauses(&accept).into_iter().filter(|clause| clause.shape() == Some(Shape::Object));
    plain.into_iter().find_map(|clause| Encoding::of_media_type(clause.media)).unwrap_or(Encoding::Json)
}

/// The version of aggregated discovery the client prefers, if it prefers any to the plain one.
pub(crate) fn aggregated_discovery(headers: &HeaderMap) -> Option<&'static str> {
    let accept = accept(headers);
    for clause in clauses(&accept) {
        match (clause.media, clause.parameter("as"), clause.parameter("v")) {
            ("application/json", Some("APIGroupDiscoveryList"), Some("v2")) => return Some("v2"),
            ("application/json", Some("APIGroupDiscoveryList"), Some("v2beta1")) => return Some("v2beta1"),
            ("application/json" | "*/*" | "application/*", None, _) => return None,
            _ => {}
        }
    }
    None
}

impl Clause<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn shape(&self) -> Option<Shape> {
        let known_version = matches!(
            (self.parameter("g"), self.parameter("v")),
            (Some("meta.k8s.io"), Some("v1" | "v1beta1"))
        );
        match self.parameter("as") {
            None => Some(Shape::Object),
            Some("Table") if known_version => Some(Shape::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if known_version => {
                Some(Shape::Metadata)
            }
            Some(_) => None,
        }
    }
}

fn accept(headers: &HeaderMap) -> String {
    let values: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept
        .split(',')
        .map(str::trim)
        .filter(|clause| !clause.is_empty())
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let quality =
                parameters.iter().find(|(key, _)| *key == "q").and_then(|(_, value)| value.parse().ok());
            Clause { media, parameters, quality: quality.unwrap_or(1.0) }
        })
        .collect();
    clauses.sort_by(|left, right| right.quality.total_cmp(&left.quality));
    clauses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &str) -> Result<Form, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header value"));
        negotiate(&headers)
    }

    #[test]
    fn first_clause_that_fits_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(form(table).unwrap(), Form { encoding: Encoding::Json, shape: Shape::Table });
        let kubectl = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(form(kubectl).unwrap().encoding, Encoding::Protobuf);
        assert_eq!(form("application/json;q=0.5,application/yaml").unwrap().encoding, Encoding::Yaml);
        assert_eq!(form("application/cbor, */*").unwrap().encoding, Encoding::Json);
        assert!(form("text/html").unwrap_err().details.is_some());
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
        assert!(form(table).unwrap_err().details.is_none());
    }
}
