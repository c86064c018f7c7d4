//! The real aws CLI against this STS: what it signs is taken, and what is changed is not.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;
use sts::{Options, Role, Sts, User};

/// The CLI, or none where this machine is allowed to have none.
fn aws(sts: &Sts, arguments: &str) -> Option<Result<Value, String>> {
    if std::env::var_os("PORTCULLIS_WITHOUT_AWS").is_some() {
        return None;
    }
    let mut command = Command::new("aws");
    command
        .args(arguments.split(' '))
        .args(["--region", "eu-central-1", "--output", "json"])
        .env("AWS_ENDPOINT_URL_STS", sts.url())
        .env("AWS_CA_BUNDLE", sts.ca_file().unwrap())
        .env("AWS_ACCESS_KEY_ID", "AKIDENGINEER")
        .env("AWS_SECRET_ACCESS_KEY", "engineer/secret+key")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE");
    let output = command.output().expect(
        "these tests run the real aws CLI: install it (pip install awscli), or set PORTCULLIS_WITHOUT_AWS to leave them out",
    );
    if !output.status.success() {
        return Some(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Some(Ok(serde_json::from_slice(&output.stdout).unwrap()))
}

async fn start(dir: &tempfile::TempDir) -> Sts {
    let users = vec![User::new("AKIDENGINEER", "engineer/secret+key", "arn:aws:iam::111122223333:user/bob")];
    let roles = vec![Role::new("arn:aws:iam::111122223333:role/Dev")];
    Sts::start(Options { users, roles, dir: Some(dir.path().into()), ..Options::default() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn get_token_is_taken_for_its_cluster_alone() {
    let dir = tempfile::tempdir().unwrap();
    let sts = start(&dir).await;
    let Some(credential) = aws(&sts, "eks get-token --cluster-name demo") else { return };
    let credential = credential.unwrap();
    let token = credential["status"]["token"].as_str().unwrap();
    let identity = sts.authenticate(token, "demo").unwrap();
    assert_eq!(identity.arn, "arn:aws:iam::111122223333:user/bob");
    assert!(sts.authenticate(token, "other").is_err());
    // The presigned URL itself, fetched: as EKS would.
    use base64::Engine as _;
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(token.strip_prefix("k8s-aws-v1.").unwrap())
        .unwrap();
    let url = String::from_utf8(url).unwrap();
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let ca = reqwest::Certificate::from_pem(sts.ca_pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    for (cluster, status) in [(Some("demo"), 200), (Some("other"), 403), (None, 403)] {
        let mut request = client.get(&url);
        if let Some(cluster) = cluster {
            request = request.header("x-k8s-aws-id", cluster);
        }
        assert_eq!(request.send().await.unwrap().status().as_u16(), status, "{cluster:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cli_assumes_a_role_and_reads_refusals() {
    let dir = tempfile::tempdir().unwrap();
    let sts = start(&dir).await;
    let assume = "sts assume-role --role-arn arn:aws:iam::111122223333:role/Dev --role-session-name alice \
                  --tags Key=team,Value=web";
    let Some(answer) = aws(&sts, assume) else { return };
    assert_eq!(answer.unwrap()["AssumedRoleUser"]["Arn"], "arn:aws:sts::111122223333:assumed-role/Dev/alice");
    assert_eq!(sts.journal()[0].tags["team"], "web");
    let refused = aws(&sts, &assume.replace("role/Dev", "role/Other")).unwrap().unwrap_err();
    assert!(refused.contains("AccessDenied") && refused.contains("user/bob"), "{refused}");
    let who = aws(&sts, "sts get-caller-identity").unwrap().unwrap();
    assert_eq!(who["Account"], "111122223333");
    // A token through an assumed role carries the session's name.
    let token = aws(&sts, "eks get-token --cluster-name demo --role-arn arn:aws:iam::111122223333:role/Dev");
    let token = token.unwrap().unwrap()["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(sts.authenticate(&token, "demo").unwrap().session_name.as_deref(), Some("EKSGetTokenAuth"));
}

#[test]
fn the_process_says_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_sts"))
        .arg("--dir")
        .arg(dir.path())
        .args(["--user", "AKIDENGINEER:s=cret=arn:aws:iam::111122223333:user/bob"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    assert!(said["url"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{said}");
    let ca = std::fs::read_to_string(said["ca"].as_str().unwrap()).unwrap();
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"));
}
