//! What was recorded of the story.

use anyhow::{Context, Result};
use serde_json::Value;

use super::narration::{expect, scene};
use super::story::Story;

impl Story {
    /// The sessions: a list, an exec shown and played, a tool call as a conversation, all of them verified.
    pub(super) fn replay(&self) -> Result<()> {
        scene("What was recorded");
        self.operator(&["sessions", "list"])?;
        let exec = self.session_of("exec")?;
        self.operator(&["sessions", "show", &exec])?;
        expect(&self.operator(&["sessions", "play", &exec, "--speed", "4"])?, 0, "I am in")?;
        scene("A call of a tool is a conversation, with what was held, who agreed, and what came back");
        let call = self.session_of("restart_service")?;
        expect(&self.operator(&["sessions", "show", &call])?, 0, "checkout is restarted")?;
        scene("Nobody has changed a recording since: it would show");
        expect(&self.operator(&["sessions", "verify"])?, 0, "")
    }

    /// The session of the process that has `word` among its arguments.
    fn session_of(&self, word: &str) -> Result<String> {
        let listed = self.stage.operator(&["sessions", "list", "-o", "json"])?;
        let sessions: Value = serde_json::from_str(&listed.stdout).context("sessions list -o json")?;
        let has_word = |session: &&Value| {
            let argv = session["start"]["attestation"]["process"]["argv"].as_array();
            argv.is_some_and(|argv| argv.iter().any(|argument| argument == word))
        };
        let session = sessions.as_array().into_iter().flatten().find(has_word);
        let id = session.and_then(|session| session["id"].as_str());
        id.map(str::to_owned).with_context(|| format!("{word} is not among the sessions"))
    }
}
