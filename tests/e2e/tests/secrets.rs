//! No credential lies about: not in the log, the recordings, the store, a process's environment or command line, and none
//! can be had from the daemon's memory.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use common::{LIMIT, LOOK, login, newest, programs};
use e2e::{
    ALICE, BOB, MALLORY, MoreTarget, OidcProvider, Running, Stage, StageOptions, Sts, StsUser, output,
    wait_for,
};
use serde_json::json;

/// The daemon's, so that its files in /proc tell apart whether it can be dumped.
const GROUP: u32 = 61_500;
const GATES_ROLE: &str = "arn:aws:iam::111122223333:role/portcullis";
const BASTION: StsUser = StsUser {
    access_key: "AKIABASTION000000001",
    secret: "FAKE-secret-of-the-bastion",
    arn: "arn:aws:iam::111122223333:user/bastion",
};
const HOOK_SECRET: &str = "FAKE-webhook-secret-0123456789abcdef";

/// What must stand nowhere, in the forms in which it could.
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    fn add(&mut self, what: &str, secret: &[u8]) {
        for (form, bytes) in [
            ("as it is", secret.to_vec()),
            ("in base64", STANDARD_NO_PAD.encode(secret).into_bytes()),
            ("in base64url", URL_SAFE_NO_PAD.encode(secret).into_bytes()),
            ("in hex", secret.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()),
        ] {
            self.0.push((format!("{what}, {form}"), bytes));
        }
    }

    fn look(&self, at: &str, bytes: &[u8]) -> Vec<String> {
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        let found = self.0.iter().filter(|(_, needle)| holds(needle));
        found.map(|(what, _)| format!("{what}, in {at}")).collect()
    }

    fn look_below(&self, dir: &Path) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            found.extend(if path.is_dir() {
                self.look_below(&path)?
            } else {
                self.look(&path.display().to_string(), &fs::read(&path)?)
            });
        }
        Ok(found)
    }
}

#[test]
fn no_credential_is_left_anywhere() -> Result<()> {
    let programs = programs()?;
    let provider = OidcProvider::start()?;
    let sts = Sts::start(&programs, &[BASTION], &[GATES_ROLE])?;
    let files = tempfile::tempdir()?;
    let write = |name: &str, content: &str| -> Result<std::path::PathBuf> {
        let file = files.path().join(name);
        fs::write(&file, content)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        Ok(file)
    };
    let keys = write(
        "aws",
        &format!(
            "[default]\naws_access_key_id={}\naws_secret_access_key={}\n",
            BASTION.access_key, BASTION.secret
        ),
    )?;
    let issuer = write("issuer", "token-issuer-0001")?;
    let hook = write("hook", HOOK_SECRET)?;
    let brought = provider.tokens("mallory", "kubelogin")?;
    let own = |name, cluster_args, settings| MoreTarget { name, cluster_args, settings };
    let eks = json!({ "bearerTokenFile": null, "eks": {
        "cluster": "aws", "region": "eu-central-1", "roleArn": GATES_ROLE,
        "endpoints": { "sts": sts.url() }, "certificateAuthority": sts.ca(),
    }});
    let tokens = json!({ "bearerTokenFile": null, "tokenRequest": {
        "using": { "bearerTokenFile": issuer },
        "serviceAccount": { "namespace": "demo", "name": "robot" }, "lifetime": "10m",
    }});
    let by_login = json!({ "anyOf": ["oidc"] });
    let options = StageOptions {
        target: json!({ "identity": { "anyOf": ["oidc", "bearer"] } }),
        more_targets: vec![
            own(
                "aws",
                sts.cluster_args("aws", GATES_ROLE, "{{SessionName}}"),
                json!({ "credential": eks, "identity": by_login }),
            ),
            own("tokens", Vec::new(), json!({ "credential": tokens, "identity": by_login })),
        ],
        config: json!({
            "identity": { "commands": { "anyOf": ["oidc", "unix"] }, "oidc": [provider.config()] },
            "notify": { "webhooks": [
                { "name": "all", "url": "http://127.0.0.1:9/", "secretFile": hook, "format": "generic" },
            ]},
        }),
        environment: vec![
            ("AWS_SHARED_CREDENTIALS_FILE".to_owned(), keys.display().to_string()),
            ("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned()),
            ("RUST_LOG".to_owned(), "debug".to_owned()),
        ],
        users: vec![(MALLORY, json!({ "token": brought.id_token }))],
        ..StageOptions::with_roles(LOOK)
    };
    let mut stage = Stage::set(&programs, &options)?;

    login(&stage, &provider, ALICE, "alice")?;
    for target in ["demo", "aws", "tokens"] {
        stage.grant_on(target, ALICE, "look", "1h")?;
        let get = ["get", "pods", "--context", target];
        let works = output(&mut stage.kubectl(ALICE, &newest()?, &get), LIMIT)?;
        assert_eq!(works.code, 0, "{target}: {}", works.all());
    }
    let other = output(&mut stage.kubectl(MALLORY, &newest()?, &["get", "pods", "-v=9"]), LIMIT)?;
    assert!(other.stderr.contains("mallory@example.test may not list pods"), "{}", other.stderr);
    let mut follow = stage.kubectl(ALICE, &newest()?, &["logs", "-f", "shell"]);
    let mut running = Running::start(follow.stdin(Stdio::null()))?;
    running.wait_for_stdout("\n", LIMIT)?;

    let mut secrets = Secrets(Vec::new());
    for token in provider.issued()? {
        // Its end alone would do: the signature is what makes it good.
        secrets.add("a token of the provider's", token.as_bytes());
        secrets.add(
            "the end of a token of the provider's",
            token.rsplit('.').next().unwrap_or_default().as_bytes(),
        );
    }
    assert!(secrets.0.len() >= 8 * 6, "both logins are known here");
    for (what, secret) in [
        ("the upstream token", "token-admin-0001"),
        ("the token that asks for tokens", "token-issuer-0001"),
        ("the AWS key", BASTION.secret),
        ("the secret of a webhook", HOOK_SECRET),
    ] {
        secrets.add(what, secret.as_bytes());
    }
    // What the gate was given since: it is in the clusters' journals.
    for target in ["aws", "tokens"] {
        for request in stage.cluster_of(target).requests()? {
            let headers = request["headers"].as_array().into_iter().flatten();
            let bearer = headers.filter_map(|pair| pair[1].as_str()?.strip_prefix("Bearer "));
            bearer.for_each(|token| secrets.add(&format!("a token for {target}"), token.as_bytes()));
        }
    }
    // Keys have files of their own, and stand nowhere else.
    for entry in fs::read_dir(stage.dir().join("state"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "key") {
            let key = fs::read(&path)?;
            assert_eq!(fs::metadata(&path)?.mode() & 0o077, 0, "{} is root's alone", path.display());
            secrets.add(&path.display().to_string(), key.trim_ascii());
        }
    }

    let mut found = secrets.look_below(&stage.recordings())?;
    for entry in fs::read_dir(stage.dir().join("state"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("access.db")) {
            found.extend(secrets.look(&path.display().to_string(), &fs::read(&path)?));
        }
    }
    let daemon = stage.daemon().pid();
    let group = fs::read_to_string(format!("/proc/{daemon}/cgroup"))?;
    let members = processes_of(&group)?;
    assert!(members.contains(&daemon));
    for pid in members {
        for file in ["environ", "cmdline"] {
            let path = format!("/proc/{pid}/{file}");
            found.extend(secrets.look(&path, &fs::read(&path)?));
        }
    }
    // It stops in good order, so that whatever it says last is searched too.
    stage.portcullis(BOB, &["revoke", "--all", "--reason", "the end"])?;
    running.wait(LIMIT)?;
    stage.portcullis(ALICE, &["logout"])?;
    let stopped = stage.daemon().stop()?;
    found.extend(secrets.look("the daemon's log", stopped.all().as_bytes()));
    assert!(stopped.all().contains("DEBUG"), "it was made to talk");
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(!secrets.look("itself", BASTION.secret.as_bytes()).is_empty(), "the search itself works");
    Ok(())
}

/// The processes in the group of cgroup v2 that a line of `/proc/<pid>/cgroup` names.
fn processes_of(cgroup: &str) -> Result<Vec<u32>> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).context("no cgroup v2")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).context("no cgroup2 mount")?;
    let mount = mount.split(' ').nth(4).context("a mount point")?;
    let list = fs::read_to_string(Path::new(mount).join(path.trim_start_matches('/')).join("cgroup.procs"))?;
    list.lines().map(|line| Ok(line.parse()?)).collect()
}

#[test]
fn the_daemon_cannot_be_dumped_or_looked_into() -> Result<()> {
    let group = |pid: u32| -> Result<u32> { Ok(fs::metadata(format!("/proc/{pid}/environ"))?.gid()) };
    // proc_pid(5): these files are of the process's group, unless it is not dumpable: then they are root's.
    let mut ordinary = Command::new("setpriv");
    ordinary.arg(format!("--regid={GROUP}")).args(["--clear-groups", "--", "sleep", "60"]);
    let ordinary = Running::start(ordinary.stdin(Stdio::null()))?;
    wait_for("an ordinary process of that group", LIMIT, || {
        (group(ordinary.pid()).ok()? == GROUP).then_some(())
    })?;

    let options = StageOptions { daemon_gid: Some(GROUP), ..StageOptions::with_roles(LOOK) };
    let mut stage = Stage::set(&programs()?, &options)?;
    let daemon = stage.daemon().pid();
    assert_eq!(group(daemon)?, 0, "PR_SET_DUMPABLE is 0");
    for file in ["environ", "mem", "maps"] {
        let path = format!("/proc/{daemon}/{file}");
        let looked =
            output(stage.command(ALICE, Path::new("/usr/bin/head")).args(["-c", "1", &path]), LIMIT)?;
        assert_ne!(looked.code, 0, "{path} is not for engineers: {}", looked.all());
    }
    Ok(())
}
