//! Slack's Block Kit. All that an engineer could have written stands in code spans, in which nothing is markup, with
//! `verbatim` so that Slack does not go looking for links and channels either.

use serde_json::{Value, json};

use crate::matter::{EventKind, Happening, Verdict};
use crate::message::Answers;
use crate::text;

/// Slack's limit of one text is 3000 characters.
const LONGEST_BLOCK: usize = 2900;
/// Of the words of the longest facts; all facts together stay below the limit.
const LONGEST_FACT: usize = 550;

/// The message, with a plain text for clients and notifications that show no blocks.
pub(crate) fn message(told: &Happening, answers: &Answers) -> Value {
    let mut blocks = vec![header(told), section(&facts(told))];
    if let Some(diff) = &told.matter.diff {
        blocks.push(section(&text::code_block(diff, LONGEST_BLOCK)));
    }
    if let Some(by) = word(told) {
        blocks.push(section(&by));
    }
    blocks.extend(actions(told, answers));
    json!({
        "text": fallback(told),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// What only the one who pressed a button sees.
pub(crate) fn ephemeral(words: &str) -> Value {
    json!({
        "response_type": "ephemeral",
        "replace_original": false,
        "text": text::code(words, LONGEST_BLOCK),
    })
}

fn header(told: &Happening) -> Value {
    let text = format!("Portcullis: {} {}", headline(told.kind), told.matter.id);
    json!({"type": "header", "text": {"type": "plain_text", "text": text, "emoji": false}})
}

fn section(mrkdwn: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": mrkdwn, "verbatim": true}})
}

fn facts(told: &Happening) -> String {
    let line = |(label, value): (&str, String)| {
        let most = match label {
            "Command" => LONGEST_FACT + 150,
            "Operation" | "Reason" => LONGEST_FACT,
            _ => 250,
        };
        format!("*{label}:* {}", text::code(&value, most))
    };
    told.matter.facts().into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Who did it and what they said, where that is not the requester asking.
fn word(told: &Happening) -> Option<String> {
    let by = told.by.as_ref().filter(|_| !told.kind.asks());
    let comment = told.comment.as_ref().filter(|_| !told.kind.asks());
    let by = by.map(|by| format!("*By:* {}", text::code(&by.name, 250)));
    let comment = comment.map(|comment| format!("*Comment:* {}", text::code(comment, LONGEST_FACT)));
    let parts: Vec<String> = [by, comment].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

fn actions(told: &Happening, answers: &Answers) -> Option<Value> {
    let elements = match answers {
        Answers::No => return None,
        Answers::Links { approve, deny, .. } => {
            [(Verdict::Approve, approve), (Verdict::Deny, deny)].map(|(verdict, url)| {
                let mut button = button(verdict);
                button["url"] = json!(url);
                button
            })
        }
        Answers::Buttons { approve, deny } => {
            [(Verdict::Approve, approve), (Verdict::Deny, deny)].map(|(verdict, token)| {
                let mut button = button(verdict);
                button["value"] = json!(token);
                button["confirm"] = json!({
                    "title": {"type": "plain_text", "text": "Portcullis"},
                    "text": {"type": "plain_text", "text": format!("{} {}?", title(verdict), told.matter.id)},
                    "confirm": {"type": "plain_text", "text": title(verdict)},
                    "deny": {"type": "plain_text", "text": "Not now"},
                });
                button
            })
        }
    };
    Some(json!({"type": "actions", "elements": elements}))
}

fn button(verdict: Verdict) -> Value {
    let style = match verdict {
        Verdict::Approve => "primary",
        Verdict::Deny => "danger",
    };
    json!({
        "type": "button",
        "action_id": format!("portcullis-{verdict}"),
        "style": style,
        "text": {"type": "plain_text", "text": title(verdict)},
    })
}

fn title(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approve => "Approve",
        Verdict::Deny => "Deny",
    }
}

fn fallback(told: &Happening) -> String {
    let matter = &told.matter;
    format!(
        "Portcullis: {} {}: {} for role {} on target {}",
        headline(told.kind),
        matter.id,
        text::code(&matter.who.name, 250),
        text::code(&matter.role, 250),
        text::code(&matter.target, 250),
    )
}

fn headline(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Requested => "access requested:",
        EventKind::Approved => "approved:",
        EventKind::Granted => "access began:",
        EventKind::Extended => "access extended:",
        EventKind::Denied => "denied:",
        EventKind::Cancelled => "withdrawn:",
        EventKind::Held => "a request waits for you:",
        EventKind::Spent => "a held request went on:",
        EventKind::Revoked => "access revoked:",
        EventKind::Expired => "expired:",
        EventKind::Emergency => "\u{1f6a8} EMERGENCY ACCESS \u{1f6a8}",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{happening, matter};

    fn strings(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
            Value::Object(values) => values.values().for_each(|value| strings(value, found)),
            _ => {}
        }
    }

    fn told(kind: EventKind, typed: &str) -> Happening {
        let mut told = happening(kind, matter("r-7f3a9c"));
        told.matter.who.name = typed.to_owned();
        told.matter.reason = Some(typed.to_owned());
        told.matter.operation = Some(typed.to_owned());
        told.matter.command = vec![typed.to_owned(), typed.to_owned()];
        told.matter.diff = Some(typed.to_owned());
        told.comment = Some(typed.to_owned());
        told
    }

    #[test]
    fn a_request_is_shown_with_its_buttons() {
        let answers = Answers::Buttons { approve: "yes-token".into(), deny: "no-token".into() };
        let message = message(&happening(EventKind::Requested, matter("r-7f3a9c")), &answers);
        let blocks = message["blocks"].as_array().unwrap();
        assert_eq!(blocks[0]["text"]["text"], "Portcullis: access requested: r-7f3a9c");
        let facts = blocks[1]["text"]["text"].as_str().unwrap();
        for fact in [
            "*Who:* `alice`",
            "*Role:* `pod-admin`",
            "*Target:* `demo`",
            "*Reason:* `INC-7: web is stuck`",
            "*Command:* `kubectl delete pod web`",
            "*For:* `30m`",
            "*Decide by:* `2026-01-01T01:00:00Z`",
        ] {
            assert!(facts.contains(fact), "{fact} in {facts}");
        }
        let actions = blocks.last().unwrap()["elements"].as_array().unwrap();
        assert_eq!((&actions[0]["value"], &actions[1]["value"]), (&json!("yes-token"), &json!("no-token")));
        assert_eq!(actions[0]["action_id"], "portcullis-approve");
        assert_eq!(actions[0]["confirm"]["text"]["text"], "Approve r-7f3a9c?");
    }

    #[test]
    fn nothing_typed_becomes_a_mention_or_link() {
        let message =
            message(&told(EventKind::Denied, "`<!channel> <https://evil.example|ok> *bold*"), &Answers::No);
        let mut found = Vec::new();
        strings(&message, &mut found);
        assert!(found.iter().all(|text| !text.contains('<')), "{found:?}");
        assert!(found.iter().any(|text| text.contains("`ˋ&lt;!channel&gt;")), "{found:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_typed_stays_what_was_typed(typed in "\\PC{0,40}|[<>&`*_\n a\u{202e}]{0,2000}|x{0,4000}") {
            for kind in [EventKind::Requested, EventKind::Held, EventKind::Emergency, EventKind::Approved] {
                let message = message(&told(kind, &typed), &Answers::No);
                let plain = super::message(&told(kind, "x"), &Answers::No);
                let (mut found, mut expected) = (Vec::new(), Vec::new());
                strings(&message, &mut found);
                strings(&plain, &mut expected);
                prop_assert_eq!(found.len(), expected.len());
                for (text, plain) in found.iter().zip(&expected) {
                    prop_assert!(!text.contains(['<', '>']));
                    prop_assert_eq!(text.matches('`').count(), plain.matches('`').count());
                    prop_assert!(text.chars().count() <= 3000, "{}", text.chars().count());
                    // Outside of code spans all words are ours.
                    let outside = |text: &str| text.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>();
                    if !text.starts_with("```") {
                        prop_assert_eq!(outside(text), outside(plain));
                    }
                }
            }
        }
    }
}
