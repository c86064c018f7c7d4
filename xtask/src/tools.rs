//! Finds, or installs, what the end-to-end tests run beside our own programs: an OpenID provider and MCP's SDKs on Node, a
//! PostgreSQL server, the aws CLI, moto. Where each of them is, `e2e::tools` knows; here is what to do when it is not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::tools;

use crate::{apt, step};

/// Debian's Node and npm.
const NODE: [&str; 2] = ["nodejs", "npm"];
/// Debian's server. Its package also starts one of the machine's own, which the tests leave alone.
const POSTGRES: [&str; 1] = ["postgresql"];
/// What a virtual environment is made with.
const PYTHON: [&str; 2] = ["python3", "python3-venv"];

/// Everything that the tests need, installed if need be.
///
/// # Errors
/// Naming what is missing and how to get it.
pub(crate) fn ensure() -> Result<()> {
    node().context("the tests log in at a real OpenID provider, and speak with real MCP peers, from npm")?;
    postgres().context("the tests keep grants in a PostgreSQL of their own")?;
    python().context(
        "the tests get EKS tokens from the real aws CLI, answer as AWS by moto, and use Python's client and MCP's SDK",
    )?;
    step::note("an OpenID provider, MCP peers, PostgreSQL, the aws CLI, moto and a Kubernetes client");
    Ok(())
}

/// The path, and after it where the rest of this is: for tests that start programs by their names.
///
/// # Errors
/// When something is missing after all.
pub(crate) fn path() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = [tools::python().join("bin"), tools::postgres()?];
    std::env::join_paths(std::env::split_paths(&path).chain(more)).context("PATH cannot be extended")
}

/// A Python with MCP's SDK, installed if need be: all that the demo runs of others, beside kubectl.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn mcp_sdk() -> Result<PathBuf> {
    if tools::mcp_sdk().is_err() {
        let requirements = tools::root().join("tests/mcp/requirements.txt");
        environment(&tools::python(), &requirements, "Install MCP's SDK for Python")
            .context("the demo has an MCP server and a client of it, from PyPI")?;
    }
    tools::mcp_sdk()
}

fn node() -> Result<()> {
    if tools::in_path("node").is_none() || tools::in_path("npm").is_none() {
        apt::install(&NODE)?;
    }
    tools::node()?;
    if tools::oidc_server().is_err() {
        ci("Install the OpenID provider (npm ci in tests/oidc)", &tools::oidc())?;
    }
    if tools::mcp_packages().is_err() {
        ci("Install MCP's SDKs (npm ci in tests/mcp)", &tools::mcp())?;
    }
    tools::oidc_server()?;
    tools::mcp_packages().map(drop)
}

fn ci(what: &str, dir: &Path) -> Result<()> {
    let npm = tools::in_path("npm").context("npm is not in the path")?;
    let mut ci = Command::new(npm);
    ci.current_dir(dir).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    step::quietly(what, &mut ci)
}

fn postgres() -> Result<()> {
    if tools::postgres().is_err() {
        apt::install(&POSTGRES)?;
    }
    tools::postgres().map(drop)
}

/// A virtual environment of all four, where the path has not what serves: an aws CLI in root's home is none for engineers.
fn python() -> Result<()> {
    let clients = tools::kubernetes_client().is_ok() && tools::mcp_sdk().is_ok();
    if clients && tools::aws().is_ok() && tools::moto_server().is_ok() {
        return Ok(());
    }
    let home = tools::python();
    let requirements = tools::root().join("tests/e2e/requirements.txt");
    environment(&home, &requirements, "Install the aws CLI, moto, the Kubernetes client and MCP's SDK")?;
    for program in ["bin/aws", "bin/moto_server"] {
        let program = home.join(program);
        ensure!(program.is_file(), "pip was content, but {} is not there", program.display());
    }
    tools::aws()?;
    tools::kubernetes_client()?;
    tools::mcp_sdk()?;
    tools::moto_server().map(drop)
}

/// Makes a virtual environment of Python at `home` that has what `requirements` lists; `what` says what that is.
///
/// # Errors
/// When it cannot be made, or something is not to be had.
pub(crate) fn environment(home: &Path, requirements: &Path, what: &str) -> Result<()> {
    if !makes_environments() {
        apt::install(&PYTHON)?;
    }
    let mut make = Command::new(python3());
    make.args(["-m", "venv", "--clear"]).arg(home);
    step::quietly("Make a virtual environment of Python", &mut make)?;
    let mut install = Command::new(home.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(requirements);
    step::quietly(what, &mut install)
}

/// The system's Python before any other: everybody can run it.
fn python3() -> PathBuf {
    let system = Path::new("/usr/bin/python3");
    let other = || tools::in_path("python3").unwrap_or_else(|| "python3".into());
    if system.is_file() { system.to_owned() } else { other() }
}

fn makes_environments() -> bool {
    let asked = Command::new(python3()).args(["-c", "import ensurepip, venv"]).output();
    asked.is_ok_and(|asked| asked.status.success())
}
