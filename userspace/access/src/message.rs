//! The one place that words a denial, or that a request is held. kubectl prints it as it is, the record keeps it, the
//! log shows it.

use std::fmt::Write;

use crate::decide::{Denied, DenyReason, Review};
use crate::operation::Query;
use crate::{DenialId, Ended, format_duration};

impl Denied {
    /// One line: who was denied what, by what, and the exact command that asks for it: the short one where the
    /// denial is remembered as `id`.
    #[must_use]
    pub fn message(&self, query: &Query<'_>, id: Option<&DenialId>) -> String {
        let mut text = format!(
            "portcullis: denied: {} may not {} of target {}: ",
            query.subject.name, query.operation, query.target
        );
        match &self.reason {
            DenyReason::NoGrant => text.push_str("no active grant covers it."),
            DenyReason::GrantEnded { grant, role, ended } => {
                let was = if matches!(ended, Ended::Revoked { .. }) { "was " } else { "" };
                push(&mut text, format_args!("grant {grant} of role {role} {was}{ended}."));
            }
            DenyReason::DenyRule(rule) => {
                push(&mut text, format_args!("rule {} of role {} forbids it", rule.rule + 1, rule.role));
                if let Some(reason) = &rule.reason {
                    push(&mut text, format_args!(": {}", visible(reason)));
                }
                text.push_str(". A deny rule wins over every grant: nothing can be requested.");
            }
            DenyReason::NobodyMayAgree { rules } => {
                let rules = rules.iter().map(|by| format!("rule {} of role {}", by.rule + 1, by.role));
                let rules = rules.collect::<Vec<_>>().join(" and ");
                push(
                    &mut text,
                    format_args!(
                        "{rules} hold it for different people, so nobody can agree to it. End one of these grants: \
                         portcullis revoke GRANT"
                    ),
                );
            }
            DenyReason::SnapshotStale { age } => push(
                &mut text,
                format_args!(
                    "the grant store has not answered for {} seconds, and until it does nothing is allowed.",
                    age.as_secs()
                ),
            ),
            DenyReason::UnknownTarget => text.push_str("there is no such target."),
        }
        self.push_way_out(&mut text, query, id);
        text
    }

    fn push_way_out(&self, text: &mut String, query: &Query<'_>, id: Option<&DenialId>) {
        if !self.is_for_want_of_a_grant() {
            return;
        }
        if !self.namespaces.is_empty() {
            let names = self.namespaces.join(", ");
            push(text, format_args!(" Your grant covers it in namespace {names}: name one with -n."));
        }
        if !self.sessions.is_empty() {
            push(text, format_args!(" Your grant covers it for {}.", self.sessions.join(", or ")));
        }
        let target = query.target;
        match (&self.pending, self.way_out(), id) {
            (Some(request), ..) => {
                push(text, format_args!(" Your request {request} for it waits to be approved."));
            }
            (None, Some((role, duration)), Some(id)) => push(
                text,
                format_args!(
                    " Ask for it (role {role} on {target} for {}): portcullis request --from {id} --reason \"…\"",
                    format_duration(duration)
                ),
            ),
            (None, Some((role, duration)), None) => push(
                text,
                format_args!(
                    " Ask for it: portcullis request --role {role} --target {target} --for {} --reason \"…\"",
                    format_duration(duration)
                ),
            ),
            _ if self.namespaces.is_empty() && self.sessions.is_empty() => {
                text.push_str(" No role that you may ask for would allow it.");
            }
            _ => {}
        }
    }
}

impl Review {
    /// One line: whose request for what is held, by which rule, and who has to agree within what time.
    #[must_use]
    pub fn message(&self, query: &Query<'_>) -> String {
        let mut text = format!(
            "portcullis: held: {} asks to {} of target {}: rule {} of role {} lets it go on once {} of {} agree within {}",
            query.subject.name,
            query.operation,
            query.target,
            self.by.rule + 1,
            self.by.role,
            self.terms.required,
            self.terms.groups.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
            format_duration(self.terms.wait),
        );
        if let Some(reason) = &self.by.reason {
            push(&mut text, format_args!(": {}", visible(reason)));
        }
        text.push('.');
        text
    }
}

/// What a role's author wrote, in one line without what a terminal would obey.
fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        match c {
            '\'' | '"' | '\\' => line.push(c),
            c => line.extend(c.escape_debug()),
        }
        line
    })
}

fn push(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).unwrap_or_else(|_| unreachable!("writing to a String cannot fail"));
}
