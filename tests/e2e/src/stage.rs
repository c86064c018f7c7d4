//! A whole stage: cluster, gate, daemon and people.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use serde_json::{Value, json};

use crate::cgroup::Cgroup;
use crate::cluster::Cluster;
use crate::daemon::{Daemon, Gate, within};
use crate::kubectl::Kubectl;
use crate::process::{Output, Running, output};

/// Somebody on the bastion. They need no account: the configuration names their uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// What they are called.
    pub name: &'static str,
    /// Their uid.
    pub uid: u32,
    /// Their groups.
    pub groups: &'static [&'static str],
}

/// An engineer.
pub const ALICE: Person = Person { name: "alice", uid: 61001, groups: &["dev"] };
/// Their lead, who approves.
pub const BOB: Person = Person { name: "bob", uid: 61002, groups: &["dev", "leads"] };
/// Somebody in no group at all.
pub const CAROL: Person = Person { name: "carol", uid: 61003, groups: &[] };

/// How long any command on a stage may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How a stage differs from the usual one.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// Role manifests.
    pub roles: String,
    /// More arguments for simcluster.
    pub cluster_args: Vec<String>,
    /// Present the engineer upstream by impersonation (with the token of a gateway that may).
    pub impersonate: bool,
    /// Present simcluster's administrator by client certificate instead of by token.
    pub client_certificate: bool,
    /// Where recordings go; else below the stage's folder.
    pub record_dir: Option<PathBuf>,
    /// How many connections a person may have; else the daemon's default.
    pub connections_per_uid: Option<usize>,
    /// Another cluster instead of a simulated one.
    pub upstream: Option<Upstream>,
}

/// A real cluster as upstream, from a kubeconfig.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// `https://host:port`
    pub endpoint: String,
    /// Its CA, a PEM file.
    pub certificate_authority: PathBuf,
    /// `credential:` of the target.
    pub credential: Value,
}

impl StageOptions {
    /// A stage with these roles.
    #[must_use]
    pub fn with_roles(roles: &str) -> Self {
        Self {
            roles: roles.to_owned(),
            cluster_args: Vec::new(),
            impersonate: false,
            client_certificate: false,
            record_dir: None,
            connections_per_uid: None,
            upstream: None,
        }
    }
}

/// Everything that is running, torn down in the right order when dropped.
#[derive(Debug)]
pub struct Stage {
    daemon: Option<Daemon>,
    gate: Gate,
    cluster: Option<Cluster>,
    endpoint: String,
    certificate_authority: PathBuf,
    programs: PathBuf,
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
        let cluster = match &options.upstream {
            Some(_) => None,
            None => {
                let extra: Vec<&str> = options.cluster_args.iter().map(String::as_str).collect();
                let listen = ["127.0.0.1:0", "[::1]:0"];
                Some(Cluster::start(
                    &programs.join("simcluster"),
                    &dir.path().join("cluster"),
                    &listen,
                    &extra,
                )?)
            }
        };
        let (endpoint, certificate_authority) = match (&options.upstream, &cluster) {
            (Some(upstream), _) => (upstream.endpoint.clone(), upstream.certificate_authority.clone()),
            (None, Some(cluster)) => (format!("https://{}", cluster.endpoints()[0]), cluster.file("ca.crt")),
            (None, None) => bail!("neither a cluster nor an upstream"),
        };
        let config = configuration(&dir, &cgroup, cluster.as_ref(), options)?;
        fs::create_dir_all(dir.path().join("roles"))?;
        fs::write(dir.path().join("roles/roles.yaml"), &options.roles)?;
        // JSON is YAML, and serde_json writes it without surprises.
        let config_path = dir.path().join("portcullis.yaml");
        fs::write(&config_path, serde_json::to_string_pretty(&config)?)?;
        let gate = Gate::load(&programs.join("portcullis"), &config_path)?;
        let mut stage = Self {
            daemon: None,
            gate,
            cluster,
            endpoint,
            certificate_authority,
            programs: programs.to_owned(),
            engineers,
            daemons,
            _cgroup: cgroup,
            dir,
        };
        stage.start_daemon()?;
        for person in [ALICE, BOB, CAROL] {
            stage.make_home(person)?;
        }
        Ok(stage)
    }

    /// Starts the daemon (again).
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_daemon(&mut self) -> Result<()> {
        let program = self.programs.join("portcullis");
        self.daemon = Some(Daemon::start(&program, &self.config(), &self.socket(), &self.daemons)?);
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
        self.cluster.as_ref().expect("a stage with simcluster")
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

    /// The target as kubeconfigs name it, `https://host:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
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
        let asked = self.portcullis(
            person,
            &["request", "--role", role, "--for", duration, "--reason", "end-to-end test", "-o", "json"],
        )?;
        let request = id_of(&asked)?;
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

    /// Makes a home with the kubeconfig an engineer has: the cluster's own endpoint and CA, and no credential. (With
    /// nothing at all in `user:` kubectl would prompt for a name; what stands there never leaves the node.)
    fn make_home(&self, person: Person) -> Result<()> {
        let home = self.home(person);
        fs::create_dir_all(home.join(".kube"))?;
        let ca = fs::read(&self.certificate_authority)?;
        let ca = base64::engine::general_purpose::STANDARD.encode(ca);
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: demo\n  cluster:\n    server: {}\n    \
             certificate-authority-data: {ca}\nusers:\n- name: me\n  user: {{token: none}}\ncontexts:\n- name: demo\n  \
             context:\n    cluster: demo\n    user: me\n    namespace: demo\ncurrent-context: demo\n",
            self.endpoint
        );
        let file = home.join(".kube/config");
        fs::write(&file, kubeconfig)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        for path in [home.clone(), home.join(".kube"), file] {
            chown(path, Some(person.uid), Some(person.uid))?;
        }
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

fn configuration(
    dir: &Scratch,
    cgroup: &Cgroup,
    cluster: Option<&Cluster>,
    options: &StageOptions,
) -> Result<Value> {
    let (endpoints, ca, credential) = match (&options.upstream, cluster) {
        (Some(upstream), _) => (
            vec![upstream.endpoint.clone()],
            upstream.certificate_authority.clone(),
            upstream.credential.clone(),
        ),
        (None, Some(cluster)) => {
            let endpoints =
                cluster.endpoints().iter().map(|endpoint| format!("https://{endpoint}")).collect();
            (endpoints, cluster.file("ca.crt"), credential_of(cluster, dir, options)?)
        }
        (None, None) => bail!("neither a cluster nor an upstream"),
    };
    let users: Vec<Value> = [ALICE, BOB, CAROL]
        .iter()
        .map(|person| json!({ "uid": person.uid, "name": person.name, "groups": person.groups }))
        .collect();
    let port = free_port()?;
    let limits = options.connections_per_uid.map_or(json!({}), |limit| json!({ "connectionsPerUid": limit }));
    let record_dir = options.record_dir.clone().unwrap_or_else(|| dir.path().join("recordings"));
    Ok(json!({
        "apiVersion": "portcullis.dev/v1alpha1",
        "kind": "Config",
        "stateDir": dir.path().join("state"),
        "gate": {
            "cgroup": cgroup.path(),
            "pinDir": format!("/sys/fs/bpf/{}", dir.name()),
            "listen": [format!("127.0.0.1:{port}"), format!("[::1]:{port}")],
        },
        "targets": [{
            "name": "demo",
            "endpoints": endpoints,
            "certificateAuthority": ca,
            "credential": credential,
            "impersonate": options.impersonate,
        }],
        // People are made by setpriv here, from whatever session the tests run in.
        "identity": { "unix": { "users": users, "nss": false, "loginuid": "never" } },
        "roles": dir.path().join("roles"),
        "access": { "store": dir.path().join("state/access.db"), "adminGroups": ["leads"] },
        "record": { "dir": record_dir, "minFreeBytes": 0 },
        "limits": limits,
    }))
}

/// What the gate presents to simcluster.
fn credential_of(cluster: &Cluster, dir: &Scratch, options: &StageOptions) -> Result<Value> {
    if options.client_certificate {
        let (cert, key) = (cluster.file("admin-cert.crt"), cluster.file("admin-cert.key"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        return Ok(json!({ "clientCertificate": { "certFile": cert, "keyFile": key } }));
    }
    // simcluster's well-known tokens.
    let token = if options.impersonate { "token-gateway-0001" } else { "token-admin-0001" };
    let file = dir.path().join("upstream.token");
    fs::write(&file, token)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(json!({ "bearerTokenFile": file }))
}

/// A port free on both loopback addresses right now.
fn free_port() -> Result<u16> {
    for _ in 0..50 {
        let four = TcpListener::bind("127.0.0.1:0")?;
        let port = four.local_addr()?.port();
        if TcpListener::bind(("::1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free on both 127.0.0.1 and ::1")
}

fn id_of(answered: &Output) -> Result<String> {
    let answer: Value = serde_json::from_str(&answered.stdout)
        .with_context(|| format!("portcullis answered {}", answered.all()))?;
    answer["id"].as_str().map(str::to_owned).with_context(|| format!("no id in {answer}"))
}

/// A folder of the stage's own, removed when dropped unless `PORTCULLIS_KEEP` is set.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portcullis-{}-{count}", std::process::id()));
        fs::create_dir_all(&path)?;
        // People on the stage must reach their homes and the control socket below it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("PORTCULLIS_KEEP").is_none() {
            fs::remove_dir_all(&self.0).ok();
        }
    }
}
