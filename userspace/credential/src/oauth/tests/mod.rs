//! Access tokens from a small authorization server over TLS, by a clock that the tests turn.

mod assertion;
mod server;

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _};

use http::StatusCode;
use jiff::SignedDuration;
use portcullis_identity::{Method, Subject};
use serde_json::{Value, json};

use super::ClientCredentialsSource;
use crate::{CredentialError, OnBehalf, Source};
use server::{SECRET, Server, secret};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

async fn token(source: &ClientCredentialsSource) -> Result<String, CredentialError> {
    let alice = Subject {
        issuer: "unix".into(),
        id: "1001".into(),
        name: "alice".into(),
        groups: BTreeSet::new(),
        method: Method::Unix,
        account: None,
    };
    let on_behalf = OnBehalf {
        subject: &alice,
        role: "mcp-reader",
        grant: Some("g-1"),
        expires: None,
        session: "s-1",
        aws_role: None,
        service_account: None,
    };
    let credential = source.present(&on_behalf).await?;
    assert!(!format!("{credential:?}").contains("at-"));
    Ok(credential.authorization().unwrap().to_str().unwrap().to_owned())
}

async fn refusal(source: &ClientCredentialsSource) -> String {
    let error = token(source).await.unwrap_err();
    let printed = format!("{error} {error:?}");
    assert!(!printed.contains("at-x") && !printed.contains(SECRET), "{printed}");
    error.to_string()
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_anew_at_four_fifths_of_its_life() {
    let server = Server::start().await;
    let source = server.source(server.config(server.endpoint(), server.by_secret()));
    source.check().unwrap();
    assert_eq!(token(&source).await.unwrap(), "Bearer at-1");
    server.pass(SECOND * 479);
    assert_eq!(token(&source).await.unwrap(), "Bearer at-1");
    server.pass(SECOND);
    assert_eq!(token(&source).await.unwrap(), "Bearer at-2");
    let form = &server.forms()[0];
    assert_eq!(form.keys().collect::<Vec<_>>(), ["grant_type", "resource", "scope"]);
}

#[tokio::test]
async fn in_an_outage_a_token_is_used_to_its_end_and_no_longer() {
    let server = Server::start().await;
    let source = server.source(server.config(server.endpoint(), server.by_secret()));
    token(&source).await.unwrap();
    server.state(|state| state.instead = Some((StatusCode::SERVICE_UNAVAILABLE, "<html>".into())));
    server.pass(SECOND * 599);
    assert_eq!(token(&source).await.unwrap(), "Bearer at-1");
    server.pass(SECOND);
    let said = refusal(&source).await;
    let expected = format!(
        "cannot get an access token for {} from {}: HTTP 503: no reason given",
        server::CLIENT,
        server.url("/token")
    );
    assert_eq!(said, expected);
    // Nobody asks again at once.
    let asked = server.forms().len();
    refusal(&source).await;
    assert_eq!(server.forms().len(), asked);
    server.state(|state| state.instead = None);
    server.pass(SECOND * 60);
    token(&source).await.unwrap();
}

#[tokio::test]
async fn answers_that_are_no_token_are_refused_and_not_repeated() {
    let said = |value: Value| value.to_string();
    let life =
        |seconds: Value| said(json!({"access_token": "at-x", "token_type": "Bearer", "expires_in": seconds}));
    let dpop = said(json!({"access_token": "at-x", "token_type": "DPoP", "expires_in": 600}));
    let blank = said(json!({"access_token": "at-x y", "token_type": "Bearer", "expires_in": 600}));
    let denied = said(json!({"error": "invalid_scope", "error_description": "not for you\nat-x"}));
    for (status, body, expected) in [
        (400, denied, "invalid_scope: not for you"),
        (401, "<html>".into(), "HTTP 401: no reason given"),
        (307, String::new(), "HTTP 307: no reason given"),
        (429, said(json!({"error": "slow_down"})), "slow_down: no reason given"),
        (200, dpop, "it gave a token of type DPoP, not Bearer"),
        (200, blank, "it gave what is no token"),
        (200, life(json!(9)), "it lasts 9 seconds, which is too short to be used"),
        (200, life(json!("600")), "it answered HTTP 200 with what cannot be used, at line 1, column "),
        (200, life(json!(-1)), "it answered HTTP 200 with what cannot be used"),
        (200, "at-x".into(), "it answered HTTP 200 with what cannot be used"),
    ] {
        let server = Server::start().await;
        server.state(|state| state.instead = Some((StatusCode::from_u16(status).unwrap(), body)));
        let source = server.source(server.config(server.endpoint(), server.by_secret()));
        let refused = refusal(&source).await;
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(server.state(|state| state.asked.len()), 1, "{refused}");
    }
}

#[tokio::test]
async fn how_long_a_token_is_used() {
    for (expires_in, seconds) in [(Value::Null, 300), (json!(4_000_000_000_u32), 86_400)] {
        let server = Server::start().await;
        let given = json!({"access_token": "at-1", "token_type": "Bearer", "expires_in": expires_in});
        server.state(|state| state.instead = Some((StatusCode::OK, given.to_string())));
        let source = server.source(server.config(server.endpoint(), server.by_secret()));
        token(&source).await.unwrap();
        server.state(|state| state.instead = Some((StatusCode::SERVICE_UNAVAILABLE, String::new())));
        server.pass(SECOND * (seconds - 1));
        token(&source).await.unwrap();
        server.pass(SECOND);
        refusal(&source).await;
    }
}

#[tokio::test]
async fn the_endpoint_is_found_by_the_issuer() {
    let metadata = |server: &Server, issuer: &str, methods: Value| {
        let mut metadata = json!({"issuer": issuer, "token_endpoint": server.url("/token")});
        if !methods.is_null() {
            metadata["token_endpoint_auth_methods_supported"] = methods;
        }
        metadata
    };
    let (oauth, oidc) = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration");
    for (issuer, page, methods, post) in [
        ("", oauth.to_owned(), Value::Null, false),
        ("/", oidc.to_owned(), Value::Null, false),
        (
            "/realms/a",
            format!("{oauth}/realms/a"),
            json!(["client_secret_post", "client_secret_basic"]),
            false,
        ),
        ("/realms/a", format!("/realms/a{oidc}"), json!(["private_key_jwt", "client_secret_post"]), true),
    ] {
        let server = Server::start().await;
        let metadata = metadata(&server, &server.url(issuer), methods);
        server.state(|state| {
            state.pages.insert(page, metadata);
            state.post = post;
        });
        let config = server.config(json!({"issuer": server.url(issuer)}), server.by_secret());
        assert!(token(&server.source(config)).await.unwrap().starts_with("Bearer at-"), "{issuer}");
    }
    let server = Server::start().await;
    let at = server.url("");
    let config = || server.config(json!({"issuer": at}), server.by_secret());
    let methods = json!(["private_key_jwt"]);
    let plain = json!({"issuer": at, "token_endpoint": at.replace("https", "http")});
    for (page, expected) in [
        (None, "there are none (HTTP 404)"),
        (
            Some(metadata(&server, "https://idp.example.com", Value::Null)),
            "they are of https://idp.example.com",
        ),
        (Some(metadata(&server, &server.url("/"), Value::Null)), "they are of https://127.0.0.1"),
        (Some(metadata(&server, &at, methods)), "clients cannot prove who they are by a secret"),
        (Some(json!({"issuer": at})), "no token_endpoint"),
        (Some(plain), "does not begin with https://"),
    ] {
        server.state(|state| state.pages = page.map(|page| (oauth.to_owned(), page)).into_iter().collect());
        let said = refusal(&server.source(config())).await;
        assert!(said.contains(&format!("the metadata of {at}: ")) && said.contains(expected), "{said}");
    }
    assert!(server.forms().is_empty(), "no secret was sent");
}

#[tokio::test]
async fn a_new_secret_is_read_and_a_bad_one_told_at_the_start() {
    let server = Server::start().await;
    let source = server.source(server.config(server.endpoint(), server.by_secret()));
    token(&source).await.unwrap();
    server.state(|state| state.secret = "second".into());
    secret(&server.file("secret"), "second");
    server.pass(SECOND * 600);
    assert_eq!(token(&source).await.unwrap(), "Bearer at-2");
    server.state(|state| state.secret = "third".into());
    server.pass(SECOND * 600);
    assert!(refusal(&source).await.ends_with("invalid_client: no reason given"));
    for (content, said) in
        [("", "is empty"), ("a\u{7f}b", "holds characters that no secret has"), ("ä", "no secret has")]
    {
        secret(&server.file("secret"), content);
        let source = server.source(server.config(server.endpoint(), server.by_secret()));
        assert!(source.check().unwrap_err().to_string().contains(said), "{content:?}");
        assert!(refusal(&source).await.contains(said));
    }
    std::fs::set_permissions(server.file("secret"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let source = server.source(server.config(server.endpoint(), server.by_secret()));
    assert!(source.check().unwrap_err().to_string().contains("may be read or written by everyone"));
    secret(&server.file("secret"), "no key");
    let key = json!({"privateKeyFile": server.file("secret")});
    let source = server.source(server.config(server.endpoint(), key));
    assert!(source.check().unwrap_err().to_string().contains("holds no private key in PEM"));
}

#[tokio::test]
async fn no_other_server_gets_the_secret() {
    let (server, other) = (Server::start().await, Server::start().await);
    let mut config = server.config(server.endpoint(), server.by_secret());
    config.certificate_authority = Some(other.file("ca.crt"));
    let said = refusal(&server.source(config)).await;
    assert!(said.contains("certificate"), "{said}");
    assert!(server.forms().is_empty());
}
