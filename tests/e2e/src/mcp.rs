//! Real MCP servers beside the gate, and clients of them: `tests/mcp` as processes.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::people::Person;
use crate::process::{Running, wait_for};
use crate::stage::Stage;
use crate::talk::Talk;
use crate::tools;

/// A running `tests/mcp/server.py`; its README says what it has.
#[derive(Debug)]
pub struct McpServer {
    url: String,
    talk: Talk,
}

impl McpServer {
    /// Starts it on a free port of loopback, with more arguments: `--planted FILE` …
    ///
    /// # Errors
    /// When its packages are not there, or it does not come up.
    pub fn start(args: &[&str]) -> Result<Self> {
        let mut command = Command::new(tools::mcp_sdk()?);
        command.args(["-B", "-W", "ignore"]).arg(tools::mcp().join("server.py")).args(args);
        let (talk, ready) = Talk::start("the MCP server", &mut command)?;
        let url = ready["url"].as_str().context("the MCP server names no URL")?.to_owned();
        Ok(Self { url, talk })
    }

    /// `http://127.0.0.1:port/mcp`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Describes the tool `restart` otherwise from now on.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn define(&self, description: &str) -> Result<()> {
        self.talk.ask(&json!({ "do": "define", "description": description })).map(drop)
    }

    /// All that has reached it: `method`, `path`, `headers`, `body`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn requests(&self) -> Result<Vec<Value>> {
        let requests = self.talk.ask(&json!({ "do": "requests" }))?;
        requests.as_array().cloned().context("a list of requests")
    }

    /// Those of them that say `marker`, a plain word, somewhere.
    ///
    /// # Errors
    /// As [`McpServer::requests`].
    pub fn reached(&self, marker: &str) -> Result<Vec<Value>> {
        let mut requests = self.requests()?;
        requests.retain(|request| request.to_string().contains(marker));
        Ok(requests)
    }

    /// What became of each call of the tool `slow`: `running`, `cancelled` or `done`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn slow_calls(&self) -> Result<Vec<String>> {
        let calls = self.talk.ask(&json!({ "do": "slow" }))?;
        let states = calls.as_array().into_iter().flatten().filter_map(|call| call["state"].as_str());
        Ok(states.map(str::to_owned).collect())
    }
}

/// The reference server of the project that MCP is from, `@modelcontextprotocol/server-everything`.
#[derive(Debug)]
pub struct McpEverything {
    url: String,
    /// Kept so that it ends with the test.
    _process: Running,
}

impl McpEverything {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When its packages are not there, or it does not come up.
    pub fn start() -> Result<Self> {
        // It takes no socket, and says nothing of a port that it was given as 0.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = tools::mcp_packages()?;
        let mut command = Command::new(tools::node()?);
        command.arg(dir.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js"));
        // One of its tools shows its environment.
        command.arg("streamableHttp").env_clear().env("PORT", port.to_string()).stdin(Stdio::null());
        let mut process = Running::start(&mut command)?;
        wait_for("the reference server", Duration::from_secs(30), || {
            (process.stderr().contains("listening") || process.ended()).then_some(())
        })?;
        ensure!(!process.ended(), "the reference server ended:\n{}", process.stderr());
        Ok(Self { url: format!("http://127.0.0.1:{port}/mcp"), _process: process })
    }

    /// `http://127.0.0.1:port/mcp`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Who runs a client, and so whether the gate is in between.
#[derive(Debug, Clone, Copy)]
pub enum Seat<'a> {
    /// The tests themselves, beside the stage: nothing is in between.
    Direct,
    /// Somebody on a stage.
    On(&'a Stage, Person),
}

impl Seat<'_> {
    /// `tests/mcp/client.py` with these arguments.
    ///
    /// # Errors
    /// When its packages are not there.
    pub fn client(self, args: &[&str]) -> Result<Command> {
        let script = tools::mcp().join("client.py");
        let mut command = self.command(&tools::mcp_sdk()?);
        command.args(["-B", "-W", "ignore"]).arg(script).args(args);
        Ok(command)
    }

    /// `tests/mcp/walk.mjs` with these arguments.
    ///
    /// # Errors
    /// When node or its packages are not there.
    pub fn walk(self, args: &[&str]) -> Result<Command> {
        self.node(&[], &tools::mcp_packages()?.join("walk.mjs"), args)
    }

    /// The conformance suite with these arguments.
    ///
    /// # Errors
    /// When node or its packages are not there.
    pub fn conformance(self, args: &[&str]) -> Result<Command> {
        let dir = tools::mcp_packages()?;
        let hooks = format!("--import={}", dir.join("conformance/register.mjs").display());
        let suite = dir.join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
        self.node(&[hooks.into()], &suite, args)
    }

    fn node(self, options: &[OsString], script: &Path, args: &[&str]) -> Result<Command> {
        let mut command = self.command(&tools::node()?);
        command.args(options).arg(script).args(args);
        Ok(command)
    }

    fn command(self, program: &Path) -> Command {
        match self {
            Self::Direct => Command::new(program),
            Self::On(stage, person) => stage.command(person, program),
        }
    }
}
