//! Login in a browser: authorization code and PKCE.

use idp::Error;

use crate::rig::{BACK, Rig, claims, parameter, text};

#[test]
fn a_browser_comes_back_with_a_code_that_is_worth_tokens() {
    let rig = Rig::start();
    let back = rig.idp.log_in(&rig.authorization(&[]), "bob").unwrap();
    assert!(back.starts_with(&format!("{BACK}?code=")), "{back}");
    assert_eq!(parameter(&back, "state").as_deref(), Some("a b&c=d"));
    assert_eq!(parameter(&back, "iss").as_deref(), Some(rig.idp.issuer()));
    rig.seconds(30);
    let tokens = rig.redeem(&parameter(&back, "code").unwrap(), &[]).json(200);
    let said = claims(text(&tokens["id_token"]));
    assert_eq!((&said["sub"], &said["nonce"]), (&"sub-bob".into(), &"n-0S6_WzA2Mj".into()));
    assert_eq!(said["iat"].as_i64().unwrap() - said["auth_time"].as_i64().unwrap(), 30);
}

#[test]
fn without_offline_access_nothing_can_be_refreshed_and_without_a_nonce_none_is_made_up() {
    let rig = Rig::start();
    let asked = rig.authorization(&[("scope", "openid email"), ("nonce", ""), ("state", "")]);
    let back = rig.idp.log_in(&asked, "alice").unwrap();
    assert_eq!(parameter(&back, "state"), None);
    let tokens = rig.redeem(&parameter(&back, "code").unwrap(), &[]).json(200);
    assert!(tokens.get("refresh_token").is_none(), "{tokens}");
    let said = claims(text(&tokens["id_token"]));
    assert!(
        said.get("nonce").is_none() && said.get("groups").is_none() && said.get("name").is_none(),
        "{said}"
    );
}

#[test]
fn a_code_needs_the_verifier_and_the_redirect_uri_of_its_login() {
    let rig = Rig::start();
    for change in [
        ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl"),
        ("code_verifier", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_verifier", "short"),
        ("code_verifier", ""),
        ("redirect_uri", "http://127.0.0.1:8401/callback"),
        ("redirect_uri", ""),
    ] {
        let code = rig.code();
        assert_eq!(rig.redeem(&code, &[change]).refused(), "invalid_grant", "{change:?}");
        // Whoever could not prove it has spent it.
        assert_eq!(rig.redeem(&code, &[]).refused(), "invalid_grant", "{change:?}");
    }
    let code = rig.code();
    assert_eq!(rig.redeem(&code, &[("client_id", "other")]).refused(), "invalid_grant");
    rig.redeem(&code, &[]).json(200);
    assert_eq!(rig.redeem("nonsense", &[]).refused(), "invalid_grant");
}

#[test]
fn a_code_that_is_used_twice_ends_its_login() {
    let rig = Rig::start();
    let code = rig.code();
    let tokens = rig.redeem(&code, &[]).json(200);
    let renewed = rig.refresh(text(&tokens["refresh_token"])).json(200);
    assert_eq!(rig.redeem(&code, &[]).refused(), "invalid_grant");
    assert_eq!(rig.refresh(text(&renewed["refresh_token"])).refused(), "invalid_grant");
}

#[test]
fn a_code_runs_out() {
    let rig = Rig::start();
    let (early, late) = (rig.code(), rig.code());
    rig.seconds(59);
    rig.redeem(&early, &[]).json(200);
    rig.seconds(1);
    assert_eq!(rig.redeem(&late, &[]).refused(), "invalid_grant");
}

#[test]
fn a_person_may_decline() {
    let rig = Rig::start();
    let back = rig.idp.decline(&rig.authorization(&[])).unwrap();
    assert_eq!(parameter(&back, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&back, "state").as_deref(), Some("a b&c=d"));
    assert_eq!(parameter(&back, "code"), None);
}

#[test]
fn a_request_that_is_not_known_to_be_the_clients_goes_nowhere() {
    let rig = Rig::start();
    for change in [
        [("client_id", "nobody")].as_slice(),
        &[("client_id", "")],
        &[("redirect_uri", "")],
        &[("redirect_uri", "http://example.test/callback")],
        &[("redirect_uri", "https://127.0.0.1/callback")],
        &[("redirect_uri", "http://localhost:80/callback")],
    ] {
        let url = rig.authorization(change);
        let answer = rig.web().get(&url);
        assert_eq!((answer.status, answer.header("location")), (400, ""), "{change:?}");
        assert!(matches!(rig.idp.log_in(&url, "alice"), Err(Error::Refused(_))), "{change:?}");
    }
    let twice = format!("{}&client_id=other", rig.authorization(&[]));
    assert_eq!(rig.web().get(&twice).status, 400);
    assert!(rig.idp.log_in("http://127.0.0.1:1/authorize?client_id=portcullis", "alice").is_err());
}

#[test]
fn a_request_that_cannot_be_granted_is_told_to_the_client() {
    let rig = Rig::start();
    for (change, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", ""), "unsupported_response_type"),
        (("response_mode", "fragment"), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("scope", "profile"), "invalid_scope"),
        (("prompt", "none"), "login_required"),
        (("request", "a.b.c"), "request_not_supported"),
        (("request_uri", "http://127.0.0.1/"), "request_uri_not_supported"),
    ] {
        let url = rig.authorization(&[change]);
        let answer = rig.web().get(&url);
        assert_eq!(answer.status, 303, "{change:?}: {}", answer.body);
        let back = answer.header("location");
        assert!(back.starts_with(BACK), "{back}");
        assert_eq!(parameter(back, "error").as_deref(), Some(error), "{change:?}");
        assert_eq!(parameter(back, "state").as_deref(), Some("a b&c=d"));
        assert_eq!(parameter(back, "iss").as_deref(), Some(rig.idp.issuer()));
        assert!(matches!(rig.idp.log_in(&url, "alice"), Err(Error::Refused(_))), "{change:?}");
    }
}

#[test]
fn a_redirect_uri_keeps_its_own_query() {
    let rig = Rig::start();
    let url = rig.authorization(&[("redirect_uri", "http://[::1]:1/back?a=b")]);
    let back = rig.idp.log_in(&url, "alice").unwrap();
    assert!(back.starts_with("http://[::1]:1/back?a=b&code="), "{back}");
}
