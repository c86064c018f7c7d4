//! The MCP server of the demo, and what Alice's agent may do there: `tests/mcp/demo_server.py` and `demo_agent.py`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{ALICE, BOB, Output, Running, tools, wait_for};

use super::LIMIT;
use super::narration::{expect, scene, typed};
use super::story::Story;

/// What agents are started by.
const AGENT: &str = "demo_agent.py";

/// The running server.
pub(super) struct Operations {
    /// Python with MCP's SDK, for the agent too.
    pub(super) python: PathBuf,
    url: String,
    /// Kept so that it ends with the demo.
    _process: Running,
}

impl Operations {
    /// Starts it on a free port of loopback.
    pub(super) fn start(python: PathBuf) -> Result<Self> {
        // It takes no socket, and is used as others use it: with a port.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(&python);
        command.arg(tools::mcp().join("demo_server.py")).arg(port.to_string()).stdin(Stdio::null());
        let mut process = Running::start(&mut command)?;
        wait_for("the MCP server", LIMIT, || {
            (process.stderr().contains("running on") || process.ended()).then_some(())
        })?;
        ensure!(!process.ended(), "the MCP server ended:\n{}", process.stderr());
        Ok(Self { python, url: format!("http://127.0.0.1:{port}/mcp"), _process: process })
    }

    /// `http://127.0.0.1:port/mcp`
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Puts the agent into somebody's home.
    pub(super) fn give_agent_to(&self, home: &Path) -> Result<()> {
        let agent = tools::mcp().join(AGENT);
        std::fs::copy(&agent, home.join(AGENT))
            .with_context(|| format!("cannot copy {}", agent.display()))?;
        Ok(())
    }

    /// What is typed after `python3` to have the agent call a tool with arguments (`name=value`).
    pub(super) fn agent_args<'a>(&'a self, call: &[&'a str]) -> Vec<&'a str> {
        [&[AGENT, &self.url], call].concat()
    }
}

impl Story {
    /// One tool asked for, one held, one denied.
    pub(super) fn call_tools(&self) -> Result<()> {
        scene("An MCP server behind the same gate: Alice's agent keeps its URL, and reads how to ask");
        let denied = self.agent(&["read_config"])?;
        let request = self.ask_for(&denied, "what is checkout configured to, INC-4711")?;
        expect(&self.portcullis(BOB, &["requests"])?, 0, "read_config")?;
        self.approve(&request)?;

        scene("Now the tool answers, and neither the agent nor the model behind it sees the password");
        let read = self.agent(&["read_config"])?;
        expect(&read, 0, "DB_PASSWORD=portcullis-masked:")?;
        ensure!(!read.all().contains("FAKE-"), "the password is not masked");

        scene("A tool that changes something waits until Bob has agreed to these very arguments");
        let restart = ["restart_service", "name=checkout"];
        typed(ALICE.name, "python3", &self.operations.agent_args(&restart));
        let mut waiting = self.hold(&mut self.agent_command(&restart), "checkout")?;
        expect(&waiting.agree(self, "go ahead, I watch the dashboard")?, 0, "checkout is restarted")?;

        scene("A tool that this grant does not cover is refused, and the agent reads how to ask");
        expect(&self.agent(&["drop_database", "name=shop"])?, 1, "role administer on tools")
    }

    fn agent(&self, call: &[&str]) -> Result<Output> {
        let args = self.operations.agent_args(call);
        self.show(ALICE.name, "python3", &args, &mut self.agent_command(call))
    }

    fn agent_command(&self, call: &[&str]) -> Command {
        let mut command = self.stage.command(ALICE, &self.operations.python);
        command.args(self.operations.agent_args(call));
        command
    }
}
