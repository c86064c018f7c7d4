//! What a request may ask an answer to look like: of masked objects what the maskers read, of what the gate itself
//! filters or writes JSON alone (RFC 9110 §12.5).

use http::header::{self, HeaderMap, HeaderValue};

use crate::headers::value;
use crate::refusal::Refusal;

/// Keeps of `Accept` only JSON and protobuf (plain, Table, PartialObjectMetadata, watch), in the client's order. What is not
/// `repeatable` is asked for in JSON where the client takes it: of protobuf an answer can turn out not to be maskable.
///
/// # Errors
/// [`Refusal::NotAcceptable`] when the client accepts neither: it must not be handed what it cannot read, nor what we cannot
/// mask.
pub(crate) fn narrow_accept(headers: &mut HeaderMap, repeatable: bool) -> Result<(), Refusal> {
    let asked: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let asked = asked.join(",");
    let mut kept: Vec<&str> = Vec::new();
    for clause in clauses(&asked) {
        match essence(clause).as_str() {
            JSON | PROTOBUF => kept.push(clause),
            "*/*" | "application/*" => kept.push(JSON),
            _ => {}
        }
    }
    if asked.trim().is_empty() {
        kept.push(JSON);
    }
    if kept.is_empty() {
        return Err(Refusal::NotAcceptable { accept: asked });
    }
    let narrowed = value(&kept.join(","))?;
    headers.insert(header::ACCEPT, narrowed);
    if !repeatable && let Some(json) = json_instead(headers) {
        headers.insert(header::ACCEPT, json);
    }
    Ok(())
}

/// What a narrowed `Accept` says of JSON, if it speaks of protobuf as well.
pub(crate) fn json_instead(headers: &HeaderMap) -> Option<HeaderValue> {
    let accepted = headers.get(header::ACCEPT)?.to_str().ok()?;
    let (json, others): (Vec<&str>, Vec<&str>) =
        clauses(accepted).partition(|clause| essence(clause) == JSON);
    let json: Vec<&str> = json.into_iter().filter(|clause| !is_excluded(clause)).collect();
    if json.is_empty() || others.is_empty() {
        return None;
    }
    HeaderValue::from_str(&json.join(",")).ok()
}

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The media ranges of an `Accept` header (RFC 9110 §12.5.1).
fn clauses(accept: &str) -> impl Iterator<Item = &str> {
    accept.split(',').map(str::trim).filter(|clause| !clause.is_empty())
}

/// A media range without its parameters, in lower case.
fn essence(clause: &str) -> String {
    clause.split(';').next().unwrap_or(clause).trim().to_ascii_lowercase()
}

/// Whether a clause says what is not wanted: a weight of zero.
fn is_excluded(clause: &str) -> bool {
    let weight = clause.split(';').filter_map(|parameter| parameter.trim().strip_prefix("q=")).next();
    weight.and_then(|weight| weight.trim().parse().ok()) == Some(0.0)
}

/// As [`narrow_accept`], of `what` the gate writes or filters itself: JSON alone.
///
/// # Errors
/// [`Refusal::JsonOnly`] when the client accepts none.
pub(crate) fn accept_json(headers: &mut HeaderMap, what: &'static str) -> Result<(), Refusal> {
    let asked: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let asked = asked.join(",");
    let json: Vec<&str> = clauses(&asked)
        .filter_map(|clause| match essence(clause).as_str() {
            JSON => Some(clause),
            "*/*" | "application/*" => Some(JSON),
            _ => None,
        })
        .collect();
    let json = if clauses(&asked).next().is_none() { JSON.to_owned() } else { json.join(",") };
    if json.is_empty() {
        return Err(Refusal::JsonOnly { what, accept: asked });
    }
    headers.insert(header::ACCEPT, value(&json)?);
    Ok(())
}

/// Asks for what can be read as it comes.
pub(crate) fn refuse_coding(headers: &mut HeaderMap) {
    headers.remove(header::RANGE);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Keeps of `Accept-Encoding` only gzip, the one coding the masker opens.
pub(crate) fn narrow_accept_encoding(headers: &mut HeaderMap) {
    let gzip = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            parts.next() == Some("gzip") && parts.next() != Some("q=0")
        });
    headers.remove(header::ACCEPT_ENCODING);
    headers.remove(header::RANGE);
    let coding = if gzip { "gzip" } else { "identity" };
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(coding));
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn accept_is_narrowed_to_what_is_masked() {
        const PROTOBUF_OR_JSON: &str = "application/vnd.kubernetes.protobuf,application/json";
        const TABLES: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (asked, repeatable, once) in [
            (PROTOBUF_OR_JSON, PROTOBUF_OR_JSON, "application/json"),
            (PROTOBUF, PROTOBUF, PROTOBUF),
            (
                "application/vnd.kubernetes.protobuf;stream=watch",
                "application/vnd.kubernetes.protobuf;stream=watch",
                "application/vnd.kubernetes.protobuf;stream=watch",
            ),
            ("application/vnd.kubernetes.protobuf, */*;q=0.1", PROTOBUF_OR_JSON, "application/json"),
            (
                "application/vnd.kubernetes.protobuf,application/json;q=0",
                "application/vnd.kubernetes.protobuf,application/json;q=0",
                "application/vnd.kubernetes.protobuf,application/json;q=0",
            ),
            (TABLES, TABLES, TABLES),
            ("*/*", "application/json", "application/json"),
            ("", "application/json", "application/json"),
            (
                "application/json;stream=watch, application/cbor-seq",
                "application/json;stream=watch",
                "application/json;stream=watch",
            ),
        ] {
            for (may_repeat, narrowed) in [(true, repeatable), (false, once)] {
                let mut map = headers(&[("Accept", asked)]);
                narrow_accept(&mut map, may_repeat).unwrap();
                assert_eq!(map.get(header::ACCEPT).unwrap(), narrowed, "{asked}");
            }
        }
        for asked in ["application/cbor", "application/yaml", "text/html", "application/json-seq"] {
            assert!(matches!(
                narrow_accept(&mut headers(&[("Accept", asked)]), true),
                Err(Refusal::NotAcceptable { .. })
            ));
        }
    }

    #[test]
    fn json_is_there_instead_if_the_client_takes_it() {
        let instead = |accept| {
            json_instead(&headers(&[("Accept", accept)])).map(|value| value.to_str().unwrap().to_owned())
        };
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList,application/json;as=PartialObjectMetadataList,application/json";
        assert_eq!(
            instead(partial).as_deref(),
            Some("application/json;as=PartialObjectMetadataList,application/json")
        );
        for accept in [PROTOBUF, JSON, "application/vnd.kubernetes.protobuf,application/json; q=0.0"] {
            assert_eq!(instead(accept), None, "{accept}");
        }
    }

    #[test]
    fn what_the_gate_writes_is_json() {
        const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
        for (asked, json) in [
            ("", "application/json"),
            ("application/vnd.kubernetes.protobuf,application/json", "application/json"),
            ("application/json, */*", "application/json,application/json"),
            (TABLE, TABLE),
        ] {
            let mut map = headers(&[("Accept", asked)]);
            accept_json(&mut map, "x").unwrap();
            assert_eq!(map.get(header::ACCEPT).unwrap(), json);
        }
        let mut protobuf = headers(&[("Accept", "application/vnd.kubernetes.protobuf")]);
        assert!(matches!(accept_json(&mut protobuf, "x"), Err(Refusal::JsonOnly { .. })));
        let mut coded = headers(&[("Accept-Encoding", "gzip"), ("Range", "bytes=0-9")]);
        refuse_coding(&mut coded);
        assert_eq!(
            (coded.len(), coded.get(header::ACCEPT_ENCODING).unwrap().as_bytes()),
            (1, &b"identity"[..])
        );
    }

    #[test]
    fn only_gzip_is_offered_upstream_for_masked_resources() {
        for (asked, offered) in
            [("gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("br", "identity"), ("gzip;q=0", "identity")]
        {
            let mut map = headers(&[("Accept-Encoding", asked)]);
            narrow_accept_encoding(&mut map);
            assert_eq!(map.get(header::ACCEPT_ENCODING).unwrap(), offered);
        }
    }
}
