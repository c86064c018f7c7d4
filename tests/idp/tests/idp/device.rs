//! Login with a device code (RFC 8628).

use idp::Error;
use serde_json::json;

use crate::rig::{DEVICE_GRANT, Rig, claims, text};

#[test]
fn a_device_logs_in_once_somebody_has_confirmed() {
    let rig = Rig::start();
    let begun = rig.begin_device();
    let (code, user_code) = (text(&begun["device_code"]), text(&begun["user_code"]));
    assert_eq!((&begun["interval"], &begun["expires_in"]), (&json!(5), &json!(600)));
    assert_eq!(begun["verification_uri"], rig.url("/device"));
    assert_eq!(begun["verification_uri_complete"], rig.url(&format!("/device?user_code={user_code}")));
    assert_eq!(rig.poll(code).refused(), "authorization_pending");

    rig.idp.confirm(&user_code.to_lowercase().replace('-', ""), "alice").unwrap();
    rig.seconds(3);
    let tokens = rig.poll(code).json(200);
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(600)));
    assert_eq!(tokens["scope"], "openid profile email groups offline_access");
    assert!(tokens["refresh_token"].is_string());
    let claims = claims(text(&tokens["id_token"]));
    let at = 1_893_456_000; // 2030-01-01
    for (claim, value) in [
        ("iss", json!(rig.idp.issuer())),
        ("aud", json!("portcullis")),
        ("sub", json!("sub-alice")),
        ("name", json!("Alice")),
        ("preferred_username", json!("alice")),
        ("email", json!("alice@example.test")),
        ("email_verified", json!(true)),
        ("groups", json!(["dev"])),
        ("auth_time", json!(at)),
        ("iat", json!(at + 3)),
        ("exp", json!(at + 3 + 600)),
    ] {
        assert_eq!(claims[claim], value, "{claim}");
    }
}

#[test]
fn who_asks_too_often_is_slowed_down() {
    let rig = Rig::start();
    let begun = rig.begin_device();
    let code = text(&begun["device_code"]);
    assert_eq!(rig.poll(code).refused(), "authorization_pending");
    rig.seconds(4);
    assert_eq!(rig.poll(code).refused(), "slow_down");
    // From now on ten seconds, from the poll that came too soon.
    rig.seconds(9);
    assert_eq!(rig.poll(code).refused(), "slow_down");
    rig.seconds(15);
    assert_eq!(rig.poll(code).refused(), "authorization_pending");
    // What has been decided is told at once.
    rig.idp.confirm(text(&begun["user_code"]), "alice").unwrap();
    rig.poll(code).json(200);
}

#[test]
fn a_device_code_runs_out() {
    let rig = Rig::start();
    let (begun, confirmed) = (rig.begin_device(), rig.begin_device());
    rig.idp.confirm(text(&confirmed["user_code"]), "alice").unwrap();
    rig.seconds(599);
    assert_eq!(rig.poll(text(&begun["device_code"])).refused(), "authorization_pending");
    rig.seconds(1);
    assert_eq!(rig.poll(text(&begun["device_code"])).refused(), "expired_token");
    assert_eq!(rig.poll(text(&confirmed["device_code"])).refused(), "expired_token");
    let late = rig.idp.confirm(text(&begun["user_code"]), "alice").unwrap_err();
    assert!(late.to_string().contains("run out"), "{late}");
}

#[test]
fn a_refusal_is_final() {
    let rig = Rig::start();
    let begun = rig.begin_device();
    rig.idp.refuse(text(&begun["user_code"])).unwrap();
    assert_eq!(rig.poll(text(&begun["device_code"])).refused(), "access_denied");
    assert!(matches!(rig.idp.confirm(text(&begun["user_code"]), "alice"), Err(Error::Refused(_))));
    assert_eq!(rig.poll(text(&begun["device_code"])).refused(), "access_denied");
}

#[test]
fn a_device_code_that_is_used_twice_ends_its_login() {
    let rig = Rig::start();
    let begun = rig.begin_device();
    let code = text(&begun["device_code"]);
    rig.idp.confirm(text(&begun["user_code"]), "alice").unwrap();
    let tokens = rig.poll(code).json(200);
    assert_eq!(rig.poll(code).refused(), "invalid_grant");
    assert_eq!(rig.refresh(text(&tokens["refresh_token"])).refused(), "invalid_grant");
}

#[test]
fn a_device_code_is_one_clients() {
    let rig = Rig::start();
    let begun = rig.begin_device();
    let code = text(&begun["device_code"]);
    rig.idp.confirm(text(&begun["user_code"]), "alice").unwrap();
    let stolen = [("grant_type", DEVICE_GRANT), ("device_code", code), ("client_id", "other")];
    assert_eq!(rig.post("/token", &stolen).refused(), "invalid_grant");
    assert_eq!(rig.poll("nonsense").refused(), "invalid_grant");
    rig.poll(code).json(200);
}

#[test]
fn what_is_asked_wrongly_is_refused() {
    let rig = Rig::start();
    let begin = |form: &[(&str, &str)]| rig.post("/device_authorization", form).refused();
    assert_eq!(begin(&[("scope", "openid")]), "invalid_client");
    assert_eq!(begin(&[("client_id", "nobody"), ("scope", "openid")]), "invalid_client");
    assert_eq!(begin(&[("client_id", "portcullis")]), "invalid_scope");
    assert_eq!(begin(&[("client_id", "portcullis"), ("scope", "email")]), "invalid_scope");
    let twice = [("client_id", "portcullis"), ("client_id", "other"), ("scope", "openid")];
    assert_eq!(begin(&twice), "invalid_request");
    let secret = [("client_id", "portcullis"), ("scope", "openid"), ("client_secret", "a")];
    assert_eq!(begin(&secret), "invalid_client");
    assert!(matches!(rig.idp.confirm("BCDF-GHJK", "mallory"), Err(Error::NoSuchPerson(_))));
    assert!(matches!(rig.idp.confirm("BCDF-GHJK", "alice"), Err(Error::Refused(_))));
    assert_eq!(rig.post("/token", &[("client_id", "portcullis")]).refused(), "invalid_request");
    let unknown = [("client_id", "portcullis"), ("grant_type", "password")];
    assert_eq!(rig.post("/token", &unknown).refused(), "unsupported_grant_type");
}

#[test]
fn what_has_run_out_is_forgotten_after_a_day_and_what_lives_is_not() {
    let rig = Rig::start();
    let (begun, old) = (rig.begin_device(), rig.begin_device());
    rig.idp.confirm(text(&begun["user_code"]), "alice").unwrap();
    let mut tokens = rig.poll(text(&begun["device_code"])).json(200);
    for _ in 0..2 {
        assert_ne!(rig.poll(text(&old["device_code"])).refused(), "invalid_grant");
        rig.seconds(23 * 3600);
        rig.begin_device();
        tokens = rig.refresh(text(&tokens["refresh_token"])).json(200);
    }
    assert_eq!(rig.poll(text(&old["device_code"])).refused(), "invalid_grant");
}
