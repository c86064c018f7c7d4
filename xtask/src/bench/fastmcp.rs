//! FastMCP, a gateway to MCP servers that many use, from PyPI (`tests/bench/fastmcp`).

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Running, wait_for};

use crate::{tools, workspace};

const START: Duration = Duration::from_secs(60);

/// The Python that has it, installed where it is missing.
///
/// # Errors
/// Why it cannot be installed here.
pub(crate) fn ensure_installed() -> Result<PathBuf> {
    let home = workspace::target_dir().join("tools/fastmcp");
    let python = home.join("bin/python");
    if version(&python).is_err() {
        tools::environment(&home, &dir().join("requirements.txt"), "Install FastMCP")?;
        version(&python)?;
    }
    Ok(python)
}

/// `FastMCP 4.1.6`
pub(crate) fn version(python: &Path) -> Result<String> {
    let program = "import importlib.metadata as all; print('FastMCP', all.version('fastmcp'))";
    let shown = Command::new(python).args(["-c", program]).output().context("FastMCP is not installed")?;
    ensure!(shown.status.success(), "FastMCP is not installed");
    Ok(String::from_utf8_lossy(&shown.stdout).trim().to_owned())
}

/// A running one.
pub(crate) struct FastMcp {
    process: Running,
    address: String,
    version: String,
}

impl FastMcp {
    /// Between a free port and the MCP server at `upstream`, whose CA and whose certificate are in `scratch`.
    pub(crate) fn start(python: &Path, scratch: &Path, upstream: &str) -> Result<Self> {
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(python);
        command.arg(dir().join("proxy.py")).arg(format!("https://{upstream}/mcp"));
        command.arg(listen.port().to_string()).args([scratch.join("server.crt"), scratch.join("server.key")]);
        command.env("SSL_CERT_FILE", scratch.join("ca.crt")).stdin(Stdio::null());
        let mut process = Running::start(&mut command)?;
        wait_for("FastMCP to listen", START, || {
            (process.ended() || std::net::TcpStream::connect(listen).is_ok()).then_some(())
        })
        .with_context(|| process.stderr())?;
        ensure!(!process.ended(), "FastMCP ended: {}", process.stderr());
        Ok(Self { process, address: listen.to_string(), version: version(python)? })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

fn dir() -> PathBuf {
    workspace::root().join("tests/bench/fastmcp")
}
