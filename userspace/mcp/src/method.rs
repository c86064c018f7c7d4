//! The methods of MCP, in all revisions, and what each is about. A method that is not here is another's, and passes to
//! the decision as it is; one that only looks like one of these is refused, since a server might take it for it.

use crate::json::folded;

/// Longest method taken, in bytes.
const LONGEST: usize = 128;

/// What the requests of a method are about, and which parameter says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Nothing,
    /// `name`.
    Tool,
    /// `uri`.
    Resource,
    /// `name`.
    Prompt,
    /// `ref`: a prompt or a resource.
    Reference,
}

/// The methods that clients and servers send: 2025-03-26, 2025-06-18, 2025-11-25, 2026-07-28 and its extension for
/// tasks.
const KNOWN: &[(&str, Subject)] = &[
    ("completion/complete", Subject::Reference),
    ("elicitation/create", Subject::Nothing),
    ("initialize", Subject::Nothing),
    ("logging/setLevel", Subject::Nothing),
    ("notifications/cancelled", Subject::Nothing),
    ("notifications/elicitation/complete", Subject::Nothing),
    ("notifications/initialized", Subject::Nothing),
    ("notifications/message", Subject::Nothing),
    ("notifications/progress", Subject::Nothing),
    ("notifications/prompts/list_changed", Subject::Nothing),
    ("notifications/resources/list_changed", Subject::Nothing),
    ("notifications/resources/updated", Subject::Nothing),
    ("notifications/roots/list_changed", Subject::Nothing),
    ("notifications/subscriptions/acknowledged", Subject::Nothing),
    ("notifications/tasks/status", Subject::Nothing),
    ("notifications/tools/list_changed", Subject::Nothing),
    ("ping", Subject::Nothing),
    ("prompts/get", Subject::Prompt),
    ("prompts/list", Subject::Nothing),
    ("resources/list", Subject::Nothing),
    ("resources/read", Subject::Resource),
    ("resources/subscribe", Subject::Resource),
    ("resources/templates/list", Subject::Nothing),
    ("resources/unsubscribe", Subject::Resource),
    ("roots/list", Subject::Nothing),
    ("sampling/createMessage", Subject::Nothing),
    ("server/discover", Subject::Nothing),
    ("subscriptions/listen", Subject::Nothing),
    ("tasks/cancel", Subject::Nothing),
    ("tasks/get", Subject::Nothing),
    ("tasks/list", Subject::Nothing),
    ("tasks/result", Subject::Nothing),
    ("tasks/update", Subject::Nothing),
    ("tools/call", Subject::Tool),
    ("tools/list", Subject::Nothing),
];

/// What requests of `method` are about.
///
/// # Errors
/// Why the method is refused.
pub(crate) fn subject(method: &str) -> Result<Subject, String> {
    if let Some((_, subject)) = KNOWN.iter().find(|(known, _)| *known == method) {
        return Ok(*subject);
    }
    if method.is_empty() || method.len() > LONGEST {
        return Err(format!("has to be 1 to {LONGEST} bytes long"));
    }
    let shape = shape(method);
    if let Some((known, _)) = KNOWN.iter().find(|(known, _)| self::shape(known) == shape) {
        return Err(format!("looks like {known}, and is not"));
    }
    match method.chars().find(|c| !(c.is_ascii_alphanumeric() || "/-_.$:".contains(*c))) {
        Some(odd) => Err(format!("has {odd:?} in it")),
        None => Ok(Subject::Nothing),
    }
}

/// Whether it is a method of notifications, which are answered by nobody.
pub(crate) fn is_notification(method: &str) -> bool {
    method.starts_with("notifications/")
}

/// What is left of a method for a careless reader: no case, nothing but letters and digits, and of those that look alike
/// only one.
fn shape(method: &str) -> String {
    let plain = folded(method);
    plain.chars().filter(|c| c.is_alphanumeric()).map(|c| if "1i".contains(c) { 'l' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_are_told_apart_even_by_a_careless_reader() {
        for (n, (method, known)) in KNOWN.iter().enumerate() {
            assert_eq!(subject(method), Ok(*known));
            assert!(KNOWN[..n].iter().all(|(other, _)| shape(other) != shape(method)), "{method}");
        }
    }

    #[test]
    fn what_looks_like_a_known_one_is_refused() {
        for method in [
            "Tools/call",
            "tools/Call",
            "TOOLS/CALL",
            "tools/call/",
            "/tools/call",
            "tools//call",
            "tools.call",
            "tools_call",
            "tools/call ",
            " tools/call",
            "tools/call\0",
            "tools/call\n",
            "tools\u{2215}call",
            "tooIs/caII",
            "too1s/ca11",
            "toolſ/call",
            "tools/\u{200b}call",
            "p1ng",
            "Ping",
            "ping/",
            "logging/setlevel",
            "notifications/Initialized",
        ] {
            let refused = subject(method).unwrap_err();
            assert!(refused.contains("looks like"), "{method:?}: {refused}");
        }
    }

    #[test]
    fn what_no_method_is_made_of_is_refused() {
        let long = "x".repeat(129);
        for (method, why) in [
            ("", "1 to 128 bytes"),
            (long.as_str(), "1 to 128 bytes"),
            ("t\u{43e}\u{43e}ls/call", "'\u{43e}' in it"),
            ("\u{ff54}ools/call", "'\u{ff54}' in it"),
            ("x/y z", "' ' in it"),
            ("x\0", "'\\0' in it"),
        ] {
            let refused = subject(method).unwrap_err();
            assert!(refused.contains(why), "{method:?}: {refused}");
        }
    }

    #[test]
    fn methods_of_others_are_taken_as_they_are() {
        for method in ["tasks/delete", "com.example/reindex", "$/progress", "tools/describe"] {
            assert_eq!(subject(method), Ok(Subject::Nothing), "{method}");
        }
    }
}
