//! Signatures made by AWS's own library against this verifier, and every way of tampering with them.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use jiff::SignedDuration;
use reqwest::{Client, StatusCode, redirect};
use serde_json::{Value, json};
use sts::{Fault, Options, Role, Sts, User};

const ROLE: &str = "arn:aws:iam::111122223333:role/team/portcullis";

async fn start() -> Sts {
    let mut role = Role::new(ROLE);
    role.external_id = Some("agreed".into());
    role.tags = vec!["portcullis-grant".into()];
    role.source_identity = true;
    let users = vec![
        User::new("AKIDBASE", "base/secret+1", "arn:aws:iam::111122223333:user/bastion"),
        User::new("ASIADEV", "dev", "arn:aws:sts::111122223333:assumed-role/Dev/alice")
            .with_session_token("t/o+k="),
    ];
    Sts::start(Options { users, roles: vec![role], ..Options::default() }).await.unwrap()
}

fn client(sts: &Sts) -> Client {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let ca = reqwest::Certificate::from_pem(sts.ca_pem().as_bytes()).unwrap();
    Client::builder().tls_certs_only([ca]).redirect(redirect::Policy::none()).build().unwrap()
}

fn base() -> Credentials {
    Credentials::new("AKIDBASE", "base/secret+1", None, None, "test")
}

fn settings(location: SignatureLocation) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.signature_location = location;
    settings.expires_in = Some(Duration::from_secs(60));
    settings
}

type Fields = Vec<(String, String)>;

/// Signs and gives back the headers to add and the query to append.
fn signed(
    credentials: &Credentials,
    region: &str,
    (method, url, headers, body): (&str, &str, &[(&str, &str)], &str),
    location: SignatureLocation,
) -> (Fields, Fields) {
    let identity = credentials.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(SystemTime::now())
        .settings(settings(location))
        .build()
        .unwrap();
    let request =
        SignableRequest::new(method, url, headers.iter().copied(), SignableBody::Bytes(body.as_bytes()))
            .unwrap();
    let (instructions, _) = sign(request, &params.into()).unwrap().into_parts();
    let (headers, query) = instructions.into_parts();
    (
        headers.iter().map(|header| (header.name().to_owned(), header.value().to_owned())).collect(),
        query.into_iter().map(|(name, value)| (name.to_owned(), value.into_owned())).collect(),
    )
}

fn form(fields: &[(&str, &str)]) -> String {
    reqwest::Url::parse_with_params("https://x/", fields).unwrap().query().unwrap().to_owned()
}

/// Posts a form, signed for one body and sent with another where a test wants that.
async fn post(sts: &Sts, credentials: &Credentials, to_sign: &str, to_send: &str) -> (StatusCode, Value) {
    let url = format!("{}/", sts.url());
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let (headers, _) =
        signed(credentials, "eu-central-1", ("POST", &url, &kind, to_sign), SignatureLocation::Headers);
    let mut request = client(sts)
        .post(&url)
        .header("content-type", kind[0].1)
        .header("accept", "application/json")
        .body(to_send.to_owned());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

fn assume<'a>(change: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "alice@example.com"),
        ("SourceIdentity", "alice"),
        ("ExternalId", "agreed"),
        ("DurationSeconds", "900"),
        ("Tags.member.1.Key", "portcullis-grant"),
        ("Tags.member.1.Value", "g-1"),
    ];
    for (name, value) in change {
        fields.retain(|(known, _)| known != name);
        if !value.is_empty() {
            fields.push((name, value));
        }
    }
    fields
}

/// A presigned GetCallerIdentity.
fn presigned(sts: &Sts, credentials: &Credentials, cluster: &str) -> String {
    let url = format!("{}/?Action=GetCallerIdentity&Version=2011-06-15", sts.url());
    let headers = [("x-k8s-aws-id", cluster)];
    let (_, query) =
        signed(credentials, "eu-central-1", ("GET", &url, &headers, ""), SignatureLocation::QueryParams);
    reqwest::Url::parse_with_params(&url, query).unwrap().into()
}

fn token(url: &str) -> String {
    use base64::Engine as _;
    format!("k8s-aws-v1.{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(url))
}

#[tokio::test]
async fn a_role_is_assumed_and_its_keys_sign() {
    let sts = start().await;
    let body = form(&assume(&[]));
    let (status, answer) = post(&sts, &base(), &body, &body).await;
    assert_eq!(status, 200, "{answer}");
    let result = &answer["AssumeRoleResponse"]["AssumeRoleResult"];
    assert_eq!(
        result["AssumedRoleUser"]["Arn"],
        "arn:aws:sts::111122223333:assumed-role/portcullis/alice@example.com"
    );
    let key = |name: &str| result["Credentials"][name].as_str().unwrap().to_owned();
    let session = |token: Option<String>| {
        Credentials::new(key("AccessKeyId"), key("SecretAccessKey"), token, None, "test")
    };
    let who = form(&[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]);
    let (status, answer) = post(&sts, &session(Some(key("SessionToken"))), &who, &who).await;
    assert_eq!(status, 200);
    assert_eq!(
        answer["GetCallerIdentityResponse"]["GetCallerIdentityResult"]["Arn"],
        result["AssumedRoleUser"]["Arn"]
    );
    // Without its session token, or with another, the key is worth nothing; and it ends when it was said to.
    for token in [None, Some("other".to_owned())] {
        let (status, answer) = post(&sts, &session(token), &who, &who).await;
        assert_eq!((status.as_u16(), &answer["Error"]["Code"]), (403, &json!("InvalidClientTokenId")));
    }
    let event = &sts.journal()[0];
    assert_eq!(event.session_name.as_deref(), Some("alice@example.com"));
    assert_eq!(event.source_identity.as_deref(), Some("alice"));
    assert_eq!(event.external_id.as_deref(), Some("agreed"));
    assert_eq!(event.tags["portcullis-grant"], "g-1");
    assert_eq!(event.duration_seconds, Some(900));
    assert_eq!(event.caller.as_deref(), Some("arn:aws:iam::111122223333:user/bastion"));
    sts.shift(SignedDuration::from_mins(15));
    let url = presigned(&sts, &session(Some(key("SessionToken"))), "demo");
    let refused = sts.authenticate(&token(&url), "demo").unwrap_err().to_string();
    assert!(refused.contains("ExpiredToken"), "{refused}");
}

#[tokio::test]
async fn what_the_trust_policy_or_the_reference_forbids_is_refused() {
    let sts = start().await;
    let long = "x".repeat(65);
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("AccessDenied", &[("ExternalId", "guessed")]),
        ("AccessDenied", &[("ExternalId", "")]),
        ("AccessDenied", &[("SourceIdentity", "")]),
        ("AccessDenied", &[("Tags.member.1.Key", "other")]),
        ("AccessDenied", &[("RoleArn", "arn:aws:iam::111122223333:role/other")]),
        ("ValidationError", &[("RoleSessionName", "a")]),
        ("ValidationError", &[("RoleSessionName", "alice smith")]),
        ("ValidationError", &[("RoleSessionName", "ålice")]),
        ("ValidationError", &[("RoleSessionName", "alice/1")]),
        ("ValidationError", &[("RoleSessionName", &long)]),
        ("MissingParameter", &[("RoleSessionName", "")]),
        ("ValidationError", &[("SourceIdentity", "a b")]),
        ("ValidationError", &[("Tags.member.1.Value", "g#1")]),
        ("MissingParameter", &[("Tags.member.1.Value", "")]),
        ("ValidationError", &[("Tags.member.2.Key", "Portcullis-Grant"), ("Tags.member.2.Value", "x")]),
        ("ValidationError", &[("DurationSeconds", "899")]),
        ("ValidationError", &[("DurationSeconds", "3601")]),
        ("MalformedPolicyDocument", &[("Policy", "{")]),
        ("ValidationError", &[("Surprise", "x")]),
        ("ValidationError", &[("Version", "2010-01-01")]),
        ("InvalidAction", &[("Action", "GetSessionToken")]),
    ];
    for (code, change) in cases {
        let body = form(&assume(change));
        let (_, answer) = post(&sts, &base(), &body, &body).await;
        assert_eq!(answer["Error"]["Code"], *code, "{change:?}: {answer}");
    }
    assert_eq!(sts.journal().last().unwrap().error.as_deref(), Some("InvalidAction"));
}

#[tokio::test]
async fn a_signature_is_for_one_body_key_and_region() {
    let sts = start().await;
    let body = form(&assume(&[]));
    let other = form(&assume(&[("RoleSessionName", "mallory")]));
    let forged = Credentials::new("AKIDBASE", "guessed", None, None, "test");
    let unknown = Credentials::new("AKIDNOBODY", "x", None, None, "test");
    for (credentials, sent, code) in [
        (base(), &other, "SignatureDoesNotMatch"),
        (forged, &body, "SignatureDoesNotMatch"),
        (unknown, &body, "InvalidClientTokenId"),
    ] {
        let (status, answer) = post(&sts, &credentials, &body, sent).await;
        assert_eq!((status.as_u16(), &answer["Error"]["Code"]), (403, &json!(code)));
    }
    // The key of one region opens no other: the public hosts name theirs.
    let url = "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15";
    for (region, good) in [("us-east-1", true), ("eu-central-1", false)] {
        let headers = [("x-k8s-aws-id", "demo")];
        let (_, query) = signed(&base(), region, ("GET", url, &headers, ""), SignatureLocation::QueryParams);
        let url = reqwest::Url::parse_with_params(url, query).unwrap();
        assert_eq!(sts.authenticate(&token(url.as_str()), "demo").is_ok(), good, "{region}");
    }
    for shift in [SignedDuration::from_mins(15), SignedDuration::from_mins(-31)] {
        sts.shift(shift);
        let (_, answer) = post(&sts, &base(), &body, &body).await;
        assert_eq!(answer["Error"]["Code"], "SignatureDoesNotMatch", "{answer}");
    }
}

#[tokio::test]
async fn a_presigned_url_is_good_for_its_cluster_and_its_time() {
    let sts = start().await;
    let dev = Credentials::new("ASIADEV", "dev", Some("t/o+k=".into()), None, "test");
    let url = presigned(&sts, &dev, "demo");
    let get = |cluster: Option<&'static str>| {
        let request = client(&sts).get(&url).header("accept", "application/json");
        let request = match cluster {
            Some(cluster) => request.header("x-k8s-aws-id", cluster),
            None => request,
        };
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(get(Some("demo")).await, 200);
    assert_eq!(get(Some("other")).await, 403);
    assert_eq!(get(None).await, 403);
    let identity = sts.authenticate(&token(&url), "demo").unwrap();
    assert_eq!(identity.arn, "arn:aws:sts::111122223333:assumed-role/Dev/alice");
    assert_eq!(identity.session_name.as_deref(), Some("alice"));
    assert_eq!(identity.account, "111122223333");
    sts.shift(SignedDuration::from_secs(14 * 60 + 50));
    assert!(sts.authenticate(&token(&url), "demo").is_ok());
    sts.shift(SignedDuration::from_secs(11));
    assert!(sts.authenticate(&token(&url), "demo").unwrap_err().to_string().contains("Signature expired"));
}

#[tokio::test]
async fn tokens_that_a_cluster_must_not_take() {
    let sts = start().await;
    let url = presigned(&sts, &base(), "demo");
    assert!(sts.authenticate(&token(&url), "demo").is_ok());
    let at = sts.address().to_string();
    let cases = [
        (token(&url).replace("k8s-aws-v1.", "k8s-aws-v2."), "k8s-aws-v1."),
        (format!("{}=", token(&url)), "base64url"),
        (token(&url.replace("https:", "http:")), "https"),
        (token(&url.replace(&at, "evil.example.com")), "another host"),
        (token(&url.replace(&at, &format!("{at}@evil.example.com"))), "another host"),
        (token(&url.replace("/?", "/x?")), "path"),
        (token(&format!("{url}&Action=GetCallerIdentity")), "twice"),
        (token(&format!("{url}&action=AssumeRole")), "twice"),
        (token(&format!("{url}&X-Extra=1")), "unknown parameter"),
        (token(&format!("{url}#x")), "fragment"),
        (token(&url.replace("GetCallerIdentity", "AssumeRole")), "action"),
        (token(&url.replace("x-k8s-aws-id", "x-other")), "not signed"),
        (token(&format!("{url}{}", "x".repeat(4096))), "4096"),
        (token(&url.replace("X-Amz-Expires=60", "X-Amz-Expires=604800")), "SignatureDoesNotMatch"),
        (token(&url.replace("X-Amz-Expires=60", "X-Amz-Expires=0")), "ValidationError"),
    ];
    for (token, why) in cases {
        let refused = sts.authenticate(&token, "demo").unwrap_err().to_string();
        assert!(refused.contains(why), "{why}: {refused}");
    }
    assert!(
        sts.authenticate(&token(&url), "other").unwrap_err().to_string().contains("SignatureDoesNotMatch")
    );
    assert!(sts.authenticate(&token(&url), "de\nmo").is_err());
}

#[tokio::test]
async fn faults_come_as_told_and_are_seen_over_the_wire() {
    let sts = start().await;
    let client = client(&sts);
    let control = |what: &str| format!("{}/control/{what}", sts.url());
    let who = form(&[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]);
    sts.fail_next(1, Fault::Throttle);
    assert_eq!(post(&sts, &base(), &who, &who).await.1["Error"]["Code"], "Throttling");
    assert_eq!(post(&sts, &base(), &who, &who).await.0, 200);
    let fault = json!({"fault": {"redirect": "https://evil.example.com/"}});
    assert_eq!(client.post(control("fault")).json(&fault).send().await.unwrap().status(), 200);
    let response = client.get(sts.url()).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (302, &"https://evil.example.com/".parse().unwrap())
    );
    sts.fail(Fault::Hang);
    let hung = client.get(sts.url()).timeout(Duration::from_millis(200)).send().await;
    assert!(hung.unwrap_err().is_timeout());
    sts.fail(None);
    let url = presigned(&sts, &base(), "demo");
    let ask = json!({"token": token(&url), "cluster": "demo"});
    let identity: Value =
        client.post(control("authenticate")).json(&ask).send().await.unwrap().json().await.unwrap();
    assert_eq!(identity["arn"], "arn:aws:iam::111122223333:user/bastion");
    assert_eq!(identity["sessionName"], Value::Null);
    client.post(control("shift")).json(&json!({"seconds": 901})).send().await.unwrap();
    let refused = client.post(control("authenticate")).json(&ask).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let journal: Vec<sts::Event> = client.get(control("journal")).send().await.unwrap().json().await.unwrap();
    assert_eq!(journal, sts.journal());
    assert!(!serde_json::to_string(&journal).unwrap().contains("secret"));
}
