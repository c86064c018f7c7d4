//! Sources together: who counts, who must agree, and who says nothing.

use std::sync::atomic::Ordering;

use portcullis_identity::*;
use serde_json::json;

use crate::issuer::Issuer;
use crate::rig::{ALICE, BOB, TestClock, build, identify, process};
use crate::sts::Sts;

const NOTHING: &str = "none";

struct Stage {
    issuer: Issuer,
    identities: Identities,
    clock: TestClock,
    _sts: Sts,
}

impl Stage {
    async fn new() -> Self {
        let clock = TestClock::new();
        let issuer = Issuer::start(&clock).await;
        let sts = Sts::start("arn:aws:iam::111122223333:user/bob").await;
        let yaml = format!(
            "commands: {{anyOf: [oidc, unix]}}\n{}  bindTo: uid\neks:\n  endpoints: ['https://{}']\n  \
             certificateAuthority: {}\n  mapping: [{{arn: 'arn:aws:iam::111122223333:user/bob', name: bob}}]\n",
            issuer.yaml(""),
            sts.authority,
            sts.ca().display()
        );
        Self { issuer, identities: build(&yaml, &clock), clock, _sts: sts }
    }

    async fn log_in(&self, uid: Uid, name: &str) {
        let logins = self.identities.logins().unwrap();
        let login = logins.begin_device(uid, &process(None), None).await.unwrap();
        self.issuer.decide(&login.user_code, Ok(self.issuer.claims(name, json!({}))));
        logins.wait(uid, &process(None), &login.id).await.unwrap();
    }

    async fn name(&self, uid: Uid, token: Option<&str>, acceptance: &str) -> Result<String, IdentityError> {
        identify(&self.identities, uid, token, acceptance).await.map(|i| i.subject.name.clone())
    }

    async fn silent(&self, token: Option<&str>, acceptance: &str) -> String {
        match self.name(ALICE, token, acceptance).await.unwrap_err() {
            error @ IdentityError::Silent { .. } => error.to_string(),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn the_first_with_something_to_say_names_the_person() {
    let stage = Stage::new().await;
    let jwt = stage.issuer.token("alice", json!({}));
    let (jwt, any) = (Some(jwt.as_str()), "{anyOf: [oidc, bearer, eks, unix]}");
    // `none` is what kubeconfigs without a credential hold.
    assert_eq!(stage.name(ALICE, Some(NOTHING), any).await.unwrap(), "alice");
    assert_eq!(stage.name(ALICE, None, any).await.unwrap(), "alice");
    assert_eq!(stage.name(ALICE, jwt, any).await.unwrap(), "alice@example.com");
    assert_eq!(stage.name(ALICE, jwt, "{anyOf: [unix, bearer]}").await.unwrap(), "alice");
    stage.log_in(ALICE, "alice").await;
    let identified = identify(&stage.identities, ALICE, None, any).await.unwrap();
    assert_eq!(identified.subject.method, Method::Oidc);
}

#[tokio::test]
async fn a_source_that_refuses_is_not_passed_over() {
    let stage = Stage::new().await;
    let now = stage.clock.now().as_second();
    let expired = stage.issuer.token("alice", json!({"exp": now - 61}));
    let any = "{anyOf: [bearer, eks, unix]}";
    let error = stage.name(ALICE, Some(&expired), any).await.unwrap_err();
    assert!(matches!(error, IdentityError::Bearer(TokenRefusal::Expired(_))), "{error}");
    let error = stage.name(ALICE, Some("k8s-aws-v1.aHR0cDovL2E"), any).await.unwrap_err();
    assert!(matches!(error, IdentityError::Eks(_)), "{error}");
}

#[tokio::test]
async fn a_token_of_a_kind_that_is_not_accepted_says_nothing() {
    let stage = Stage::new().await;
    let jwt = stage.issuer.token("alice", json!({}));
    assert!(stage.silent(Some(&jwt), "{anyOf: [eks]}").await.contains("no kind that is accepted"));
    assert!(stage.silent(Some(NOTHING), "{anyOf: [bearer, eks]}").await.contains("no kind that is accepted"));
    assert!(stage.silent(None, "{anyOf: [bearer, eks]}").await.contains("no token"));
    assert!(stage.silent(Some(&jwt), "{anyOf: [oidc]}").await.contains("portcullis login"));
    let both = stage.silent(Some(NOTHING), "{anyOf: [bearer, oidc]}").await;
    assert!(both.contains("no kind") && both.contains("portcullis login"));
    assert_eq!(stage.issuer.state.key_fetches.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn all_must_name_the_same_person() {
    let stage = Stage::new().await;
    let jwt = stage.issuer.token("alice", json!({}));
    let (jwt, all) = (Some(jwt.as_str()), "{allOf: [unix, oidc]}");
    assert!(stage.silent(None, all).await.contains("portcullis login"));
    stage.log_in(ALICE, "alice").await;
    let identified = identify(&stage.identities, ALICE, None, all).await.unwrap();
    assert_eq!(identified.subject.name, "alice@example.com", "the last one's");
    assert_eq!(identified.until.unwrap().as_second(), stage.clock.now().as_second() + 3660);
    let unix_last = identify(&stage.identities, ALICE, None, "{allOf: [oidc, unix]}").await.unwrap();
    assert_eq!(unix_last.subject.issuer, UNIX_ISSUER);
    assert_eq!(unix_last.until, identified.until, "for as long as both say so");
    let three = identify(&stage.identities, ALICE, jwt, "{allOf: [oidc, unix, bearer]}").await.unwrap();
    assert_eq!(three.subject.method, Method::BearerJwt);
    stage.identities.logins().unwrap().logout(ALICE, &process(None)).await.unwrap();
    for identified in [identified, unix_last, three] {
        assert!(identified.ended.is_cancelled(), "the login ended, wherever in the list it stands");
    }
}

#[tokio::test]
async fn who_does_not_agree_is_named() {
    let clock = TestClock::new();
    let issuer = Issuer::start(&clock).await;
    let identities = build(&issuer.yaml("  account: any\n"), &clock);
    let token = issuer.token("alice", json!({}));
    let error = identify(&identities, BOB, Some(&token), "{allOf: [unix, bearer]}").await.unwrap_err();
    assert!(matches!(error, IdentityError::Mismatch { .. }), "{error}");
    let text = error.to_string();
    assert_eq!(text, "unix says that this is bob, bearer that it is alice@example.com; they must agree");
}

#[tokio::test]
async fn commands_have_their_own_sources() {
    let stage = Stage::new().await;
    let command = async |uid| stage.identities.identify_command(uid, &process(None)).await.unwrap();
    assert_eq!(command(ALICE).await.subject.method, Method::Unix);
    stage.log_in(ALICE, "alice").await;
    assert_eq!(command(ALICE).await.subject.method, Method::Oidc);
    assert_eq!(command(BOB).await.subject.name, "bob");
}

#[tokio::test]
async fn a_login_is_noticed_by_whoever_remembered_none() {
    let stage = Stage::new().await;
    let any = "{anyOf: [oidc, unix]}";
    let generation = stage.identities.generation();
    let identified = identify(&stage.identities, ALICE, None, any).await.unwrap();
    assert!(stage.identities.holds(generation, &identified));
    stage.log_in(ALICE, "alice").await;
    assert!(!stage.identities.holds(generation, &identified));
}

#[tokio::test]
async fn unix_alone_is_as_before() {
    let identities = Identities::new(crate::rig::unix());
    let identified = identify(&identities, ALICE, Some(NOTHING), "{anyOf: [unix]}").await.unwrap();
    assert_eq!((identified.subject.issuer.as_str(), identified.subject.id.as_str()), ("unix", "1001"));
    assert_eq!(identified.until, None);
    assert!(identities.holds(identities.generation(), &identified));
    assert!(identities.logins().is_err());
    for (acceptance, why) in [("{anyOf: [oidc]}", "identity.oidc"), ("{anyOf: [eks]}", "identity.eks")] {
        let error = identities.check(&crate::rig::accepted(acceptance)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        let attestation = crate::rig::attestation(ALICE, None);
        let accepted = crate::rig::accepted(acceptance);
        identities
            .identify(&attestation, &Presented { bearer: Some("k8s-aws-v1.x") }, &accepted)
            .await
            .unwrap_err();
    }
}
