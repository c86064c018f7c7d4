//! A tool as its server describes it: what a person, or a model, decides upon when it is called.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use similar::TextDiff;

use crate::fault::quoted;
use crate::{AnswerFault, MessageMasker, json};

/// What marks a parameter that is repeated in a header.
const ANNOTATION: &str = "x-mcp-header";
/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// The definition of a tool: an entry of `tools/list`. Two are equal whose digests are.
#[derive(Debug, Clone)]
pub struct Definition {
    name: Arc<str>,
    text: Arc<str>,
    digest: [u8; 32],
}

/// An argument that is repeated in the header `Mcp-Param-{name}` (MCP 2026-07-28, custom headers from tool parameters).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamHeader {
    /// The header's name behind the prefix.
    pub name: String,
    /// The keys that lead to the argument.
    pub path: Vec<String>,
}

impl ParamHeader {
    /// The argument, if there is one; null is none.
    #[must_use]
    pub fn value<'a>(&self, arguments: &'a Value) -> Option<&'a Value> {
        let found = self.path.iter().try_fold(arguments, |at, key| at.get(key));
        found.filter(|value| !value.is_null())
    }
}

impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Definition {}

impl Definition {
    /// A definition as the server sent it.
    ///
    /// # Errors
    /// Where it is no object with a name.
    pub fn read(text: &str) -> Result<Self, AnswerFault> {
        let value: Value = serde_json::from_str(text).map_err(AnswerFault::Json)?;
        match value.get("name") {
            Some(Value::String(name)) => {
                let digest = Sha256::digest(json::canonical(value.clone())).into();
                Ok(Self { name: name.as_str().into(), text: text.into(), digest })
            }
            _ => Err(AnswerFault::Shape("a tool has no name".to_owned())),
        }
    }

    /// A definition that was kept: `text` masked, and the digest of what it was.
    pub(crate) fn kept(text: &str, digest: [u8; 32]) -> Result<Self, AnswerFault> {
        Ok(Self { digest, ..Self::read(text)? })
    }

    /// The same as it may be kept and shown to anybody.
    ///
    /// # Errors
    /// Where it cannot be masked.
    pub(crate) fn masked(&self, masker: &MessageMasker) -> Result<Self, AnswerFault> {
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            result: Tools<'a>,
        }
        #[derive(Deserialize)]
        struct Tools<'a> {
            #[serde(borrow)]
            tools: [&'a RawValue; 1],
        }
        // What is masked where is known of messages.
        let message = format!(r#"{{"jsonrpc":"2.0","id":0,"result":{{"tools":[{}]}}}}"#, self.text);
        let mut masked = Vec::with_capacity(message.len());
        masker.mask(message.as_bytes(), &mut masked).map_err(AnswerFault::Mask)?;
        let message: Message<'_> = serde_json::from_slice(&masked).map_err(AnswerFault::Json)?;
        Self::kept(message.result.tools[0].get(), self.digest)
    }

    /// The tool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The JSON: as the server sent it, or masked, where it was kept.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 over the canonical JSON as the server sent it: all of it counts, and neither white space nor the order of
    /// keys.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The arguments that are repeated in headers.
    ///
    /// # Errors
    /// Why the definition is not valid: such a tool may not be called.
    pub fn param_headers(&self) -> Result<Vec<ParamHeader>, String> {
        let mut found = Vec::new();
        annotations(&self.value()["inputSchema"], Some(&[]), &mut found)?;
        for (n, ParamHeader { name, .. }) in found.iter().enumerate() {
            if found[..n].iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
                return Err(format!("{ANNOTATION} {name:?} is there twice"));
            }
        }
        Ok(found)
    }

    /// What became of it in `other`: a unified diff of the indented JSON, keys sorted. What a terminal or a page would not
    /// show is escaped: an instruction to a model may be written in it.
    #[must_use]
    pub fn diff(&self, other: &Definition) -> String {
        let (before, after) = (self.lines(), other.lines());
        TextDiff::from_lines(&before, &after)
            .unified_diff()
            .context_radius(CONTEXT)
            .header("pinned", "changed")
            .to_string()
    }

    fn lines(&self) -> String {
        let mut value = self.value();
        value.sort_all_objects();
        let mut lines = String::new();
        for c in format!("{value:#}\n").chars() {
            match c {
                c if !c.is_ascii() && c.escape_debug().len() > 1 => lines.extend(c.escape_unicode()),
                c => lines.push(c),
            }
        }
        lines
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.text).expect("it was read before")
    }
}

/// Finds the annotations of a schema. Only a chain of `properties` may lead to one (`path`); elsewhere it would be about
/// arguments that are not there in each call.
fn annotations(schema: &Value, path: Option<&[&str]>, found: &mut Vec<ParamHeader>) -> Result<(), String> {
    let Value::Object(members) = schema else { return Ok(()) };
    if let Some(header) = members.get(ANNOTATION) {
        found.push(annotated(header, members.get("type"), path)?);
    }
    for (keyword, inner) in members {
        match (keyword.as_str(), inner) {
            ("properties", Value::Object(properties)) => {
                for (key, property) in properties {
                    let path = path.map(|path| [path, &[key.as_str()]].concat());
                    annotations(property, path.as_deref(), found)?;
                }
            }
            ("patternProperties" | "dependentSchemas" | "$defs" | "definitions", Value::Object(schemas)) => {
                schemas.values().try_for_each(|schema| annotations(schema, None, found))?;
            }
            // Values, not schemas.
            ("const" | "default" | "enum" | "examples", _) => {}
            (_, Value::Array(schemas)) => {
                schemas.iter().try_for_each(|schema| annotations(schema, None, found))?;
            }
            (_, schema) => annotations(schema, None, found)?,
        }
    }
    Ok(())
}

fn annotated(header: &Value, kind: Option<&Value>, path: Option<&[&str]>) -> Result<ParamHeader, String> {
    let path = match path {
        None | Some([]) => return Err(format!("{ANNOTATION} stands where it may not: only on properties")),
        Some(path) => path.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>(),
    };
    let at = path.join(".");
    let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    match header.as_str() {
        Some(name) if !name.is_empty() && name.bytes().all(token) => match kind.and_then(Value::as_str) {
            Some("string" | "integer" | "boolean") => Ok(ParamHeader { name: name.to_owned(), path }),
            _ => Err(format!("{at} has an {ANNOTATION}, and is neither string, integer nor boolean")),
        },
        Some(name) => Err(format!("the {ANNOTATION} of {at} is no name of a header: {}", quoted(name))),
        None => Err(format!("the {ANNOTATION} of {at} is no string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(schema: &str) -> Definition {
        Definition::read(&format!(r#"{{"name":"t","inputSchema":{schema}}}"#)).unwrap()
    }

    #[test]
    fn a_definition_is_known_by_what_it_says_and_not_by_how_it_is_written() {
        let read = |text| Definition::read(text).unwrap().digest();
        let first = read(r#"{"name":"a","description":"x","inputSchema":{"b":1,"c":[1,2]}}"#);
        assert_eq!(
            read("{\n \"inputSchema\":{\"c\":[1,2],\"b\":1}, \"description\":\"\\u0078\",\"name\":\"a\"}"),
            first
        );
        for other in [
            r#"{"name":"a","description":"x ","inputSchema":{"b":1,"c":[1,2]}}"#,
            r#"{"name":"a","description":"x","inputSchema":{"b":1,"c":[2,1]}}"#,
            r#"{"name":"a","description":"x","inputSchema":{"b":1.0,"c":[1,2]}}"#,
            r#"{"name":"a","description":"x","inputSchema":{"b":1,"c":[1,2]},"_meta":{}}"#,
        ] {
            assert_ne!(read(other), first, "{other}");
        }
        for text in [r#"{"description":"x"}"#, r#"{"name":1}"#, "[]", "null", r#"{"name":"a","x":1e999}"#] {
            assert!(Definition::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn annotated_arguments_are_found_at_any_depth_of_properties() {
        let definition = tool(
            r#"{"type":"object","properties":{
                "region":{"type":"string","x-mcp-header":"Region"},
                "x-mcp-header":{"type":"string"},
                "at":{"type":"object","properties":{"zone":{"type":"integer","x-mcp-header":"Zone"}}},
                "example":{"type":"object","default":{"x-mcp-header":"No"},"enum":[{"x-mcp-header":"No"}]}}}"#,
        );
        let headers = definition.param_headers().unwrap();
        let found: Vec<_> =
            headers.iter().map(|header| (header.name.as_str(), header.path.join("."))).collect();
        assert_eq!(found, [("Region", "region".to_owned()), ("Zone", "at.zone".to_owned())]);
        let arguments = serde_json::json!({ "region": null, "at": { "zone": 4 } });
        assert_eq!(headers[0].value(&arguments), None);
        assert_eq!(headers[1].value(&arguments), Some(&Value::from(4)));
        assert_eq!(headers[1].value(&Value::from("x")), None);
        assert_eq!(Definition::read(r#"{"name":"t"}"#).unwrap().param_headers(), Ok(vec![]));
    }

    #[test]
    fn annotations_that_are_not_valid_are_told() {
        for (schema, why) in [
            (r#"{"x-mcp-header":"A","type":"string"}"#, "stands where it may not"),
            (
                r#"{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}"#,
                "stands where it may not",
            ),
            (r#"{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}"#, "stands where it may not"),
            (
                r#"{"oneOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#,
                "stands where it may not",
            ),
            (r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#, "neither string, integer nor"),
            (r#"{"properties":{"a":{"type":["string"],"x-mcp-header":"A"}}}"#, "neither string, integer nor"),
            (r#"{"properties":{"a":{"x-mcp-header":"A"}}}"#, "neither string, integer nor"),
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#, "no name of a header"),
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":"A\r\nB"}}}"#, "no name of a header"),
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":1}}}"#, "is no string"),
            (
                r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#,
                "is there twice",
            ),
        ] {
            let refused = tool(schema).param_headers().unwrap_err();
            assert!(refused.contains(why), "{schema}: {refused}");
        }
    }

    #[test]
    fn a_diff_shows_what_cannot_be_seen() {
        let before = Definition::read(r#"{"name":"a","description":"Adds.","x":1}"#).unwrap();
        let after =
            Definition::read("{\"x\":1,\"name\":\"a\",\"description\":\"Adds.\u{200b}\u{e0041}\u{202e} é\"}");
        assert_eq!(
            before.diff(&after.unwrap()),
            "--- pinned\n+++ changed\n@@ -1,5 +1,5 @@\n {\n-  \"description\": \"Adds.\",\n\
             +  \"description\": \"Adds.\\u{200b}\\u{e0041}\\u{202e} é\",\n   \"name\": \"a\",\n   \"x\": 1\n }\n"
        );
    }
}
