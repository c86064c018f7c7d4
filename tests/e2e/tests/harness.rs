//! What the other tests stand on does what it says: the OpenID provider, PostgreSQL, the aws CLI, a stage with several
//! targets.

mod common;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{LIMIT, everything_role, newest, programs};
use e2e::{ALICE, MALLORY, MoreTarget, OidcProvider, Outage, Postgres, Stage, StageOptions, output, tools};
use serde_json::{Value, json};

const DEVICE_GRANT: &str = "grant_type=urn:ietf:params:oauth:grant-type:device_code";

/// What the provider answers: the status and the body.
fn call(provider: &OidcProvider, path: &str, form: &[&str]) -> Result<(String, Value)> {
    let mut curl = Command::new("/usr/bin/curl");
    curl.args(["-sS", "--max-time", "2", "-w", "\n%{http_code}"]);
    for field in form {
        curl.args(["--data-urlencode", field]);
    }
    let answered = output(curl.arg(format!("{}{path}", provider.issuer())), LIMIT)?;
    let (body, status) = answered.stdout.rsplit_once('\n').context("no status")?;
    Ok((status.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null)))
}

fn claims(token: &str) -> Result<(Value, Value)> {
    let part = |number| -> Result<Value> {
        let part = token.split('.').nth(number).context("no JWT")?;
        Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
    };
    Ok((part(0)?, part(1)?))
}

#[test]
fn a_device_is_approved_or_denied_on_the_providers_own_pages() -> Result<()> {
    let provider = OidcProvider::with(&json!({ "ttl": { "idToken": 42 } }))?;
    let begin = || call(&provider, "/device/auth", &["client_id=portcullis", "scope=openid email groups"]);
    let poll = |device: &Value| {
        let code = format!("device_code={}", device["device_code"].as_str().unwrap_or_default());
        call(&provider, "/token", &[DEVICE_GRANT, "client_id=portcullis", &code])
    };
    let (_, device) = begin()?;
    assert_eq!(poll(&device)?.1["error"], "authorization_pending");
    let code = device["user_code"].as_str().context("user_code")?;
    assert!(provider.approve_device("AAAA-AAAA", "alice").is_err(), "a code that nobody has");
    provider.approve_device(code, "alice")?;
    let (status, granted) = poll(&device)?;
    assert_eq!(status, "200", "{granted}");
    let (_, token) = claims(granted["id_token"].as_str().context("id_token")?)?;
    assert_eq!((&token["sub"], &token["email"]), (&"sub-alice".into(), &"alice@example.test".into()));
    assert_eq!(
        (&token["groups"][0], &token["realm_access"]["roles"][0]),
        (&"dev".into(), &"engineer".into())
    );
    assert_eq!(token["exp"].as_i64().zip(token["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(42));

    let (_, device) = begin()?;
    provider.deny_device(device["user_code"].as_str().context("user_code")?)?;
    assert_eq!(poll(&device)?.1["error"], "access_denied");
    Ok(())
}

#[test]
fn logins_can_be_had_keys_rotated_and_accounts_disabled() -> Result<()> {
    let provider = OidcProvider::start()?;
    let (_, before) = call(&provider, "/jwks", &[])?;
    let rsa = provider.tokens("bob", "kubelogin")?;
    let (header, token) = claims(&rsa.id_token)?;
    assert_eq!((&header["alg"], &token["aud"]), (&"RS256".into(), &"kubelogin".into()));
    assert_eq!(token["groups"], json!(["dev", "leads"]));
    let (header, _) = claims(&provider.tokens("bob", "portcullis-es")?.id_token)?;
    assert_eq!(header["alg"], "ES256");

    let refresh = format!("refresh_token={}", rsa.refresh_token.context("no refresh token")?);
    let form = ["grant_type=refresh_token", "client_id=kubelogin", &refresh];
    provider.set_disabled("bob", true)?;
    assert_eq!(call(&provider, "/token", &form)?.1["error"], "invalid_grant");
    provider.set_disabled("bob", false)?;
    provider.set_claims("bob", &json!({ "groups": ["other"] }))?;
    provider.rotate(false)?;
    let (_, after) = call(&provider, "/jwks", &[])?;
    assert_ne!(before["keys"][0]["kid"], after["keys"][0]["kid"]);
    let (header, token) = claims(&provider.tokens("bob", "kubelogin")?.id_token)?;
    assert_eq!((&header["kid"], &token["groups"]), (&after["keys"][0]["kid"], &json!(["other"])));
    provider.rotate(true)?;
    assert_eq!(
        call(&provider, "/jwks", &[])?.1["keys"].as_array().map(Vec::len),
        Some(4),
        "the old ones stay"
    );
    assert_eq!(provider.requests("GET /jwks")?, 3);
    Ok(())
}

#[test]
fn an_outage_is_one() -> Result<()> {
    let provider = OidcProvider::start()?;
    let status = || Ok::<_, anyhow::Error>(call(&provider, "/.well-known/openid-configuration", &[])?.0);
    for (outage, expected) in [
        (Outage::Refuse, "000"),
        (Outage::Hang, "000"),
        (Outage::Refuse, "000"),
        (Outage::Error, "503"),
        (Outage::None, "200"),
    ] {
        provider.outage(outage)?;
        assert_eq!(status()?, expected, "{outage:?}");
    }
    Ok(())
}

#[test]
fn a_database_stops_and_comes_back_with_its_data() -> Result<()> {
    let mut server = Postgres::start()?;
    let psql = tools::postgres()?.join("psql");
    let ask = |server: &Postgres, sql: &str| {
        output(Command::new(&psql).arg(server.url()).args(["-Atc", sql]), LIMIT)
    };
    assert_eq!(ask(&server, "create table kept as select 7 as n")?.code, 0);
    server.stop()?;
    assert_ne!(ask(&server, "select 1")?.code, 0);
    server.serve()?;
    assert_eq!(ask(&server, "select n from kept")?.stdout, "7\n");
    Ok(())
}

#[test]
fn the_aws_cli_makes_tokens_without_asking_anybody() -> Result<()> {
    let mut get = Command::new("setpriv");
    get.args(["--reuid=61001", "--regid=61001", "--clear-groups", "--"]).arg(tools::aws()?);
    get.args(["eks", "get-token", "--cluster-name", "demo", "--region", "eu-central-1"]);
    get.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/").current_dir(Path::new("/"));
    get.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "FAKE-key");
    get.env("AWS_ENDPOINT_URL_STS", "https://127.0.0.1:1");
    let got = output(&mut get, LIMIT)?;
    let credential: Value = serde_json::from_str(&got.stdout).with_context(|| got.all())?;
    let token = credential["status"]["token"].as_str().context("token")?;
    let url = URL_SAFE_NO_PAD.decode(token.strip_prefix("k8s-aws-v1.").context("prefix")?)?;
    let url = String::from_utf8(url)?;
    assert!(url.starts_with("https://127.0.0.1:1/?Action=GetCallerIdentity&"), "{url}");
    assert!(url.contains("X-Amz-SignedHeaders=host%3Bx-k8s-aws-id"), "{url}");
    Ok(())
}

#[test]
fn moto_is_here() -> Result<()> {
    tools::moto_server().map(drop)
}

#[test]
fn a_stage_has_several_targets_and_kubeconfigs_with_plugins() -> Result<()> {
    let variable = |name: &str, value: &str| json!({ "name": name, "value": value });
    let plugin = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": tools::aws()?,
        "args": ["--region", "eu-central-1", "eks", "get-token", "--cluster-name", "demo"],
        "env": [variable("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), variable("AWS_SECRET_ACCESS_KEY", "FAKE-key")],
    }});
    let options = StageOptions {
        more_targets: vec![MoreTarget {
            name: "second",
            cluster_args: vec!["--bulk-pods".to_owned(), "1".to_owned()],
            settings: json!({ "impersonate": true }),
        }],
        config: json!({ "access": { "adminGroups": ["dev"] } }),
        environment: vec![("RUST_LOG".to_owned(), "debug".to_owned())],
        users: vec![(ALICE, plugin)],
        ..StageOptions::with_roles(&everything_role().replace("[demo]", "[\"*\"]"))
    };
    let mut stage = Stage::set(&programs()?, &options)?;
    for (target, seen) in [("demo", "admin"), ("second", "alice")] {
        stage.grant_on(target, ALICE, "everything", "1h")?;
        let get = ["get", "configmaps", "--context", target];
        let got = output(&mut stage.kubectl(ALICE, &newest()?, &get), LIMIT)?;
        assert_eq!(got.code, 0, "{target}: {}", got.all());
        let requests = stage.cluster_of(target).requests()?;
        let last = requests.last().context("no request")?;
        let user = if last["impersonated"].is_null() { &last["user"] } else { &last["impersonated"] };
        assert_eq!(user["name"], seen, "{last}");
    }
    let bulk = ["get", "pods", "-n", "bulk", "--context", "second"];
    assert!(output(&mut stage.kubectl(ALICE, &newest()?, &bulk), LIMIT)?.stdout.contains("pod-00000"));
    // What was patched into the configuration counts, and the daemon has its environment.
    assert_eq!(stage.portcullis(MALLORY, &["revoke", "--all", "--reason", "x"])?.code, 0);
    assert!(stage.daemon().log().contains("DEBUG"));
    Ok(())
}
