//! People log in at a real OpenID provider: with a device code, with a browser, or with a token that their client brings.
//! What a login is good for, for whom, and how it ends.

mod common;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use common::{LIMIT, LOOK, login, newest, parsed, programs, recorded};
use e2e::{
    ALICE, BOB, MALLORY, MoreTarget, OidcProvider, Outage, Person, Running, Stage, StageOptions, installed,
    output, wait_for,
};
use serde_json::{Value, json};

/// A stage whose target `demo` takes logins alone, changed by `issuer`.
fn options(provider: &OidcProvider, issuer: &Value) -> StageOptions {
    let mut config = provider.config();
    for (field, value) in issuer.as_object().into_iter().flatten() {
        config[field] = value.clone();
    }
    StageOptions {
        target: json!({ "identity": { "anyOf": ["oidc"] } }),
        config: json!({ "identity": {
            "commands": { "anyOf": ["oidc", "unix"] },
            "oidc": [config],
        }}),
        ..StageOptions::with_roles(LOOK)
    }
}

fn stage(provider: &OidcProvider) -> Result<Stage> {
    Stage::set(&programs()?, &options(provider, &json!({})))
}

fn get_pods(stage: &Stage, person: Person, more: &[&str]) -> Result<e2e::Output> {
    let args = [&["get", "pods"], more].concat();
    output(&mut stage.kubectl(person, &newest()?, &args), LIMIT)
}

fn follow(stage: &Stage, person: Person) -> Result<Running> {
    let mut command = stage.kubectl(person, &newest()?, &["logs", "-f", "shell"]);
    let mut running = Running::start(command.stdin(Stdio::null()))?;
    running.wait_for_stdout("\n", LIMIT)?;
    Ok(running)
}

#[test]
fn from_a_device_login_to_the_end_of_a_grant() -> Result<()> {
    let provider = OidcProvider::start()?;
    let stage = stage(&provider)?;
    for kubectl in installed()? {
        let stranger = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
        assert_eq!(stranger.code, 1);
        assert!(
            stranger.stderr.contains("portcullis login"),
            "kubectl {}: {}",
            kubectl.version,
            stranger.stderr
        );
    }
    let logged_in = login(&stage, &provider, ALICE, "alice")?;
    assert_eq!(logged_in.code, 0, "{}", logged_in.all());
    let lines: Vec<Value> = logged_in.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let [shown, told] = &lines[..] else { anyhow::bail!("two lines, not {lines:?}") };
    assert_eq!(shown["verificationUri"], format!("{}/device", provider.issuer()));
    assert!(shown["expiresAt"].is_string(), "{shown}");
    let complete = shown["verificationUriComplete"].as_str().context("verificationUriComplete")?;
    assert!(complete.contains(shown["userCode"].as_str().context("userCode")?), "{shown}");
    assert_eq!(told["name"], "alice@example.test");
    assert!(told["until"].is_string(), "{told}");

    let me = parsed(&stage.portcullis(ALICE, &["whoami", "-o", "json"])?)?;
    assert!(me["until"].is_string(), "{me}");
    let me = if me["subject"].is_object() { &me["subject"] } else { &me };
    assert_eq!(me["issuer"], provider.issuer());
    assert_eq!((&me["id"], &me["groups"]), (&"sub-alice".into(), &json!(["dev"])));
    assert_eq!(me["method"], "oidc");
    let words = stage.portcullis(ALICE, &["whoami"])?;
    assert!(
        words.stdout.contains("alice@example.test") && words.stdout.contains("until"),
        "{}",
        words.stdout
    );

    let denied = get_pods(&stage, ALICE, &[])?;
    assert!(denied.stderr.contains("portcullis request --from d-"), "{}", denied.stderr);
    let id = common::id_of(&stage.portcullis(
        ALICE,
        &["request", "--role", "look", "--target", "demo", "--for", "5s", "--reason", "INC-7", "-o", "json"],
    )?)?;
    let own = stage.portcullis(ALICE, &["approve", &id])?;
    assert_eq!(own.code, 1, "{}", own.all());
    assert_eq!(stage.portcullis(BOB, &["approve", &id])?.code, 0);
    let works = get_pods(&stage, ALICE, &[])?;
    assert_eq!(works.code, 0, "{}", works.all());
    let cut = follow(&stage, ALICE)?.wait(LIMIT)?;
    assert!(cut.all().contains("expired"), "{cut:?}");
    Ok(())
}

#[test]
fn the_code_is_shown_in_words_too_and_a_no_is_one() -> Result<()> {
    let provider = OidcProvider::start()?;
    let stage = stage(&provider)?;
    let mut running = stage.portcullis_running(ALICE, &["login", "--issuer", "corp"])?;
    running.wait_for_stdout("/device", LIMIT)?;
    let code = wait_for("a user code", LIMIT, || {
        let shown = running.stdout();
        let words = shown.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
        let mut codes = words.filter(|word| word.len() == 9 && word.as_bytes()[4] == b'-');
        codes.next().map(str::to_owned)
    })?;
    provider.deny_device(&code)?;
    let declined = running.wait(LIMIT)?;
    assert_eq!(declined.code, 1);
    assert!(declined.stderr.contains("declined"), "{}", declined.stderr);
    let nowhere = stage.portcullis(ALICE, &["login", "--issuer", "nowhere"])?;
    assert_eq!(nowhere.code, 1);
    assert!(nowhere.stderr.contains("no issuer is called \"nowhere\""), "{}", nowhere.stderr);
    Ok(())
}

#[test]
fn a_browser_comes_back_to_loopback() -> Result<()> {
    let provider = OidcProvider::start()?;
    let stage = stage(&provider)?;
    let mut running = stage.portcullis_running(ALICE, &["login", "--browser", "-o", "json"])?;
    running.wait_for_stdout("\n", LIMIT)?;
    let shown: Value = serde_json::from_str(running.stdout().lines().next().context("a line")?)?;
    let url = shown["authorizationUri"].as_str().context("authorizationUri")?;
    assert!(url.contains("code_challenge_method=S256") && url.contains("state="), "{url}");
    let back = provider.browse(url, "alice")?;
    assert!(back.starts_with("http://127.0.0.1:") && back.contains("code="), "{back}");
    // The browser runs on the bastion, as whoever it is that logs in.
    let mut browser = stage.command(ALICE, Path::new("/usr/bin/curl"));
    let page = output(browser.args(["-sS", "--max-time", "20", &back]), LIMIT)?;
    assert_eq!(page.code, 0, "{}", page.all());
    let logged_in = running.wait(LIMIT)?;
    assert_eq!(logged_in.code, 0, "{}", logged_in.all());
    assert!(logged_in.stdout.contains("alice@example.test"), "{}", logged_in.stdout);
    let code = back.split(['?', '&']).find_map(|part| part.strip_prefix("code=")).context("code")?;
    assert!(!page.stdout.contains(code) && !logged_in.all().contains(code), "the code is shown to nobody");
    stage.grant_on("demo", ALICE, "look", "1h")?;
    assert_eq!(get_pods(&stage, ALICE, &[])?.code, 0);
    Ok(())
}

#[test]
fn a_login_ends_with_logout_and_with_the_daemon() -> Result<()> {
    let provider = OidcProvider::start()?;
    let mut stage = stage(&provider)?;
    login(&stage, &provider, ALICE, "alice")?;
    stage.grant_on("demo", ALICE, "look", "1h")?;
    let mut running = follow(&stage, ALICE)?;
    let out = stage.portcullis(ALICE, &["logout"])?;
    assert_eq!((out.code, out.stdout.trim_end()), (0, "Logged out."), "{}", out.all());
    let cut = running.wait(LIMIT)?;
    assert!(cut.all().contains("logged out") || cut.all().contains("logout"), "{cut:?}");
    assert!(get_pods(&stage, ALICE, &[])?.stderr.contains("portcullis login"));
    assert!(
        provider.requests("POST /token/revocation")? > 0,
        "the tokens are of no more use at the provider"
    );

    login(&stage, &provider, ALICE, "alice")?;
    assert_eq!(get_pods(&stage, ALICE, &[])?.code, 0, "the grant is alice's as before");
    stage.kill_daemon();
    stage.start_daemon()?;
    let forgotten = get_pods(&stage, ALICE, &[])?;
    assert_eq!(forgotten.code, 1);
    assert!(forgotten.stderr.contains("portcullis login"), "{}", forgotten.stderr);
    Ok(())
}

#[test]
fn a_login_is_good_for_its_person_and_nobody_else() -> Result<()> {
    let provider = OidcProvider::start()?;
    let stage = stage(&provider)?;
    // Alice is talked into confirming the code that mallory began.
    let phished = login(&stage, &provider, MALLORY, "alice")?;
    assert_eq!(phished.code, 1);
    assert!(phished.stderr.contains("mallory") && phished.stderr.contains("alice"), "{}", phished.stderr);
    assert!(get_pods(&stage, MALLORY, &[])?.stderr.contains("portcullis login"));

    login(&stage, &provider, ALICE, "alice")?;
    stage.grant_on("demo", ALICE, "look", "1h")?;
    assert_eq!(get_pods(&stage, ALICE, &[])?.code, 0);
    assert_eq!(get_pods(&stage, MALLORY, &[])?.code, 1, "alice's login is bound to alice's uid");
    login(&stage, &provider, MALLORY, "mallory")?;
    let own = get_pods(&stage, MALLORY, &[])?;
    assert!(own.stderr.contains("mallory@example.test may not list pods"), "{}", own.stderr);
    Ok(())
}

#[test]
fn sources_that_disagree_let_nobody_in() -> Result<()> {
    let provider = OidcProvider::start()?;
    let mut options = options(&provider, &json!({ "account": "any" }));
    options.more_targets.push(MoreTarget {
        name: "both",
        cluster_args: Vec::new(),
        settings: json!({ "identity": { "allOf": ["unix", "oidc"] } }),
    });
    let stage = Stage::set(&programs()?, &options)?;
    login(&stage, &provider, ALICE, "bob")?;
    let refused = get_pods(&stage, ALICE, &["--context", "both"])?;
    assert_eq!(refused.code, 1);
    for part in ["they must agree", "alice", "bob@example.test"] {
        assert!(refused.stderr.contains(part), "{part:?} is not in {}", refused.stderr);
    }
    let recorded = recorded(&stage)?;
    assert!(recorded.contains("they must agree"), "{recorded}");

    stage.portcullis(ALICE, &["logout"])?;
    let silent = get_pods(&stage, ALICE, &["--context", "both"])?;
    assert!(silent.stderr.contains("portcullis login"), "{}", silent.stderr);
    login(&stage, &provider, ALICE, "alice")?;
    stage.grant_on("both", ALICE, "look", "1h")?;
    let agreed = get_pods(&stage, ALICE, &["--context", "both"])?;
    assert_eq!(agreed.code, 0, "{}", agreed.all());
    assert!(stage.cluster().requests()?.is_empty(), "the other target saw none of this");
    Ok(())
}

#[test]
fn a_login_that_runs_out_cuts_its_streams() -> Result<()> {
    let provider = OidcProvider::with(&json!({ "ttl": { "idToken": 8 } }))?;
    let once = json!({ "scopes": ["email", "groups"], "clockSkew": "0s" });
    let stage = Stage::set(&programs()?, &options(&provider, &once))?;
    login(&stage, &provider, ALICE, "alice")?;
    stage.grant_on("demo", ALICE, "look", "1h")?;
    let cut = follow(&stage, ALICE)?.wait(LIMIT)?;
    assert!(cut.all().contains("login"), "the stream says why: {cut:?}");
    assert!(get_pods(&stage, ALICE, &[])?.stderr.contains("portcullis login"));
    Ok(())
}

#[test]
fn a_login_is_renewed_until_the_provider_says_no() -> Result<()> {
    let provider = OidcProvider::with(&json!({ "ttl": { "idToken": 6 } }))?;
    let stage = Stage::set(&programs()?, &options(&provider, &json!({ "clockSkew": "0s" })))?;
    login(&stage, &provider, ALICE, "alice")?;
    stage.grant_on("demo", ALICE, "look", "1h")?;
    let mut running = follow(&stage, ALICE)?;
    let logins = provider.requests("POST /token")?;
    wait_for("a renewal", LIMIT, || (provider.requests("POST /token").ok()? >= logins + 2).then_some(()))?;
    assert!(!running.ended(), "a renewed login cuts nothing: {}{}", running.stdout(), running.stderr());
    provider.set_disabled("alice", true)?;
    let cut = running.wait(LIMIT)?;
    assert!(cut.all().contains("login"), "the stream says why: {cut:?}");
    Ok(())
}

#[test]
fn a_token_that_the_client_brings_is_checked_like_a_login() -> Result<()> {
    let provider = OidcProvider::start()?;
    let token = provider.tokens("alice", "kubelogin")?.id_token;
    let elsewhere = provider.tokens("alice", "portcullis-es")?.id_token;
    let (signed, signature) = token.rsplit_once('.').context("no JWT")?;
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let mut options = options(&provider, &json!({ "keys": { "refreshAtMostEvery": "1s" } }));
    options.target = json!({ "identity": { "anyOf": ["bearer"] } });
    options.users = vec![(ALICE, json!({ "token": token })), (MALLORY, json!({ "token": token }))];
    let stage = Stage::set(&programs()?, &options)?;
    login(&stage, &provider, ALICE, "alice")?;
    stage.grant_on("demo", ALICE, "look", "1h")?;
    for kubectl in installed()? {
        let works = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
        assert_eq!(works.code, 0, "kubectl {}: {}", kubectl.version, works.all());
        let stolen = output(&mut stage.kubectl(MALLORY, &kubectl, &["get", "pods"]), LIMIT)?;
        assert_eq!(stolen.code, 1, "kubectl {}", kubectl.version);
        assert!(
            stolen.stderr.contains("mallory") && stolen.stderr.contains("alice"),
            "kubectl {}: {}",
            kubectl.version,
            stolen.stderr
        );
    }
    for (token, why) in [
        (forged.as_str(), "signature"),
        (elsewhere.as_str(), "portcullis-es"),
        ("none", "no kind that is accepted"),
    ] {
        let refused = get_pods(&stage, ALICE, &["--token", token])?;
        assert_eq!(refused.code, 1, "{why}");
        assert!(refused.stderr.contains(why), "{why:?} is not in {}", refused.stderr);
    }
    // A key that was not known at the start.
    provider.rotate(true)?;
    let fresh = provider.tokens("alice", "kubelogin")?.id_token;
    let works = get_pods(&stage, ALICE, &["--token", &fresh])?;
    assert_eq!(works.code, 0, "{}", works.all());
    assert!(stage.cluster().requests()?.iter().all(|request| !request.to_string().contains(&token)));
    Ok(())
}

#[test]
fn an_outage_of_the_provider_ends_no_login() -> Result<()> {
    let provider = OidcProvider::start()?;
    let stage = stage(&provider)?;
    login(&stage, &provider, ALICE, "alice")?;
    stage.grant_on("demo", ALICE, "look", "1h")?;
    for outage in [Outage::Refuse, Outage::Error, Outage::Hang] {
        provider.outage(outage)?;
        assert_eq!(get_pods(&stage, ALICE, &[])?.code, 0, "{outage:?}");
        let mut begin = stage.portcullis_running(MALLORY, &["login"])?;
        let refused = begin.wait(Duration::from_secs(25))?;
        assert_eq!(refused.code, 1, "{outage:?}: {}", refused.all());
        let host = provider.issuer().trim_start_matches("http://");
        assert!(refused.stderr.contains(host), "{outage:?}: {}", refused.stderr);
    }
    provider.outage(Outage::None)?;
    assert_eq!(login(&stage, &provider, MALLORY, "mallory")?.code, 0);
    Ok(())
}
