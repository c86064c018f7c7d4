//! Error messages of an API server quote what they complain of: the value that is invalid, the start of a body that is no
//! JSON, a whole pod template that must not change. Here these quotations are replaced; the rest can still be read.
//!
//! Up to its first colon a message says what it is about, in the words of the request (`Secret "x" is invalid`). From there
//! on text in quotes is replaced, save where the words around it say that it is a name, or should be. A quotation that shows no end (one
//! in parentheses, in braces or between bars) is replaced up to the end of the message.

use std::ops::Range;

use crate::placeholder::Placeholder;

/// What stands before the quotation of a name, or of a text of the server's own.
const NAMES: [&[u8]; 12] = [
    b"User ",
    b"resource ",
    b"group ",
    b"namespace ",
    b"serviceaccount ",
    b"webhook ",
    b"version ",
    b"field ",
    b"subresource ",
    b"e.g. ",
    b"expression ",
    b"validation is ",
];

/// What stands after the quotation of something that should be a name and is none (apimachinery, `util/validation`).
const NO_NAMES: [&[u8]; 6] = [
    b"\": a lowercase RFC 1123 ",
    b"\": a DNS-1035 label ",
    b"\": a valid config key ",
    b"\": a valid environment variable name ",
    b"\": a qualified name ",
    b"\": name part must ",
];

/// Parentheses with texts of the server's own in them.
const ASIDES: [&[u8]; 3] = [b"(e.g. ", b"(must be of type ", b"(regex used for validation is "];

/// Appends `message` to `out`, with what it quotes replaced.
pub(crate) fn mask_quotes(message: &[u8], placeholder: &mut Placeholder, out: &mut Vec<u8>) {
    let (mut at, mut given, mut about) = (0, 0, true);
    while at < message.len() {
        about &= !message[at..].starts_with(b": ");
        let Some(quotation) = quotation(message, at) else {
            at += 1;
            continue;
        };
        let endless = quotation.end == message.len();
        let named = about
            || NAMES.iter().any(|words| message[..at].ends_with(words))
            || NO_NAMES.iter().any(|words| message[quotation.end..].starts_with(words));
        // A single character is a mark of punctuation.
        if quotation.len() > 1 && (endless || !named) {
            let from = quotation.start.max(given);
            out.extend_from_slice(&message[given..from]);
            placeholder.update(&message[from..quotation.end]);
            placeholder.write(out);
            given = quotation.end;
        }
        at = quotation.end + 1;
    }
    out.extend_from_slice(&message[given..]);
}

/// What is quoted, if a quotation begins at `at`.
fn quotation(message: &[u8], at: usize) -> Option<Range<usize>> {
    let (before, rest) = message.split_at(at);
    let closed_by = |quote: u8| {
        let end = closing(&rest[1..], quote);
        at + 1..end.map_or(message.len(), |end| at + 1 + end)
    };
    match rest[0] {
        b'"' => Some(closed_by(b'"')),
        // Not an apostrophe.
        b'\'' if !before.last().is_some_and(u8::is_ascii_alphanumeric) => Some(closed_by(b'\'')),
        // As YAML's decoder quotes what is of another type: !!str `x`.
        b'`' if is_yaml_tag(before) => Some(closed_by(b'`')),
        // The type of what is in the braces belongs to it. Nothing comes after it, so this is looked for once.
        b'{' | b'|' => {
            let word =
                before.iter().rposition(|byte| byte.is_ascii_whitespace()).map_or(0, |space| space + 1);
            Some(word..message.len())
        }
        b'(' if before.ends_with(b" ") && !ASIDES.iter().any(|aside| rest.starts_with(aside)) => {
            Some(at..message.len())
        }
        b'0'..=b'9' | b'-' if before.ends_with(b"unmarshal number ") => {
            let length = rest.iter().position(|byte| byte.is_ascii_whitespace());
            Some(at..length.map_or(message.len(), |length| at + length))
        }
        _ => None,
    }
}

/// Where a quotation ends, its quote being escaped by a backslash within.
fn closing(text: &[u8], quote: u8) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|&byte| {
        let closes = byte == quote && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn is_yaml_tag(before: &[u8]) -> bool {
    // Behind a space, so that each word is looked at once.
    before.ends_with(b" ")
        && before
            .trim_ascii_end()
            .rsplit(u8::is_ascii_whitespace)
            .next()
            .is_some_and(|word| word.starts_with(b"!!"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::MaskKey;

    /// What becomes of a message, with `…` for each placeholder.
    fn shown(message: &str) -> String {
        let mut out = Vec::new();
        mask_quotes(message.as_bytes(), &mut Placeholder::new(&MaskKey::from_bytes([1; 32])), &mut out);
        let out = String::from_utf8(out).unwrap();
        let mut parts = out.split("portcullis-masked:");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |shown, part| shown + "…" + &part[24..])
    }

    #[test]
    fn what_a_message_is_about_stays() {
        for message in [
            r#"secrets "nosuch" not found"#,
            r#"secrets "api-key" already exists"#,
            r#"Operation cannot be fulfilled on configmaps "app-config": the object has been modified; please apply your changes to the latest version and try again"#,
            r#"secrets is forbidden: User "alice" cannot list resource "secrets" in API group "" in the namespace "demo""#,
            r#"Secret "binary-blob" is invalid: data: Forbidden: field is immutable when `immutable` is set"#,
            r#"pods "x" is forbidden: error looking up service account demo/default: serviceaccount "default" not found"#,
            r#"Secret "Bad_Name" is invalid: [metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), data[tls.crt]: Required value]"#,
            "the server could not find the requested resource",
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml",
            "Forbidden: field is immutable when `immutable` is set",
            "Unauthorized",
            "",
        ] {
            assert_eq!(shown(message), message);
        }
    }

    #[test]
    fn what_it_quotes_goes() {
        for (message, expected) in [
            (
                r#"Secret "Bad" is invalid: [data: Invalid value: "Bad_Name": must consist of '-' or '.' (e.g. 'example.com', regex used for validation is '[a-z]([-a-z]*)?'), data[tls.crt]: Required value]"#,
                r#"Secret "Bad" is invalid: [data: Invalid value: "…": must consist of '-' or '.' (e.g. 'example.com', regex used for validation is '[a-z]([-a-z]*)?'), data[tls.crt]: Required value]"#,
            ),
            (
                r#"the object provided is unrecognized (must be of type Secret): couldn't get version/kind; json parse error: unexpected end of JSON input ({"apiVersion":"v1","kind":"Sec ...)"#,
                r#"the object provided is unrecognized (must be of type Secret): couldn't get version/kind; json parse error: unexpected end of JSON input …"#,
            ),
            (r#"x: Invalid value: "a\"b": y "cd"#, r#"x: Invalid value: "…": y "…"#),
            (
                r#"x: Unsupported value: "hunter2": supported values: "TCP", "UDP""#,
                r#"x: Unsupported value: "…": supported values: "…", "…""#,
            ),
            (r#"x: Invalid value: core.PodSpec{Env:"hunter2"}: field is immutable"#, "x: Invalid value: …"),
            (r#"x: Invalid value: {"a":"b"}: no"#, "x: Invalid value: …"),
            (
                "Pod in version \"v1\" cannot be handled: v1.Env.Value: ReadString: expects \", error found in #10 byte of ...|hunter2|...",
                "Pod in version \"v1\" cannot be handled: v1.Env.Value: ReadString: expects \"…",
            ),
            (
                "x: cannot unmarshal number 12345 into Go struct field Secret.data",
                "x: cannot unmarshal number … into Go struct field Secret.data",
            ),
            (
                "yaml: line 1: cannot unmarshal !!str `hunter2` into int",
                "yaml: line 1: cannot unmarshal !!str `…` into int",
            ),
            (
                r#"admission webhook "v.test" denied the request: key 'hunter2' is bad"#,
                r#"admission webhook "v.test" denied the request: key '…' is bad"#,
            ),
            (r#"Secret "a: \"b" is invalid: x: "hunter2""#, r#"Secret "a: \"b" is invalid: x: "…""#),
            (r#"{"data":"hunter2"}"#, "…"),
        ] {
            assert_eq!(shown(message), expected, "{message}");
        }
    }

    #[test]
    fn a_long_message_is_gone_through_once() {
        // The squares of these lengths are not to be waited for.
        for part in ["a", "`", "a`", " `", "'a", "(", "\"a\" "] {
            let message = part.repeat((2 << 20) / part.len());
            assert!(!shown(&message).is_empty());
        }
    }

    proptest! {
        #[test]
        fn quoted_values_never_show(before in "[a-z ]{0,8}", value in "[a-z\"\\\\' ]{3,12}") {
            let message = format!("{before}: Invalid value: {value:?}: wrong");
            let expected = format!("{before}: Invalid value: \"…\": wrong");
            prop_assert_eq!(shown(&message), expected);
        }

        #[test]
        fn any_message_is_no_trouble(message in ".{0,60}") {
            let mut out = Vec::new();
            mask_quotes(message.as_bytes(), &mut Placeholder::new(&MaskKey::from_bytes([1; 32])), &mut out);
            prop_assert!(String::from_utf8(out).is_ok());
        }
    }
}
