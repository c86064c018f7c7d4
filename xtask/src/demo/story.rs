//! The story from its beginning to its end, and what its scenes are played with.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use e2e::{ALICE, Kubectl, Output, Person, Stage, output};
use idp::Idp;

use super::LIMIT;
use super::narration::{expect, printed, say, scene, typed};
use super::operations::Operations;

/// Everything that is on the stage.
pub(super) struct Story {
    pub(super) stage: Stage,
    pub(super) idp: Idp,
    pub(super) operations: Operations,
    pub(super) kubectl: Kubectl,
    pub(super) programs: PathBuf,
    pub(super) interrupted: Arc<AtomicBool>,
}

impl Story {
    pub(super) fn introduce(&self) -> Result<()> {
        say(&format!(
            "  {} is behind the gate; alice's kubeconfig names it, and holds no credential.\n  So is {}, the MCP server \
             that her agent uses.",
            self.stage.endpoint(),
            self.operations.url(),
        ));
        self.operations.give_agent_to(&self.stage.home(ALICE))
    }

    /// All of it; what is left of the stage afterwards.
    pub(super) fn tell(mut self) -> Result<Self> {
        self.log_in()?;
        let grant = self.get_access(&["get", "pods"])?;
        scene("Now plain kubectl works");
        expect(&self.kubectl(ALICE, &["get", "pods"])?, 0, "shell")?;
        self.ask_what_is_allowed()?;
        self.read_a_secret()?;
        self.edit_a_secret()?;
        self.read_a_log()?;
        self.run_a_command()?;
        self.delete_with_consent()?;
        scene("A delete in a protected namespace is refused, whatever was granted");
        expect(&self.kubectl(ALICE, &["delete", "pod", "web", "-n", "prod"])?, 1, "change request")?;
        self.call_tools()?;
        self.cut(&grant, &["logs", "-f", "shell"])?;
        self.replay()?;
        self.kill_the_daemon()?;
        Ok(self)
    }

    /// On a cluster that is not ours only reads are sent.
    pub(super) fn tell_on_a_real_cluster(mut self) -> Result<Self> {
        self.log_in()?;
        let grant = self.get_access(&["get", "pods", "-A"])?;
        scene("Now plain kubectl works");
        expect(&self.kubectl(ALICE, &["get", "pods", "-A"])?, 0, "")?;
        scene("Secrets come masked");
        expect(&self.kubectl(ALICE, &["get", "secrets", "-A", "-o", "jsonpath={.items[0].data}"])?, 0, "")?;
        self.call_tools()?;
        self.cut(&grant, &["get", "pods", "-A", "-w"])?;
        scene("What was recorded");
        self.operator(&["sessions", "list"])?;
        self.kill_the_daemon()?;
        Ok(self)
    }

    fn kill_the_daemon(&mut self) -> Result<()> {
        scene("The daemon dies (kill -9): the gate stays closed");
        self.stage.kill_daemon();
        expect(&self.kubectl(ALICE, &["get", "pods"])?, 1, "refused")
    }

    pub(super) fn kubectl(&self, person: Person, args: &[&str]) -> Result<Output> {
        self.show(person.name, "kubectl", args, &mut self.stage.kubectl(person, &self.kubectl, args))
    }

    pub(super) fn portcullis(&self, person: Person, args: &[&str]) -> Result<Output> {
        let mut command = self.stage.command(person, &self.programs.join("portcullis"));
        self.show(person.name, "portcullis", args, command.args(args))
    }

    pub(super) fn operator(&self, args: &[&str]) -> Result<Output> {
        self.check_interrupt()?;
        say(&format!("  root# portcullis {}", args.join(" ")));
        let shown = self.stage.operator(args)?;
        printed(&shown.all());
        Ok(shown)
    }

    pub(super) fn show(
        &self,
        who: &str,
        program: &str,
        args: &[&str],
        command: &mut Command,
    ) -> Result<Output> {
        self.check_interrupt()?;
        typed(who, program, args);
        let shown = output(command, LIMIT)?;
        printed(&shown.all());
        Ok(shown)
    }

    pub(super) fn check_interrupt(&self) -> Result<()> {
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}
