//! A strict AWS Security Token Service beside the gate: `tests/sts` as a process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process::{Running, output};
use crate::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(30);

/// A running STS.
#[derive(Debug)]
pub struct Sts {
    /// Kept so that it ends with the test.
    _process: Running,
    url: String,
    ca: PathBuf,
    _dir: Scratch,
}

/// Somebody with a key.
#[derive(Clone, Copy)]
pub struct StsUser {
    /// `AKIA…`
    pub access_key: &'static str,
    /// What they sign with.
    pub secret: &'static str,
    /// Who they are; an assumed role's ARN for somebody in a session of it.
    pub arn: &'static str,
}

/// How the service is out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Everything is too much for it.
    Throttle,
    /// It answers 503.
    Unavailable,
    /// It does not answer.
    Hang,
}

impl Sts {
    /// Starts it; whoever is known may assume the roles.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(programs: &Path, users: &[StsUser], roles: &[&str]) -> Result<Self> {
        let dir = Scratch::make()?;
        let program = programs.join("sts");
        ensure!(program.is_file(), "sts is not in {}: run `cargo xtask test`", programs.display());
        let mut command = Command::new(program);
        command.arg("--dir").arg(dir.path());
        for StsUser { access_key, secret, arn } in users {
            command.arg("--user").arg(format!("{access_key}:{secret}={arn}"));
        }
        for role in roles {
            command.args(["--role", role]);
        }
        let mut process = Running::start(command.stdin(Stdio::null()))?;
        process.wait_for_stdout("\n", LIMIT)?;
        let ready: Value = serde_json::from_str(process.stdout().lines().next().unwrap_or_default())?;
        let text = |name: &str| ready[name].as_str().with_context(|| format!("no {name} in {ready}"));
        Ok(Self { url: text("url")?.to_owned(), ca: text("ca")?.into(), _process: process, _dir: dir })
    }

    /// `https://host:port`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The CA of its certificate.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// Arguments that let a simcluster take EKS tokens for `cluster`: `role` is `name` there, an administrator.
    #[must_use]
    pub fn cluster_args(&self, cluster: &str, role: &str, name: &str) -> Vec<String> {
        let ca = self.ca.display().to_string();
        let user = format!("{role}={name}=system:masters");
        ["--eks-cluster", cluster, "--sts", &self.url, "--sts-ca", &ca, "--eks-user", &user]
            .map(str::to_owned)
            .into()
    }

    /// What it was asked, one object a call.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn journal(&self) -> Result<Vec<Value>> {
        let journal = self.control("journal", None)?;
        Ok(journal.as_array().cloned().unwrap_or_default())
    }

    /// Breaks it, or repairs it.
    ///
    /// # Errors
    /// When its controls do not answer.
    pub fn fault(&self, fault: Option<Fault>) -> Result<()> {
        let fault = fault.map(|fault| match fault {
            Fault::Throttle => "throttle",
            Fault::Unavailable => "unavailable",
            Fault::Hang => "hang",
        });
        self.control("fault", Some(&json!({ "fault": fault }))).map(drop)
    }

    fn control(&self, what: &str, body: Option<&Value>) -> Result<Value> {
        let mut curl = Command::new("/usr/bin/curl");
        curl.args(["-sS", "--fail-with-body", "--max-time", "10", "--cacert"]).arg(&self.ca);
        if let Some(body) = body {
            curl.arg("--data").arg(body.to_string());
        }
        let answered = output(curl.arg(format!("{}/control/{what}", self.url)), LIMIT)?;
        if answered.code != 0 {
            bail!("STS refused {what}: {}", answered.all());
        }
        Ok(serde_json::from_str(&answered.stdout)?)
    }
}
