//! Plain kubectl, every installed version, direct and through the gate: the same output and the same exit code.
//!
//! Two simulated clusters with the same content take the same commands in the same order, one directly with an
//! administrator's credential, one through the gate by an engineer who holds none.

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use common::{everything_role, programs};
use e2e::{ALICE, Cluster, Kubectl, Output, Running, Stage, StageOptions, installed, output};

const LIMIT: Duration = Duration::from_secs(60);

/// Makes a kubectl command from its arguments.
type Kubectls<'a> = Box<dyn Fn(&[&str]) -> Command + 'a>;

/// One side of the comparison: how to run kubectl there.
struct Side<'a> {
    name: &'static str,
    command: Kubectls<'a>,
}

/// How two outputs are compared.
#[derive(Clone, Copy, PartialEq)]
enum Compare {
    /// Word for word, after what differs between any two runs (uids, times, ports) is normalised.
    Exact,
    /// Exit code and shape only: the values of Secrets are masked on one side.
    Masked,
    /// Word for word, in any order of lines: kubectl prints events of the same second as they come.
    Unordered,
    /// Exit code only: `kubectl cp` ends with the archive, and whether it still prints what tar said is a race, without
    /// the gate too. What came over is compared by itself. And where the output is nothing but a secret.
    Code,
}
use Compare::{Code, Exact, Masked, Unordered};

/// What an engineer does in a day, in an order in which each step finds what it needs.
const STEPS: &[(&str, &[&str], Compare)] = &[
    ("version", &["version"], Exact),
    ("api-resources", &["api-resources"], Exact),
    ("api-resources by verb", &["api-resources", "--verbs=list,get", "-o", "wide"], Exact),
    ("api-versions", &["api-versions"], Exact),
    ("cluster-info", &["cluster-info"], Exact),
    ("explain", &["explain", "pod.spec.containers"], Exact),
    ("explain recursively", &["explain", "deployment.spec.strategy", "--recursive"], Exact),
    ("explain nothing", &["explain", "pod.spec.nosuchfield"], Exact),
    ("get", &["get", "pods"], Exact),
    ("get wide", &["get", "pods", "-o", "wide", "--show-labels"], Exact),
    ("get all namespaces", &["get", "pods", "-A"], Exact),
    ("get one as json", &["get", "pod", "shell", "-o", "json"], Exact),
    ("get as yaml", &["get", "configmaps", "-o", "yaml"], Exact),
    ("get names", &["get", "deployments,services", "-o", "name"], Exact),
    ("get jsonpath", &["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"], Exact),
    ("get in chunks", &["get", "pods", "-A", "--chunk-size=1"], Exact),
    ("get raw", &["get", "--raw", "/api/v1/namespaces/demo/configmaps/app-config"], Exact),
    ("get raw list", &["get", "--raw", "/api/v1/namespaces/demo/configmaps?limit=1"], Exact),
    ("get raw discovery", &["get", "--raw", "/apis/apps/v1"], Exact),
    ("get raw readyz", &["get", "--raw", "/readyz?verbose"], Exact),
    ("get raw nothing", &["get", "--raw", "/nosuch"], Exact),
    ("get all", &["get", "all"], Exact),
    ("get by label", &["get", "pods", "-l", "app in (web,shell)", "--sort-by=.metadata.name"], Exact),
    ("get by field", &["get", "pods", "--field-selector=metadata.name=shell", "-o", "name"], Exact),
    ("get in columns", &["get", "pods", "-o", "custom-columns=N:.metadata.name,P:.status.phase"], Exact),
    ("get events", &["get", "events"], Unordered),
    ("events", &["events"], Unordered),
    ("top pods", &["top", "pods"], Exact),
    ("top nodes", &["top", "nodes"], Exact),
    ("get nodes", &["get", "nodes"], Exact),
    ("not found", &["get", "pod", "nosuch"], Exact),
    ("no such kind", &["get", "nosuchkind"], Exact),
    ("get secrets", &["get", "secrets"], Exact),
    ("get secret yaml", &["get", "secret", "db-credentials", "-o", "yaml"], Masked),
    ("get secret json", &["get", "secrets", "-o", "json"], Masked),
    ("describe pod", &["describe", "pod", "shell"], Unordered),
    ("describe secret", &["describe", "secret", "db-credentials"], Masked),
    ("describe deployment", &["describe", "deployment", "web"], Masked),
    ("describe node", &["describe", "nodes"], Unordered),
    ("describe nothing", &["describe", "pod", "nosuch"], Exact),
    ("create configmap", &["create", "configmap", "made", "--from-literal=a=b"], Exact),
    ("create again", &["create", "configmap", "made", "--from-literal=a=b"], Exact),
    ("create secret", &["create", "secret", "generic", "made", "--from-literal=pw=FAKE-made-1"], Exact),
    (
        "create dry run",
        &["create", "configmap", "dry", "--from-literal=a=b", "--dry-run=server", "-o", "name"],
        Exact,
    ),
    ("create invalid", &["create", "-f", "invalid.yaml"], Exact),
    ("create file", &["create", "-f", "configmap.yaml"], Exact),
    ("apply", &["apply", "-f", "secret.yaml"], Exact),
    ("apply again", &["apply", "-f", "secret.yaml"], Exact),
    ("apply changed", &["apply", "-f", "secret-changed.yaml"], Exact),
    ("apply deployment", &["apply", "-f", "deployment.yaml"], Exact),
    ("apply server side", &["apply", "--server-side", "-f", "applied.yaml"], Exact),
    ("apply dry run", &["apply", "--dry-run=server", "-f", "applied.yaml"], Exact),
    ("diff", &["diff", "-f", "configmap-changed.yaml"], Exact),
    ("diff of a secret", &["diff", "-f", "secret-changed.yaml"], Exact),
    ("diff of something new", &["diff", "-f", "new.yaml"], Exact),
    ("replace", &["replace", "-f", "configmap-changed.yaml"], Exact),
    ("patch merge", &["patch", "configmap", "made", "--type=merge", "-p", r#"{"data":{"a":"c"}}"#], Exact),
    (
        "patch json",
        &[
            "patch",
            "configmap",
            "made",
            "--type=json",
            "-p",
            r#"[{"op":"add","path":"/data/x","value":"y"}]"#,
        ],
        Exact,
    ),
    ("patch strategic", &["patch", "deployment", "web", "-p", r#"{"spec":{"replicas":3}}"#], Exact),
    ("patch secret", &["patch", "secret", "made", "-p", r#"{"stringData":{"pw":"FAKE-made-2"}}"#], Exact),
    ("patched", &["get", "configmap", "made", "-o", "jsonpath={.data}"], Exact),
    ("label", &["label", "pod", "shell", "checked=yes"], Exact),
    ("label again", &["label", "pod", "shell", "checked=no"], Exact),
    ("label over", &["label", "pod", "shell", "checked=no", "--overwrite"], Exact),
    ("label off", &["label", "pod", "shell", "checked-"], Exact),
    ("annotate", &["annotate", "pod", "shell", "note=hello"], Exact),
    ("annotate off", &["annotate", "pod", "shell", "note-"], Exact),
    ("set image", &["set", "image", "deployment/web", "web=example.test/web:2"], Exact),
    ("set env", &["set", "env", "deployment/web", "A=b"], Exact),
    ("expose", &["expose", "deployment", "web", "--port=80", "--name=exposed"], Exact),
    ("autoscale", &["autoscale", "deployment", "web", "--max=3"], Exact),
    ("run", &["run", "made-pod", "--image=example.test/x:1", "--restart=Never", "--", "sleep", "30"], Exact),
    ("cordon", &["cordon", "node1"], Exact),
    ("uncordon", &["uncordon", "node1"], Exact),
    ("taint", &["taint", "nodes", "node1", "a=b:NoSchedule"], Exact),
    (
        "drain dry run",
        &["drain", "node1", "--dry-run=client", "--ignore-daemonsets", "--force", "--delete-emptydir-data"],
        Unordered,
    ),
    ("edit", &["edit", "configmap", "made"], Exact),
    ("edited", &["get", "configmap", "made", "-o", "jsonpath={.data}"], Exact),
    ("logs", &["logs", "web", "-c", "web"], Exact),
    ("logs tail", &["logs", "web", "-c", "web", "--tail=2"], Exact),
    ("logs previous", &["logs", "shell", "--previous"], Exact),
    ("logs by selector", &["logs", "-l", "app=web", "--prefix", "--tail=1"], Unordered),
    ("logs with times", &["logs", "web", "-c", "web", "--tail=2", "--timestamps"], Exact),
    ("logs of all containers", &["logs", "shell", "--all-containers", "--tail=1"], Unordered),
    ("logs of no pod", &["logs", "nosuch"], Exact),
    ("exec", &["exec", "shell", "-c", "sh", "--", "echo", "hello"], Exact),
    ("exec stderr", &["exec", "shell", "--", "sh", "-c", "echo out; echo err >&2"], Exact),
    ("exec exit code", &["exec", "shell", "--", "sh", "-c", "exit 3"], Exact),
    ("exec 64k", &["exec", "shell", "--", "sh", "-c", "head -c 65536 /dev/zero | tr '\\0' x"], Exact),
    ("exec no such command", &["exec", "shell", "--", "nosuch-command"], Exact),
    ("exec no such container", &["exec", "shell", "-c", "nope", "--", "true"], Exact),
    ("exec of a deployment", &["exec", "deploy/web", "--", "true"], Exact),
    ("exec no such pod", &["exec", "nosuch", "--", "true"], Exact),
    ("cp to", &["cp", "up.txt", "shell:up.txt", "-c", "sh"], Exact),
    (COPIED, &["cp", "shell:up.txt", "down.txt", "-c", "sh"], Code),
    ("can-i", &["auth", "can-i", "get", "pods"], Exact),
    (
        "debug",
        &[
            "debug",
            "shell",
            "--image=example.test/x:1",
            "--target=sh",
            "-c",
            "debugger",
            "--profile=general",
            "--",
            "true",
        ],
        Exact,
    ),
    ("rollout restart", &["rollout", "restart", "deployment/web"], Exact),
    ("rollout pause", &["rollout", "pause", "deployment/web"], Exact),
    ("rollout resume", &["rollout", "resume", "deployment/web"], Exact),
    ("rollout history", &["rollout", "history", "deployment/web"], Exact),
    ("rollout undo", &["rollout", "undo", "deployment/web"], Exact),
    ("rollout status", &["rollout", "status", "deployment/web", "--timeout=10s"], Exact),
    ("scale", &["scale", "deployment/web", "--replicas=2"], Exact),
    ("scale not", &["scale", "deployment/web", "--replicas=3", "--current-replicas=9"], Exact),
    ("wait in vain", &["wait", "--for=condition=Nope", "pod/shell", "--timeout=1s"], Exact),
    (
        "wait for a value",
        &["wait", "--for=jsonpath={.status.phase}=Running", "pod/shell", "--timeout=10s"],
        Exact,
    ),
    ("wait", &["wait", "--for=condition=Ready", "pod/shell", "--timeout=10s"], Exact),
    ("create token", &["create", "token", "robot"], Code),
    ("delete dry run", &["delete", "configmap", "made", "--dry-run=server"], Exact),
    ("delete", &["delete", "configmap", "made"], Exact),
    ("delete nothing", &["delete", "configmap", "made"], Exact),
    ("delete ignoring", &["delete", "configmap", "made", "--ignore-not-found"], Exact),
    ("create namespace", &["create", "namespace", "doomed"], Exact),
    ("delete namespace", &["delete", "namespace", "doomed"], Exact),
    ("delete now", &["delete", "pod", "made-pod", "--now"], Exact),
    ("wait for the end", &["wait", "--for=delete", "pod/made-pod", "--timeout=10s"], Exact),
    ("delete pod", &["delete", "pod", "echo"], Exact),
    ("delete all", &["delete", "configmaps", "--all"], Exact),
    ("delete secret", &["delete", "secret", "made"], Exact),
];

#[test]
fn every_kubectl_prints_the_same_through_the_gate() -> Result<()> {
    let mut failures = Vec::new();
    let mut compared = 0;
    for kubectl in installed()? {
        let differences = compare(&kubectl).with_context(|| format!("kubectl {}", kubectl.version))?;
        compared += STEPS.len() + INTERACTIVE;
        failures.extend(differences);
    }
    println!("{compared} commands compared, {} differ", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

fn compare(kubectl: &Kubectl) -> Result<Vec<String>> {
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&everything_role()))?;
    stage.grant(ALICE, "everything", "1h")?;
    let beside = stage.dir().join("direct");
    let cluster =
        Cluster::start(&programs()?.join("simcluster"), &beside.join("cluster"), &["127.0.0.1:0"], &[])?;
    let home = beside.join("home");
    for dir in [&home, &stage.home(ALICE)] {
        common::write_fixtures(dir)?;
    }
    common::own(&stage.home(ALICE), ALICE)?;
    let direct = Side {
        name: "direct",
        command: Box::new(|args| {
            let mut command = Command::new(&kubectl.path);
            command
                .args(args)
                .env_clear()
                .env("HOME", &home)
                .env("PATH", "/usr/local/bin:/usr/bin:/bin")
                .env("KUBECONFIG", cluster.file("admin.kubeconfig"))
                .env("EDITOR", home.join("editor.sh"))
                .env("TERM", "xterm")
                .env("LANG", "C.UTF-8")
                .current_dir(&home);
            command
        }),
    };
    let alices = stage.home(ALICE);
    let through = Side {
        name: "through",
        command: Box::new(|args| {
            let mut command = stage.kubectl(ALICE, kubectl, args);
            command.env("EDITOR", alices.join("editor.sh"));
            command
        }),
    };
    let mut differences = Vec::new();
    let mut check = |step: &str, how: Compare, left: Output, right: Output| {
        let (left, right) = (normal(&left, how), normal(&right, how));
        if left != right {
            differences.push(format!(
                "kubectl {} {step}:\n--- {}\n{left:?}\n--- {}\n{right:?}",
                kubectl.version, direct.name, through.name
            ));
        }
    };
    for (step, args, how) in STEPS {
        let left = output(&mut (direct.command)(args), LIMIT)?;
        let right = output(&mut (through.command)(args), LIMIT)?;
        if *step == COPIED {
            let sent = std::fs::read(home.join("up.txt"))?;
            for (home, printed) in [(&home, &left), (&alices, &right)] {
                let came = std::fs::read(home.join("down.txt"));
                let came = came.with_context(|| format!("{step}, to {}: {printed:?}", home.display()))?;
                assert_eq!(came, sent, "kubectl {} {step}: {printed:?}", kubectl.version);
            }
        }
        check(step, *how, left, right);
    }
    for (step, run) in interactive() {
        let (mut left, mut right) = (run(&direct)?, run(&through)?);
        // What a terminal shows when input and command end together is a race within kubectl, on either side.
        let mut again = if step == ON_TERMINAL { 2 } else { 0 };
        while again > 0 && normal(&left, Exact) != normal(&right, Exact) {
            (left, right) = (run(&direct)?, run(&through)?);
            again -= 1;
        }
        check(step, Exact, left, right);
    }
    Ok(differences)
}

type Interaction = fn(&Side<'_>) -> Result<Output>;

/// The step after which a file is there again.
const COPIED: &str = "cp from";
const INTERACTIVE: usize = 6;
/// The step that is run again where it differs.
const ON_TERMINAL: &str = "exec -it";

/// What needs more than arguments: standard input, a terminal, or an end from outside.
fn interactive() -> [(&'static str, Interaction); INTERACTIVE] {
    [
        ("exec -i", |side| with_input(side, &["exec", "-i", "shell", "--", "cat"], "typed\n")),
        (ON_TERMINAL, |side| {
            on_terminal(side, &["exec", "-it", "shell", "--", "sh", "-c", "stty size; echo hi; exit 4"])
        }),
        // The last lines of both have been written while they were followed.
        ("attach", |side| until(side, &["attach", "web", "-c", "web"], "\nline 24\n")),
        ("logs -f", |side| until(side, &["logs", "-f", "shell"], "\nline 23\n")),
        ("get -w", |side| until(side, &["get", "pods", "-w"], "\nweb ")),
        ("port-forward", port_forward),
    ]
}

fn with_input(side: &Side<'_>, args: &[&str], input: &str) -> Result<Output> {
    use std::io::Write;
    let mut running = Running::start((side.command)(args).stdin(Stdio::piped()))?;
    let mut stdin = running.child().stdin.take().context("stdin")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    running.wait(LIMIT)
}

/// Runs a command on a pseudo-terminal, which util-linux's `script` provides.
fn on_terminal(side: &Side<'_>, args: &[&str]) -> Result<Output> {
    let inner = (side.command)(args);
    let mut words = vec![inner.get_program().to_string_lossy().into_owned()];
    words.extend(inner.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    let mut command = Command::new("script");
    command.args(["-qec", &quoted.join(" "), "/dev/null"]).env_clear();
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    if let Some(dir) = inner.get_current_dir() {
        command.current_dir(dir);
    }
    let ended = output(&mut command, LIMIT)?;
    // A resize that comes after the server's goodbye: kubectl complains of it now and then, without the gate too.
    let told: Vec<&str> =
        ended.stdout.lines().filter(|line| !line.contains("websocket: close sent")).collect();
    Ok(Output { stdout: told.join("\n"), ..ended })
}

/// Runs until `what` has been printed, and keeps what came up to there: when the end comes is a matter of timing.
fn until(side: &Side<'_>, args: &[&str], what: &str) -> Result<Output> {
    let mut running = Running::start((side.command)(args).stdin(Stdio::null()))?;
    running.wait_for_stdout(what, LIMIT)?;
    running.kill();
    let shown = running.stdout();
    let (before, _) = shown.split_once(what).with_context(|| shown.clone())?;
    Ok(Output { code: 0, stdout: format!("{before}{what}"), stderr: String::new() })
}

fn port_forward(side: &Side<'_>) -> Result<Output> {
    use std::io::{Read, Write};
    let mut running = Running::start((side.command)(&["port-forward", "web", ":8080"]).stdin(Stdio::null()))?;
    running.wait_for_stdout("Forwarding from 127.0.0.1:", LIMIT)?;
    let shown = running.stdout();
    let port = shown
        .split_once("127.0.0.1:")
        .and_then(|(_, rest)| rest.split([' ', '\n']).next())
        .and_then(|port| port.parse::<u16>().ok())
        .context("no port")?;
    let mut answers = String::new();
    for _ in 0..2 {
        let mut tcp = std::net::TcpStream::connect(("127.0.0.1", port))?;
        tcp.set_read_timeout(Some(LIMIT))?;
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer)?;
        answers.push_str(answer.split_once("\r\n\r\n").map_or("", |(_, body)| body));
    }
    running.kill();
    Ok(Output { code: 0, stdout: answers, stderr: String::new() })
}

/// What two runs may differ in is replaced; for masked outputs only the shape is left.
fn normal(output: &Output, how: Compare) -> (i32, String, String) {
    let (stdout, stderr) = (common::normalised(&output.stdout), common::normalised(&output.stderr));
    match how {
        Exact => (output.code, stdout, stderr),
        Unordered => (output.code, common::sorted(&stdout), stderr),
        Masked => (output.code, common::shape(&output.stdout), stderr),
        Code => (output.code, String::new(), String::new()),
    }
}
