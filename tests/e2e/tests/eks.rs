//! AWS on both sides of the gate: engineers come with what `aws eks get-token` makes of their keys, by the real CLI and a
//! kubeconfig that stays as it is; the gate goes on as the person, in whichever way the target is told to show them.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use common::{LIMIT, curl, newest, parsed, programs, recorded};
use e2e::{
    ALICE, BOB, Cluster, Fault, MALLORY, MoreTarget, Output, Person, Running, Stage, StageOptions, Sts,
    StsUser, installed, output, tools, wait_for,
};
use serde_json::{Value, json};

const GATES_ROLE: &str = "arn:aws:iam::111122223333:role/portcullis";
const DEV_ROLE: &str = "arn:aws:iam::111122223333:role/Dev";
const ALICES: StsUser = StsUser {
    access_key: "AKIAALICE00000000001",
    secret: "FAKE-secret-of-alice",
    arn: "arn:aws:sts::111122223333:assumed-role/Dev/alice",
};
const MALLORYS: StsUser = StsUser {
    access_key: "AKIAMALLORY000000001",
    secret: "FAKE-secret-of-mallory",
    arn: "arn:aws:iam::111122223333:user/mallory",
};
const BASTIONS: StsUser = StsUser {
    access_key: "AKIABASTION000000001",
    secret: "FAKE-secret-of-the-bastion",
    arn: "arn:aws:iam::111122223333:user/bastion",
};

const ROLES: &str = r#"
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
---
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: look-as-myself}
spec:
  targets: ["*"]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 2h
  presentAs: impersonate
  rules:
  - {apiGroups: [""], resources: [configmaps], verbs: [get, list], namespaces: [demo]}
---
apiVersion: portcullis.dev/v1alpha1
kind: Role
metadata: {name: look-as-robot}
spec:
  targets: [tokens]
  eligible: {groups: [dev]}
  approval: {required: 1, groups: [leads]}
  maxDuration: 2h
  presentAs: {serviceAccount: {namespace: demo, name: robot}}
  rules:
  - {apiGroups: [""], resources: [services], verbs: [get, list], namespaces: [demo]}
"#;

struct World {
    stage: Stage,
    sts: Sts,
    /// Keeps the issuer's token.
    _dir: tempfile::TempDir,
}

/// Targets: `demo` takes EKS tokens and goes on by EKS; `own` knows people by their uid and goes on by EKS; `tokens` goes on
/// with service accounts' tokens; `impersonated` with an administrator's, by impersonation.
fn world() -> Result<World> {
    let programs = programs()?;
    let sts = Sts::start(&programs, &[ALICES, MALLORYS, BASTIONS], &[GATES_ROLE])?;
    let dir = tempfile::tempdir()?;
    let issuer = dir.path().join("issuer.token");
    fs::write(&issuer, "token-issuer-0001")?;
    fs::set_permissions(&issuer, fs::Permissions::from_mode(0o600))?;
    let cluster = |name: &str| sts.cluster_args(name, GATES_ROLE, "portcullis:{{SessionName}}");
    let eks = |cluster: &str| {
        json!({ "bearerTokenFile": null, "eks": {
            "cluster": cluster,
            "region": "eu-central-1",
            "roleArn": GATES_ROLE,
            "endpoints": { "sts": sts.url() },
            "certificateAuthority": sts.ca(),
        }})
    };
    let tokens = json!({ "bearerTokenFile": null, "tokenRequest": {
        "using": { "bearerTokenFile": issuer },
        "serviceAccount": { "namespace": "demo", "name": "default" },
        "lifetime": "10m",
    }});
    let more = |name, cluster_args, settings| MoreTarget { name, cluster_args, settings };
    let options = StageOptions {
        cluster_args: cluster("demo"),
        target: json!({ "identity": { "anyOf": ["eks"] }, "credential": eks("demo") }),
        more_targets: vec![
            more("own", cluster("own"), json!({ "credential": eks("own") })),
            more("tokens", Vec::new(), json!({ "credential": tokens })),
            more("impersonated", Vec::new(), json!({ "impersonate": true })),
        ],
        config: json!({ "identity": {
            "people": [{ "name": "alice", "accounts": [
                { "issuer": "unix", "id": ALICE.uid.to_string() },
                { "issuer": "aws", "id": ALICES.arn },
            ]}],
            "eks": {
                "endpoints": [sts.url()],
                "certificateAuthority": sts.ca(),
                "mapping": [{ "arn": DEV_ROLE, "name": "{{SessionName}}", "groups": ["dev"] }],
            },
        }}),
        environment: [
            ("AWS_ACCESS_KEY_ID", BASTIONS.access_key),
            ("AWS_SECRET_ACCESS_KEY", BASTIONS.secret),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        users: vec![(ALICE, user(&sts, ALICES, "demo")?), (MALLORY, user(&sts, MALLORYS, "demo")?)],
        ..StageOptions::with_roles(ROLES)
    };
    Ok(World { stage: Stage::set(&programs, &options)?, sts, _dir: dir })
}

/// What `aws eks update-kubeconfig` writes, with the keys that would be in somebody's profile.
fn user(sts: &Sts, keys: StsUser, cluster: &str) -> Result<Value> {
    let variable = |name: &str, value: &str| json!({ "name": name, "value": value });
    Ok(json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": tools::aws()?,
        "args": ["--region", "eu-central-1", "eks", "get-token", "--cluster-name", cluster, "--output", "json"],
        "env": [
            variable("AWS_ACCESS_KEY_ID", keys.access_key),
            variable("AWS_SECRET_ACCESS_KEY", keys.secret),
            variable("AWS_ENDPOINT_URL_STS", sts.url()),
        ],
    }}))
}

/// What `aws eks get-token` makes.
fn get_token(mut aws: Command, sts: &Sts, keys: StsUser, cluster: &str, secret: &str) -> Result<String> {
    aws.args(["--region", "eu-central-1", "eks", "get-token", "--cluster-name", cluster]);
    aws.env_clear().env("HOME", "/").env("PATH", "/usr/bin:/bin").env("AWS_ENDPOINT_URL_STS", sts.url());
    aws.env("AWS_ACCESS_KEY_ID", keys.access_key).env("AWS_SECRET_ACCESS_KEY", secret);
    let made = parsed(&output(&mut aws, LIMIT)?)?;
    made["status"]["token"].as_str().map(str::to_owned).with_context(|| format!("no token in {made}"))
}

fn get(stage: &Stage, person: Person, what: &str, context: &str) -> Result<Output> {
    output(&mut stage.kubectl(person, &newest()?, &["get", what, "--context", context]), LIMIT)
}

fn header<'a>(request: &'a Value, name: &str) -> Option<&'a str> {
    let pairs = request["headers"].as_array().into_iter().flatten();
    pairs
        .filter(|pair| pair[0].as_str().is_some_and(|this| this.eq_ignore_ascii_case(name)))
        .find_map(|pair| pair[1].as_str())
}

/// The last request for these objects that reached a target's cluster.
fn seen(stage: &Stage, target: &str, what: &str) -> Result<Value> {
    let requests = stage.cluster_of(target).requests()?;
    let of_it = |request: &&Value| request["target"].as_str().is_some_and(|path| path.contains(what));
    requests
        .iter()
        .rev()
        .find(of_it)
        .cloned()
        .with_context(|| format!("no request for {what} reached {target}"))
}

/// The ends of what is tested below fit together without a gate between them.
#[test]
fn the_cli_sts_and_the_cluster_agree() -> Result<()> {
    let programs = programs()?;
    let sts = Sts::start(&programs, &[ALICES], &[])?;
    let dir = tempfile::tempdir()?;
    let args = sts.cluster_args("demo", DEV_ROLE, "eng:{{SessionName}}");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let cluster = Cluster::start(&programs.join("simcluster"), dir.path(), &["127.0.0.1:0"], &args)?;
    let ca = cluster.file("ca.crt").display().to_string();
    let token =
        |cluster: &str, secret: &str| get_token(Command::new(tools::aws()?), &sts, ALICES, cluster, secret);
    let get = |token: &str| -> Result<u16> {
        let bearer = format!("Authorization: Bearer {token}");
        let url = format!("https://{}/api/v1/namespaces/demo/secrets", cluster.endpoints()[0]);
        Ok(curl(&["--cacert", &ca, "-H", &bearer], &url)?.0)
    };
    let good = token("demo", ALICES.secret)?;
    assert_eq!(get(&good)?, 200);
    let user = cluster.requests()?.last().context("no request")?["user"].clone();
    assert_eq!((&user["name"], &user["extra"]["arn"][0]), (&"eng:alice".into(), &ALICES.arn.into()));
    assert_eq!(get(&token("demo", "FAKE-wrong-secret")?)?, 401);
    assert_eq!(get(&token("other", ALICES.secret)?)?, 401);
    sts.fault(Some(Fault::Unavailable))?;
    assert_eq!(get(&good)?, 200, "the cluster remembers for a while");
    // Of the same second, a token would be the same.
    let fresh = wait_for("another token", LIMIT, || {
        token("demo", ALICES.secret).ok().filter(|fresh| *fresh != good)
    })?;
    assert_eq!(get(&fresh)?, 401);
    sts.fault(None)?;
    assert_eq!(get(&fresh)?, 200);
    let last = sts.journal()?.last().cloned().context("nothing was asked")?;
    assert_eq!((&last["action"], &last["cluster"]), (&"GetCallerIdentity".into(), &"demo".into()));
    Ok(())
}

#[test]
fn get_token_opens_the_gate_and_the_cluster_sees_the_person() -> Result<()> {
    let World { stage, sts, _dir: _kept } = world()?;
    let before = fs::read_to_string(stage.home(ALICE).join(".kube/config"))?;
    let denied = get(&stage, ALICE, "pods", "demo")?;
    assert!(denied.stderr.contains("portcullis request --from d-"), "{}", denied.stderr);
    let grant = stage.grant_on("demo", ALICE, "look", "1h")?;
    for kubectl in installed()? {
        let works = output(&mut stage.kubectl(ALICE, &kubectl, &["get", "pods"]), LIMIT)?;
        assert_eq!(works.code, 0, "kubectl {}: {}", kubectl.version, works.all());
    }
    assert_eq!(fs::read_to_string(stage.home(ALICE).join(".kube/config"))?, before, "it stays as it was");

    let request = seen(&stage, "demo", "/pods")?;
    assert_eq!(request["user"]["name"], "portcullis:alice");
    assert_eq!(request["user"]["extra"]["sessionName"], json!(["alice"]));
    let asked = sts.journal()?;
    let assumed: Vec<&Value> = asked.iter().filter(|event| event["action"] == "AssumeRole").collect();
    let for_pods = assumed.iter().find(|event| event["tags"]["portcullis-grant"] == grant.as_str());
    let for_pods = for_pods.with_context(|| format!("no session for {grant}: {assumed:?}"))?;
    assert_eq!((&for_pods["sessionName"], &for_pods["sourceIdentity"]), (&"alice".into(), &"alice".into()));
    assert_eq!((&for_pods["roleArn"], &for_pods["caller"]), (&GATES_ROLE.into(), &BASTIONS.arn.into()));
    assert_eq!(for_pods["tags"]["portcullis-role"], "look");
    let of_alice = |event: &&&Value| event["tags"]["portcullis-grant"] == grant.as_str();
    assert_eq!(assumed.iter().filter(of_alice).count(), 1, "one session serves all of these commands");

    let mut command = stage.kubectl(ALICE, &newest()?, &["logs", "-f", "shell"]);
    let mut running = Running::start(command.stdin(Stdio::null()))?;
    running.wait_for_stdout("\n", LIMIT)?;
    stage.portcullis(BOB, &["revoke", &grant, "--reason", "lunch time"])?;
    assert!(running.wait(LIMIT)?.all().contains("lunch time"));
    Ok(())
}

#[test]
fn a_token_for_another_cluster_or_of_nobody_is_refused() -> Result<()> {
    let World { stage, sts, _dir: _kept } = world()?;
    stage.grant_on("demo", ALICE, "look", "1h")?;
    let kubectl = newest()?;
    let token = |keys: StsUser, cluster: &str, secret: &str| {
        get_token(stage.command(ALICE, &tools::aws()?), &sts, keys, cluster, secret)
    };
    let raw = |token: &str| -> Result<Output> {
        let mut curl = stage.command(ALICE, Path::new("/usr/bin/curl"));
        curl.args(["-sS", "-k", "-H"]).arg(format!("Authorization: Bearer {token}"));
        output(curl.arg(format!("{}/api/v1/namespaces/demo/pods", stage.endpoint())), LIMIT)
    };
    assert!(raw(&token(ALICES, "demo", ALICES.secret)?)?.stdout.contains("PodList"));
    for (token, why) in [
        (token(ALICES, "other", ALICES.secret)?, "signed for another cluster"),
        (token(ALICES, "demo", "FAKE-wrong-secret")?, "its signature is not valid"),
        (token(MALLORYS, "demo", MALLORYS.secret)?, "is nobody's in identity.eks.mapping"),
    ] {
        let refused = raw(&token)?;
        assert!(refused.stdout.contains(why), "{why:?} is not in {}", refused.all());
        assert!(!refused.all().contains(&token), "a refusal quotes no token");
    }
    let refused = output(&mut stage.kubectl(MALLORY, &kubectl, &["get", "pods"]), LIMIT)?;
    assert_eq!(refused.code, 1);
    let recorded = recorded(&stage)?;
    assert!(recorded.contains("is nobody's in identity.eks.mapping"), "{recorded}");
    Ok(())
}

#[test]
fn every_way_to_go_on_shows_the_person() -> Result<()> {
    let World { stage, sts: _running, _dir: _kept } = world()?;
    for target in ["own", "tokens", "impersonated"] {
        let grant = stage.grant_on(target, ALICE, "look", "1h")?;
        let works = get(&stage, ALICE, "pods", target)?;
        assert_eq!(works.code, 0, "{target}: {}", works.all());
        let request = seen(&stage, target, "/pods")?;
        let agent = header(&request, "user-agent").context("user-agent")?;
        assert!(agent.starts_with("kubectl"), "{agent}");
        assert!(agent.ends_with(&format!(" portcullis (alice; {grant})")), "{target}: {agent}");
    }
    assert_eq!(seen(&stage, "own", "/pods")?["user"]["name"], "portcullis:alice");
    // One account for all: the user agent has the person, and the audit id leads to the recording.
    let request = seen(&stage, "tokens", "/pods")?;
    assert_eq!(request["user"]["name"], "system:serviceaccount:demo:default");
    let id = request["auditId"].as_str().context("auditId")?;
    assert!(recorded(&stage)?.contains(id), "the recording and the cluster's audit log share {id}");
    let request = seen(&stage, "impersonated", "/pods")?;
    assert_eq!(
        (&request["user"]["name"], &request["impersonated"]["name"]),
        (&"admin".into(), &"alice".into())
    );
    assert_eq!(request["impersonated"]["groups"][0], "dev");

    // What a role says goes before what the target says.
    stage.grant_on("tokens", ALICE, "look-as-robot", "1h")?;
    let works = get(&stage, ALICE, "services", "tokens")?;
    assert_eq!(works.code, 0, "{}", works.all());
    assert_eq!(seen(&stage, "tokens", "/services")?["user"]["name"], "system:serviceaccount:demo:robot");
    stage.grant_on("own", ALICE, "look-as-myself", "1h")?;
    let works = get(&stage, ALICE, "configmaps", "own")?;
    assert_eq!(works.code, 0, "{}", works.all());
    assert_eq!(seen(&stage, "own", "/configmaps")?["impersonated"]["name"], "alice");
    Ok(())
}

#[test]
fn an_outage_of_sts_stops_those_who_have_no_session_yet() -> Result<()> {
    let World { stage, sts, _dir: _kept } = world()?;
    stage.grant_on("own", ALICE, "look", "1h")?;
    stage.grant_on("own", MALLORY, "look", "1h")?;
    assert_eq!(get(&stage, ALICE, "pods", "own")?.code, 0);
    for fault in [Fault::Throttle, Fault::Unavailable, Fault::Hang] {
        sts.fault(Some(fault))?;
        // Hers is good until it runs out, here and at the cluster.
        let cached = get(&stage, ALICE, "pods", "own")?;
        assert_eq!(cached.code, 0, "{fault:?}: {}", cached.all());
        let refused = get(&stage, MALLORY, "pods", "own")?;
        assert_eq!(refused.code, 1, "{fault:?}");
        assert!(refused.stderr.contains("cannot assume"), "{fault:?} is no reason in {}", refused.stderr);
    }
    sts.fault(None)?;
    // After a failure STS is left alone for a while, at most half a minute.
    wait_for("access after the outage", Duration::from_secs(60), || {
        get(&stage, MALLORY, "pods", "own").is_ok_and(|again| again.code == 0).then_some(())
    })
}
