//! Where the gate's own AWS credentials come from: each way of the SDK's default chain, in a process with the
//! environment that such a host has, against the strict STS.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
};

use portcullis_credential::{OnBehalf, TargetPlace, UpstreamConfig, UpstreamTls, session_name};
use portcullis_identity::{Method, Subject};
use serde_json::json;
use sts::{Options, Role, Sts, User};

const ROLE: &str = "arn:aws:iam::111122223333:role/portcullis";
const BASTION: &str = "arn:aws:iam::111122223333:role/bastion";
const INSTANCE: &str = "arn:aws:sts::111122223333:assumed-role/bastion/i-0abc";
/// Names the configuration, in the process that plays the daemon.
const CONFIG: &str = "PORTCULLIS_TEST_CHAIN";

fn alice() -> Subject {
    Subject {
        issuer: "unix".into(),
        id: "1001".into(),
        name: "alice".into(),
        groups: BTreeSet::new(),
        method: Method::Unix,
        account: None,
    }
}

/// What the daemon does. It leaves the token beside its configuration, for the test that started it to look at.
#[test]
fn the_daemons_part() {
    let Some(config) = std::env::var_os(CONFIG) else { return };
    let config = Path::new(&config);
    let upstream: UpstreamConfig = serde_saphyr::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
    let made = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap();
    let tls = UpstreamTls::from_pem(Path::new("made"), made.cert.pem().as_bytes()).unwrap();
    let source = upstream.open(Some(&TargetPlace { endpoints: Vec::new(), server_name: None, tls })).unwrap();
    let alice = alice();
    let on_behalf = OnBehalf {
        subject: &alice,
        role: "pod-admin",
        grant: Some("g-1"),
        expires: None,
        session: "s-1",
        aws_role: None,
        service_account: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let credential = runtime.block_on(source.present(&on_behalf)).unwrap();
    let header = credential.authorization().unwrap();
    std::fs::write(config.with_extension("token"), header.to_str().unwrap()).unwrap();
}

/// An HTTP server that answers by path, as the container's and the instance's credential services do.
fn serve(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            respond(stream.unwrap(), &answer);
        }
    });
    address
}

fn respond(mut stream: TcpStream, answer: &impl Fn(&str) -> Option<String>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let asked = [vec![request], headers].concat().join("\n");
    let (status, body) = answer(&asked).map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
}

/// Plays the daemon with this environment and nothing else of AWS's; gives what the cluster sees, and who assumed.
async fn play(environment: &[(&str, String)]) -> (String, Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("web-identity");
    std::fs::write(&token, "a.web.identity").unwrap();
    let options = Options {
        dir: Some(dir.path().to_owned()),
        users: vec![
            User::new("AKIDSTATIC", "static", "arn:aws:iam::111122223333:user/bastion"),
            User::new("ASIAINSTANCE", "instance", INSTANCE).with_session_token("instance-token"),
        ],
        roles: vec![Role::new(ROLE), Role::new(BASTION)],
        web_identities: vec!["a.web.identity".into()],
        ..Options::default()
    };
    let sts = Sts::start(options).await.unwrap();
    let config = dir.path().join("upstream.yaml");
    let eks = json!({"eks": {
        "cluster": "demo", "region": "eu-central-1", "roleArn": ROLE, "endpoints": {"sts": sts.url()},
        "certificateAuthority": dir.path().join("ca.crt"),
    }});
    std::fs::write(&config, eks.to_string()).unwrap();
    let mut daemon = Command::new(std::env::current_exe().unwrap());
    daemon.args(["--exact", "the_daemons_part", "--nocapture"]).env_clear().env(CONFIG, &config);
    daemon.env("HOME", dir.path()).env("PATH", std::env::var_os("PATH").unwrap());
    for (name, value) in environment {
        let value = value.replace("{dir}", &dir.path().display().to_string()).replace("{sts}", &sts.url());
        daemon.env(name, value);
    }
    let output = tokio::task::spawn_blocking(move || daemon.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = std::fs::read_to_string(config.with_extension("token")).unwrap();
    let identity = sts.authenticate(token.strip_prefix("Bearer ").unwrap(), "demo").unwrap();
    let journal = sts.journal();
    let event = journal.iter().find(|event| event.action == "AssumeRole").unwrap();
    (identity.session_name.unwrap(), event.caller.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_environment() {
    let environment =
        [("AWS_ACCESS_KEY_ID", "AKIDSTATIC".to_owned()), ("AWS_SECRET_ACCESS_KEY", "static".to_owned())];
    let seen = play(&environment).await;
    assert_eq!(seen, (session_name(&alice()), Some("arn:aws:iam::111122223333:user/bastion".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_identity_as_irsa_mounts_it() {
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "{dir}/web-identity".to_owned()),
        ("AWS_ROLE_ARN", BASTION.to_owned()),
        ("AWS_ROLE_SESSION_NAME", "bastion-pod".to_owned()),
        ("AWS_ENDPOINT_URL_STS", "{sts}".to_owned()),
    ];
    let seen = play(&environment).await;
    let caller = "arn:aws:sts::111122223333:assumed-role/bastion/bastion-pod".to_owned();
    assert_eq!(seen, (session_name(&alice()), Some(caller)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_endpoint_as_pod_identity_has_it() {
    let given = json!({
        "AccessKeyId": "ASIAINSTANCE", "SecretAccessKey": "instance", "Token": "instance-token",
        "Expiration": "2099-01-01T00:00:00Z",
    });
    let authorized = |asked: &str| asked.to_ascii_lowercase().contains("authorization: a.web.identity");
    let address = serve(move |asked| {
        (asked.contains("/v1/credentials") && authorized(asked)).then(|| given.to_string())
    });
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{address}/v1/credentials")),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "{dir}/web-identity".to_owned()),
    ];
    assert_eq!(play(&environment).await, (session_name(&alice()), Some(INSTANCE.into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_role() {
    let given = json!({
        "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAINSTANCE", "SecretAccessKey": "instance",
        "Token": "instance-token", "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z",
    });
    let address = serve(move |asked| {
        let path = asked.split(' ').nth(1)?;
        let role = path.strip_prefix("/latest/meta-data/iam/security-credentials/");
        match (path, role) {
            ("/latest/api/token", _) => Some("imds-token".to_owned()),
            (_, Some("")) => Some("bastion".to_owned()),
            (_, Some("bastion")) => Some(given.to_string()),
            _ => None,
        }
    });
    let environment = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{address}"))];
    assert_eq!(play(&environment).await, (session_name(&alice()), Some(INSTANCE.into())));
}
