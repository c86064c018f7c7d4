//! A whole stage: clusters, gate, daemon and people.

mod config;
mod home;
mod options;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::config::Target;
pub use self::options::{McpTarget, MoreTarget, StageOptions, Upstream};
use crate::cgroup::Cgroup;
use crate::cluster::Cluster;
use crate::daemon::{Daemon, Gate, within};
use crate::kubectl::Kubectl;
use crate::people::{BOB, EVERYBODY, Person};
use crate::process::{Output, Running, output};
use crate::scratch::Scratch;

/// How long any command on a stage may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Everything that is running, torn down in the right order when dropped.
#[derive(Debug)]
pub struct Stage {
    daemon: Option<Daemon>,
    gate: Gate,
    /// `demo` first.
    targets: Vec<Target>,
    programs: PathBuf,
    environment: Vec<(String, String)>,
    daemon_gid: Option<u32>,
    // Groups go last, the parent after its children.
    engineers: Cgroup,
    daemons: Cgroup,
    _cgroup: Cgroup,
    dir: Scratch,
}

impl Stage {
    /// Sets the stage: cluster, gate and daemon are up when this returns.
    ///
    /// # Errors
    /// When a part does not come up; what was started is taken down again.
    pub fn set(programs: &Path, options: &StageOptions) -> Result<Self> {
        let dir = Scratch::make()?;
        let cgroup = Cgroup::make(&dir.name())?;
        let (engineers, daemons) = (cgroup.child("engineers")?, cgroup.child("gate")?);
        let targets = targets(programs, &dir, options)?;
        let config = config::configuration(&dir, &cgroup, &targets, options)?;
        fs::create_dir_all(dir.path().join("roles"))?;
        fs::write(dir.path().join("roles/roles.yaml"), &options.roles)?;
        // JSON is YAML, and serde_json writes it without surprises.
        let config_path = dir.path().join("portcullis.yaml");
        fs::write(&config_path, serde_json::to_string_pretty(&config)?)?;
        let gate = Gate::load(&programs.join("portcullis"), &config_path)?;
        let mut stage = Self {
            daemon: None,
            gate,
            targets,
            programs: programs.to_owned(),
            environment: options.environment.clone(),
            daemon_gid: options.daemon_gid,
            engineers,
            daemons,
            _cgroup: cgroup,
            dir,
        };
        stage.start_daemon()?;
        for person in EVERYBODY {
            stage.make_home(person, &options.user_of(person))?;
        }
        Ok(stage)
    }

    /// Starts the daemon (again).
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_daemon(&mut self) -> Result<()> {
        let program = self.programs.join("portcullis");
        let (config, socket) = (self.config(), self.socket());
        let daemon =
            Daemon::start(&program, &config, &socket, &self.daemons, &self.environment, self.daemon_gid)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The daemon.
    ///
    /// # Panics
    /// When it was not started again after [`Stage::kill_daemon`].
    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the daemon is running")
    }

    /// Ends the daemon without warning; the gate stays.
    pub fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// The simulated cluster.
    ///
    /// # Panics
    /// On a stage with a real cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.targets[0].cluster.as_ref().expect("a stage with simcluster")
    }

    /// The simulated cluster of the target of this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn cluster_of(&self, target: &str) -> &Cluster {
        let found = self.targets.iter().find(|known| known.name == target);
        found.and_then(|target| target.cluster.as_ref()).expect("a target with simcluster")
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("portcullis.yaml")
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("run/control.sock")
    }

    /// Where recordings are.
    #[must_use]
    pub fn recordings(&self) -> PathBuf {
        self.dir.path().join("recordings")
    }

    /// The stage's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The target `demo` as kubeconfigs name it, `https://host:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.targets[0].endpoint
    }

    /// The cgroup in which people work.
    #[must_use]
    pub fn engineers(&self) -> &Cgroup {
        &self.engineers
    }

    /// `portcullis gate …` as root.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn gate(&self, verb: &str) -> Result<Output> {
        self.gate.verb(verb)
    }

    /// A program run by `person`, from their home.
    #[must_use]
    pub fn command(&self, person: Person, program: &Path) -> Command {
        let mut command = within(&self.engineers, program, Some(person.uid));
        let home = self.home(person);
        command
            .env_clear()
            .env("HOME", &home)
            .env("KUBECONFIG", home.join(".kube/config"))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("PORTCULLIS_SOCKET", self.socket())
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm")
            .current_dir(&home);
        command
    }

    /// kubectl run by `person`.
    #[must_use]
    pub fn kubectl(&self, person: Person, kubectl: &Kubectl, args: &[&str]) -> Command {
        let mut command = self.command(person, &kubectl.path);
        command.args(args);
        command
    }

    /// `portcullis …` run by `person`, to its end.
    ///
    /// # Errors
    /// When it cannot be run or takes too long.
    pub fn portcullis(&self, person: Person, args: &[&str]) -> Result<Output> {
        output(self.command(person, &self.programs.join("portcullis")).args(args), LIMIT)
    }

    /// The same, for a command that waits for something (`login`).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn portcullis_running(&self, person: Person, args: &[&str]) -> Result<Running> {
        let mut command = self.command(person, &self.programs.join("portcullis"));
        Running::start(command.args(args).stdin(Stdio::null()))
    }

    /// `portcullis …` run by root.
    ///
    /// # Errors
    /// When it cannot be run or takes too long.
    pub fn operator(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(self.programs.join("portcullis"));
        command.arg("--config").arg(self.config()).arg("--socket").arg(self.socket()).args(args);
        output(&mut command, LIMIT)
    }

    /// The same, for a command that goes on (`sessions play`).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn operator_running(&self, args: &[&str]) -> Result<Running> {
        let mut command = Command::new(self.programs.join("portcullis"));
        command.arg("--config").arg(self.config()).arg("--socket").arg(self.socket()).args(args);
        Running::start(&mut command)
    }

    /// Requests `role` as `person` for `duration` and has BOB approve it; returns the grant's id.
    ///
    /// # Errors
    /// When one of the two is refused.
    pub fn grant(&self, person: Person, role: &str, duration: &str) -> Result<String> {
        self.granted(person, &["--role", role, "--for", duration])
    }

    /// The same on one of the role's targets.
    ///
    /// # Errors
    /// As [`Stage::grant`].
    pub fn grant_on(&self, target: &str, person: Person, role: &str, duration: &str) -> Result<String> {
        self.granted(person, &["--role", role, "--target", target, "--for", duration])
    }

    fn granted(&self, person: Person, what: &[&str]) -> Result<String> {
        let asking = [&["request", "--reason", "end-to-end test", "-o", "json"], what].concat();
        let request = id_of(&self.portcullis(person, &asking)?)?;
        let approved = self.portcullis(BOB, &["approve", &request, "-o", "json"])?;
        let answer: Value = serde_json::from_str(&approved.stdout)
            .with_context(|| format!("approve answered {}", approved.all()))?;
        answer["grant"].as_str().map(str::to_owned).with_context(|| format!("no grant in {answer}"))
    }

    /// A person's home on the stage.
    #[must_use]
    pub fn home(&self, person: Person) -> PathBuf {
        self.dir.path().join("home").join(person.name)
    }

    /// Makes a home whose kubeconfig trusts the gate.
    fn make_home(&self, person: Person, user: &Value) -> Result<()> {
        home::make(&self.home(person), person, &self.targets, user)?;
        let trusted = self.portcullis(person, &["trust", "install"])?;
        if trusted.code != 0 {
            bail!("trust install for {}: {}", person.name, trusted.all());
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            if std::thread::panicking() {
                // Said through a panic's usual channel, so that the test runner shows it with the failure.
                writeln!(std::io::stderr(), "the daemon's log:\n{}", daemon.log()).ok();
            }
            daemon.kill();
        }
    }
}

/// What the gate is to protect: `demo`, and what the options add.
fn targets(programs: &Path, dir: &Scratch, options: &StageOptions) -> Result<Vec<Target>> {
    let simulated = |name: &str, folder: &str, args: &[String], settings: &Value| -> Result<Target> {
        let extra: Vec<&str> = args.iter().map(String::as_str).collect();
        let listen = ["127.0.0.1:0", "[::1]:0"];
        let cluster =
            Cluster::start(&programs.join("simcluster"), &dir.path().join(folder), &listen, &extra)?;
        Target::simulated(name, cluster, options, settings)
    };
    let first = match &options.upstream {
        Some(upstream) => Target::real("demo", upstream, &options.target),
        None => simulated("demo", "cluster", &options.cluster_args, &options.target)?,
    };
    let mut targets = vec![first];
    for more in &options.more_targets {
        let folder = format!("cluster-{}", more.name);
        targets.push(simulated(more.name, &folder, &more.cluster_args, &more.settings)?);
    }
    Ok(targets)
}

fn id_of(answered: &Output) -> Result<String> {
    let answer: Value = serde_json::from_str(&answered.stdout)
        .with_context(|| format!("portcullis answered {}", answered.all()))?;
    answer["id"].as_str().map(str::to_owned).with_context(|| format!("no id in {answer}"))
}
