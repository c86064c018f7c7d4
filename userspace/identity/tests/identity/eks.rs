//! EKS tokens: whom they name, and every way in which they are refused.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use portcullis_identity::*;
use serde_json::json;

use crate::rig::{ALICE, BOB, CLUSTER, TestClock, build, identify, try_build};
use crate::sts::{Answer, Sts};

const ARN: &str = "arn:aws:sts::111122223333:assumed-role/Dev/alice";
const SIGNATURE: &str = "prod-eu-signed";

struct Stage {
    clock: TestClock,
    sts: Sts,
    identities: Identities,
}

fn yaml(sts: &Sts) -> String {
    format!(
        "eks:\n  endpoints: ['https://{}']\n  certificateAuthority: {}\n  mapping:\n  \
         - {{arn: 'arn:aws:iam::111122223333:role/team/Dev', name: '{{{{SessionName}}}}', groups: [dev]}}\n  \
         - {{arn: 'arn:aws:iam::111122223333:user/bob', name: bob, groups: [leads]}}\n",
        sts.authority,
        sts.ca().display()
    )
}

impl Stage {
    async fn new() -> Self {
        let clock = TestClock::new();
        let sts = Sts::start(ARN).await;
        let identities = build(&yaml(&sts), &clock);
        Self { clock, sts, identities }
    }

    /// The query of a presigned GetCallerIdentity, signed now for `cluster`.
    fn query(&self, cluster: &str) -> String {
        let date = self.clock.now().strftime("%Y%m%dT%H%M%SZ").to_string();
        format!(
            "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=ASIAEXAMPLE%2F20261125%2Feu-central-1%2Fsts%2Faws4_request&X-Amz-Date={date}\
             &X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Security-Token=c2VjcmV0\
             &X-Amz-Signature={cluster}-signed"
        )
    }

    fn url(&self) -> String {
        format!("https://{}/?{}", self.sts.authority, self.query(CLUSTER))
    }

    async fn identify(&self, url: &str) -> Result<Identified, IdentityError> {
        identify(&self.identities, ALICE, Some(&token(url)), "{anyOf: [eks]}").await
    }

    /// Why a URL is refused; STS is never asked about it.
    async fn refusal_of(&self, url: &str) -> EksRefusal {
        let before = self.sts.requests();
        let refusal = refusal(self.identify(url).await);
        assert_eq!(self.sts.requests(), before, "{refusal}");
        refusal
    }
}

fn token(url: &str) -> String {
    format!("k8s-aws-v1.{}", BASE64.encode(url))
}

fn refusal(result: Result<Identified, IdentityError>) -> EksRefusal {
    let error = result.unwrap_err();
    for secret in [SIGNATURE, "c2VjcmV0", "ASIAEXAMPLE"] {
        assert!(!error.to_string().contains(secret), "{error}");
        assert!(!format!("{error:?}").contains(secret), "{error:?}");
    }
    match error {
        IdentityError::Eks(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_token_names_whom_its_role_is_mapped_to() {
    let stage = Stage::new().await;
    let url = stage.url();
    let identified = stage.identify(&url).await.unwrap();
    let subject = &identified.subject;
    assert_eq!((subject.issuer.as_str(), subject.id.as_str(), subject.name.as_str()), ("aws", ARN, "alice"));
    assert_eq!(subject.groups.iter().collect::<Vec<_>>(), ["dev"]);
    assert_eq!(subject.method, Method::EksToken);
    assert_eq!(identified.until.unwrap().as_second(), stage.clock.now().as_second() + 900);
    // Remembered until it runs out, and not a second longer.
    stage.clock.pass(899);
    stage.identify(&url).await.unwrap();
    assert_eq!(stage.sts.requests(), 1);
    stage.clock.pass(1);
    assert!(matches!(stage.refusal_of(&url).await, EksRefusal::Expired(_)));

    stage.sts.answer_with(Answer::Caller("arn:aws:iam::111122223333:user/bob".into()));
    assert_eq!(stage.identify(&stage.url()).await.unwrap().subject.name, "bob");
}

#[tokio::test]
async fn a_token_for_another_cluster_is_refused() {
    let stage = Stage::new().await;
    let url = format!("https://{}/?{}", stage.sts.authority, stage.query("prod-us"));
    assert_eq!(refusal(stage.identify(&url).await), EksRefusal::Signature);
    // What was verified for one cluster is not for another.
    stage.identify(&stage.url()).await.unwrap();
    let accepted = Accepted { eks_cluster: Some("prod-us".into()), ..crate::rig::accepted("{anyOf: [eks]}") };
    let (good, attestation) = (token(&stage.url()), crate::rig::attestation(ALICE, None));
    let presented = Presented { bearer: Some(&good) };
    let result = stage.identities.identify(&attestation, &presented, &accepted).await;
    assert_eq!(refusal(result), EksRefusal::Signature);
    // The header is not signed at all.
    let unsigned = stage.url().replace("host%3Bx-k8s-aws-id", "host");
    assert_eq!(stage.refusal_of(&unsigned).await, EksRefusal::ClusterUnsigned);
}

#[tokio::test]
async fn a_token_of_another_time_is_refused() {
    let stage = Stage::new().await;
    let url = stage.url();
    stage.clock.pass(16 * 60);
    let old = stage.refusal_of(&url).await;
    assert!(matches!(old, EksRefusal::Expired(_)), "{old}");
    let url = stage.url();
    stage.clock.pass(-61);
    let future = stage.refusal_of(&url).await;
    assert!(matches!(future, EksRefusal::Future(_)), "{future}");
    stage.clock.pass(1);
    stage.identify(&url).await.unwrap();
}

#[tokio::test]
async fn a_token_that_leads_elsewhere_is_refused() {
    let stage = Stage::new().await;
    let (good, authority) = (stage.url(), stage.sts.authority.clone());
    let at = |host: &str| good.replace(&authority, host);
    for host in [
        "sts.example.com",
        "sts.amazonaws.com.example.com",
        "evil-sts.amazonaws.com",
        "sts.eu-central-1.amazonaws.com.",
        "sts.evil.amazonaws.com",
        "s3.eu-central-1.amazonaws.com",
        "sts.eu-central-1.amazonaws.com:8443",
        "169.254.169.254",
        "127.0.0.1",
        "[::1]",
        "localhost:1",
    ] {
        let refusal = stage.refusal_of(&at(host)).await;
        assert!(matches!(refusal, EksRefusal::Host(_)), "{host}: {refusal}");
    }
    assert_eq!(stage.refusal_of(&good.replace("https://", "http://")).await, EksRefusal::Scheme);
    assert_eq!(stage.refusal_of(&good.replace("/?", "/evil?")).await, EksRefusal::Path);
    for odd in [
        at(&format!("alice@{authority}")),
        at(&format!("alice:pw@{authority}")),
        format!("{good}#x"),
        good.replace("https://", "HTTPS://"),
        good.replace("https://", "https:\\\\"),
        good.replace("/?", "/./?"),
        good.replace("/?", "/%2e/?"),
        good.replace("/?", "?"),
        format!("{good}\n"),
        good.replace("Action", "Act\tion"),
        format!(" {good}"),
        good.replace('&', ";"),
    ] {
        let refusal = stage.refusal_of(&odd).await;
        assert!(matches!(refusal, EksRefusal::Malformed(_)), "{odd}: {refusal}");
    }
}

#[tokio::test]
async fn a_token_with_other_parameters_is_refused() {
    let stage = Stage::new().await;
    let good = stage.url();
    for (extra, expected) in [
        ("&X-Amz-Date=20261125T120000Z", EksRefusal::Duplicate("x-amz-date".into())),
        ("&action=GetCallerIdentity", EksRefusal::Duplicate("action".into())),
        ("&x-amz-signedheaders=host", EksRefusal::Duplicate("x-amz-signedheaders".into())),
        ("&%58-Amz-Date=20261125T120000Z", EksRefusal::Duplicate("x-amz-date".into())),
        ("&RoleArn=x", EksRefusal::Parameter("RoleArn".into())),
        ("&", EksRefusal::Parameter(String::new())),
    ] {
        let url = format!("{good}{extra}");
        if extra == "&" {
            stage.identify(&url).await.unwrap(); // nothing is added
            continue;
        }
        assert_eq!(stage.refusal_of(&url).await, expected);
    }
    for (from, to, name) in [
        ("GetCallerIdentity", "AssumeRole", "action"),
        ("Action=GetCallerIdentity&", "", "action"),
        ("2011-06-15", "2010-01-01", "version"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "x-amz-algorithm"),
        ("Expires=60", "Expires=901", "x-amz-expires"),
        ("Expires=60", "Expires=0", "x-amz-expires"),
        ("Expires=60", "Expires=-1", "x-amz-expires"),
        ("Expires=60", "Expires=%2B60", "x-amz-expires"),
        ("&X-Amz-Expires=60", "", "x-amz-expires"),
        ("X-Amz-Date=2026", "X-Amz-Date=26", "x-amz-date"),
        ("X-Amz-Date=20261125", "X-Amz-Date=20261131", "x-amz-date"),
        ("X-Amz-Signature=prod-eu-signed", "X-Amz-Signature=", "x-amz-signature"),
    ] {
        let url = good.replace(from, to);
        assert_ne!(url, good);
        let refusal = stage.refusal_of(&url).await;
        assert!(matches!(refusal, EksRefusal::Value { name: found, .. } if found == name), "{to}: {refusal}");
    }
    // Version may be left out, and case is the signer's.
    stage.identify(&good.replace("&Version=2011-06-15", "")).await.unwrap();
    stage.identify(&good.replace("X-Amz-Expires", "x-amz-expires")).await.unwrap();
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let stage = Stage::new().await;
    let refusal_of =
        async |token: &str| refusal(identify(&stage.identities, ALICE, Some(token), "{anyOf: [eks]}").await);
    assert_eq!(
        refusal_of(&format!("{}{}", token(&stage.url()), "A".repeat(4096))).await,
        EksRefusal::TooLong
    );
    for odd in ["k8s-aws-v1.", "k8s-aws-v1.!!!", "k8s-aws-v1.aHR0cHM6Ly9h=", "k8s-aws-v1._w"] {
        assert!(matches!(refusal_of(odd).await, EksRefusal::Malformed(_)), "{odd}");
    }
    assert_eq!(stage.sts.requests(), 0);
}

#[tokio::test]
async fn answers_that_confirm_nothing_are_refused() {
    let stage = Stage::new().await;
    let url = stage.url();
    let elsewhere = Sts::start(ARN).await;
    let to = format!("https://{}/", elsewhere.authority);
    stage.sts.answer_with(Answer::Redirect(to));
    let redirected = refusal(stage.identify(&url).await);
    assert!(matches!(redirected, EksRefusal::Sts(WebError::Redirected { status: 302, .. })), "{redirected}");
    assert_eq!(elsewhere.requests(), 0);

    stage.sts.answer_with(Answer::Endless);
    let endless = refusal(stage.identify(&url).await);
    assert!(matches!(endless, EksRefusal::Sts(WebError::TooLarge { .. })), "{endless}");
    for (status, json) in [(503, json!({})), (200, json!({})), (200, json!({"GetCallerIdentityResponse": 7}))]
    {
        stage.sts.answer_with(Answer::Raw(status, json));
        let odd = refusal(stage.identify(&url).await);
        assert!(matches!(odd, EksRefusal::Sts(_)), "{odd}");
    }
    let result = json!({"Account": "444455556666", "Arn": ARN});
    let other = json!({"GetCallerIdentityResponse": {"GetCallerIdentityResult": result}});
    stage.sts.answer_with(Answer::Raw(200, other));
    assert!(matches!(refusal(stage.identify(&url).await), EksRefusal::Answer(_)));
    // None of that was remembered.
    stage.sts.answer_with(Answer::Caller(ARN.into()));
    stage.identify(&url).await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_nobody_vouches_for_is_not_believed() {
    let stage = Stage::new().await;
    let ca = format!("  certificateAuthority: {}\n", stage.sts.ca().display());
    let identities = build(&yaml(&stage.sts).replace(&ca, ""), &stage.clock);
    let url = token(&stage.url());
    let untrusted = refusal(identify(&identities, ALICE, Some(&url), "{anyOf: [eks]}").await);
    assert!(matches!(untrusted, EksRefusal::Sts(WebError::Unreachable { .. })), "{untrusted}");
    assert_eq!(stage.sts.requests(), 0);
}

#[tokio::test]
async fn who_is_not_mapped_is_named() {
    let stage = Stage::new().await;
    stage.sts.answer_with(Answer::Caller("arn:aws:sts::111122223333:assumed-role/Ops/alice".into()));
    let unmapped = refusal(stage.identify(&stage.url()).await);
    assert_eq!(unmapped, EksRefusal::Unmapped("arn:aws:iam::111122223333:role/Ops".into()));
}

#[tokio::test]
async fn sessions_of_people_and_the_kernel_s_word_go_together() {
    let stage = Stage::new().await;
    let url = token(&stage.url());
    let both = "{allOf: [unix, eks]}";
    assert_eq!(identify(&stage.identities, ALICE, Some(&url), both).await.unwrap().subject.issuer, "aws");
    let error = identify(&stage.identities, BOB, Some(&url), both).await.unwrap_err();
    assert!(
        matches!(&error, IdentityError::Mismatch { first, second, .. } if first == "bob" && second == "alice")
    );

    let people =
        format!("people:\n- name: ann\n  accounts: [{{issuer: aws, id: '{ARN}'}}]\n{}", yaml(&stage.sts));
    let identities = build(&people, &stage.clock);
    let identified = identify(&identities, BOB, Some(&url), "{anyOf: [eks]}").await.unwrap();
    assert_eq!((identified.subject.issuer.as_str(), identified.subject.id.as_str()), ("people", "ann"));
}

#[tokio::test]
async fn what_is_configured_is_checked() {
    let clock = TestClock::new();
    let sts = Sts::start(ARN).await;
    let good = yaml(&sts);
    for (yaml, why) in [
        (good.replace("https://", "http://"), "endpoints"),
        (good.replace(&sts.authority, "x.example/path"), "endpoints"),
        (good.replace("{{SessionName}}", "{{AccountID}}"), "SessionName"),
        (good.replace("[leads]", "['system:masters']"), "system:"),
        ("eks: {mapping: []}\n".to_owned(), "empty"),
        ("eks: {}\n".to_owned(), "mapping"),
    ] {
        let error = try_build(&yaml, &clock).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let identities = build(&good, &clock);
    let mut accepted = crate::rig::accepted("{anyOf: [eks]}");
    accepted.eks_cluster = None;
    assert!(identities.check(&accepted).unwrap_err().to_string().contains("eksCluster"));
    accepted.eks_cluster = Some("a\r\nb".into());
    assert!(identities.check(&accepted).unwrap_err().to_string().contains("eksCluster"));
}
