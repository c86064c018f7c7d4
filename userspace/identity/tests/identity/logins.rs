//! `portcullis login` from beginning to end: both flows, renewal, logout, expiry, and what does not come about.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portcullis_identity::*;
use serde_json::{Value, json};

use crate::issuer::Issuer;
use crate::rig::{ALICE, BOB, TestClock, attestation, build, identify, process};

const SESSION: Option<u32> = Some(3);

struct Stage {
    clock: TestClock,
    issuer: Issuer,
    identities: Arc<Identities>,
}

impl Stage {
    async fn with(more: &str, people: &str) -> Self {
        let clock = TestClock::new();
        let issuer = Issuer::start(&clock).await;
        let people = people.replace("ISSUER", &issuer.url);
        let identities = Arc::new(build(&format!("{people}{}", issuer.yaml(more)), &clock));
        Self { clock, issuer, identities }
    }

    async fn new() -> Self {
        Self::with("", "").await
    }

    fn logins(&self) -> &Logins {
        self.identities.logins().unwrap()
    }

    async fn begin(&self, uid: Uid) -> DeviceLogin {
        self.logins().begin_device(uid, &process(SESSION), None).await.unwrap()
    }

    async fn poll(&self, uid: Uid, id: &str) -> Result<Polled, IdentityError> {
        self.logins().poll(uid, &process(SESSION), id).await
    }

    /// A device login of `name` on the account of `uid`, confirmed at once.
    async fn log_in(&self, uid: Uid, name: &str, changes: Value) -> Result<LoggedIn, IdentityError> {
        let login = self.begin(uid).await;
        self.issuer.decide(&login.user_code, Ok(self.issuer.claims(name, changes)));
        self.logins().wait(uid, &process(SESSION), &login.id).await
    }

    async fn identify(&self, uid: Uid, session: Option<u32>) -> Result<Identified, IdentityError> {
        let accepted = crate::rig::accepted("{anyOf: [oidc]}");
        self.identities.identify(&attestation(uid, session), &Presented::default(), &accepted).await
    }

    async fn is_alice(&self, uid: Uid, session: Option<u32>) -> bool {
        match self.identify(uid, session).await {
            Ok(identified) => identified.subject.name == "alice@example.com",
            Err(IdentityError::Silent { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }

    fn token_requests(&self) -> u32 {
        self.issuer.state.token_requests.load(Ordering::SeqCst)
    }
}

fn login_error(error: IdentityError) -> LoginError {
    match error {
        IdentityError::Login(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_device_login_from_code_to_logout() {
    let stage = Stage::new().await;
    let before = stage.identities.generation();
    assert!(!stage.is_alice(ALICE, SESSION).await);

    let login = stage.begin(ALICE).await;
    assert_eq!(login.issuer, "corp");
    assert_eq!(login.verification_uri, format!("{}/activate", stage.issuer.url));
    assert!(login.verification_uri_complete.unwrap().contains(&login.user_code));
    let five = std::time::Duration::from_secs(5);
    assert_eq!(stage.poll(ALICE, &login.id).await.unwrap(), Polled::Pending { after: five });
    stage.issuer.decide(&login.user_code, Ok(stage.issuer.claims("alice", json!({}))));
    // Too early: the provider is not even asked.
    assert_eq!(stage.poll(ALICE, &login.id).await.unwrap(), Polled::Pending { after: five });
    assert_eq!(stage.token_requests(), 1);
    stage.clock.pass(5);
    let Polled::Done(done) = stage.poll(ALICE, &login.id).await.unwrap() else { panic!("confirmed") };
    assert_eq!(done.subject.name, "alice@example.com");
    assert_eq!(done.subject.method, Method::Oidc);
    assert!(done.renewed);
    assert!(stage.identities.generation() > before, "the next request notices");

    let identified = stage.identify(ALICE, SESSION).await.unwrap();
    assert_eq!(identified.subject.groups.iter().collect::<Vec<_>>(), ["dev"]);
    assert_eq!(identified.until, Some(done.until));
    assert!(!stage.is_alice(ALICE, Some(4)).await, "another session of alice's logs in by itself");
    assert!(!stage.is_alice(ALICE, None).await);
    assert!(!stage.is_alice(BOB, SESSION).await);
    // sudo: root, with alice's login uid and session
    let mut sudo = attestation(Uid::ROOT, SESSION);
    sudo.process.loginuid = Some(ALICE);
    let accepted = crate::rig::accepted("{anyOf: [oidc]}");
    let root = stage.identities.identify(&sudo, &Presented::default(), &accepted).await.unwrap();
    assert_eq!(root.subject.name, "alice@example.com");
    assert_eq!(stage.logins().current(ALICE, &process(SESSION)).unwrap().unwrap(), done);

    let generation = stage.identities.generation();
    let out = stage.logins().logout(ALICE, &process(SESSION)).await.unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].not_revoked, None);
    let revoked = stage.issuer.state.revoked.lock().unwrap().clone();
    assert!(revoked.len() == 1 && revoked[0].starts_with("refresh-"), "{revoked:?}");
    assert!(identified.ended.is_cancelled());
    assert!(!stage.identities.holds(generation, &identified));
    assert!(!stage.is_alice(ALICE, SESSION).await);
    assert_eq!(stage.logins().current(ALICE, &process(SESSION)).unwrap(), None);
    assert!(stage.logins().logout(ALICE, &process(SESSION)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_browser_login_from_url_to_expiry() {
    let stage = Stage::new().await;
    let login = stage.logins().begin_browser(ALICE, &process(SESSION), Some("corp"), 45454).await.unwrap();
    assert_eq!(login.redirect_uri, "http://127.0.0.1:45454/callback");
    let (code, state) = stage.issuer.authorize(&login.authorization_uri, "alice", json!({}));
    let done =
        stage.logins().finish_browser(ALICE, &process(SESSION), &login.id, &code, &state).await.unwrap();
    assert_eq!(done.subject.name, "alice@example.com");
    let identified = stage.identify(ALICE, SESSION).await.unwrap();

    // Renewed five minutes before its hour is over, with new groups, without being cut.
    stage.issuer.change("alice", json!({"groups": ["dev", "leads"]}));
    stage.clock.pass(55 * 60 - 1);
    stage.logins().tick_and_wait().await;
    assert_eq!(stage.token_requests(), 1);
    stage.clock.pass(1);
    let generation = stage.identities.generation();
    stage.logins().tick_and_wait().await;
    assert_eq!(stage.token_requests(), 2);
    assert!(!stage.identities.holds(generation, &identified), "groups changed");
    assert!(!identified.ended.is_cancelled());
    let renewed = stage.identify(ALICE, SESSION).await.unwrap();
    assert!(renewed.subject.groups.contains("leads"));
    assert!(renewed.until > identified.until);

    // The provider takes its refresh tokens back: the login runs out.
    stage.issuer.forget_refresh_tokens();
    stage.clock.pass(55 * 60);
    stage.logins().tick_and_wait().await;
    assert!(stage.is_alice(ALICE, SESSION).await);
    let requests = stage.token_requests();
    stage.clock.pass(60);
    stage.logins().tick_and_wait().await;
    assert_eq!(stage.token_requests(), requests, "refused once is refused");
    stage.clock.pass(5 * 60);
    stage.logins().tick_and_wait().await;
    assert!(renewed.ended.is_cancelled());
    assert!(!stage.is_alice(ALICE, SESSION).await);
}

#[tokio::test]
async fn a_login_runs_out_without_a_tick() {
    let stage = Stage::new().await;
    stage.log_in(ALICE, "alice", json!({})).await.unwrap();
    let identified = stage.identify(ALICE, SESSION).await.unwrap();
    stage.issuer.set_down(true);
    stage.clock.pass(3660);
    assert!(!stage.is_alice(ALICE, SESSION).await);
    assert!(identified.ended.is_cancelled());
}

#[tokio::test]
async fn an_outage_at_renewal_is_tried_again() {
    let stage = Stage::new().await;
    stage.log_in(ALICE, "alice", json!({})).await.unwrap();
    stage.issuer.set_down(true);
    stage.clock.pass(56 * 60);
    stage.logins().tick_and_wait().await;
    assert!(stage.is_alice(ALICE, SESSION).await);
    stage.issuer.set_down(false);
    stage.clock.pass(30);
    stage.logins().tick_and_wait().await;
    stage.clock.pass(30 * 60);
    assert!(stage.is_alice(ALICE, SESSION).await);
}

#[tokio::test]
async fn identifying_renews_by_itself() {
    let stage = Stage::new().await;
    stage.log_in(ALICE, "alice", json!({})).await.unwrap();
    let first = stage.identify(ALICE, SESSION).await.unwrap();
    stage.clock.pass(56 * 60);
    let generation = stage.identities.generation();
    stage.identify(ALICE, SESSION).await.unwrap();
    // It was spawned: wait for the change that it announces.
    let renewed = async {
        while stage.identities.generation() == generation {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), renewed).await.unwrap();
    assert!(stage.identify(ALICE, SESSION).await.unwrap().until > first.until);
}

#[tokio::test]
async fn a_login_that_nobody_uses_is_not_renewed_for_ever() {
    let stage = Stage::new().await;
    stage.log_in(ALICE, "alice", json!({})).await.unwrap();
    let identified = stage.identify(ALICE, SESSION).await.unwrap();
    for _ in 0..20 {
        stage.clock.pass(56 * 60);
        stage.logins().tick_and_wait().await;
    }
    assert!(identified.ended.is_cancelled());
    let renewals = stage.token_requests() - 1;
    assert!((11..=13).contains(&renewals), "twelve hours and no longer: {renewals}");
}

#[tokio::test]
async fn a_renewal_that_names_somebody_else_ends_the_login() {
    for changes in [json!({"sub": "sub-mallory"}), json!({"email": "mallory@example.com"})] {
        let stage = Stage::new().await;
        stage.log_in(ALICE, "alice", json!({})).await.unwrap();
        let identified = stage.identify(ALICE, SESSION).await.unwrap();
        stage.issuer.change("alice", changes);
        stage.clock.pass(56 * 60);
        stage.logins().tick_and_wait().await;
        assert!(identified.ended.is_cancelled());
        assert!(!stage.is_alice(ALICE, SESSION).await);
    }
}

#[tokio::test]
async fn a_login_serves_once() {
    let stage = Stage::new().await;
    let login = stage.begin(ALICE).await;
    stage.issuer.decide(&login.user_code, Ok(stage.issuer.claims("alice", json!({}))));
    assert!(matches!(stage.poll(ALICE, &login.id).await.unwrap(), Polled::Done(_)));
    let replayed = login_error(stage.poll(ALICE, &login.id).await.unwrap_err());
    assert_eq!(replayed, LoginError::Used);
    assert_eq!(stage.token_requests(), 1, "the provider is not asked about a device code twice");

    let login = stage.logins().begin_browser(ALICE, &process(SESSION), None, 4545).await.unwrap();
    let (code, state) = stage.issuer.authorize(&login.authorization_uri, "alice", json!({}));
    let alice = process(SESSION);
    let finish = || stage.logins().finish_browser(ALICE, &alice, &login.id, &code, &state);
    finish().await.unwrap();
    assert_eq!(login_error(finish().await.unwrap_err()), LoginError::Used);
}

#[tokio::test]
async fn a_login_is_whose_who_began_it() {
    let stage = Stage::new().await;
    let login = stage.begin(ALICE).await;
    stage.issuer.decide(&login.user_code, Ok(stage.issuer.claims("alice", json!({}))));
    let logins = stage.logins();
    for (uid, session) in [(BOB, SESSION), (ALICE, Some(4)), (ALICE, None)] {
        let error = login_error(logins.poll(uid, &process(session), &login.id).await.unwrap_err());
        assert_eq!(error, LoginError::NotYours);
    }
    assert_eq!(login_error(stage.poll(ALICE, "x").await.unwrap_err()), LoginError::Unknown);
    let error =
        logins.finish_browser(ALICE, &process(SESSION), &login.id, "code", "state").await.unwrap_err();
    assert_eq!(login_error(error), LoginError::OtherFlow);
    assert_eq!(stage.token_requests(), 0);
    assert!(matches!(stage.poll(ALICE, &login.id).await.unwrap(), Polled::Done(_)), "it is still alice's");
}

#[tokio::test]
async fn a_device_code_that_another_person_confirmed_is_worth_nothing() {
    let stage = Stage::new().await;
    // Mallory begins a login and talks alice into confirming it; or confirms one of alice's.
    let error = stage.log_in(BOB, "alice", json!({})).await.unwrap_err();
    match &error {
        IdentityError::OtherPerson { uid: BOB, local, presented } => {
            assert_eq!((local.as_str(), presented.as_str()), ("bob", "alice@example.com"));
        }
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("bob") && error.to_string().contains("alice@example.com"));
    assert!(matches!(stage.identify(BOB, SESSION).await, Err(IdentityError::Silent { .. })));
    assert_eq!(stage.issuer.state.revoked.lock().unwrap().len(), 1, "nobody keeps alice's tokens");

    let shared = Stage::with("  account: any\n", "").await;
    shared.log_in(BOB, "alice", json!({})).await.unwrap();
}

#[tokio::test]
async fn people_say_whose_account_is_whose() {
    let people = "people:\n- name: alice\n  groups: [oncall]\n  accounts:\n  - {issuer: unix, id: '1001'}\n  \
                  - {issuer: ISSUER, id: sub-asmith}\n";
    let stage = Stage::with("", people).await;
    let done = stage.log_in(ALICE, "asmith", json!({})).await.unwrap();
    assert_eq!((done.subject.issuer.as_str(), done.subject.id.as_str()), ("people", "alice"));
    assert_eq!(done.subject.groups.iter().collect::<Vec<_>>(), ["dev", "oncall"]);
    let account = AccountId { issuer: stage.issuer.url.clone(), id: "sub-asmith".into() };
    assert_eq!(done.subject.account, Some(account));
    let unix = identify(&stage.identities, ALICE, None, "{anyOf: [unix]}").await.unwrap();
    assert_eq!((unix.subject.issuer.as_str(), unix.subject.id.as_str()), ("people", "alice"));
    // Somebody of alice's name whom people does not know is not alice.
    let error = stage.log_in(ALICE, "alice", json!({})).await.unwrap_err();
    assert!(matches!(error, IdentityError::OtherPerson { .. }), "{error}");
}

#[tokio::test]
async fn what_the_provider_answers_is_passed_on() {
    let stage = Stage::new().await;
    let login = stage.begin(ALICE).await;
    stage.issuer.state.slow_down.store(true, Ordering::SeqCst);
    let ten = std::time::Duration::from_secs(10);
    assert_eq!(stage.poll(ALICE, &login.id).await.unwrap(), Polled::Pending { after: ten });
    stage.issuer.state.slow_down.store(false, Ordering::SeqCst);
    stage.issuer.set_down(true);
    stage.clock.pass(10);
    let after = std::time::Duration::from_secs(15);
    assert_eq!(stage.poll(ALICE, &login.id).await.unwrap(), Polled::Pending { after }, "it may come back");
    stage.issuer.set_down(false);
    stage.issuer.decide(&login.user_code, Err("access_denied"));
    stage.clock.pass(15);
    assert_eq!(login_error(stage.poll(ALICE, &login.id).await.unwrap_err()), LoginError::Declined);
    assert_eq!(login_error(stage.poll(ALICE, &login.id).await.unwrap_err()), LoginError::Unknown);

    let login = stage.begin(ALICE).await;
    stage.issuer.decide(&login.user_code, Err("expired_token"));
    assert_eq!(login_error(stage.poll(ALICE, &login.id).await.unwrap_err()), LoginError::Expired);
    let login = stage.begin(ALICE).await;
    stage.clock.pass(600);
    assert_eq!(
        login_error(stage.poll(ALICE, &login.id).await.unwrap_err()),
        LoginError::Unknown,
        "its time is over"
    );
}

#[tokio::test]
async fn a_browser_that_comes_back_from_elsewhere_is_refused() {
    let stage = Stage::new().await;
    let (logins, alice) = (stage.logins(), process(SESSION));
    let begin = || logins.begin_browser(ALICE, &alice, None, 4545);
    let login = begin().await.unwrap();
    let (code, _) = stage.issuer.authorize(&login.authorization_uri, "alice", json!({}));
    let error = logins.finish_browser(ALICE, &process(SESSION), &login.id, &code, "other").await.unwrap_err();
    assert_eq!(login_error(error), LoginError::State);
    assert_eq!(stage.token_requests(), 0);

    // A code of another login: the verifier does not fit, and the provider says so.
    let (mine, other) = (begin().await.unwrap(), begin().await.unwrap());
    let (_, state) = stage.issuer.authorize(&mine.authorization_uri, "alice", json!({}));
    let (code, _) = stage.issuer.authorize(&other.authorization_uri, "alice", json!({}));
    let error = logins.finish_browser(ALICE, &process(SESSION), &mine.id, &code, &state).await.unwrap_err();
    assert!(matches!(login_error(error), LoginError::Provider(why) if why.contains("invalid_grant")));

    // An ID token with another nonce, or none.
    for nonce in [json!("other"), json!(7)] {
        let login = begin().await.unwrap();
        let (code, state) =
            stage.issuer.authorize(&login.authorization_uri, "alice", json!({ "nonce": nonce }));
        let error =
            logins.finish_browser(ALICE, &process(SESSION), &login.id, &code, &state).await.unwrap_err();
        assert_eq!(login_error(error), LoginError::Token(TokenRefusal::Nonce));
    }
}

#[tokio::test]
async fn the_id_token_of_a_login_is_verified_like_any() {
    let stage = Stage::new().await;
    let now = stage.clock.now().as_second();
    for (changes, reason) in [
        (json!({"aud": "kubernetes"}), "is for kubernetes, not for portcullis"),
        (json!({"azp": "somebody"}), "given to"),
        (json!({"iss": "https://idp.example.org"}), "not from"),
        (json!({"exp": now - 61, "iat": now - 100}), "expired"),
        (json!({"hasgroups": true, "groups": null}), "overage"),
        (json!({"email": "system:alice"}), "Kubernetes' own"),
    ] {
        let error = stage.log_in(ALICE, "alice", changes).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn sessions_and_uids_as_configured() {
    let stage = Stage::new().await;
    let error = stage.logins().begin_device(ALICE, &process(None), None).await.unwrap_err();
    assert_eq!(login_error(error), LoginError::NoSession(ALICE));
    let error = stage.logins().begin_device(ALICE, &process(SESSION), Some("other")).await.unwrap_err();
    assert_eq!(login_error(error), LoginError::UnknownIssuer("other".into()));

    let by_uid = Stage::with("  bindTo: uid\n", "").await;
    by_uid.log_in(ALICE, "alice", json!({})).await.unwrap();
    for session in [SESSION, Some(4), None] {
        assert!(by_uid.is_alice(ALICE, session).await);
    }
    assert!(!by_uid.is_alice(BOB, None).await);
}

#[tokio::test]
async fn logging_in_again_keeps_streams_of_the_same_person_alone() {
    let stage = Stage::with("  account: any\n", "").await;
    stage.log_in(ALICE, "alice", json!({})).await.unwrap();
    let first = stage.identify(ALICE, SESSION).await.unwrap();
    stage.log_in(ALICE, "alice", json!({"groups": ["leads"]})).await.unwrap();
    assert!(!first.ended.is_cancelled());
    stage.log_in(ALICE, "carol", json!({})).await.unwrap();
    assert!(first.ended.is_cancelled());
    assert_eq!(stage.identify(ALICE, SESSION).await.unwrap().subject.name, "carol@example.com");
}

#[tokio::test]
async fn the_oldest_of_too_many_unfinished_logins_is_forgotten() {
    let stage = Stage::new().await;
    let first = stage.begin(ALICE).await;
    for _ in 0..4 {
        stage.clock.pass(1);
        stage.begin(ALICE).await;
    }
    assert_eq!(login_error(stage.poll(ALICE, &first.id).await.unwrap_err()), LoginError::Unknown);
}

#[tokio::test]
async fn a_provider_without_the_flow_is_said_to_be() {
    let stage = Stage::new().await;
    *stage.issuer.state.discovery.lock().unwrap() =
        json!({"device_authorization_endpoint": null, "authorization_endpoint": null});
    let logins = stage.logins();
    let error = login_error(logins.begin_device(ALICE, &process(SESSION), None).await.unwrap_err());
    assert!(matches!(error, LoginError::NotOffered { what: "login with a device code", .. }), "{error}");
    let error = login_error(logins.begin_browser(ALICE, &process(SESSION), None, 1).await.unwrap_err());
    assert!(matches!(error, LoginError::NotOffered { what: "login with a browser", .. }), "{error}");
}

#[tokio::test]
async fn logout_goes_without_the_provider() {
    let stage = Stage::new().await;
    stage.log_in(ALICE, "alice", json!({})).await.unwrap();
    stage.issuer.set_down(true);
    let out = stage.logins().logout(ALICE, &process(SESSION)).await.unwrap();
    assert!(out[0].not_revoked.as_ref().unwrap().contains("503"));
    assert!(!stage.is_alice(ALICE, SESSION).await);
}

#[tokio::test]
async fn a_client_proves_itself_as_the_provider_wants() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cret:/\n").unwrap();
    let more = format!("  clientSecretFile: {}\n", secret.path().display());
    for (methods, header, field) in [
        (json!(null), true, false),
        (json!(["client_secret_post", "client_secret_basic"]), true, false),
        (json!(["client_secret_post"]), false, true),
    ] {
        let stage = Stage::with(&more, "").await;
        *stage.issuer.state.discovery.lock().unwrap() =
            json!({ "token_endpoint_auth_methods_supported": methods });
        stage.log_in(ALICE, "alice", json!({})).await.unwrap();
        let proofs = stage.issuer.state.client_proofs.lock().unwrap().clone();
        // portcullis:s3cret%3A%2F
        let basic = header.then(|| "Basic cG9ydGN1bGxpczpzM2NyZXQlM0ElMkY=".to_owned());
        assert_eq!(proofs, [(basic, field.then(|| "s3cret:/".to_owned()))]);
    }
}

#[tokio::test]
async fn a_tick_keeps_the_keys_fresh() {
    let stage = Stage::new().await;
    stage.log_in(ALICE, "alice", json!({})).await.unwrap();
    stage.identities.tick();
    stage.clock.pass(10 * 60);
    stage.identities.tick();
    let fetched = async {
        while stage.issuer.key_fetches() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), fetched).await.unwrap();
}

#[tokio::test]
async fn nothing_that_can_be_printed_holds_a_token() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cret").unwrap();
    let stage = Stage::with(&format!("  clientSecretFile: {}\n", secret.path().display()), "").await;
    let login = stage.begin(BOB).await;
    let done = stage.log_in(ALICE, "alice", json!({})).await.unwrap();
    let identified = stage.identify(ALICE, SESSION).await.unwrap();
    let printed = format!("{:?} {:?} {login:?} {done:?} {identified:?}", stage.identities, stage.logins());
    for secret in ["s3cret", "refresh-", "access-", "device-", "eyJ"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
