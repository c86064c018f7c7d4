use std::time::Duration;

use sts::{Fault, Options, Role, Sts, User};

use super::*;
use crate::{Credential, CredentialError, Source, aws::EksSource, session_name};

const OTHER: &str = "arn:aws:iam::111122223333:role/readers";

struct Rig {
    turned: Turned,
    sts: Sts,
    source: EksSource,
    _dir: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut EksConfig)) -> Self {
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
        let mut config = config(dir.path().join("ca.crt"));
        config.endpoints.sts = Some(sts.url());
        change(&mut config);
        let source = EksSource::with_base(config, turned.clock(), Some(base())).unwrap();
        source.check().unwrap();
        Self { turned, sts, source, _dir: dir }
    }

    async fn token(&self, on_behalf: &OnBehalf<'_>) -> Result<String, CredentialError> {
        let credential = self.source.present(on_behalf).await?;
        let Credential::Bearer(_) = &credential else { panic!("{credential:?}") };
        let header = credential.authorization().unwrap();
        Ok(header.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned())
    }

    /// What the cluster makes of it: the session's name.
    fn seen(&self, token: &str) -> String {
        self.sts.authenticate(token, "demo").unwrap().session_name.unwrap()
    }

    fn assumed(&self) -> usize {
        self.sts.journal().iter().filter(|event| event.action == "AssumeRole").count()
    }
}

#[tokio::test]
async fn the_session_bears_the_persons_name_and_the_grants_tags() {
    let rig = Rig::new().await;
    let alice = person("https://idp.example.com", "00u1", "alice@example.com");
    let ends = rig.turned.now() + MINUTE * 20;
    let token = rig.token(&on_behalf(&alice, "g-41d0e2", ends)).await.unwrap();
    let identity = rig.sts.authenticate(&token, "demo").unwrap();
    let name = session_name(&alice);
    assert!(name.starts_with("alice@example.com-"), "{name}");
    assert_eq!(identity.arn, format!("arn:aws:sts::111122223333:assumed-role/portcullis/{name}"));
    let event = &rig.sts.journal()[0];
    assert_eq!(event.caller.as_deref(), Some(BASTION));
    assert_eq!(event.session_name.as_ref(), Some(&name));
    assert_eq!(event.source_identity.as_ref(), Some(&name));
    assert_eq!(event.external_id.as_deref(), Some("agreed:1"));
    assert_eq!(event.duration_seconds, Some(1200));
    let tags: Vec<_> = event.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        tags,
        [
            ("portcullis-grant", "g-41d0e2"),
            ("portcullis-role", "pod-admin"),
            ("portcullis-session", "s-1"),
            ("portcullis-subject", "https://idp.example.com:00u1"),
        ]
    );
    assert!(event.policy.is_none() && event.policy_arns.is_empty());
}

#[tokio::test]
async fn the_token_is_for_this_cluster_and_signed_for_the_public_regional_host() {
    use base64::Engine as _;
    let rig = Rig::new().await;
    let alice = person("unix", "1001", "alice");
    let token = rig.token(&on_behalf(&alice, "g-1", rig.turned.now() + MINUTE * 60)).await.unwrap();
    assert!(rig.sts.authenticate(&token, "other").unwrap_err().to_string().contains("SignatureDoesNotMatch"));
    assert!(!token.ends_with('=') && token.len() < 4096, "{} bytes", token.len());
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&token["k8s-aws-v1.".len()..]).unwrap();
    let url = String::from_utf8(url).unwrap();
    assert!(
        url.starts_with(
            "https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&"
        )
    );
    for part in ["X-Amz-Expires=60", "X-Amz-SignedHeaders=host%3Bx-k8s-aws-id", "X-Amz-Security-Token="] {
        assert!(url.contains(part), "{part} in {url}");
    }
}

#[tokio::test]
async fn one_token_is_used_for_14_minutes_and_its_session_as_long_as_it_lasts() {
    let rig = Rig::new().await;
    let alice = person("unix", "1001", "alice");
    let ends = rig.turned.now() + MINUTE * 60;
    let first = rig.token(&on_behalf(&alice, "g-1", ends)).await.unwrap();
    rig.turned.pass(MINUTE * 14 - SignedDuration::from_secs(1));
    assert_eq!(rig.token(&on_behalf(&alice, "g-1", ends)).await.unwrap(), first);
    assert_eq!(rig.seen(&first), session_name(&alice));
    // At 14 minutes there is another, of the same session: STS is not asked.
    rig.turned.pass(SignedDuration::from_secs(1));
    let second = rig.token(&on_behalf(&alice, "g-1", ends)).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(rig.seen(&second), session_name(&alice));
    assert_eq!(rig.assumed(), 1);
    // 28 and 42 minutes; at 56 the session would end before the token, and there is a new one.
    for assumed in [1, 1, 2] {
        rig.turned.pass(MINUTE * 14);
        let token = rig.token(&on_behalf(&alice, "g-1", ends)).await.unwrap();
        rig.turned.pass(MINUTE * 14 - SignedDuration::from_secs(1));
        assert_eq!(rig.seen(&token), session_name(&alice));
        rig.turned.pass(MINUTE * -14 + SignedDuration::from_secs(1));
        assert_eq!(rig.assumed(), assumed);
    }
}

#[tokio::test]
async fn nobody_shares_a_session() {
    let rig = Rig::new().await;
    let ends = rig.turned.now() + MINUTE * 60;
    let (alice, namesake) = (person("unix", "1001", "alice"), person("unix", "1002", "alice"));
    let asked = on_behalf(&alice, "g-1", ends);
    let mut tokens = vec![rig.token(&asked).await.unwrap()];
    for other in [
        on_behalf(&namesake, "g-1", ends),
        on_behalf(&alice, "g-2", ends),
        OnBehalf { grant: None, expires: None, ..asked },
        OnBehalf { role: "reader", ..asked },
        OnBehalf { aws_role: Some(OTHER), ..asked },
    ] {
        tokens.push(rig.token(&other).await.unwrap());
    }
    let different: BTreeSet<_> = tokens.iter().collect();
    assert_eq!((different.len(), rig.assumed()), (6, 6));
    assert_ne!(rig.seen(&tokens[0]), rig.seen(&tokens[1]));
    let journal = rig.sts.journal();
    let event =
        |index: usize| journal.iter().filter(|event| event.action == "AssumeRole").nth(index).unwrap();
    assert_eq!(event(3).tags["portcullis-grant"], "none");
    assert_eq!(event(3).duration_seconds, Some(900));
    assert_eq!(event(5).role_arn.as_deref(), Some(OTHER));
    // Another recording of the same grant is served by the same session.
    assert_eq!(rig.token(&OnBehalf { session: "s-2", ..asked }).await.unwrap(), tokens[0]);
}

#[tokio::test]
async fn in_an_outage_a_token_is_used_to_its_end_and_then_refused_with_the_reason() {
    for (fault, said) in [
        (Fault::Throttle, "Throttling: Rate exceeded"),
        (Fault::Unavailable, "ServiceUnavailable: Service is unavailable, try again shortly"),
        (
            Fault::Redirect("https://evil.example.com/".into()),
            "what answered HTTP 302 in STS's place is not STS",
        ),
        (Fault::Garbage, "what answered HTTP 200 in STS's place is not STS"),
    ] {
        let rig = Rig::new().await;
        let alice = person("unix", "1001", "alice");
        let asked = on_behalf(&alice, "g-1", rig.turned.now() + MINUTE * 5);
        let token = rig.token(&asked).await.unwrap();
        rig.sts.fail(fault);
        rig.turned.pass(MINUTE * 14 + SignedDuration::from_secs(50));
        assert_eq!(rig.token(&asked).await.unwrap(), token);
        assert_eq!(rig.seen(&token), session_name(&alice));
        rig.turned.pass(SignedDuration::from_secs(10));
        rig.sts.authenticate(&token, "demo").unwrap_err();
        let refused = rig.token(&asked).await.unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
        assert!(refused.starts_with(&format!("cannot assume {ROLE} as alice-")), "{refused}");
        // It is over: not at once, so that STS is left in peace, but soon.
        rig.sts.fail(None);
        let before = rig.sts.journal().len();
        rig.token(&asked).await.unwrap_err();
        assert_eq!(rig.sts.journal().len(), before);
        rig.turned.pass(SignedDuration::from_secs(30));
        assert_ne!(rig.token(&asked).await.unwrap(), token);
    }
}

#[tokio::test]
async fn what_is_left_of_a_session_bridges_an_outage() {
    let rig = Rig::new().await;
    let alice = person("unix", "1001", "alice");
    let asked = on_behalf(&alice, "g-1", rig.turned.now() + MINUTE * 25);
    let first = rig.token(&asked).await.unwrap();
    rig.sts.fail(Fault::Throttle);
    rig.turned.pass(MINUTE * 15);
    // The first token is over; the session has ten minutes left, and the next one as well.
    let second = rig.token(&asked).await.unwrap();
    assert_ne!(second, first);
    rig.turned.pass(MINUTE * 10 - SignedDuration::from_secs(1));
    assert_eq!(rig.seen(&rig.token(&asked).await.unwrap()), session_name(&alice));
    rig.turned.pass(SignedDuration::from_secs(1));
    assert!(rig.token(&asked).await.unwrap_err().to_string().contains("Throttling"));
}

#[tokio::test]
async fn a_role_that_does_not_trust_us_is_refused_in_stss_words() {
    let rig = Rig::with(|config| config.external_id = Some("guessed".into())).await;
    let alice = person("unix", "1001", "alice");
    let asked = on_behalf(&alice, "g-1", rig.turned.now());
    let refused = rig.token(&asked).await.unwrap_err().to_string();
    let name = session_name(&alice);
    assert_eq!(
        refused,
        format!(
            "cannot assume {ROLE} as {name}: AccessDenied: User: {BASTION} is not authorized to perform: \
             sts:AssumeRole on resource: {ROLE}"
        )
    );
    for wrong in ["readers", "arn:aws:iam::1:role/x"] {
        let refused = rig.token(&OnBehalf { aws_role: Some(wrong), ..asked }).await.unwrap_err().to_string();
        assert!(refused.starts_with("awsRole: "), "{refused}");
    }
}

#[tokio::test]
async fn policies_and_source_identity_are_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.json");
    std::fs::write(&policy, "{\"Version\": \"2012-10-17\", \"Statement\": []}").unwrap();
    let arn = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let rig = Rig::with(|config| {
        config.session_policy_file = Some(policy);
        config.session_policy_arns = vec![arn.into()];
        config.source_identity = false;
    })
    .await;
    let alice = person("people", "alice", "alice");
    let token = rig.token(&on_behalf(&alice, "g-1", rig.turned.now())).await.unwrap();
    assert_eq!(rig.seen(&token), "alice");
    let event = &rig.sts.journal()[0];
    assert_eq!(event.policy.as_deref(), Some(r#"{"Version":"2012-10-17","Statement":[]}"#));
    assert_eq!((event.policy_arns.as_slice(), event.source_identity.as_ref()), (&[arn.to_owned()][..], None));
}

#[tokio::test]
async fn no_secret_is_printed() {
    let rig = Rig::new().await;
    let alice = person("unix", "1001", "alice");
    let asked = on_behalf(&alice, "g-1", rig.turned.now());
    let credential = rig.source.present(&asked).await.unwrap();
    let token = rig.token(&asked).await.unwrap();
    let printed = format!("{credential:?} {:?}", credential.authorization());
    assert!(!printed.contains(&token[12..40]) && !printed.contains("k8s-aws"), "{printed}");
    // STS quotes what was signed when a signature is wrong, session token included.
    let rig = Rig::new().await;
    rig.sts.fail(Fault::Fail {
        status: 403,
        code: "SignatureDoesNotMatch".into(),
        message: "The signature is wrong.\n\nThe Canonical String was 'x-amz-security-token:SECRETSECRET"
            .into(),
    });
    let error = rig.token(&asked).await.unwrap_err();
    let printed = format!("{error} {error:?}");
    assert!(printed.contains("The signature is wrong.") && !printed.contains("SECRET"), "{printed}");
}

#[tokio::test]
async fn the_daemon_starts_while_aws_is_down() {
    let rig = Rig::new().await;
    rig.sts.fail(Fault::Hang);
    rig.source.check().unwrap();
    assert!(rig.sts.journal().is_empty());
    let mut config = config("/gone".into());
    assert!(EksSource::new(config.clone(), rig.turned.clock()).err().unwrap().to_string().contains("/gone"));
    config.certificate_authority = None;
    config.endpoints.sts = Some("https://127.0.0.1:1".into());
    let source = EksSource::with_base(config, rig.turned.clock(), Some(base())).unwrap();
    let alice = person("unix", "1001", "alice");
    let refused = source.present(&on_behalf(&alice, "g-1", rig.turned.now())).await.unwrap_err().to_string();
    assert!(refused.contains("STS was not asked: "), "{refused}");
}

#[tokio::test]
async fn an_engineer_who_goes_away_while_sts_hangs_takes_nobody_along() {
    let rig = Rig::new().await;
    let alice = person("unix", "1001", "alice");
    let asked = on_behalf(&alice, "g-1", rig.turned.now());
    rig.sts.fail_next(1, Fault::Hang);
    let gone = tokio::time::timeout(Duration::from_millis(300), rig.source.present(&asked)).await;
    assert!(gone.is_err());
    // The call that hangs is given up by the SDK and made again; whoever waits for it is served.
    rig.token(&asked).await.unwrap();
    assert_eq!(rig.assumed(), 1);
}
