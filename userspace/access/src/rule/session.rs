//! What a session has to be like for a rule about exec or attach to count: its command, its terminal.

use std::fmt;

use super::{Action, ResourcePattern, Scope, filled};
use crate::Facts;
use crate::command::CommandPattern;

/// Limits of a rule about sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionTerms {
    /// Empty for any.
    commands: Vec<CommandPattern>,
    /// Whether it has a terminal, if that matters.
    tty: Option<bool>,
}

impl SessionTerms {
    pub(super) fn read(
        commands: Option<Vec<CommandPattern>>,
        tty: Option<bool>,
        scope: &Scope,
    ) -> Result<Option<Self>, String> {
        let about = |subresources: &[&str]| {
            let one =
                |pattern: &ResourcePattern| pattern.subresource().is_some_and(|s| subresources.contains(&s));
            matches!(scope, Scope::Resources(scope) if scope.resources.iter().all(one))
        };
        if commands.is_some() && !about(&["exec"]) {
            return Err("command: only a rule about exec (pods/exec) has commands".to_owned());
        }
        if tty.is_some() && !about(&["exec", "attach"]) {
            return Err("tty: only a rule about sessions (pods/exec, pods/attach) has a terminal".to_owned());
        }
        if commands.is_none() && tty.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { commands: filled("command", commands)?, tty }))
    }

    /// Whether a session is what a rule with this `action` means: an allow to the letter, others as far as they may reach.
    pub(crate) fn include(&self, action: Action, session: &Facts) -> bool {
        let Self { commands, tty } = self;
        tty.is_none_or(|tty| tty == session.tty)
            && (commands.is_empty()
                || commands.iter().any(|command| match action {
                    Action::Allow => command.is(&session.command),
                    Action::Deny | Action::Review => command.occurs_in(&session.command),
                }))
    }
}

/// `command: ls *, cat /var/log/*; tty: false`
impl fmt::Display for SessionTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands: Vec<String> = self.commands.iter().map(|command| command.to_string()).collect();
        match (commands.is_empty(), self.tty) {
            (true, Some(tty)) => write!(f, "tty: {tty}"),
            (false, Some(tty)) => write!(f, "command: {}; tty: {tty}", commands.join(", ")),
            (_, None) => write!(f, "command: {}", commands.join(", ")),
        }
    }
}
