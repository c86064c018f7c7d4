//! What of an MCP server's lists somebody is shown: what a live grant lets them use, be it with the right arguments or once
//! somebody has agreed. Showing is no permission: each call is decided when it is made.

use jiff::Timestamp;
use portcullis_identity::Subject;

use crate::condition::{ARGUMENTS, Case};
use crate::operation::{Operation, Query};
use crate::rule::Action;
use crate::{Facts, McpItem, Snapshot};

/// What is not known of a call that nobody has made.
const OF_A_CALL: &[&str] = &[ARGUMENTS];
/// And of a resource of which only the beginning is known.
const OF_A_READING: &[&str] = &[ARGUMENTS, "request.name"];

impl Snapshot {
    /// Whether a live grant would allow or hold `query`, an MCP request, with some arguments; those in its facts do not
    /// count. A condition that looks at arguments may hold, for allow and review rules, and need not, for deny rules.
    #[must_use]
    pub fn may_call(&self, query: &Query<'_>, now: Timestamp) -> bool {
        if self.stale(now).is_some() {
            return false;
        }
        let case = Case::without(query, now, OF_A_CALL);
        let mut allowed = false;
        for (role, _) in self.live(query.subject, query.target, now) {
            let said = role.say(&case, &mut Vec::new());
            if said.denied.is_some() {
                return false;
            }
            allowed |= said.allowed.is_some();
        }
        allowed
    }

    /// Whether a live grant would allow or hold the reading of some resource of `target` whose URI begins with `prefix`,
    /// such as a URI template has before its first variable. `caller` is what else is known of whoever asks.
    #[must_use]
    pub fn may_read_some(
        &self,
        subject: &Subject,
        target: &str,
        prefix: &str,
        caller: &Facts,
        now: Timestamp,
    ) -> bool {
        if self.stale(now).is_some() {
            return false;
        }
        let (method, item, name) = ("resources/read".to_owned(), McpItem::Resource, prefix.to_owned());
        let operation = Operation::Mcp { method, item, name };
        let query = Query { subject, target, operation: &operation, facts: caller };
        let case = Case::without(&query, now, OF_A_READING);
        let mut allowed = false;
        for rule in self.live(subject, target, now).flat_map(|(role, _)| &role.rules) {
            let Some(scope) = rule.mcp() else { continue };
            match rule.action {
                Action::Deny if scope.reads_all(prefix) && rule.applies(&case) => return false,
                Action::Deny => {}
                Action::Allow | Action::Review => {
                    allowed |= scope.reads_some(prefix) && rule.applies(&case);
                }
            }
        }
        allowed
    }
}

#[cfg(test)]
mod tests;
