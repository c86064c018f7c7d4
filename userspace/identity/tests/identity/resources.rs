//! Tokens that are presented to a protected resource: which are believed, and what a client is told whose are not.

use portcullis_identity::*;
use serde_json::{Value, json};

use crate::issuer::{CLIENT, Issuer};
use crate::rig::{ALICE, BOB, TestClock, accepted, attestation, build, process};

const NOTES: &str = "https://mcp.example.com/notes";
const TICKETS: &str = "https://mcp.example.com/tickets";

struct Stage {
    clock: TestClock,
    issuer: Issuer,
    identities: Identities,
}

impl Stage {
    async fn new() -> Self {
        let clock = TestClock::new();
        let issuer = Issuer::start(&clock).await;
        let identities = build(&issuer.yaml("  bindTo: uid\n"), &clock);
        Self { clock, issuer, identities }
    }

    /// What comes of a token that is presented to a target of this name.
    async fn present(
        &self,
        token: Option<&str>,
        audience: Option<&str>,
        acceptance: &str,
    ) -> Result<Identified, IdentityError> {
        let accepted = Accepted { audience: audience.map(str::to_owned), ..accepted(acceptance) };
        self.identities.check(&accepted).unwrap();
        self.identities.identify(&attestation(ALICE, None), &Presented { bearer: token }, &accepted).await
    }

    async fn to_notes(&self, audience: Value) -> Result<Identified, IdentityError> {
        let token = self.issuer.token("alice", json!({ "aud": audience }));
        self.present(Some(&token), Some(NOTES), "{anyOf: [bearer]}").await
    }

    async fn challenge(&self, token: Option<&str>, acceptance: &str) -> Option<Challenge> {
        self.present(token, Some(NOTES), acceptance).await.unwrap_err().challenge()
    }
}

#[tokio::test]
async fn a_token_for_the_resource_names_its_person() {
    let stage = Stage::new().await;
    for audience in [json!(NOTES), json!([NOTES]), json!("HTTPS://mcp.EXAMPLE.com:443/notes")] {
        let identified = stage.to_notes(audience).await.unwrap();
        assert_eq!(identified.subject.name, "alice@example.com");
        assert_eq!(identified.subject.method, Method::BearerJwt);
    }
}

#[tokio::test]
async fn a_token_for_anybody_else_is_refused_and_both_are_named() {
    let stage = Stage::new().await;
    // The audiences of the issuer's configuration do not count here.
    for other in [json!(CLIENT), json!("kubernetes"), json!(TICKETS), json!([NOTES, TICKETS]), json!([])] {
        let error = stage.to_notes(other.clone()).await.unwrap_err();
        assert!(matches!(error, IdentityError::Bearer(TokenRefusal::Resource { .. })), "{other}: {error}");
        assert_eq!(error.challenge(), Some(Challenge::INVALID_TOKEN));
    }
    let text = stage.to_notes(json!(TICKETS)).await.unwrap_err().to_string();
    assert!(text.contains(&format!("for {TICKETS};")) && text.contains(&format!("for {NOTES} ")), "{text}");
    let missing = stage.to_notes(Value::Null).await.unwrap_err();
    assert!(matches!(missing, IdentityError::Bearer(TokenRefusal::Claim { .. })), "{missing}");
}

#[tokio::test]
async fn what_one_target_has_believed_no_other_does() {
    let stage = Stage::new().await;
    let notes = stage.issuer.token("alice", json!({ "aud": NOTES }));
    let plain = stage.issuer.token("alice", json!({}));
    let present = async |token: &str, audience| {
        stage.present(Some(token), audience, "{anyOf: [bearer]}").await.map(|_| ())
    };
    // Twice, so that what is remembered answers too.
    for _ in 0..2 {
        present(&notes, Some(NOTES)).await.unwrap();
        present(&notes, Some(TICKETS)).await.unwrap_err();
        present(&notes, None).await.unwrap_err();
        present(&plain, None).await.unwrap();
        present(&plain, Some(NOTES)).await.unwrap_err();
    }
}

#[tokio::test]
async fn an_access_token_is_believed_by_its_resource_alone() {
    let stage = Stage::new().await;
    let access = |audience| {
        let claims = stage.issuer.claims("alice", json!({ "aud": audience, "client_id": "editor" }));
        stage.issuer.key.access_token("one", &claims)
    };
    let bearer = "{anyOf: [bearer]}";
    stage.present(Some(&access(NOTES)), Some(NOTES), bearer).await.unwrap();
    let elsewhere = stage.present(Some(&access(CLIENT)), None, bearer).await.unwrap_err();
    assert!(
        matches!(&elsewhere, IdentityError::Bearer(TokenRefusal::Kind(what)) if what == "typ"),
        "{elsewhere}"
    );
    // Nor does one make a login.
    let logins = stage.identities.logins().unwrap();
    let login = logins.begin_device(ALICE, &process(None), None).await.unwrap();
    stage.issuer.state.access_tokens_as_id_tokens.store(true, std::sync::atomic::Ordering::SeqCst);
    stage.issuer.decide(&login.user_code, Ok(stage.issuer.claims("alice", json!({}))));
    let error = logins.wait(ALICE, &process(None), &login.id).await.unwrap_err();
    assert!(matches!(&error, IdentityError::Login(LoginError::Token(TokenRefusal::Kind(_)))), "{error}");
}

#[tokio::test]
async fn who_lacks_a_token_is_asked_for_one() {
    let stage = Stage::new().await;
    let now = stage.clock.now().as_second();
    let expired = stage.issuer.token("alice", json!({"aud": NOTES, "exp": now - 61}));
    for acceptance in ["{anyOf: [bearer]}", "{anyOf: [oidc, bearer]}", "{allOf: [unix, bearer]}"] {
        assert_eq!(stage.challenge(None, acceptance).await, Some(Challenge::NO_TOKEN));
        for wrong in ["none", &expired, "eyJhbGciOiJub25lIn0.e30."] {
            assert_eq!(stage.challenge(Some(wrong), acceptance).await, Some(Challenge::INVALID_TOKEN));
        }
    }
}

#[tokio::test]
async fn who_would_not_be_helped_by_a_token_is_not_asked_for_one() {
    let stage = Stage::new().await;
    assert_eq!(stage.challenge(None, "{anyOf: [oidc]}").await, None);
    let nobodys = stage.issuer.token("alice", json!({ "aud": NOTES }));
    let accepted = Accepted { audience: Some(NOTES.to_owned()), ..accepted("{anyOf: [bearer]}") };
    let presented = Presented { bearer: Some(&nobodys) };
    let error = stage.identities.identify(&attestation(BOB, None), &presented, &accepted).await.unwrap_err();
    assert!(matches!(error, IdentityError::OtherPerson { .. }) && error.challenge().is_none(), "{error}");
    // The provider is down, or was asked for this key a moment ago.
    stage.identities.identify(&attestation(ALICE, None), &presented, &accepted).await.unwrap();
    let unknown = crate::keys::Key::ec().jwt("two", &stage.issuer.claims("alice", json!({ "aud": NOTES })));
    assert_eq!(stage.challenge(Some(&unknown), "{anyOf: [bearer]}").await, None);
    let cold = Stage::new().await;
    cold.issuer.set_down(true);
    let token = cold.issuer.token("alice", json!({ "aud": NOTES }));
    assert_eq!(cold.challenge(Some(&token), "{anyOf: [bearer]}").await, None);
}

#[tokio::test]
async fn other_sources_do_not_ask_whom_a_token_is_for() {
    let stage = Stage::new().await;
    let any = "{anyOf: [bearer, oidc, unix]}";
    let local = stage.present(None, Some(NOTES), any).await.unwrap();
    assert_eq!(local.subject.method, Method::Unix);
    let logins = stage.identities.logins().unwrap();
    let login = logins.begin_device(ALICE, &process(None), None).await.unwrap();
    stage.issuer.decide(&login.user_code, Ok(stage.issuer.claims("alice", json!({}))));
    logins.wait(ALICE, &process(None), &login.id).await.unwrap();
    let logged_in = stage.present(None, Some(NOTES), any).await.unwrap();
    assert_eq!(logged_in.subject.method, Method::Oidc);
}

#[tokio::test]
async fn a_resource_that_no_token_could_be_for_is_refused_at_start() {
    let stage = Stage::new().await;
    for name in ["mcp.example.com", "https://mcp.example.com#fragment", ""] {
        let accepted = Accepted { audience: Some(name.to_owned()), ..accepted("{anyOf: [bearer]}") };
        let error = stage.identities.check(&accepted).unwrap_err().to_string();
        assert!(error.contains(&format!("{name:?}")), "{error}");
    }
}
