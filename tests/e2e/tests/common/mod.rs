//! What several end-to-end tests need.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

pub mod mcp;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{ALICE, BOB, Kubectl, OidcProvider, Output, Person, Stage, installed, output, wait_for};
use serde_json::Value;

/// How long a command may take.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Where `cargo xtask build` left the programs.
pub fn programs() -> Result<PathBuf> {
    let dir = match std::env::var_os("PORTCULLIS_PROGRAMS") {
        Some(dir) => PathBuf::from(dir),
        // target/debug/deps/compat-… → target/debug
        None => std::env::current_exe()?.ancestors().nth(2).map(Path::to_owned).unwrap_or_default(),
    };
    for program in ["portcullis", "simcluster"] {
        ensure!(dir.join(program).is_file(), "{program} is not in {}: run `cargo xtask test`", dir.display());
    }
    Ok(dir)
}

/// The newest kubectl here.
pub fn newest() -> Result<Kubectl> {
    installed()?.pop().context("no kubectl")
}

/// The oldest kubectl here, and the newest if that is another one.
pub fn oldest_and_newest() -> Result<Vec<Kubectl>> {
    let mut all = installed()?;
    all.drain(1..all.len().saturating_sub(1).max(1));
    Ok(all)
}

/// kubectl as Alice, to its end.
pub fn run(stage: &Stage, kubectl: &Kubectl, args: &[&str]) -> Result<Output> {
    output(&mut stage.kubectl(ALICE, kubectl, args), LIMIT)
}

/// Merges `patch` into an object of the cluster, as its administrator and past the gate.
pub fn patch(stage: &Stage, object: &str, patch: &str) -> Result<()> {
    let url = format!("https://{}{object}", stage.cluster().endpoints()[0]);
    let args = [
        "-k",
        "-XPATCH",
        "-H",
        "Authorization: Bearer token-admin-0001",
        "-H",
        "Content-Type: application/merge-patch+json",
        "-d",
        patch,
    ];
    let (status, body) = curl(&args, &url)?;
    ensure!(status == 200, "{object}: {body}");
    Ok(())
}

/// What a command printed with `-o json`.
pub fn parsed(printed: &Output) -> Result<Value> {
    serde_json::from_str(&printed.stdout).with_context(|| printed.all())
}

/// The id of what a command printed with `-o json`.
pub fn id_of(printed: &Output) -> Result<String> {
    let printed = parsed(printed)?;
    printed["id"].as_str().map(str::to_owned).with_context(|| format!("no id in {printed}"))
}

/// What `portcullis requests` shows to `person` of one kind: `h-` are held requests, `r-` requests for access. With `all`
/// also what no longer waits.
pub fn requests(stage: &Stage, person: Person, kind: &str, all: bool) -> Result<Vec<Value>> {
    let args: &[&str] = if all { &["requests", "--all", "-o", "json"] } else { &["requests", "-o", "json"] };
    let mut found = Vec::new();
    collect(&parsed(&stage.portcullis(person, args)?)?, kind, &mut found);
    Ok(found)
}

/// The one hold that waits, once it does.
pub fn held(stage: &Stage) -> Result<Value> {
    wait_for("a held request", LIMIT, || match requests(stage, BOB, "h-", false) {
        Ok(mut held) if held.len() == 1 => Some(Ok(held.remove(0))),
        Ok(held) if held.is_empty() => None,
        Ok(held) => Some(Err(anyhow::anyhow!("more than one is held: {held:?}"))),
        Err(error) => Some(Err(error)),
    })?
}

/// Objects whose id is of that kind, however they are grouped.
fn collect(value: &Value, kind: &str, found: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, kind, found)),
        Value::Object(_) if value["id"].as_str().is_some_and(|id| id.starts_with(kind)) => {
            found.push(value.clone());
        }
        Value::Object(fields) => fields.values().for_each(|field| collect(field, kind, found)),
        _ => {}
    }
}

/// Everything that was recorded, as JSON lines.
pub fn recorded(stage: &Stage) -> Result<String> {
    let sessions = parsed(&stage.operator(&["sessions", "list", "-o", "json"])?)?;
    let mut text = String::new();
    for session in sessions.as_array().context("a list")? {
        let id = session["id"].as_str().context("id")?;
        text.push_str(&stage.operator(&["sessions", "export", id, "--format", "jsonl"])?.stdout);
    }
    Ok(text)
}

/// Logs `person` in with a device code that is confirmed as `account`; what the command left behind.
pub fn login(stage: &Stage, provider: &OidcProvider, person: Person, account: &str) -> Result<Output> {
    let mut running = stage.portcullis_running(person, &["login", "-o", "json"])?;
    running.wait_for_stdout("\n", LIMIT)?;
    let shown = running.stdout();
    let shown: Value = serde_json::from_str(shown.lines().next().context("nothing is shown")?)?;
    let code = shown["userCode"].as_str().with_context(|| format!("no code in {shown}"))?;
    provider.approve_device(code, account)?;
    running.wait(LIMIT)
}

/// `curl` by whoever runs the tests; the status is the last line.
pub fn curl(args: &[&str], url: &str) -> Result<(u16, String)> {
    let mut curl = Command::new("/usr/bin/curl");
    curl.args(["-sS", "--max-time", "10", "-w", "\n%{http_code}"]).args(args).arg(url);
    let answered = output(&mut curl, LIMIT)?;
    let (body, status) = answered.stdout.rsplit_once('\n').with_context(|| answered.all())?;
    Ok((status.parse()?, body.to_owned()))
}

/// Has the daemon read its files again, and waits until it says `expected` of that.
pub fn hang_up(stage: &mut Stage, expected: &str) -> Result<()> {
    let before = stage.daemon().log().matches(expected).count();
    Command::new("kill").args(["-HUP", &stage.daemon().pid().to_string()]).status()?;
    wait_for(expected, LIMIT, || (stage.daemon().log().matches(expected).count() > before).then_some(()))
}

/// A role on `demo` for engineers, with a lead's approval and for two hours at most; `rest` is what else its `spec` says,
/// on lines of its own.
pub fn role(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {{name: {name}}}
spec:
  targets: [demo]
  eligible: {{groups: [dev]}}
  approval: {{required: 1, groups: [leads]}}
  maxDuration: 2h{rest}"
    )
}

/// A role for looking at pods, on any target.
pub const LOOK: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: look}
spec:
  targets: ["*"]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 2h
  rules:
  - {apiGroups: [""], resources: [pods, pods/log], verbs: [get, list, watch], namespaces: [demo]}
"#;

/// A role that allows everything, for tests that are about something else.
pub fn everything_role() -> String {
    role(
        "everything",
        r#"
  rules:
  - apiGroups: ["*"]
    resources: ["*"]
    verbs: ["*"]
  - nonResourceURLs: ["*"]
    verbs: ["*"]
"#,
    )
}

/// Files that commands name, and an editor that changes one value.
pub fn write_fixtures(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let object = |kind: &str, name: &str, rest: &str| {
        format!("apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: demo\n{rest}")
    };
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: applied\n  namespace: demo\nspec:\n  \
                      replicas: 1\n  selector: {matchLabels: {app: applied}}\n  template:\n    metadata: {labels: {app: \
                      applied}}\n    spec:\n      containers:\n      - name: c\n        image: example.test/c:1\n";
    for (name, content) in [
        ("configmap.yaml", object("ConfigMap", "from-file", "data: {a: b}\n")),
        ("configmap-changed.yaml", object("ConfigMap", "from-file", "data: {a: c}\n")),
        ("new.yaml", object("ConfigMap", "new", "data: {a: b}\n")),
        ("invalid.yaml", object("NoSuchKind", "invalid", "data: {a: b}\n")),
        ("applied.yaml", object("ConfigMap", "applied", "data: {k: v}\n")),
        (
            "secret.yaml",
            object("Secret", "applied-secret", "stringData: {pw: FAKE-applied-1, other: FAKE-other}\n"),
        ),
        (
            "secret-changed.yaml",
            object("Secret", "applied-secret", "stringData: {pw: FAKE-applied-2, other: FAKE-other}\n"),
        ),
        ("deployment.yaml", deployment.to_owned()),
        ("up.txt", "a file\nwith two lines\n".to_owned()),
        ("editor.sh", "#!/bin/sh\nsed -i 's/^  a: .*/  a: edited/' \"$1\"\n".to_owned()),
    ] {
        fs::write(dir.join(name), content)?;
    }
    fs::set_permissions(dir.join("editor.sh"), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Gives a home to its person.
pub fn own(dir: &Path, person: Person) -> Result<()> {
    chown(dir, Some(person.uid), Some(person.uid))?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            own(&path, person)?;
        } else {
            chown(path, Some(person.uid), Some(person.uid))?;
        }
    }
    Ok(())
}

/// Replaces uids, times, ages, addresses, ports and temporary names, which differ between any two runs, and the width of
/// columns, which follows from them.
pub fn normalised(text: &str) -> String {
    // `^@` is how a terminal echoes what `script` sends it at its own end.
    let text = text.replace("^@", "");
    let ends_word = |c: char| c.is_whitespace() || "\"',=()[]{}<>/".contains(c);
    let words: String = text.split_inclusive(ends_word).map(word).collect();
    let lines: Vec<String> = words
        .lines()
        .map(|line| line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
        .collect();
    lines.join("\n")
}

fn word(text: &str) -> String {
    let end = text
        .char_indices()
        .last()
        .map_or(0, |(at, last)| if last.is_alphanumeric() { text.len() } else { at });
    let (bare, rest) = text.split_at(end);
    let replaced = if is_uid(bare) {
        "UID"
    } else if bare.parse::<std::net::Ipv4Addr>().is_ok() && bare.starts_with("10.244.") {
        "POD-IP"
    } else if bare.starts_with("LIVE-") || bare.starts_with("MERGED-") {
        "TEMPORARY"
    } else if is_time(bare) {
        "TIME"
    } else if is_age(bare) {
        "AGE"
    } else {
        return text.replace("127.0.0.1:", "HOST:").split_once("HOST:").map_or_else(
            || text.to_owned(),
            |(before, after)| {
                format!("{before}HOST:{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
            },
        );
    };
    format!("{replaced}{rest}")
}

fn is_uid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_time(text: &str) -> bool {
    let clock = text.len() >= 8 && text.as_bytes()[2] == b':' && text.as_bytes()[5] == b':';
    let stamp = text.len() >= 20 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T';
    (clock || stamp) && text.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
}

/// `4s`, `2m10s`, `<unknown>` stays.
fn is_age(text: &str) -> bool {
    text.ends_with(['s', 'm', 'h', 'd'])
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"smhd".contains(&byte))
}

/// Lines without their values, in order of the alphabet (`describe` prints a map in Go's random order): what is left of
/// `password: RkFLRQ==` is `password`.
pub fn shape(text: &str) -> String {
    let keys: Vec<&str> =
        text.lines().map(|line| line.split_once(':').map_or("", |(key, _)| key).trim_end()).collect();
    sorted(&keys.join("\n"))
}

/// The same lines in order of the alphabet.
pub fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}
