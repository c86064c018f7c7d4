//! Signed requests: by whose keys, and what of a request they vouch for; against the strict STS' verifier and botocore.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, header};
use serde_json::json;
use sts::{Fault, Options, Refusal, Role, Sts, User};

use super::*;
use crate::{AwsSigner, Credential, CredentialError, SigV4Config, Source, aws::SigV4Source, session_name};

const OTHER: &str = "arn:aws:iam::111122223333:role/readers";
const SCOPE: (&str, &str) = ("execute-api", "eu-central-1");
/// A path as Bedrock AgentCore has them: an ARN in a segment.
const TARGET: &str = "/runtimes/arn%3Aaws%3Abedrock-agentcore%3Ax%2Fy/invocations?qualifier=DEFAULT&a=b%20c";
const HOST: &str = "mcp.example.com:8443";
const BODY: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

struct Rig {
    turned: Turned,
    sts: Sts,
    source: SigV4Source,
    _dir: tempfile::TempDir,
}

impl Rig {
    async fn with(change: impl FnOnce(&mut SigV4Config)) -> Self {
        let turned = Turned::new();
        let dir = tempfile::tempdir().unwrap();
        let mut role = Role::new(ROLE);
        role.trusts = vec![BASTION.into()];
        role.external_id = Some("agreed:1".into());
        role.tags = ["grant", "role", "session", "subject"].map(|tag| format!("portcullis-{tag}")).into();
        let options = Options {
            dir: Some(dir.path().to_owned()),
            users: vec![User::new("AKIDBASTION", "bastion/secret", BASTION)],
            roles: vec![role, Role::new(OTHER)],
            clock: turned.clock(),
            ..Options::default()
        };
        let sts = Sts::start(options).await.unwrap();
        let mut config: SigV4Config = serde_json::from_value(json!({
            "service": SCOPE.0, "region": SCOPE.1, "roleArn": ROLE, "externalId": "agreed:1",
            "endpoints": {"sts": sts.url()}, "certificateAuthority": dir.path().join("ca.crt"),
        }))
        .unwrap();
        change(&mut config);
        let source = SigV4Source::with_base(config, turned.clock(), Some(base())).unwrap();
        source.check().unwrap();
        Self { turned, sts, source, _dir: dir }
    }

    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A request signed for them, as a server sees it.
    async fn signed(&self, on_behalf: &OnBehalf<'_>) -> Result<HeaderMap, CredentialError> {
        let mut headers = sent();
        let credential = self.source.present(on_behalf).await?;
        assert!(matches!(credential, Credential::AwsSigV4(_)) && credential.authorization().is_none());
        credential.sign(&Verb::POST, TARGET, HOST, &mut headers, BODY)?;
        headers.insert(header::HOST, HeaderValue::from_static(HOST));
        Ok(headers)
    }

    /// Who the server is told calls.
    fn seen(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        Ok(self.sts.verify(SCOPE, ("POST", TARGET), headers, BODY)?.arn)
    }

    fn assumed(&self) -> usize {
        self.sts.journal().iter().filter(|event| event.action == "AssumeRole").count()
    }
}

/// Headers as a client sends them, with some that it has no business sending.
fn sent() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json,  text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/list"),
        ("mcp-param-a", " two   blanks "),
        ("mcp-param-a", "again"),
        ("x-amzn-bedrock-agentcore-runtime-session-id", "s-1"),
        ("authorization", "Bearer client"),
        ("authorization", "AWS4-HMAC-SHA256 Credential=client"),
        ("x-amz-date", "20200101T000000Z"),
        ("x-amz-security-token", "client"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amzn-bedrock-agentcore-runtime-user-id", "somebody-else"),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

#[tokio::test]
async fn a_request_is_signed_by_a_session_that_bears_the_persons_name() {
    let rig = Rig::new().await;
    let alice = person("https://idp.example.com", "00u1", "alice@example.com");
    let headers = rig.signed(&on_behalf(&alice, "g-41d0e2", rig.turned.now() + MINUTE * 20)).await.unwrap();
    let name = session_name(&alice);
    let arn = format!("arn:aws:sts::111122223333:assumed-role/portcullis/{name}");
    assert_eq!(rig.seen(&headers).unwrap(), arn);
    let event = &rig.sts.journal()[0];
    assert_eq!((event.session_name.as_ref(), event.source_identity.as_ref()), (Some(&name), Some(&name)));
    assert_eq!((event.external_id.as_deref(), event.duration_seconds), (Some("agreed:1"), Some(1200)));
    assert_eq!(event.tags["portcullis-grant"], "g-41d0e2");
    assert_eq!(event.tags["portcullis-subject"], "https://idp.example.com:00u1");
    // What the client said of who calls is gone, and so is what it would act as.
    assert_eq!(headers.get_all("authorization").iter().count(), 1);
    assert!(headers["authorization"].to_str().unwrap().starts_with("AWS4-HMAC-SHA256 Credential=ASIA"));
    assert!(headers["x-amz-security-token"].is_sensitive() && headers["authorization"].is_sensitive());
    assert_ne!(headers["x-amz-security-token"], "client");
    assert!(!headers.contains_key("x-amzn-bedrock-agentcore-runtime-user-id"));
    assert!(!headers.contains_key("x-amz-content-sha256"));
}

#[tokio::test]
async fn what_is_changed_on_the_way_is_refused() {
    let rig = Rig::new().await;
    let alice = person("unix", "1001", "alice");
    let headers = rig.signed(&on_behalf(&alice, "g-1", rig.turned.now())).await.unwrap();
    rig.seen(&headers).unwrap();
    let other_path = TARGET.replace("invocations", "stop");
    let other_query = TARGET.replace("DEFAULT", "next");
    let decoded = TARGET.replace("%2F", "/");
    for (scope, verb, target, body) in [
        (("bedrock-agentcore", SCOPE.1), "POST", TARGET, BODY),
        ((SCOPE.0, "eu-west-1"), "POST", TARGET, BODY),
        (SCOPE, "GET", TARGET, BODY),
        (SCOPE, "POST", &other_path, BODY),
        (SCOPE, "POST", &other_query, BODY),
        (SCOPE, "POST", &decoded, BODY),
        (SCOPE, "POST", TARGET, b"{}".as_slice()),
    ] {
        let refused = rig.sts.verify(scope, (verb, target), &headers, body).unwrap_err();
        assert_eq!(refused.code, "SignatureDoesNotMatch", "{scope:?} {verb} {target}");
    }
    for name in
        ["host", "content-type", "mcp-method", "mcp-param-a", "x-amzn-bedrock-agentcore-runtime-session-id"]
    {
        let mut changed = headers.clone();
        changed.insert(HeaderName::from_static(name), HeaderValue::from_static("other"));
        assert_eq!(rig.seen(&changed).unwrap_err().code, "SignatureDoesNotMatch", "{name}");
    }
    // What libraries and proxies set may change.
    let mut changed = headers;
    changed.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    changed.insert(header::USER_AGENT, HeaderValue::from_static("other"));
    rig.seen(&changed).unwrap();
}

#[tokio::test]
async fn keys_are_one_engineers_and_kept_for_four_fifths_of_their_life() {
    let rig = Rig::new().await;
    let (alice, bob) = (person("unix", "1001", "alice"), person("unix", "1002", "bob"));
    let ends = rig.turned.now() + MINUTE * 20;
    let asked = on_behalf(&alice, "g-1", ends);
    let id = async |asked: &OnBehalf<'_>| rig.source.present(asked).await.unwrap().id();
    let first = id(&asked).await;
    assert_eq!(id(&asked).await, first);
    let theirs = id(&on_behalf(&bob, "g-1", ends)).await;
    let again = id(&OnBehalf { aws_role: Some(OTHER), ..asked }).await;
    assert!(first != theirs && first != again && theirs != again);
    assert_eq!(rig.assumed(), 3);
    rig.turned.pass(MINUTE * 16 - SignedDuration::from_secs(1));
    assert_eq!(id(&asked).await, first);
    rig.turned.pass(SignedDuration::from_secs(1));
    assert_ne!(id(&asked).await, first);
    // Signatures say when they were made.
    rig.seen(&rig.signed(&asked).await.unwrap()).unwrap();
    let wrong = OnBehalf { aws_role: Some("readers"), ..asked };
    assert!(rig.signed(&wrong).await.unwrap_err().to_string().starts_with("awsRole: "));
}

#[tokio::test]
async fn in_an_outage_keys_are_used_to_their_end_and_no_longer() {
    let rig = Rig::new().await;
    let alice = person("unix", "1001", "alice");
    let asked = on_behalf(&alice, "g-1", rig.turned.now());
    rig.signed(&asked).await.unwrap();
    rig.sts.fail(Fault::Throttle);
    rig.turned.pass(MINUTE * 15 - SignedDuration::from_secs(1));
    rig.seen(&rig.signed(&asked).await.unwrap()).unwrap();
    rig.turned.pass(SignedDuration::from_secs(1));
    let refused = rig.signed(&asked).await.unwrap_err().to_string();
    assert!(refused.starts_with(&format!("cannot assume {ROLE} as alice-")), "{refused}");
    assert!(refused.ends_with("Throttling: Rate exceeded"), "{refused}");
}

#[tokio::test]
async fn without_a_role_the_gates_own_keys_sign() {
    let rig = Rig::with(|config| config.role_arn = None).await;
    let alice = person("unix", "1001", "alice");
    let asked = on_behalf(&alice, "g-1", rig.turned.now());
    let headers = rig.signed(&asked).await.unwrap();
    assert_eq!(rig.seen(&headers).unwrap(), BASTION);
    assert_eq!(rig.assumed(), 0);
    // Unless the engineer's role names one.
    let headers = rig.signed(&OnBehalf { aws_role: Some(OTHER), ..asked }).await.unwrap();
    let arn = format!("arn:aws:sts::111122223333:assumed-role/readers/{}", session_name(&alice));
    assert_eq!(rig.seen(&headers).unwrap(), arn);
}

#[tokio::test]
async fn a_body_that_is_not_signed_is_said_to_be() {
    let rig = Rig::with(|config| config.sign_payload = false).await;
    let alice = person("unix", "1001", "alice");
    let headers = rig.signed(&on_behalf(&alice, "g-1", rig.turned.now())).await.unwrap();
    assert_eq!(headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    rig.sts.verify(SCOPE, ("POST", TARGET), &headers, b"anything").unwrap();
}

fn signer(session_token: Option<&str>, sign_payload: bool) -> Credential {
    let credentials =
        Credentials::new("AKIDEXAMPLE", "wJalr/secret+1", session_token.map(str::to_owned), None, "test");
    let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let signer = AwsSigner::new(credentials, SCOPE.1, SCOPE.0, sign_payload, Arc::new(move || at));
    Credential::AwsSigV4(Arc::new(signer))
}

#[test]
fn a_request_with_a_signature_of_its_own_is_refused() {
    for target in ["/mcp?X-Amz-Signature=0", "/mcp?a=b&x-amz-credential=c", "/mcp?%58-Amz-Date=d"] {
        let refused = signer(None, true).sign(&Verb::POST, target, HOST, &mut sent(), BODY).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.starts_with(&format!("cannot sign the request to {HOST}: the query already has x-amz-"))
        );
    }
    let mut headers = sent();
    headers.insert("mcp-name", HeaderValue::from_bytes(b"\xff").unwrap());
    let refused = signer(None, true).sign(&Verb::POST, "/mcp", HOST, &mut headers, BODY).unwrap_err();
    assert!(refused.to_string().ends_with("header mcp-name is not plain ASCII"), "{refused}");
}

#[test]
fn no_secret_is_printed() {
    let printed = format!("{:?}", signer(Some("session+token"), true));
    assert!(!printed.contains("wJalr") && !printed.contains("session+token"), "{printed}");
}

/// Signs what it reads by botocore, and prints the Authorization headers.
const BOTOCORE: &str = r#"
import datetime, json, sys
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
at = datetime.datetime(2026, 1, 2, 3, 4, 5)
botocore.auth.get_current_datetime = lambda *args, **kwargs: at
for case in json.load(sys.stdin):
    keys = Credentials("AKIDEXAMPLE", "wJalr/secret+1", case["token"])
    request = AWSRequest(case["method"], case["url"], data=case["body"].encode())
    for name, value in case["headers"]:
        request.headers.add_header(name, value)
    request.context["payload_signing_enabled"] = case["signPayload"]
    botocore.auth.SigV4Auth(keys, "execute-api", "eu-central-1").add_auth(request)
    print(request.headers["Authorization"])
"#;

#[test]
fn signatures_are_those_of_botocore() {
    let mut cases = Vec::new();
    let mut ours = Vec::new();
    for token in [None, Some("session/token+=")] {
        for sign_payload in [true, false] {
            for (method, target, body) in [
                (Verb::POST, TARGET, "{\"a\": \"ä\"}"),
                (Verb::GET, "/", ""),
                (Verb::DELETE, "/mcp/", ""),
                (Verb::POST, "/a%20b/c~d-e_f.g?b=2&a=%2F&a=1&c=", "x"),
            ] {
                let mut headers = sent();
                signer(token, sign_payload)
                    .sign(&method, target, HOST, &mut headers, body.as_bytes())
                    .unwrap();
                ours.push(headers.remove("authorization").unwrap().to_str().unwrap().to_owned());
                // It signs whatever it is given, and is given what we sign.
                let unsigned = ["accept", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];
                let given = headers.iter().filter(|(name, _)| !unsigned.contains(&name.as_str()));
                let mut given: Vec<_> =
                    given.map(|(name, value)| json!([name.as_str(), value.to_str().unwrap()])).collect();
                given.push(json!(["host", HOST]));
                cases.push(json!({
                    "token": token, "method": method.as_str(), "url": format!("https://{HOST}{target}"),
                    "body": body, "headers": given, "signPayload": sign_payload,
                }));
            }
        }
    }
    let mut python = Command::new("python3")
        .args(["-c", BOTOCORE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test compares signatures with botocore's, which needs python3: pip install botocore");
    python.stdin.take().unwrap().write_all(json!(cases).to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "botocore did not sign: pip install botocore");
    let theirs = String::from_utf8(output.stdout).unwrap();
    assert_eq!(theirs.lines().collect::<Vec<_>>(), ours);
}
