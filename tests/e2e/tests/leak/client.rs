//! Real kubectl, with all that prints what the API server said, and itself what it says in passing (`-v=9`).

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use e2e::{ALICE, Kubectl, Person, Running, Stage, output};

use crate::ask::{Ask, ask};
use crate::common::{LIMIT, own};
use crate::look::Shown;
use crate::plant::RUNNER;

const KINDS: &str = "secrets,configmaps,pods,deployments,statefulsets,daemonsets,replicasets,jobs,cronjobs,services,events,csr";

/// Commands that print once and end.
const COMMANDS: &[&[&str]] = &[
    &["get", KINDS, "-o", "json", "-v=9"],
    &["get", KINDS, "-o", "yaml"],
    &["get", KINDS, "-o", "wide", "-v=9"],
    &["get", "secrets,configmaps,pods", "-A", "-o", "yaml", "--show-managed-fields"],
    &["get", "secrets", "-o", "custom-columns=N:.metadata.name,D:.data,A:.metadata.annotations"],
    &["get", "secrets,configmaps", "-o", "jsonpath={.items[*].data}"],
    &["get", "secrets", "-o", "go-template={{range .items}}{{range .data}}{{.|base64decode}}{{end}}{{end}}"],
    &["get", "pods,deployments", "-o", "jsonpath-as-json={.items[*]..env}"],
    &["get", "secrets", "--chunk-size=1", "-o", "json"],
    &["get", "secret", "applied-0", "-o", "yaml", "--output-watch-events", "--watch", "--request-timeout=1s"],
    &["get", "--raw", "/api/v1/namespaces/demo/secrets/planted-0"],
    &["get", "--raw", "/api/v1/secrets?limit=3"],
    &["get", "--raw", "/api/v1/namespaces/demo/pods/runner/log?container=main"],
    &["get", "all", "-o", "yaml"],
    &[
        "describe",
        "secrets,configmaps,pods,deployments,statefulsets,daemonsets,replicasets,jobs,cronjobs,services",
    ],
    &["describe", "csr", "planted"],
    &["events", "-o", "yaml"],
    &["get", "events"],
    &["set", "env", "deployment,statefulset,daemonset,pod", "--all", "--list"],
    &["label", "secret", "planted-2", "--overwrite", "seen=yes", "-v=9"],
    &["annotate", "configmap", "planted-keys", "--overwrite", "seen=yes", "-o", "yaml", "-v=9"],
    &[
        "patch",
        "secret",
        "applied-1",
        "-p",
        "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}",
        "-o",
        "json",
        "-v=9",
    ],
    &[
        "patch",
        "secret",
        "applied-1",
        "--type=json",
        "-p",
        "[{\"op\":\"add\",\"path\":\"/metadata/labels/c\",\"value\":\"d\"}]",
        "-o",
        "yaml",
    ],
    &[
        "patch",
        "deployment",
        "planted",
        "--type=merge",
        "-p",
        "{\"spec\":{\"minReadySeconds\":1}}",
        "-o",
        "yaml",
        "-v=9",
    ],
    &["scale", "statefulset", "planted", "--replicas=2", "-o", "yaml"],
    &["rollout", "restart", "deployment", "planted", "-o", "yaml"],
    &["apply", "-f", "labels.yaml", "-o", "yaml", "-v=9"],
    &["apply", "-f", "labels.yaml", "--server-side", "--force-conflicts", "-o", "yaml", "-v=9"],
    &["diff", "-f", "other-labels.yaml"],
    &["diff", "-f", "other-labels.yaml", "--server-side", "--force-conflicts"],
    &["delete", "secret", "planted-3", "--dry-run=server", "-v=9"],
    &["delete", "configmap", "planted-texts-1", "--dry-run=server", "-v=9", "-o", "name"],
    &["cluster-info", "dump", "--namespaces=demo"],
    &["logs", RUNNER, "-c", "main"],
    &["logs", RUNNER, "--all-containers", "--timestamps", "--prefix", "-v=9"],
    &["logs", RUNNER, "-c", "main", "--tail=8", "--since=48h"],
    &["exec", RUNNER, "-c", "main", "--", "cat", "secrets.env"],
    &["exec", RUNNER, "-c", "main", "--", "sh", "-c", "cat secrets.env main.log >&2"],
    &["exec", RUNNER, "-c", "main", "--", "env"],
    &[
        "exec",
        RUNNER,
        "-c",
        "main",
        "-v=9",
        "--",
        "sh",
        "-c",
        "while read -r line; do echo \"$line\"; done < secrets.env",
    ],
    &["attach", RUNNER, "-c", "talker"],
    &["cp", "runner:secrets.env", "copied", "-c", "main"],
];

/// A manifest that changes nothing but labels of what is there.
const LABELS: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: planted-4, namespace: demo, labels: {new: \"1\"}}\n---\n\
apiVersion: v1\nkind: ConfigMap\nmetadata: {name: planted-texts-2, namespace: demo, labels: {new: \"1\"}}\n";

/// Runs every command with every kubectl given, two at a time, and then what goes on until it is stopped.
///
/// # Errors
/// When a command cannot be run, or one that has to go well does not.
pub(crate) fn kubectls(stage: &Stage, person: Person, kubectls: &[Kubectl]) -> Result<Vec<Shown>> {
    let home = stage.home(person);
    fs::write(home.join("labels.yaml"), LABELS)?;
    fs::write(home.join("other-labels.yaml"), LABELS.replace("new:", "other:"))?;
    own(&home, person)?;
    let all: Vec<(&Kubectl, &[&str])> =
        kubectls.iter().flat_map(|kubectl| COMMANDS.iter().map(move |args| (kubectl, *args))).collect();
    let (shown, next) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let work = || -> Result<()> {
        while let Some((kubectl, args)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut command = stage.kubectl(person, kubectl, args);
            let ran = output(&mut command, LIMIT)?;
            let what = format!("kubectl {} {} ({})", kubectl.version, args.join(" "), ran.code);
            let mut bytes = ran.all();
            // What it sends is its own.
            bytes =
                bytes.lines().filter(|line| !line.contains("Request Body")).collect::<Vec<_>>().join("\n");
            shown.lock().expect("no panic").push(Shown { what, bytes: bytes.into_bytes() });
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })?;
    let mut shown = shown.into_inner().expect("no panic");
    shown.push(Shown {
        what: "what was copied".to_owned(),
        bytes: fs::read(home.join("copied")).unwrap_or_default(),
    });
    for kubectl in kubectls {
        shown.push(replaced(stage, person, kubectl)?);
        let lines =
            b"stty columns 60\ncat secrets.env\nenv\ncat main.log forward.txt\necho at-the-end; exit\n";
        shown.push(typed(stage, person, kubectl, lines)?);
        shown.push(followed(stage, person, kubectl, &["logs", "-f", RUNNER, "-c", "main"], "line ")?);
        shown.push(followed(stage, person, kubectl, &["get", "pods", "-w", "-o", "json"], "runner")?);
        shown.push(followed(stage, person, kubectl, &["get", "secrets", "-w", "-o", "yaml"], "typed-7")?);
        shown.push(forwarded(stage, person, kubectl)?);
    }
    for kubectl in kubectls {
        shown.push(issued(stage, person, kubectl)?);
    }
    let newest = kubectls.last().context("kubectl")?;
    shown.extend(proxied(stage, person, newest)?);
    Ok(shown)
}

/// A token of a service account, which is made when it is asked for and so is none of those planted.
fn issued(stage: &Stage, person: Person, kubectl: &Kubectl) -> Result<Shown> {
    let ran = output(&mut stage.kubectl(person, kubectl, &["create", "token", "robot", "-v=9"]), LIMIT)?;
    ensure!(ran.code == 0, "{}", ran.all());
    // How every one of them begins: `{"alg":`.
    let shows = ran.all().contains("eyJhbGciOi");
    ensure!(shows == (person == SEER), "kubectl {} create token: {}", kubectl.version, ran.all());
    Ok(Shown::of(format!("kubectl {} create token", kubectl.version), &ran))
}

/// An object as it was shown, put in place of what is there.
fn replaced(stage: &Stage, person: Person, kubectl: &Kubectl) -> Result<Shown> {
    let run = |args: &[&str]| output(&mut stage.kubectl(person, kubectl, args), LIMIT);
    let object = run(&["get", "secret", "applied-2", "-o", "json"])?;
    let home = stage.home(person);
    fs::write(home.join("shown.json"), &object.stdout)?;
    own(&home, person)?;
    Ok(Shown::of("kubectl replace", &run(&["replace", "-f", "shown.json", "-o", "yaml"])?))
}

/// A shell on a terminal into which `lines` are typed, of which the last says `at-the-end` and ends it.
///
/// # Errors
/// When it does not come to its end.
pub(crate) fn typed(stage: &Stage, person: Person, kubectl: &Kubectl, lines: &[u8]) -> Result<Shown> {
    let mut shell = stage.kubectl(person, kubectl, &["exec", "-it", RUNNER, "-c", "main", "--", "sh"]);
    shell.env("PS1", "$ ");
    let words = std::iter::once(shell.get_program()).chain(shell.get_args());
    let quoted: Vec<String> =
        words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))).collect();
    let mut command = Command::new("script");
    command.args(["-qec", &quoted.join(" "), "/dev/null"]).env_clear();
    command.envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(stage.home(person));
    let mut running = Running::start(command.stdin(Stdio::piped()))?;
    let mut stdin = running.child().stdin.take().context("stdin")?;
    // Before kubectl has the terminal, that echoes by itself.
    running.wait_for_stdout("$ ", LIMIT)?;
    stdin.write_all(lines)?;
    running.wait_for_stdout("at-the-end\r\n", LIMIT)?;
    let ran = running.wait(LIMIT)?;
    drop(stdin);
    Ok(Shown::of(format!("kubectl {} exec -it", kubectl.version), &ran))
}

/// Something that goes on, until it printed `what`.
fn followed(stage: &Stage, person: Person, kubectl: &Kubectl, args: &[&str], what: &str) -> Result<Shown> {
    let mut running = Running::start(stage.kubectl(person, kubectl, args).stdin(Stdio::null()))?;
    running.wait_for_stdout(what, LIMIT)?;
    running.kill();
    let bytes = format!("{}{}", running.stdout(), running.stderr()).into_bytes();
    Ok(Shown { what: format!("kubectl {} {}", kubectl.version, args.join(" ")), bytes })
}

/// A port of the pod, asked with curl.
fn forwarded(stage: &Stage, person: Person, kubectl: &Kubectl) -> Result<Shown> {
    let (running, port) = listening(stage, person, kubectl, &["port-forward", RUNNER, ":8080"])?;
    let mut curl = Command::new("/usr/bin/curl");
    curl.args(["-sS", "--max-time", "5"]);
    for file in ["forward.txt", "secrets.env", "main.log"] {
        curl.arg(format!("http://127.0.0.1:{port}/file/{file}"));
    }
    let shown = output(&mut curl, LIMIT)?;
    ensure!(shown.code == 0, "port-forward: {}{}", shown.all(), running.stderr());
    Ok(Shown::of(format!("kubectl {} port-forward", kubectl.version), &shown))
}

/// The API through `kubectl proxy`, with curl.
fn proxied(stage: &Stage, person: Person, kubectl: &Kubectl) -> Result<Vec<Shown>> {
    let (_running, port) = listening(stage, person, kubectl, &["proxy", "--port=0"])?;
    let origin = format!("http://127.0.0.1:{port}");
    let targets = [
        "/api/v1/secrets",
        "/api/v1/namespaces/demo/configmaps",
        "/api/v1/namespaces/demo/pods/planted",
        "/apis/apps/v1/namespaces/demo/deployments",
        "/api/v1/namespaces/demo/pods/runner/log?container=main",
        "/api/v1/namespaces/demo/secrets?watch=true&timeoutSeconds=1",
    ];
    let accepts = ["application/json", "application/yaml, */*", "application/vnd.kubernetes.protobuf"];
    let asks: Vec<Ask> = targets
        .iter()
        .flat_map(|target| {
            accepts.map(|accept| Ask { old: true, ..Ask::get(*target, accept).with("Accept-Encoding: gzip") })
        })
        .collect();
    let answered = ask(stage, person, &origin, &asks, 8)?;
    Ok(answered
        .into_iter()
        .map(|one| Shown { what: format!("kubectl proxy: {}", one.shown.what), ..one.shown })
        .collect())
}

/// A kubectl that listens, and its port.
fn listening(stage: &Stage, person: Person, kubectl: &Kubectl, args: &[&str]) -> Result<(Running, u16)> {
    let mut running = Running::start(stage.kubectl(person, kubectl, args).stdin(Stdio::null()))?;
    running.wait_for_stdout("127.0.0.1:", LIMIT)?;
    let shown = running.stdout();
    let port = shown.split_once("127.0.0.1:").map_or("", |(_, rest)| rest);
    let port = port.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    Ok((running, port.parse().with_context(|| format!("no port in {shown}"))?))
}

/// The person who sees what is there.
pub(crate) const SEER: Person = e2e::MALLORY;
/// The one who sees masks.
pub(crate) const MASKED: Person = ALICE;
