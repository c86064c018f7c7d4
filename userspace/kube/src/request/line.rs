//! `portcullis policy classify`: one JSON line in, one out.

use serde::{Deserialize, Serialize};

use super::{RequestInfo, ambiguity, classify};

#[derive(Deserialize)]
struct Asked<'a> {
    method: std::borrow::Cow<'a, str>,
    target: std::borrow::Cow<'a, str>,
}

#[derive(Serialize)]
struct Answered<'a> {
    method: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<RequestInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Classifies `{"method","target"}`: `{"method","target","info":{…}}`, or `"error"` in place of `"info"` where the API
/// server could not read the line either; and `"refused"` besides, where its spelling is refused before any decision.
///
/// # Errors
/// When the line is not such an object.
pub fn classify_line(line: &str) -> Result<String, serde_json::Error> {
    let asked: Asked<'_> = serde_json::from_str(line)?;
    let (method, target) = (&*asked.method, &*asked.target);
    let (info, error) = match classify(method, target) {
        Ok(info) => (Some(info), None),
        Err(e) => (None, Some(e.to_string())),
    };
    let refused = ambiguity(method, target).map(|a| a.to_string());
    serde_json::to_string(&Answered { method, target, info, error, refused })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_kinds_of_answer() {
        let answer = |line| serde_json::from_str::<serde_json::Value>(&classify_line(line).unwrap()).unwrap();
        let plain = answer(r#"{"method":"GET","target":"/api/v1/pods"}"#);
        assert_eq!(
            (&plain["info"]["verb"], plain.get("error"), plain.get("refused")),
            (&"list".into(), None, None)
        );
        let refused = answer(r#"{"method":"GET","target":"/api/v1//pods"}"#);
        assert_eq!(refused["info"]["subresource"], "");
        assert_eq!(refused["refused"], "the path has an empty segment (\"//\")");
        let error = answer(r#"{"method":"GET","target":"/%"}"#);
        assert_eq!(error.get("info"), None);
        assert_eq!(error["error"], "malformed percent-escape in the path");
        assert!(classify_line("{}").is_err());
    }
}
