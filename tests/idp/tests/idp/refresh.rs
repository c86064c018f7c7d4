//! Refresh tokens and revocation.

use serde_json::{Value, json};

use crate::rig::{Answer, Rig, claims, text};

fn logged_in(rig: &Rig) -> Value {
    rig.redeem(&rig.code(), &[]).json(200)
}

fn revoke(rig: &Rig, token: &Value, client: &str) -> Answer {
    rig.post("/revoke", &[("token", text(token)), ("client_id", client)])
}

#[test]
fn a_refresh_token_is_good_for_once_and_brings_another() {
    let rig = Rig::start();
    let first = logged_in(&rig);
    rig.seconds(3600);
    let second = rig.refresh(text(&first["refresh_token"])).json(200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let (before, after) = (claims(text(&first["id_token"])), claims(text(&second["id_token"])));
    for same in ["iss", "sub", "aud", "auth_time", "groups"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!(after["iat"].as_i64().unwrap() - before["iat"].as_i64().unwrap(), 3600);
    assert!(after.get("nonce").is_none(), "{after}");
    rig.refresh(text(&second["refresh_token"])).json(200);
}

#[test]
fn a_refresh_token_that_is_used_twice_ends_the_login() {
    let rig = Rig::start();
    let (first, bystander) = (logged_in(&rig), logged_in(&rig));
    let second = rig.refresh(text(&first["refresh_token"])).json(200);
    assert_eq!(rig.refresh(text(&first["refresh_token"])).refused(), "invalid_grant");
    assert_eq!(rig.refresh(text(&second["refresh_token"])).refused(), "invalid_grant");
    rig.refresh(text(&bystander["refresh_token"])).json(200);
}

#[test]
fn a_refresh_token_runs_out_and_is_one_clients_and_no_other_kind() {
    let rig = Rig::start();
    let tokens = logged_in(&rig);
    let refresh = text(&tokens["refresh_token"]);
    let stolen = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("client_id", "other")];
    assert_eq!(rig.post("/token", &stolen).refused(), "invalid_grant");
    for other in ["access_token", "id_token"] {
        assert_eq!(rig.refresh(text(&tokens[other])).refused(), "invalid_grant", "{other}");
    }
    rig.seconds(24 * 3600 - 1);
    let renewed = rig.refresh(refresh).json(200);
    rig.seconds(24 * 3600);
    assert_eq!(rig.refresh(text(&renewed["refresh_token"])).refused(), "invalid_grant");
}

#[test]
fn scopes_can_be_fewer_but_not_more() {
    let rig = Rig::start();
    let asked = rig.authorization(&[("scope", "openid email offline_access")]);
    let back = rig.idp.log_in(&asked, "alice").unwrap();
    let code = crate::rig::parameter(&back, "code").unwrap();
    let tokens = rig.redeem(&code, &[]).json(200);
    let refresh = |token: &Value, scope: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", text(token)),
            ("client_id", "portcullis"),
            ("scope", scope),
        ];
        rig.post("/token", &form)
    };
    assert_eq!(refresh(&tokens["refresh_token"], "openid groups").refused(), "invalid_scope");
    let fewer = refresh(&tokens["refresh_token"], "openid").json(200);
    assert_eq!(fewer["scope"], "openid");
    assert!(claims(text(&fewer["id_token"])).get("email").is_none());
    let again = rig.refresh(text(&fewer["refresh_token"])).json(200);
    assert_eq!(claims(text(&again["id_token"]))["email"], "alice@example.test");
}

#[test]
fn revoking_any_token_ends_the_login() {
    let rig = Rig::start();
    for kind in ["refresh_token", "access_token"] {
        let tokens = logged_in(&rig);
        assert_eq!(revoke(&rig, &tokens[kind], "other").refused(), "invalid_grant", "{kind}");
        assert_eq!(revoke(&rig, &tokens[kind], "portcullis").json(200), json!({}));
        assert_eq!(rig.refresh(text(&tokens["refresh_token"])).refused(), "invalid_grant", "{kind}");
        // What is revoked already, or never was, is as good as revoked.
        revoke(&rig, &tokens[kind], "portcullis").json(200);
    }
    revoke(&rig, &json!("nonsense"), "portcullis").json(200);
    assert_eq!(revoke(&rig, &json!("nonsense"), "nobody").refused(), "invalid_client");
    assert_eq!(rig.post("/revoke", &[("client_id", "portcullis")]).refused(), "invalid_request");
}
