//! What the tests need beside our own programs: Node with the OpenID provider and MCP's SDKs, PostgreSQL, the aws CLI, moto,
//! the Kubernetes client and MCP's SDK for Python. `cargo xtask test` looks here first and installs what is missing; a test
//! that is run by hand without it says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

/// What a test says when something is not there.
const WAY_OUT: &str = "run `cargo xtask test`, which installs it";
/// Debian keeps every version of the server here, outside the path.
const POSTGRES: &str = "/usr/lib/postgresql";
/// Somebody who is not root, as engineers are.
const NOBODY: u32 = 65534;

/// The top of the project.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/"))
}

/// Where `cargo xtask test` installs what comes from Python: a virtual environment.
#[must_use]
pub fn python() -> PathBuf {
    root().join("target/tools/python")
}

/// The OpenID provider's folder, `tests/oidc`.
#[must_use]
pub fn oidc() -> PathBuf {
    root().join("tests/oidc")
}

/// `node`, of a version that the OpenID provider runs on.
///
/// # Errors
/// When there is none, or it is too old.
pub fn node() -> Result<PathBuf> {
    let node = in_path("node").with_context(|| format!("node is not in the path: {WAY_OUT}"))?;
    let version = said(Command::new(&node).arg("--version")).context("node says no version")?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    ensure!(
        major.is_some_and(|major: u32| major >= 20),
        "node is {version}: the tests need version 20 or newer"
    );
    Ok(node)
}

/// The server of the OpenID provider, with what it needs installed beside it.
///
/// # Errors
/// When its packages are not there, or not those of the lock file.
pub fn oidc_server() -> Result<PathBuf> {
    Ok(with_packages(oidc())?.join("server.mjs"))
}

/// The folder of MCP's peers, `tests/mcp`.
#[must_use]
pub fn mcp() -> PathBuf {
    root().join("tests/mcp")
}

/// The same, with what its programs of Node need installed in it.
///
/// # Errors
/// When its packages are not there, or not those of the lock file.
pub fn mcp_packages() -> Result<PathBuf> {
    with_packages(mcp())
}

/// A folder of programs of Node, if its packages are installed.
fn with_packages(dir: PathBuf) -> Result<PathBuf> {
    // npm writes what it installed in the same words as the lock file, without the project itself.
    let installed = json(&dir.join("node_modules/.package-lock.json"));
    let lock = dir.join("package-lock.json");
    let wanted = json(&lock).with_context(|| format!("{} cannot be read", lock.display()))?;
    let complete = installed.is_some_and(|installed| {
        let all = wanted["packages"].as_object().into_iter().flatten().filter(|(path, _)| !path.is_empty());
        all.into_iter().all(|(path, package)| installed["packages"][path]["version"] == package["version"])
    });
    ensure!(complete, "the packages of {} are not installed: {WAY_OUT}", dir.display());
    Ok(dir)
}

/// The folder with PostgreSQL's `initdb` and `postgres`.
///
/// # Errors
/// When there is none.
pub fn postgres() -> Result<PathBuf> {
    let complete = |dir: &PathBuf| ["initdb", "postgres"].iter().all(|name| dir.join(name).is_file());
    let beside = |program: PathBuf| program.parent().map(Path::to_owned);
    // As a distribution links only some of its programs into the path, follow the link first.
    let linked = in_path("postgres").and_then(|found| found.canonicalize().ok()).and_then(beside);
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(POSTGRES)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let newest = versions.into_iter().rev().map(|(_, bin)| bin);
    linked
        .into_iter()
        .chain(newest)
        .find(complete)
        .with_context(|| format!("there is no PostgreSQL server here: {WAY_OUT}"))
}

/// An aws CLI that engineers can run: one of another user's home is not for them.
///
/// # Errors
/// When there is none.
pub fn aws() -> Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let mut candidates = in_path("aws").into_iter().chain([python().join("bin/aws")]);
    let usable = candidates.find(|aws| said(as_nobody(aws).arg("--version")).is_some());
    let found = usable.with_context(|| format!("there is no aws CLI that everybody can run: {WAY_OUT}"))?;
    Ok(FOUND.get_or_init(|| found).clone())
}

/// moto's server.
///
/// # Errors
/// When there is none.
pub fn moto_server() -> Result<PathBuf> {
    let candidates = in_path("moto_server").into_iter().chain([python().join("bin/moto_server")]);
    for moto in candidates {
        if said(Command::new(&moto).arg("--help")).is_some() {
            return Ok(moto);
        }
    }
    bail!("there is no moto_server here: {WAY_OUT}")
}

/// A Python that has the Kubernetes client, and that engineers can run.
///
/// # Errors
/// When there is none.
pub fn kubernetes_client() -> Result<PathBuf> {
    python_with("kubernetes")
}

/// A Python that has MCP's SDK of the version that `tests/mcp` is written for, and that engineers can run.
///
/// # Errors
/// When there is none.
pub fn mcp_sdk() -> Result<PathBuf> {
    python_with("mcp_types.version, mcp.server.subscriptions")
}

fn python_with(modules: &str) -> Result<PathBuf> {
    let candidates = [python().join("bin/python3")].into_iter().chain(in_path("python3"));
    for python in candidates {
        if said(as_nobody(&python).args(["-c", &format!("import {modules}")])).is_some() {
            return Ok(python);
        }
    }
    bail!("there is no Python with {modules} here: {WAY_OUT}")
}

/// A program as somebody who is not root runs it.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}")).arg("--clear-groups");
    command.arg("--").arg(program).env("HOME", "/");
    command
}

/// The program of this name in the path.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn json(file: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// What a command prints, if it succeeds.
fn said(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
