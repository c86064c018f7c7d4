//! The write-back guard for calls: masked values among arguments. Whoever hands one to a tool would write the mask where the
//! secret was.

use portcullis_mask::{PLACEHOLDER_PREFIX, PlaceholderGuard, packs_placeholder};
use serde_json::Value;

use crate::data_uri::{decode, percent_decoded};

/// Text in text in text … is looked into this deep.
const DEPTH: u8 = 6;

/// Where the first masked value is in `value`, complete or damaged, as a JSON path (RFC 9535): in a string or a key, spelled in
/// any way that JSON has, in JSON in a string, in base64 or percent-encoding, in gzip in base64.
#[must_use]
pub fn placeholders(value: &Value) -> Option<String> {
    find(value, &mut "$".to_owned(), 0)
}

fn find(value: &Value, path: &mut String, depth: u8) -> Option<String> {
    let length = path.len();
    match value {
        Value::String(text) => holds(text.as_bytes(), depth).then(|| path.clone()),
        Value::Array(values) => values.iter().enumerate().find_map(|(at, value)| {
            path.push_str(&format!("[{at}]"));
            let found = find(value, path, depth);
            path.truncate(length);
            found
        }),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            push_name(name, path);
            let found =
                if holds(name.as_bytes(), depth) { Some(path.clone()) } else { find(value, path, depth) };
            path.truncate(length);
            found
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Whether a masked value is in a text, or in what the text stands for.
fn holds(text: &[u8], depth: u8) -> bool {
    // No spelling is shorter than what it spells.
    if text.len() < PLACEHOLDER_PREFIX.len() {
        return false;
    }
    if PlaceholderGuard::find(text).is_some() || packs_placeholder(text) {
        return true;
    }
    if depth == DEPTH {
        return false;
    }
    let within = |text: Option<Vec<u8>>| text.is_some_and(|text| holds(&text, depth + 1));
    let percent = str::from_utf8(text).ok().filter(|text| text.contains('%')).map(percent_decoded);
    // Nothing else of JSON has strings in it.
    let json = || match text.trim_ascii_start().first()? {
        b'{' | b'[' | b'"' => serde_json::from_slice::<Value>(text).ok(),
        _ => None,
    };
    within(decode(text))
        || within(percent)
        || json().is_some_and(|value| find(&value, &mut String::new(), depth + 1).is_some())
}

/// Appends the segment of a member.
fn push_name(name: &str, path: &mut String) {
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if begins && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        path.push_str(&format!(".{name}"));
    } else {
        path.push_str(&format!("[{}]", Value::from(name)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data_uri::encode;

    const MASK: &str = "portcullis-masked:0123456789abcdef01234567";

    #[test]
    fn a_masked_value_is_found_in_any_spelling() {
        let in_json = json!({"a": [MASK]}).to_string();
        let spelled = in_json.replace("portcullis", "\\u0070ortcullis");
        for text in [
            MASK.to_owned(),
            format!("https://user:{MASK}@host/"),
            format!("https://user:{}@host/", MASK.replace(':', "%3A")),
            "portcullis-masked:hid".to_owned(),
            "portcullis-masked:".to_owned(),
            in_json.clone(),
            spelled.clone(),
            json!({"b": spelled}).to_string(),
            encode(MASK.as_bytes()),
            encode(in_json.as_bytes()),
            encode(spelled.as_bytes()),
            encode(encode(MASK.as_bytes()).as_bytes()),
            encode(format!("x{MASK}").as_bytes()),
        ] {
            assert_eq!(placeholders(&json!({"a": text})).as_deref(), Some("$.a"), "{text}");
        }
        for text in ["portcullis", "masked:0123", "", "%", "aGVsbG8=", "{\"a\": 1}"] {
            assert_eq!(placeholders(&json!({"a": text, "b": [1, true, null]})), None, "{text}");
        }
    }

    #[test]
    fn it_is_told_where() {
        for (value, path) in [
            (json!(MASK), "$"),
            (json!({"a": {"b c": [0, {"d": MASK}]}}), "$.a[\"b c\"][1].d"),
            (json!({"x": 1, MASK: 1}), "$[\"portcullis-masked:0123456789abcdef01234567\"]"),
            (json!([MASK, MASK]), "$[0]"),
        ] {
            assert_eq!(placeholders(&value).as_deref(), Some(path));
        }
    }
}
