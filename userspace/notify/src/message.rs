//! One message: what happened, in the format of one webhook, with the answers that its reader may give.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use portcullis_access::{Person, format_duration};
use serde::Serialize;

use crate::config::Format;
use crate::matter::{Happening, Verdict};
use crate::notify::{Notify, Webhook};
use crate::token::New;
use crate::{blocks, text};

/// Characters of a diff that a generic message carries.
const LONGEST_DIFF: usize = 65_536;
/// Characters of any other text that an engineer wrote.
const LONGEST_TEXT: usize = 4096;

/// Ready to be sent, and the same however often it is made.
pub(crate) struct Message {
    /// Tells it from all other messages of this installation; the same when it is sent again.
    pub(crate) id: String,
    pub(crate) body: Bytes,
}

/// How its reader may answer.
#[derive(Debug, Clone)]
pub(crate) enum Answers {
    /// Not from here.
    No,
    /// By links that are one approver's own.
    Links { approve: String, deny: String, expires: Timestamp },
    /// By buttons that anyone may press, and that say nothing of who does.
    Buttons { approve: String, deny: String },
}

impl Message {
    /// What `webhook` is told of it.
    pub(crate) fn new(notify: &Notify, webhook: &Webhook, told: &Happening) -> Self {
        let id = format!("{}-{}", webhook.name, told.seq);
        let answers = Answers::of(notify, webhook, told);
        let body = match webhook.format {
            Format::Generic => serde_json::to_vec(&Generic::new(&id, told, &answers)),
            Format::Slack => serde_json::to_vec(&blocks::message(told, &answers)),
        };
        let body = body.unwrap_or_else(|_| unreachable!("keys are strings, and nothing else can fail"));
        Self { id, body: body.into() }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body may hold links.
        f.debug_struct("Message").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Answers {
    fn of(notify: &Notify, webhook: &Webhook, told: &Happening) -> Self {
        let Some(what) = told.matter.decidable().filter(|_| told.kind.asks() && told.matter.over.is_none())
        else {
            return Answers::No;
        };
        let sign = |approver: Option<&str>, verdict: Verdict| {
            let expires = notify.answers_until(told, approver.is_some());
            let new = New { webhook: &webhook.name, seq: told.seq, what: &what, approver, expires };
            notify.tokens.sign(&new, verdict)
        };
        match (&webhook.approver, &notify.base) {
            (Some(approver), Some(base)) => {
                // Links that could only be refused would teach people to expect that.
                let known = notify.approvers.named(approver);
                if !known.is_some_and(|approver| told.matter.is_for(approver.groups())) {
                    return Answers::No;
                }
                let link = |verdict| {
                    format!(
                        "{}/decide/{}",
                        base.as_str().trim_end_matches('/'),
                        sign(Some(approver), verdict)
                    )
                };
                let expires = notify.answers_until(told, true);
                Answers::Links { approve: link(Verdict::Approve), deny: link(Verdict::Deny), expires }
            }
            (None, _) if webhook.format == Format::Slack && notify.slack.is_some() => {
                Answers::Buttons { approve: sign(None, Verdict::Approve), deny: sign(None, Verdict::Deny) }
            }
            _ => Answers::No,
        }
    }
}

/// The generic format, version 1. Fields may be added to a version; none is taken away or changes its meaning.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Generic<'a> {
    version: u32,
    id: &'a str,
    event: &'static str,
    at: Timestamp,
    what: &'a str,
    who: Named,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    role: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approver_groups: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Links<'a>>,
}

#[derive(Serialize)]
struct Named {
    issuer: String,
    id: String,
    name: String,
}

#[derive(Serialize)]
struct Links<'a> {
    approve: &'a str,
    deny: &'a str,
    expires: Timestamp,
}

impl<'a> Generic<'a> {
    fn new(id: &'a str, told: &'a Happening, answers: &'a Answers) -> Self {
        let matter = &told.matter;
        let words = |text: &Option<String>| text.as_deref().map(line);
        Self {
            version: 1,
            id,
            event: told.kind.as_str(),
            at: told.at,
            what: &matter.id,
            who: Named::new(&matter.who),
            by: told.by.as_ref().map(Named::new),
            comment: words(&told.comment),
            role: &matter.role,
            target: &matter.target,
            reason: words(&matter.reason),
            operation: words(&matter.operation),
            command: (!matter.command.is_empty()).then(|| line(&matter.command.join(" "))),
            diff: matter.diff.as_deref().map(|diff| text::short(&text::visible(diff, true), LONGEST_DIFF)),
            duration: matter.duration.map(format_duration),
            deadline: matter.deadline,
            approver_groups: matter.approver_groups.iter().map(String::as_str).collect(),
            links: match answers {
                Answers::Links { approve, deny, expires } => Some(Links { approve, deny, expires: *expires }),
                Answers::No | Answers::Buttons { .. } => None,
            },
        }
    }
}

impl Named {
    fn new(person: &Person) -> Self {
        Self { issuer: line(&person.issuer), id: line(&person.id), name: line(&person.name) }
    }
}

fn line(words: &str) -> String {
    text::short(&text::visible(words, false), LONGEST_TEXT)
}
