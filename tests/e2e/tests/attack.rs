//! What an engineer with a shell and bad intentions tries against the gate, byte by byte where kubectl would not.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::{LIMIT, everything_role, hang_up, programs};
use e2e::{ALICE, BOB, Cluster, Output, Person, Running, Stage, StageOptions, Upstream, output, wait_for};

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn options() -> StageOptions {
    StageOptions::with_roles(&everything_role())
}

fn stage(options: &StageOptions) -> Result<Stage> {
    Ok(granted(options)?.0)
}

/// A stage on which ALICE may do everything, and her grant.
fn granted(options: &StageOptions) -> Result<(Stage, String)> {
    let stage = Stage::set(&programs()?, options)?;
    let grant = stage.grant(ALICE, "everything", "1h")?;
    Ok((stage, grant))
}

fn revoke(stage: &Stage, grant: &str) -> Result<()> {
    let revoked = stage.portcullis(BOB, &["revoke", grant, "--reason", "enough"])?;
    ensure!(revoked.code == 0, "{}", revoked.all());
    Ok(())
}

/// A TLS connection of ALICE's that sends what it is given, and is read only when asked to.
struct Raw(Child);

impl Raw {
    fn open(stage: &Stage) -> Result<Self> {
        let mut command = stage.command(ALICE, Path::new("/usr/bin/openssl"));
        let address = stage.endpoint().trim_start_matches("https://");
        command.args(["s_client", "-quiet", "-alpn", "http/1.1", "-connect", address]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("openssl")?))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self.0.stdin.as_mut().context("stdin")?;
        stdin.write_all(bytes)?;
        Ok(stdin.flush()?)
    }

    /// What comes next, up to and including `what`.
    fn read_until(&mut self, what: &str) -> Result<String> {
        let mut read = Vec::new();
        let mut byte = [0];
        while !read.ends_with(what.as_bytes()) {
            let count = self.0.stdout.as_mut().context("stdout")?.read(&mut byte)?;
            ensure!(count == 1, "closed before {what:?} came: {}", String::from_utf8_lossy(&read));
            read.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&read).into_owned())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn curl(stage: &Stage, person: Person, args: &[&str]) -> Result<Output> {
    let mut command = stage.command(person, Path::new("/usr/bin/curl"));
    command.args(["-sS", "-k", "--path-as-is"]).args(args);
    output(&mut command, LIMIT)
}

fn reached(stage: &Stage, marker: &str) -> Result<Vec<serde_json::Value>> {
    let requests = stage.cluster().requests()?;
    Ok(requests.into_iter().filter(|request| request.to_string().contains(marker)).collect())
}

/// A masked WebSocket message of one channel, as RFC 6455 wants it from a client.
fn message(channel: u8, text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).expect("short");
    let mut frame = vec![0x82, 0x80 | length, 0, 0, 0, 0, channel];
    assert!(length < 126);
    frame.extend_from_slice(text.as_bytes());
    frame
}

#[test]
fn heads_that_can_be_read_in_two_ways_reach_nobody() -> Result<()> {
    let stage = stage(&options())?;
    let body = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"smuggled"}}"#;
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let post = "POST /api/v1/namespaces/demo/configmaps?dryRun=All HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let length = format!("Content-Length: {}\r\n", body.len());
    for (what, request) in [
        ("CL, TE", format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}")),
        ("TE, CL", format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunked}")),
        ("CL twice", format!("{post}{length}{length}\r\n{body}")),
        ("CL twice, apart", format!("{post}{length}Content-Length: 3\r\n\r\n{body}")),
        (
            "TE twice",
            format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        ),
        ("TE gzip", format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n{chunked}")),
        ("bare LF", format!("{post}X: y\n{length}\r\n{body}")),
        ("folded", format!("{post}X: y\r\n z: w\r\n{length}\r\n{body}")),
        ("host twice", format!("{post}Host: b\r\n{length}\r\n{body}")),
        (
            "coding twice",
            format!("{post}Content-Encoding: identity\r\nContent-Encoding: gzip\r\n{length}\r\n{body}"),
        ),
        ("fragment", format!("{}{length}\r\n{body}", post.replace("dryRun=All", "dryRun=All#/../x"))),
        ("absolute", format!("{}{length}\r\n{body}", post.replace("POST ", "POST https://elsewhere"))),
        ("bad chunk", format!("{post}Transfer-Encoding: chunked\r\n\r\n-1\r\n{body}\r\n0\r\n\r\n")),
        ("h2c", format!("{post}Connection: Upgrade\r\nUpgrade: h2c\r\n{length}\r\n{body}")),
        ("two upgrades", format!("{post}{WEBSOCKET}Upgrade: h2c\r\n{length}\r\n{body}")),
    ] {
        let mut raw = Raw::open(&stage)?;
        raw.send(request.as_bytes())?;
        let status = raw.read_until("\r\n")?;
        assert!(status.starts_with("HTTP/1.1 40"), "{what}: {status}");
    }
    assert!(reached(&stage, "smuggled")?.is_empty() && reached(&stage, "configmaps")?.is_empty());

    // And one after the other on one connection, in one write.
    let get = "GET /api/v1/namespaces/demo/pods?limit=1 HTTP/1.1\r\nHost: elsewhere.example.test\r\n";
    let mut raw = Raw::open(&stage)?;
    raw.send(format!("{get}\r\n{get}Content-Length: 4\r\n\r\nbody{get}Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody{get}\r\n").as_bytes())?;
    for status in ["200", "200", "400"] {
        raw.read_until(&format!("HTTP/1.1 {status}"))?;
    }
    raw.read_until("more than one Content-Length")?;
    let mut rest = String::new();
    raw.0.stdout.as_mut().context("stdout")?.read_to_string(&mut rest)?;
    assert!(!rest.contains("HTTP/1.1"), "what follows a doubtful head is not served: {rest}");
    assert_eq!(reached(&stage, "limit=1")?.len(), 2);
    assert!(reached(&stage, "elsewhere")?.is_empty(), "the client's Host went upstream");
    Ok(())
}

#[test]
fn nothing_is_done_once_access_has_ended() -> Result<()> {
    let (stage, grant) = granted(&options())?;
    let (body, rest) = (r#"{"kind":"ConfigMap","#, r#""apiVersion":"v1","metadata":{"name":"late"}}"#);
    let mut upload = Raw::open(&stage)?;
    upload.send(
        format!(
            "POST /api/v1/namespaces/demo/configmaps HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
             Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{body}",
            body.len() + rest.len()
        )
        .as_bytes(),
    )?;
    upload.read_until("100 Continue\r\n\r\n")?;
    // A shell whose output nobody reads: only input would still get through.
    let mut shell = Raw::open(&stage)?;
    let file = stage.dir().join("shell");
    fs::create_dir(&file)?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    shell.send(
        format!(
            "GET /api/v1/namespaces/demo/pods/shell/exec?command=sh&container=sh&stdin=1&stdout=1 HTTP/1.1\r\nHost: a\r\n\
             {WEBSOCKET}Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        )
        .as_bytes(),
    )?;
    shell.read_until("\r\n\r\n")?;
    shell.send(&message(0, &format!("cd {}; touch before\n", file.display())))?;
    shell.send(&message(0, "l=$(head -c 9999 /dev/zero | tr '\\0' x)\n"))?;
    shell.send(&message(0, "(while echo $l; do n=$((n+1)); echo $n >count; done) &\n"))?;
    wait_for("the shell", LIMIT, || file.join("before").exists().then_some(()))?;
    let count = || fs::read_to_string(file.join("count")).ok();
    wait_for("the shell's output to stall", LIMIT, || {
        let before = count()?;
        std::thread::sleep(Duration::from_millis(300));
        (before != *"" && count()? == before).then_some(())
    })?;

    revoke(&stage, &grant)?;
    std::thread::sleep(Duration::from_secs(1));
    shell.send(&message(0, "touch after\n")).ok();
    upload.send(rest.as_bytes()).ok();
    let refused = upload.read_until("\"code\":403}")?;
    assert!(refused.contains(" 403 ") && refused.contains("enough"), "{refused}");
    assert!(reached(&stage, "late")?.is_empty(), "a write was finished after its grant was revoked");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!file.join("after").exists(), "a command ran after its grant was revoked");
    Ok(())
}

#[test]
fn a_client_that_does_not_read_is_cut_all_the_same() -> Result<()> {
    let bulk = vec!["--bulk-pods".to_owned(), "2500".to_owned()];
    let (mut stage, grant) = granted(&StageOptions { cluster_args: bulk, ..options() })?;
    // Neither ends within the buffers on its way, and the first is not known for a long one.
    let mut stalled = Vec::new();
    for query in ["", "?watch=1"] {
        let mut raw = Raw::open(&stage)?;
        raw.send(format!("GET /api/v1/namespaces/bulk/pods{query} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())?;
        raw.read_until("\r\n\r\n")?;
        stalled.push(raw);
    }
    // What has not stalled after this long would be over by then.
    std::thread::sleep(Duration::from_secs(2));
    let since = Instant::now();
    revoke(&stage, &grant)?;
    let cut = |stage: &mut Stage| stage.daemon().log().matches("stream cut").count();
    wait_for("both to be cut", LIMIT, || (cut(&mut stage) == stalled.len()).then_some(()))?;
    let took = since.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    Ok(())
}

#[test]
fn a_patch_moves_no_secret_to_where_it_shows() -> Result<()> {
    let stage = stage(&options())?;
    let url = format!("{}/api/v1/namespaces/demo/secrets/db-credentials", stage.endpoint());
    let before = curl(&stage, ALICE, &[&url])?.stdout;
    let masked: serde_json::Value = serde_json::from_str(&before)?;
    let key = masked["data"].as_object().and_then(|data| data.keys().next()).context("a key")?;
    let patch = |content_type: &str, body: &str| {
        let content_type = format!("Content-Type: {content_type}");
        curl(&stage, ALICE, &["-w", "%{http_code}", "-X", "PATCH", "-H", &content_type, "-d", body, &url])
    };
    let json = "application/json-patch+json";
    for body in [
        format!(r#"[{{"op":"copy","from":"/data/{key}","path":"/metadata/labels/{key}"}}]"#),
        r#"[{"op":"copy","from":"/data","path":"/metadata/labels"}]"#.to_owned(),
        r#"[{"op":"move","from":"/data","path":"/metadata/labels"}]"#.to_owned(),
        format!(r#"[{{"op":"test","path":"/data/{key}","value":"Z3Vlc3M="}}]"#),
    ] {
        let refused = patch(json, &body)?.stdout;
        assert!(refused.ends_with("403") && refused.contains("masked value"), "{body}: {refused}");
    }
    assert!(patch("application/json", "[]")?.stdout.ends_with("415"));
    assert!(reached(&stage, "PATCH")?.is_empty());
    assert_eq!(curl(&stage, ALICE, &[&url])?.stdout, before);
    let allowed = patch(json, r#"[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]"#)?.stdout;
    assert!(allowed.ends_with("200"), "{allowed}");
    Ok(())
}

#[test]
fn one_engineer_does_not_keep_the_others_out() -> Result<()> {
    let stage = stage(&StageOptions { connections_per_uid: Some(4), ..options() })?;
    // The control socket, held by one uid.
    let idle: Vec<UnixStream> =
        (0..100).map(|_| UnixStream::connect(stage.socket())).collect::<Result<_, _>>()?;
    let since = Instant::now();
    let listed = stage.portcullis(BOB, &["requests"])?;
    assert_eq!(listed.code, 0, "{}", listed.all());
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let refused = stage.operator(&["whoami"])?;
    assert!(refused.stderr.contains("commands under way"), "{}", refused.all());
    drop(idle);

    // The gate itself.
    let mut held: Vec<Raw> = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::open(&stage)?;
        raw.send(b"GET /api/v1/namespaces/demo/pods?watch=1 HTTP/1.1\r\nHost: a\r\n\r\n")?;
        raw.read_until("200 OK")?;
        held.push(raw);
    }
    let pods = format!("{}/api/v1/namespaces/demo/pods", stage.endpoint());
    let refused = curl(&stage, ALICE, &["-w", "%{http_code}", &pods])?.stdout;
    assert!(refused.contains("4 connections open") && refused.ends_with("429"), "{refused}");
    let answered = curl(&stage, BOB, &[&pods])?.stdout;
    assert!(answered.contains("bob may not list pods"), "{answered}");
    held.pop();
    wait_for("a place to be free again", LIMIT, || {
        curl(&stage, ALICE, &[&pods]).ok().filter(|answered| answered.stdout.contains("PodList"))
    })?;
    Ok(())
}

#[test]
fn a_hundred_watches_of_one_engineer_leave_room_for_another() -> Result<()> {
    let role = everything_role().replace("required: 1", "required: 0");
    let stage = Stage::set(&programs()?, &StageOptions::with_roles(&role))?;
    for person in [ALICE, BOB] {
        let asked =
            stage.portcullis(person, &["request", "--role", "everything", "--for", "1h", "--reason", "x"])?;
        assert_eq!(asked.code, 0, "{}", asked.all());
    }
    // More than the API server allows on one connection.
    let watches = format!("{}/api/v1/namespaces/demo/pods?watch=1&n=[1-260]", stage.endpoint());
    let mut command = stage.command(ALICE, Path::new("/usr/bin/curl"));
    command.args([
        "-sSkN",
        "--http2",
        "--parallel",
        "--parallel-immediate",
        "--parallel-max",
        "260",
        &watches,
    ]);
    let watching = Running::start(command.stdin(Stdio::null()))?;
    wait_for("the watches", LIMIT, || (reached(&stage, "watch=1").ok()?.len() >= 250).then_some(()))?;
    let since = Instant::now();
    let answered =
        curl(&stage, BOB, &["--http2", &format!("{}/api/v1/namespaces/demo/pods", stage.endpoint())])?;
    assert!(answered.stdout.contains("PodList"), "{answered:?}");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    wait_for("all watches", LIMIT, || (reached(&stage, "watch=1").ok()?.len() == 260).then_some(()))?;
    drop(watching);
    Ok(())
}

#[test]
fn a_bad_file_changes_nothing() -> Result<()> {
    let mut stage = stage(&options())?;
    let pods = format!("{}/api/v1/namespaces/demo/pods", stage.endpoint());
    let role = stage.dir().join("roles/roles.yaml");
    let config = stage.config();
    let (good_role, good_config) = (fs::read_to_string(&role)?, fs::read_to_string(&config)?);
    let other = good_config.replace("\"endpoints\": [", "\"endpoints\": [\"https://192.0.2.1\",");
    let unknown_source = good_config
        .replace("\"impersonate\": false", "\"impersonate\": false, \"identity\": {\"anyOf\": [\"eks\"]}");
    assert_ne!(unknown_source, good_config);
    fs::write(&config, &unknown_source)?;
    let checked = stage.operator(&["policy", "check"])?;
    assert_eq!(checked.code, 1);
    assert!(checked.stderr.contains("target demo: identity: identity: eks needs"), "{}", checked.all());
    fs::write(&config, &good_config)?;
    for (file, content, said) in [
        (&role, "kind: Role\n", "not reloaded"),
        (&config, "targets: []\n", "not reloaded"),
        (&config, other.as_str(), "cannot vouch for it"),
        (&config, unknown_source.as_str(), "eks needs identity.eks"),
    ] {
        fs::write(file, content)?;
        hang_up(&mut stage, said)?;
        assert!(curl(&stage, ALICE, &[&pods])?.stdout.contains("PodList"), "{content}");
        fs::write(&role, &good_role)?;
        fs::write(&config, &good_config)?;
    }
    fs::write(&role, good_role.replace("resources: [\"*\"]", "resources: [services]"))?;
    hang_up(&mut stage, "reloaded\"")?;
    assert!(curl(&stage, ALICE, &[&pods])?.stdout.contains("denied"));
    Ok(())
}

#[test]
fn a_server_that_the_targets_ca_does_not_vouch_for_gets_nothing() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("portcullis-impostor-{}", std::process::id()));
    let (real, impostor) = (dir.join("real"), dir.join("impostor"));
    let simcluster = programs()?.join("simcluster");
    let cluster = Cluster::start(&simcluster, &impostor, &["127.0.0.1:0"], &[])?;
    drop(Cluster::start(&simcluster, &real, &["127.0.0.1:0"], &[])?);
    let token = dir.join("token");
    fs::write(&token, "token-admin-0001")?;
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let upstream = Upstream {
        endpoint: format!("https://{}", cluster.endpoints()[0]),
        certificate_authority: real.join("ca.crt"),
        credential: serde_json::json!({ "bearerTokenFile": token }),
    };
    let stage = stage(&StageOptions { upstream: Some(upstream), ..options() })?;
    for version in ["--http1.1", "--http2"] {
        let url = format!("{}/api/v1/namespaces/demo/pods", stage.endpoint());
        let answered = curl(&stage, ALICE, &[version, "-w", "%{http_code}", &url])?.stdout;
        assert!(answered.ends_with("502") && answered.contains("certificate"), "{answered}");
    }
    assert!(cluster.requests()?.is_empty(), "a token went to an impostor");
    drop((stage, cluster));
    fs::remove_dir_all(dir)?;
    Ok(())
}
