//! JWTs in requests: whom they name, and every way in which they are refused.

use std::sync::atomic::Ordering;

use portcullis_identity::*;
use serde_json::{Value, json};

use crate::issuer::{CLIENT, Issuer};
use crate::keys::{Key, RSA, hs256, unsigned};
use crate::rig::{ALICE, BOB, TestClock, build, identify, try_build};

struct Stage {
    clock: TestClock,
    issuer: Issuer,
    identities: Identities,
}

impl Stage {
    async fn with(more: &str) -> Self {
        let clock = TestClock::new();
        let issuer = Issuer::start(&clock).await;
        let identities = build(&issuer.yaml(more), &clock);
        Self { clock, issuer, identities }
    }

    async fn new() -> Self {
        Self::with("").await
    }

    async fn identify(&self, token: &str) -> Result<Identified, IdentityError> {
        identify(&self.identities, ALICE, Some(token), "{anyOf: [bearer]}").await
    }

    async fn refusal(&self, token: &str) -> TokenRefusal {
        let error = self.identify(token).await.unwrap_err();
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!error.to_string().contains(part), "{error}");
        }
        match error {
            IdentityError::Bearer(refusal) => refusal,
            other => panic!("{other}"),
        }
    }

    async fn refusal_of(&self, changes: Value) -> TokenRefusal {
        self.refusal(&self.issuer.token("alice", changes)).await
    }
}

#[tokio::test]
async fn a_token_of_a_configured_issuer_names_its_person() {
    let stage = Stage::new().await;
    let identified = stage.identify(&stage.issuer.token("alice", json!({}))).await.unwrap();
    let subject = &identified.subject;
    assert_eq!((subject.issuer.as_str(), subject.id.as_str()), (stage.issuer.url.as_str(), "sub-alice"));
    assert_eq!(subject.name, "alice@example.com");
    assert_eq!(subject.groups.iter().collect::<Vec<_>>(), ["dev"]);
    assert_eq!(subject.method, Method::BearerJwt);
    // exp, and the minute by which clocks may differ
    assert_eq!(identified.until.unwrap().as_second(), stage.clock.now().as_second() + 3600 + 60);
    let generation = stage.identities.generation();
    assert!(stage.identities.holds(generation, &identified));
    stage.clock.pass(3660);
    assert!(!stage.identities.holds(generation, &identified));
}

#[tokio::test]
async fn rsa_tokens_are_verified_too() {
    let stage = Stage::new().await;
    stage.issuer.state.more_keys.lock().unwrap().push(RSA.jwk("rsa"));
    let token = RSA.jwt("rsa", &stage.issuer.claims("alice", json!({})));
    stage.identify(&token).await.unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let other = RSA.jwt("rsa", &stage.issuer.claims("alice", json!({"groups": ["leads"]})));
    let forged = format!("{signed}.{}", other.rsplit_once('.').unwrap().1);
    assert_eq!(stage.refusal(&forged).await, TokenRefusal::Signature);
}

#[tokio::test]
async fn algorithms_that_prove_nothing_are_refused() {
    let stage = Stage::new().await;
    let claims = stage.issuer.claims("alice", json!({}));
    for none in ["none", "NONE"] {
        let token = format!("{}.", unsigned(&json!({"alg": none, "kid": "one"}), &claims));
        assert_eq!(stage.refusal(&token).await, TokenRefusal::Unsigned);
    }
    // With the public key as the secret, in each form that a library could take it from.
    let jwk = stage.issuer.key.jwk("one").to_string();
    for secret in [stage.issuer.key.public(), jwk.as_bytes()] {
        let token = hs256(secret, "one", &claims);
        assert_eq!(stage.refusal(&token).await, TokenRefusal::SharedSecret("HS256".into()));
    }
    let only_rsa = Stage::with("").await;
    let yaml = only_rsa.issuer.yaml("").replace("[ES256, RS256]", "[RS256]");
    let identities = build(&yaml, &only_rsa.clock);
    let token = only_rsa.issuer.token("alice", json!({}));
    let error = identify(&identities, ALICE, Some(&token), "{anyOf: [bearer]}").await.unwrap_err();
    assert!(matches!(error, IdentityError::Bearer(TokenRefusal::Algorithm { .. })), "{error}");
}

#[tokio::test]
async fn a_key_of_another_kind_or_use_verifies_nothing() {
    let stage = Stage::new().await;
    let other = Key::ec();
    let mut for_encryption = other.jwk("enc");
    for_encryption["use"] = "enc".into();
    stage.issuer.state.more_keys.lock().unwrap().extend([RSA.jwk("rsa"), for_encryption]);
    let claims = stage.issuer.claims("alice", json!({}));
    // ES256 with the kid of an RSA key, and with that of a key that does not sign
    for kid in ["rsa", "enc"] {
        stage.clock.pass(31);
        let refusal = stage.refusal(&other.jwt(kid, &claims)).await;
        assert!(
            matches!(refusal, TokenRefusal::UnknownKey { .. } | TokenRefusal::UnknownKeyTooSoon { .. }),
            "{refusal}"
        );
    }
    // Somebody else's key under the known kid
    assert_eq!(stage.refusal(&other.jwt("one", &claims)).await, TokenRefusal::Signature);
    // The token brings its own key
    let header = json!({"alg": "ES256", "jwk": other.jwk("x"), "kid": "one"});
    let signature = other.jwt("one", &claims).rsplit_once('.').unwrap().1.to_owned();
    assert_eq!(
        stage.refusal(&format!("{}.{signature}", unsigned(&header, &claims))).await,
        TokenRefusal::Signature
    );
}

#[tokio::test]
async fn tokens_for_others_are_refused() {
    let stage = Stage::new().await;
    for wrong in [json!("somebody"), json!(["somebody", "else"]), json!([])] {
        let refusal = stage.refusal_of(json!({ "aud": wrong })).await;
        assert!(matches!(refusal, TokenRefusal::Audience { .. }), "{refusal}");
    }
    let also = stage.refusal_of(json!({"aud": [CLIENT, "somebody"], "azp": CLIENT})).await;
    assert_eq!(also, TokenRefusal::ForeignAudience("somebody".into()));
    let nobody = stage.refusal_of(json!({"aud": [CLIENT, "kubernetes"]})).await;
    assert!(matches!(nobody, TokenRefusal::AuthorizedParty(_)), "{nobody}");
    let somebody = stage.refusal_of(json!({"aud": [CLIENT, "kubernetes"], "azp": "somebody"})).await;
    assert!(matches!(somebody, TokenRefusal::AuthorizedParty(_)), "{somebody}");
    let token = stage.issuer.token("alice", json!({"aud": [CLIENT, "kubernetes"], "azp": CLIENT}));
    stage.identify(&token).await.unwrap();
    // Keycloak and others say in azp which client asked for a token of the one audience.
    stage
        .identify(&stage.issuer.token("alice", json!({"aud": "kubernetes", "azp": "kubelogin"})))
        .await
        .unwrap();
    let missing = stage.refusal_of(json!({"aud": null})).await;
    assert!(matches!(missing, TokenRefusal::Claim { .. }), "{missing}");
}

#[tokio::test]
async fn tokens_of_other_issuers_are_refused() {
    let stage = Stage::new().await;
    let iss = "https://idp.example.org";
    assert_eq!(stage.refusal_of(json!({ "iss": iss })).await, TokenRefusal::UnknownIssuer(iss.into()));
    // Letter for letter.
    let iss = format!("{}/", stage.issuer.url);
    assert_eq!(stage.refusal_of(json!({ "iss": iss })).await, TokenRefusal::UnknownIssuer(iss));
}

#[tokio::test]
async fn tokens_of_another_time_are_refused() {
    let stage = Stage::new().await;
    let now = stage.clock.now().as_second();
    let expired = stage.refusal_of(json!({"exp": now - 60})).await;
    assert!(matches!(expired, TokenRefusal::Expired(_)), "{expired}");
    let future = stage.refusal_of(json!({"nbf": now + 61})).await;
    assert!(matches!(future, TokenRefusal::NotYet(_)), "{future}");
    let issued = stage.refusal_of(json!({"iat": now + 61})).await;
    assert!(matches!(issued, TokenRefusal::IssuedInFuture(_)), "{issued}");
    for claim in ["exp", "iat", "sub"] {
        let missing = stage.refusal_of(json!({ claim: null })).await;
        assert!(matches!(missing, TokenRefusal::Claim { .. }), "{missing}");
    }
    assert!(matches!(stage.refusal_of(json!({"sub": ""})).await, TokenRefusal::Claim { .. }));
}

#[tokio::test]
async fn a_verified_token_is_remembered_and_still_expires() {
    let stage = Stage::new().await;
    let now = stage.clock.now().as_second();
    let token = stage.issuer.token("alice", json!({"exp": now + 10}));
    stage.identify(&token).await.unwrap();
    stage.clock.pass(69);
    stage.identify(&token).await.unwrap();
    stage.clock.pass(1);
    assert!(matches!(stage.refusal(&token).await, TokenRefusal::Expired(_)));
}

#[tokio::test]
async fn a_flood_of_unknown_keys_costs_one_fetch_a_window() {
    let stage = Stage::new().await;
    stage.identify(&stage.issuer.token("alice", json!({}))).await.unwrap();
    assert_eq!(stage.issuer.key_fetches(), 1);
    let claims = stage.issuer.claims("alice", json!({}));
    let mut too_soon = 0;
    for window in 0..3 {
        stage.clock.pass(31);
        let mut flood = Vec::new();
        for n in 0..50 {
            flood.push(Key::ec().jwt(&format!("kid-{window}-{n}"), &claims));
        }
        for token in &flood {
            match stage.refusal(token).await {
                TokenRefusal::UnknownKey { .. } => {}
                TokenRefusal::UnknownKeyTooSoon { .. } => too_soon += 1,
                other => panic!("{other}"),
            }
        }
        assert_eq!(stage.issuer.key_fetches(), 2 + window);
    }
    assert_eq!(too_soon, 3 * 49);
    stage.identify(&stage.issuer.token("alice", json!({"jti": "x"}))).await.unwrap();
}

#[tokio::test]
async fn concurrent_first_tokens_fetch_the_keys_once() {
    let stage = Stage::new().await;
    let tokens: Vec<String> =
        (0..8).map(|n| stage.issuer.token("alice", json!({ "jti": n.to_string() }))).collect();
    let (a, b, c, d) = tokio::join!(
        stage.identify(&tokens[0]),
        stage.identify(&tokens[1]),
        stage.identify(&tokens[2]),
        stage.identify(&tokens[3]),
    );
    for identified in [a, b, c, d] {
        identified.unwrap();
    }
    assert_eq!(stage.issuer.key_fetches(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_when_a_token_names_it() {
    let stage = Stage::new().await;
    stage.identify(&stage.issuer.token("alice", json!({}))).await.unwrap();
    let new = Key::ec();
    stage.issuer.state.more_keys.lock().unwrap().push(new.jwk("two"));
    let token = new.jwt("two", &stage.issuer.claims("alice", json!({})));
    let soon = stage.refusal(&token).await;
    assert!(matches!(soon, TokenRefusal::UnknownKeyTooSoon { .. }), "{soon}");
    stage.clock.pass(30);
    stage.identify(&token).await.unwrap();
    // A token without a kid could be of either.
    let claims = stage.issuer.claims("alice", json!({}));
    let signed = unsigned(&json!({"alg": "ES256"}), &claims);
    let ambiguous = stage.refusal(&format!("{signed}.c2ln")).await;
    assert!(matches!(ambiguous, TokenRefusal::AmbiguousKey { .. }), "{ambiguous}");
}

#[tokio::test]
async fn keys_outlive_an_outage_for_a_while() {
    let stage = Stage::with("  keys: {refreshAtMostEvery: 30s, staleFor: 20m}\n").await;
    let token = |n: u32| {
        let now = stage.clock.now().as_second();
        stage.issuer.token("alice", json!({"jti": n.to_string(), "exp": now + 7200}))
    };
    stage.identify(&token(0)).await.unwrap();
    stage.issuer.set_down(true);
    stage.clock.pass(10 * 60);
    stage.identify(&token(1)).await.unwrap();
    stage.clock.pass(20 * 60 - 1);
    stage.identify(&token(2)).await.unwrap();
    stage.clock.pass(1);
    let stale = stage.refusal(&token(3)).await;
    assert!(matches!(stale, TokenRefusal::Keys(KeysError::Stale { .. })), "{stale}");
    assert!(stale.to_string().contains("503"), "it says why: {stale}");
    stage.issuer.set_down(false);
    stage.clock.pass(30);
    stage.identify(&token(4)).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_is_not_asked_all_the_time() {
    let stage = Stage::new().await;
    stage.issuer.set_down(true);
    let token = stage.issuer.token("alice", json!({}));
    let down = stage.refusal(&token).await;
    assert!(matches!(down, TokenRefusal::Keys(KeysError::Web(_))), "{down}");
    stage.issuer.set_down(false);
    let waiting = stage.refusal(&token).await;
    assert!(matches!(waiting, TokenRefusal::Keys(KeysError::Waiting { .. })), "{waiting}");
    stage.clock.pass(30);
    stage.identify(&token).await.unwrap();
}

#[tokio::test]
async fn a_discovery_document_of_somebody_else_is_refused() {
    for (changes, what) in [
        (json!({"issuer": "https://idp.example.org"}), "is that of"),
        (json!({"jwks_uri": "http://idp.example.org/keys"}), "jwks_uri"),
        (json!({"token_endpoint": "file:///etc/passwd"}), "token_endpoint"),
        (json!({"jwks_uri": null}), "something else than a discovery document"),
    ] {
        let stage = Stage::new().await;
        *stage.issuer.state.discovery.lock().unwrap() = changes;
        let refusal = stage.refusal_of(json!({})).await.to_string();
        assert!(refusal.contains(what), "{refusal}");
        assert_eq!(stage.issuer.state.key_fetches.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn groups_and_names_that_must_not_be() {
    let stage = Stage::new().await;
    let overage = json!({"groups": null, "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {}}});
    assert_eq!(stage.refusal_of(overage).await, TokenRefusal::GroupOverage);
    assert_eq!(
        stage.refusal_of(json!({"groups": null, "hasgroups": true})).await,
        TokenRefusal::GroupOverage
    );
    let odd = stage.refusal_of(json!({"groups": {"dev": true}})).await;
    assert!(matches!(odd, TokenRefusal::Claim { .. }), "{odd}");
    let none = stage.identify(&stage.issuer.token("alice", json!({"groups": null}))).await.unwrap();
    assert!(none.subject.groups.is_empty());
    let system = stage.refusal_of(json!({"email": "system:admin"})).await;
    assert_eq!(system, TokenRefusal::SystemName("system:admin".into()));
    let masters = stage.refusal_of(json!({"groups": ["dev", "system:masters"]})).await;
    assert_eq!(masters, TokenRefusal::SystemName("system:masters".into()));
    let unverified = stage.refusal_of(json!({"email_verified": false})).await;
    assert_eq!(unverified, TokenRefusal::EmailUnverified);
    let missing = stage.refusal_of(json!({"email": null})).await;
    assert!(matches!(missing, TokenRefusal::Claim { .. }), "{missing}");
}

#[tokio::test]
async fn a_token_of_another_person_is_refused_on_this_uid() {
    let stage = Stage::new().await;
    let token = stage.issuer.token("alice", json!({}));
    identify(&stage.identities, ALICE, Some(&token), "{anyOf: [bearer]}").await.unwrap();
    // Remembered, and still not bob's.
    let error = identify(&stage.identities, BOB, Some(&token), "{anyOf: [bearer]}").await.unwrap_err();
    match &error {
        IdentityError::OtherPerson { uid: BOB, local, presented } => {
            assert_eq!((local.as_str(), presented.as_str()), ("bob", "alice@example.com"));
        }
        other => panic!("{other}"),
    }
    let shared = Stage::with("  account: any\n").await;
    let token = shared.issuer.token("alice", json!({}));
    identify(&shared.identities, BOB, Some(&token), "{anyOf: [bearer]}").await.unwrap();
}

#[tokio::test]
async fn what_is_configured_is_checked() {
    let clock = TestClock::new();
    let issuer = Issuer::start(&clock).await;
    let good = issuer.yaml("");
    for (yaml, why) in [
        (good.replace("[ES256, RS256]", "[HS256]"), "HS256"),
        (good.replace("[ES256, RS256]", "[none]"), "none"),
        (good.replace("[ES256, RS256]", "[]"), "algorithms"),
        (good.replace(&issuer.url, "http://idp.example.com"), "https"),
        (good.replace("[portcullis, kubernetes]", "[]"), "audiences"),
        (issuer.yaml("  clientSecretFile: /nonexistent/secret\n"), "/nonexistent/secret"),
        (issuer.yaml("  certificateAuthority: /nonexistent/ca\n"), "/nonexistent/ca"),
        (issuer.yaml("  groupsClaim: /\n"), "groupsClaim"),
        (issuer.yaml("  clockSkew: 1h\n"), "clockSkew"),
        (issuer.yaml("  keys: {refreshAtMostEvery: 0s}\n"), "refreshAtMostEvery"),
        (issuer.yaml("  bindto: uid\n"), "bindto"),
        (format!("{good}- {{name: corp, issuer: 'https://x.example', clientId: x}}\n"), "same name"),
        (format!("commands: {{anyOf: [unix, bearer]}}\n{good}"), "commands"),
        (format!("commands: {{anyOf: []}}\n{good}"), "empty"),
        ("commands: {anyOf: [oidc]}\n".to_owned(), "identity.oidc"),
    ] {
        let error = try_build(&yaml, &clock).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}
