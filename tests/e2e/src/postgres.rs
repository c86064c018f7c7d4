//! A PostgreSQL server of a test's own: a fresh cluster in a folder that goes with it, on loopback.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process::{Running, output, wait_for};
use crate::scratch::Scratch;
use crate::tools;

const LIMIT: Duration = Duration::from_secs(60);
/// The server refuses to run as root.
const NOBODY: u32 = 65534;
const PASSWORD: &str = "FAKE-postgres-password-7Qx2";

/// A running server; it and its files are gone when dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Option<Running>,
    port: u16,
    dir: Scratch,
}

impl Postgres {
    /// Makes a cluster and serves it.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not come up.
    pub fn start() -> Result<Self> {
        let dir = Scratch::make()?;
        let home = dir.path().join("server");
        fs::create_dir(&home)?;
        fs::write(home.join("password"), PASSWORD)?;
        for path in [&home, &home.join("password")] {
            chown(path, Some(NOBODY), Some(NOBODY))?;
        }
        let mut initdb = as_nobody(&tools::postgres()?.join("initdb"), &home);
        initdb.args(["--username=portcullis", "--pwfile=password", "--auth=scram-sha-256"]);
        initdb.args(["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--pgdata=data"]);
        let made = output(&mut initdb, LIMIT)?;
        if made.code != 0 {
            bail!("initdb failed:\n{}", made.all());
        }
        // Freed at once and taken again below; nothing else on this machine picks ports in between for long.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = Self { process: None, port, dir };
        server.serve()?;
        fs::write(server.url_file(), server.url())?;
        fs::set_permissions(server.url_file(), fs::Permissions::from_mode(0o600))?;
        Ok(server)
    }

    /// Serves (again), on the same port.
    ///
    /// # Errors
    /// When it does not come up; the error has its log.
    pub fn serve(&mut self) -> Result<()> {
        let home = self.dir.path().join("server");
        let mut command = as_nobody(&tools::postgres()?.join("postgres"), &home);
        command.args(["-D", "data", "-p"]).arg(self.port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // Nothing here outlives the test.
            "fsync=off",
            "full_page_writes=off",
        ] {
            command.args(["-c", setting]);
        }
        let mut process = Running::start(command.stdin(Stdio::null()))?;
        let up = wait_for("PostgreSQL", LIMIT, || {
            let up = process.stderr().contains("ready to accept connections");
            up.then_some(true).or_else(|| process.ended().then_some(false))
        });
        if !up.as_ref().is_ok_and(|up| *up) {
            bail!("PostgreSQL does not come up:\n{}", process.stderr());
        }
        self.process = Some(process);
        Ok(())
    }

    /// Ends the server at once; connections break off. Its data stay, for [`Postgres::serve`].
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // An immediate shutdown: children end too, which SIGKILL would leave to themselves.
        let pid = process.pid().to_string();
        Command::new("kill").args(["-QUIT", &pid]).status().context("cannot run kill")?;
        process.wait(LIMIT).map(drop)
    }

    /// `postgres://user:password@host:port/database`, without TLS: it does not leave this machine.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://portcullis:{PASSWORD}@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// `access.store` of a daemon that uses it.
    #[must_use]
    pub fn store(&self) -> Value {
        json!({ "postgres": { "urlFile": self.url_file() } })
    }

    fn url_file(&self) -> std::path::PathBuf {
        self.dir.path().join("url")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A test that fails has its own story to tell.
        self.stop().ok();
    }
}

fn as_nobody(program: &Path, home: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}")).arg("--clear-groups");
    command.arg("--").arg(program).current_dir(home);
    command
}
