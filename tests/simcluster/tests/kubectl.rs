//! Every installed kubectl against a simulated cluster of its own: each version times each command is a row.
//!
//! `SIMCLUSTER_KUBECTL_DIR` names the directory that holds `kubectl.1.27`, `kubectl.1.28`, … if they are elsewhere.

#[path = "kubectl/interactive.rs"]
mod interactive;
#[path = "kubectl/rows.rs"]
mod rows;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use simcluster::{Config, SimCluster};

/// One kubectl with a cluster to itself.
pub(crate) struct Kubectl {
    version: String,
    program: PathBuf,
    cluster: SimCluster,
    home: tempfile::TempDir,
}

/// What a command left.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

/// What each row printed, by version, for the rows that all versions must answer alike.
type Printed = BTreeMap<(usize, &'static str), Vec<(String, String)>>;

#[test]
fn every_kubectl_gets_along_with_the_simulated_cluster() {
    let programs = installed();
    assert!(!programs.is_empty(), "no kubectl.1.* in {}", directory().display());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let failures = Mutex::new(Vec::new());
    let printed: Mutex<Printed> = Mutex::default();
    std::thread::scope(|scope| {
        for program in programs {
            let kubectl = Kubectl::new(program, &runtime);
            let (failures, printed) = (&failures, &printed);
            scope.spawn(move || {
                for (index, row) in rows::rows().into_iter().enumerate() {
                    let outcome = kubectl.run(&row.command(), row.stdin);
                    if let Err(why) = row.check(&kubectl.version, &outcome) {
                        failures.lock().unwrap().push(report(&kubectl.version, row.command, &why, &outcome));
                    }
                    if row.alike {
                        let text = rows::stable(&outcome.stdout);
                        let mut printed = printed.lock().unwrap();
                        printed
                            .entry((index, row.command))
                            .or_default()
                            .push((kubectl.version.clone(), text));
                    }
                }
                for (name, scene) in interactive::SCENES {
                    if let Err((why, outcome)) = scene(&kubectl) {
                        failures.lock().unwrap().push(report(&kubectl.version, name, &why, &outcome));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    for ((_, command), versions) in printed.into_inner().unwrap() {
        let (first, wanted) = &versions[0];
        for (version, text) in versions.iter().filter(|(_, text)| text != wanted) {
            failures.push(format!("{command}\n  {first} prints:\n{wanted}\n  {version} prints:\n{text}"));
        }
    }
    assert!(failures.is_empty(), "{} failures\n\n{}", failures.len(), failures.join("\n\n"));
}

impl Kubectl {
    fn new(program: PathBuf, runtime: &tokio::runtime::Runtime) -> Kubectl {
        let home = tempfile::tempdir().expect("a directory");
        // Pods run as another user and must reach their files.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(home.path(), open).expect("permissions");
        let config = Config {
            dir: home.path().join("sim"),
            log: Some(home.path().join("log")),
            bulk_secrets: 30,
            ..Config::default()
        };
        let cluster = runtime.block_on(SimCluster::start(config)).expect("a cluster");
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let version = name.trim_start_matches("kubectl.").to_owned();
        Kubectl { version, program, cluster, home }
    }

    /// A command with this cluster's settings. A first argument `@user` picks the kubeconfig.
    pub(crate) fn command(&self, program: &Path, arguments: &[String]) -> Command {
        let mut command = Command::new(program);
        let (user, arguments) = match arguments.split_first() {
            Some((first, rest)) if first.starts_with('@') => (&first[1..], rest),
            _ => ("admin", arguments),
        };
        command.args(arguments).current_dir(self.home.path());
        command.env("HOME", self.home.path()).env("KUBECACHEDIR", self.home.path().join("cache"));
        command.env("KUBECONFIG", self.cluster.dir().join(format!("{user}.kubeconfig")));
        command
    }

    /// Runs kubectl to its end.
    pub(crate) fn run(&self, arguments: &[String], stdin: &str) -> Outcome {
        let mut command = self.command(&self.program, arguments);
        // An editor that changes one word.
        command.env("EDITOR", "sed -i s/blue/red/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        // kubectl may end before it reads.
        child.stdin.take().expect("piped").write_all(stdin.as_bytes()).ok();
        let output = child.wait_with_output().expect("kubectl ends");
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// 27 of `1.27`.
pub(crate) fn minor(version: &str) -> u32 {
    version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_default()
}

fn directory() -> PathBuf {
    let given = std::env::var_os("SIMCLUSTER_KUBECTL_DIR").map(PathBuf::from);
    given.unwrap_or_else(|| PathBuf::from("/usr/lib/google-cloud-sdk/bin"))
}

fn installed() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory()).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_kubectl = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubectl.1."))
    };
    let mut found: Vec<PathBuf> = entries.filter(is_kubectl).collect();
    found.sort();
    found
}

fn report(version: &str, command: &str, why: &str, outcome: &Outcome) -> String {
    let Outcome { code, stdout, stderr } = outcome;
    format!(
        "kubectl {version}: {command}\n  {why}\n  exit code {code}\n  stdout: {stdout}\n  stderr: {stderr}"
    )
}
