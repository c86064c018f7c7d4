//! What the `openidconnect` crate, which knows nothing of this provider, makes of its metadata, keys and tokens.

use idp::Algorithm;
use openidconnect::core::{
    CoreClaimName, CoreDeviceAuthorizationResponse, CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet,
    CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreResponseType, CoreTokenResponse,
};
use openidconnect::{
    AccessToken, AccessTokenHash, ClientId, DeviceCodeErrorResponse, DeviceCodeErrorResponseType, IssuerUrl,
    JsonWebKeySet, Nonce, OAuth2TokenResponse, ResponseTypes,
};
use serde_json::{Value, json};

use crate::rig::{Rig, text};

fn keys(rig: &Rig) -> CoreJsonWebKeySet {
    let keys = rig.get("/jwks").json(200);
    assert!(!keys.to_string().contains("\"d\""), "no private part: {keys}");
    serde_json::from_value(keys).unwrap()
}

fn verifier(rig: &Rig, client: &str, keys: CoreJsonWebKeySet) -> CoreIdTokenVerifier<'static> {
    let issuer = IssuerUrl::new(rig.idp.issuer().to_owned()).unwrap();
    CoreIdTokenVerifier::new_public_client(ClientId::new(client.to_owned()), issuer, keys)
        .set_allowed_algs([
            CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
        ])
        // Where the rig's clock stands.
        .set_time_fn(|| "2030-01-01T00:00:00Z".parse().unwrap())
}

fn logged_in(rig: &Rig) -> Value {
    rig.redeem(&rig.code(), &[]).json(200)
}

#[test]
fn tokens_of_both_algorithms_are_good() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
        let rig = Rig::with(|options| options.algorithm = algorithm);
        let tokens = logged_in(&rig);
        let token: CoreIdToken = text(&tokens["id_token"]).parse().unwrap();
        let nonce = Nonce::new("n-0S6_WzA2Mj".to_owned());
        let verifier = verifier(&rig, "portcullis", keys(&rig));
        let claims = token.claims(&verifier, &nonce).unwrap();
        assert_eq!(claims.subject().as_str(), "sub-alice");
        assert_eq!(claims.email().unwrap().as_str(), "alice@example.test");
        assert_eq!(claims.preferred_username().unwrap().as_str(), "alice");
        let access = AccessToken::new(text(&tokens["access_token"]).to_owned());
        let hash = AccessTokenHash::from_token(
            &access,
            token.signing_alg().unwrap(),
            token.signing_key(&verifier).unwrap(),
        );
        assert_eq!(claims.access_token_hash(), Some(&hash.unwrap()));
        assert!(token.claims(&verifier, &Nonce::new("another".to_owned())).is_err());
    }
}

#[test]
fn a_token_is_for_its_client_and_by_its_provider() {
    let (rig, other) = (Rig::start(), Rig::start());
    let tokens = logged_in(&rig);
    let token: CoreIdToken = text(&tokens["id_token"]).parse().unwrap();
    let nonce = Nonce::new("n-0S6_WzA2Mj".to_owned());
    token.claims(&verifier(&rig, "portcullis", keys(&rig)), &nonce).unwrap();
    assert!(token.claims(&verifier(&rig, "other", keys(&rig)), &nonce).is_err());
    assert!(token.claims(&verifier(&other, "portcullis", keys(&rig)), &nonce).is_err());
    assert!(token.claims(&verifier(&rig, "portcullis", keys(&other)), &nonce).is_err());
    assert!(token.claims(&verifier(&rig, "portcullis", JsonWebKeySet::new(vec![])), &nonce).is_err());
}

#[test]
fn new_keys_sign_and_the_old_one_is_published_while_its_tokens_live() {
    let rig = Rig::start();
    let (before, old) = (keys(&rig), logged_in(&rig));
    rig.idp.rotate_keys().unwrap();
    let (after, new) = (keys(&rig), logged_in(&rig));
    let good = |tokens: &Value, keys: &CoreJsonWebKeySet| {
        let token: CoreIdToken = text(&tokens["id_token"]).parse().unwrap();
        let nonce = Nonce::new("n-0S6_WzA2Mj".to_owned());
        token.claims(&verifier(&rig, "portcullis", keys.clone()), &nonce).is_ok()
    };
    assert!(good(&old, &before) && good(&old, &after) && good(&new, &after));
    assert!(!good(&new, &before), "the new key is not the old one");
    rig.seconds(599);
    assert_eq!(keys(&rig).keys().len(), 2);
    rig.seconds(1);
    assert!(!good(&old, &keys(&rig)), "the old key is withdrawn");
    assert_eq!(keys(&rig).keys().len(), 1);
}

#[test]
fn its_answers_are_of_the_form_that_clients_know() {
    let rig = Rig::start();
    let begun: CoreDeviceAuthorizationResponse = serde_json::from_value(rig.begin_device()).unwrap();
    let complete = begun.verification_uri_complete().unwrap().secret();
    assert_eq!((begun.interval().as_secs(), begun.expires_in().as_secs()), (5, 600));
    assert!(complete.contains(begun.user_code().secret().as_str()), "{complete}");
    let code = begun.device_code().secret();
    for expected in [DeviceCodeErrorResponseType::AuthorizationPending, DeviceCodeErrorResponseType::SlowDown]
    {
        let refused: DeviceCodeErrorResponse = serde_json::from_value(rig.poll(code).json(400)).unwrap();
        assert_eq!(refused.error(), &expected);
    }
    rig.idp.confirm(begun.user_code().secret(), "alice").unwrap();
    let tokens: CoreTokenResponse = serde_json::from_value(rig.poll(code).json(200)).unwrap();
    assert_eq!(tokens.expires_in().unwrap().as_secs(), 600);
    assert!(tokens.refresh_token().is_some() && tokens.scopes().unwrap().len() == 5);
    let token = tokens.extra_fields().id_token().unwrap();
    let verifier = verifier(&rig, "portcullis", keys(&rig));
    // A login by device code has no nonce.
    token
        .claims(&verifier, |nonce: Option<&Nonce>| nonce.map_or(Ok(()), |_| Err("a nonce".to_owned())))
        .unwrap();
    let later = verifier.set_time_fn(|| "2030-01-01T00:10:01Z".parse().unwrap());
    assert!(token.claims(&later, |_: Option<&Nonce>| Ok(())).is_err(), "it runs out");
}

#[test]
fn the_metadata_is_what_discovery_asks_for() {
    let rig = Rig::start();
    let document = rig.get("/.well-known/openid-configuration").json(200);
    let metadata: CoreProviderMetadata = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(metadata.issuer().as_str(), rig.idp.issuer());
    assert_eq!(metadata.authorization_endpoint().as_str(), rig.url("/authorize"));
    assert_eq!(metadata.token_endpoint().unwrap().as_str(), rig.url("/token"));
    assert_eq!(metadata.jwks_uri().as_str(), rig.url("/jwks"));
    assert_eq!(metadata.response_types_supported(), &vec![ResponseTypes::new(vec![CoreResponseType::Code])]);
    assert_eq!(
        metadata.id_token_signing_alg_values_supported(),
        &vec![CoreJwsSigningAlgorithm::EcdsaP256Sha256]
    );
    assert!(metadata.claims_supported().unwrap().contains(&CoreClaimName::new("groups".to_owned())));
    assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
    // Every endpoint that is named is there.
    for (field, status) in [
        ("authorization_endpoint", 400),
        ("jwks_uri", 200),
        ("token_endpoint", 405),
        ("device_authorization_endpoint", 405),
        ("revocation_endpoint", 405),
    ] {
        let answer = rig.web().get(text(&document[field]));
        assert_eq!(answer.status, status, "{field}");
        assert_eq!(answer.header("allow") == "POST", status == 405, "{field}");
    }
}
