//! What a PATCH could tell about values that its author may not see.
//!
//! A JSON Patch (RFC 6902) can `copy` or `move` a Secret's value into a label, which is not masked, and `test` a guess
//! of it. Merge patches and apply know no such operations. The API server goes by the content type alone, and so do we.

use http::{HeaderMap, header};
use serde::Deserialize;

use crate::refusal::Refusal;

/// The patches that only ever write what they bring (apiserver, `handlers/patch.go`).
const BRINGS_ITS_VALUES: [&str; 4] = [
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
];

#[derive(Deserialize)]
struct Operation {
    op: String,
    #[serde(default)]
    path: String,
}

/// Refuses a patch of a masked object that could copy, move or compare what is masked in it.
pub(crate) fn checked(headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    let essence = essence(headers);
    if BRINGS_ITS_VALUES.contains(&essence.as_str()) {
        return Ok(());
    }
    if essence != "application/json-patch+json" {
        return Err(Refusal::PatchType { content_type: essence });
    }
    let operations: Vec<Operation> = serde_json::from_slice(body)
        .map_err(|error| Refusal::BodyUnreadable(format!("it is no JSON patch: {error}")))?;
    operations.iter().try_for_each(|operation| match operation.op.as_str() {
        "add" | "replace" | "remove" => Ok(()),
        // `kubectl` guards its patches by `test`ing the version of the object.
        "test" if is_open(&operation.path) => Ok(()),
        "test" => Err(Refusal::Probe { operation: "\"test\" of anything but metadata" }),
        _ => Err(Refusal::Probe { operation: "\"copy\" or \"move\"" }),
    })
}

/// The content type without its parameters; empty if there is none.
pub(crate) fn essence(headers: &HeaderMap) -> String {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let content_type = String::from_utf8_lossy(content_type);
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a JSON pointer leads to what is never masked.
fn is_open(path: &str) -> bool {
    path.strip_prefix("/metadata/").is_some_and(|rest| !rest.starts_with("annotations"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn patch(content_type: &'static str, body: &str) -> Result<(), Refusal> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        checked(&headers, body.as_bytes())
    }

    #[test]
    fn values_neither_move_nor_are_compared() {
        let json = |body| patch("application/json-patch+json", body);
        for body in [
            r#"[]"#,
            r#"[{"op":"add","path":"/data/a","value":"YQ=="},{"op":"remove","path":"/data/b"}]"#,
            r#"[{"op":"test","path":"/metadata/resourceVersion","value":"7"},{"op":"replace","path":"/data","value":{}}]"#,
        ] {
            assert!(json(body).is_ok(), "{body}");
        }
        for body in [
            r#"[{"op":"copy","from":"/data/a","path":"/metadata/labels/a"}]"#,
            r#"[{"op":"move","from":"/metadata/annotations","path":"/metadata/labels"}]"#,
            r#"[{"\u006fp":"c\u006fpy","from":"/data/a","path":"/metadata/labels/a"}]"#,
            r#"[{"op":"test","path":"/data/a","value":"YQ=="}]"#,
            r#"[{"op":"test","path":"","value":{}}]"#,
            r#"[{"op":"test","path":"/metadata/annotations/x","value":"y"}]"#,
            r#"[{"op":"unknown","path":"/data/a"}]"#,
        ] {
            assert!(matches!(json(body), Err(Refusal::Probe { .. })), "{body}");
        }
        for body in
            [r#"[{"op":"add","op":"copy","from":"/data/a","path":"/x"}]"#, r#"{"op":"copy"}"#, "[", ""]
        {
            assert!(matches!(json(body), Err(Refusal::BodyUnreadable(_))), "{body}");
        }
        assert!(patch("Application/JSON-Patch+JSON ;charset=utf-8", r#"[{"op":"copy"}]"#).is_err());
    }

    #[test]
    fn other_patches_are_known_by_their_type() {
        assert!(patch("application/strategic-merge-patch+json", r#"{"data":{}}"#).is_ok());
        assert!(patch("application/apply-patch+yaml; charset=utf-8", "data: {}").is_ok());
        assert!(matches!(patch("application/json", "{}"), Err(Refusal::PatchType { .. })));
        assert!(matches!(checked(&HeaderMap::new(), b"{}"), Err(Refusal::PatchType { .. })));
    }
}
