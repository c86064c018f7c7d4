//! An MCP target is also a web server: pages and hosts of elsewhere, paths around the endpoint, and tokens for other servers
//! are no way in.

mod common;

use anyhow::{Context, Result};
use common::mcp::{Ask, assert_refused, echo, everything_on_tools, options, stage};
use common::programs;
use e2e::{ALICE, MALLORY, McpServer, McpTarget, OidcProvider, Stage};
use serde_json::{Value, json};

#[test]
fn pages_and_hosts_of_elsewhere_are_turned_away() -> Result<()> {
    let server = McpServer::start(&[])?;
    let settings = json!({"mcp": {"origins": ["https://inspector.example.test"]}});
    let stage = stage(server.url(), &everything_on_tools("all", "{}"), &settings)?;
    stage.grant_on("tools", ALICE, "all", "1h")?;
    let origin = |origin: &str| echo("x").with(&format!("Origin: {origin}"));
    assert_refused(
        &stage,
        &server,
        vec![
            ("elsewhere", origin("https://evil.example.test"), &[403], "evil.example.test"),
            ("a name like it", origin("http://127.0.0.1.evil.example.test"), &[403], "evil.example.test"),
            ("no origin", origin("null"), &[403], "null"),
            ("not listed so", origin("http://inspector.example.test:81"), &[403], "inspector"),
            (
                "two",
                origin("http://127.0.0.1").with("Origin: https://evil.example.test"),
                &[400, 403],
                "origin",
            ),
            (
                "another host",
                echo("x").with("Host: evil.example.test"),
                &[400, 403, 421],
                "evil.example.test",
            ),
        ],
    )?;
    let own = server.url().trim_end_matches("/mcp");
    let allowed = origin(own).send(&stage, ALICE, server.url())?;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    // Plain HTTP of the same host is no way around it.
    let health = Ask { body: Vec::new(), ..Ask::get() };
    let url = format!("{own}/health");
    let refused = health.clone().with("Origin: https://evil.example.test").send(&stage, ALICE, &url)?;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(health.send(&stage, ALICE, &url)?.status, 200);
    Ok(())
}

#[test]
fn paths_around_the_endpoint_are_no_way_in() -> Result<()> {
    let server = McpServer::start(&[])?;
    let roles =
        everything_on_tools("all", "{}").replace("  - {nonResourceURLs: [\"*\"], verbs: [\"*\"]}\n", "");
    let stage = stage(server.url(), &roles, &json!({}))?;
    stage.grant_on("tools", ALICE, "all", "1h")?;
    let before = server.requests()?.len();
    for path in ["/MCP", "/mcp/../mcp", "//mcp", "/%6dcp", "/mcp/x", "/mcp;x", "/./mcp", "/mcp%2f"] {
        let url = server.url().replace("/mcp", path);
        let refused = echo("around").send(&stage, ALICE, &url)?;
        assert!([400, 403].contains(&refused.status), "{path}: {refused:?}");
    }
    let mut put = echo("around");
    for method in ["PUT", "PATCH", "OPTIONS", "HEAD"] {
        put.method = method;
        // curl waits for a body that a HEAD never has.
        if method != "HEAD" {
            let refused = put.send(&stage, ALICE, server.url())?;
            assert!([400, 403, 405].contains(&refused.status), "{method}: {refused:?}");
        }
    }
    assert_eq!(server.requests()?.len(), before, "something went through");
    Ok(())
}

#[test]
fn a_token_is_for_this_server_alone() -> Result<()> {
    let (provider, server) = (OidcProvider::start()?, McpServer::start(&[])?);
    let other = McpServer::start(&[])?;
    let bearer = json!({"identity": {"anyOf": ["bearer"]}, "mcp": {"authorizationServers": ["https://idp.example.test"]}});
    let roles = everything_on_tools("all", "{}").replace("targets: [tools]", "targets: [\"*\"]");
    let mut options = options(server.url(), &roles, &bearer);
    let second = McpTarget { name: "other", url: other.url().to_owned(), settings: bearer };
    options.mcp_targets.push(second);
    options.config = json!({"identity": {"commands": {"anyOf": ["unix"]}, "oidc": [provider.config()]}});
    let stage = Stage::set(&programs()?, &options)?;

    let none = echo("x").send(&stage, ALICE, server.url())?;
    assert_eq!(none.status, 401, "{none:?}");
    let challenge = none.header("www-authenticate").context("a challenge")?;
    let metadata = challenge.split('"').find(|part| part.contains("oauth-protected-resource"));
    let metadata = metadata.with_context(|| format!("no metadata in {challenge}"))?.to_owned();
    let described = Ask::get().send(&stage, ALICE, &metadata)?;
    let described: Value = serde_json::from_str(&described.body)?;
    assert_eq!(described["resource"], server.url(), "{described}");
    assert_eq!(described["authorization_servers"], json!(["https://idp.example.test"]), "{described}");

    let for_this = provider.tokens_for("alice", "kubelogin", server.url())?.access_token;
    let for_other = provider.tokens_for("alice", "kubelogin", other.url())?.access_token;
    let login = provider.tokens("alice", "kubelogin")?;
    let with = |token: &str| echo("x").with(&format!("Authorization: Bearer {token}"));
    // Who she is by her token is somebody else than the account that asks for access here.
    let said = with(&for_this).send(&stage, ALICE, server.url())?;
    assert!(said.error()?.contains("may not call tool"), "it is known whose it is: {said:?}");
    for (what, token) in [
        ("for another server", for_other.as_str()),
        ("for no server", &login.id_token),
        ("opaque", &login.access_token),
    ] {
        let refused = with(token).send(&stage, ALICE, server.url())?;
        assert_eq!(refused.status, 401, "{what}: {refused:?}");
        let challenge = refused.header("www-authenticate").context("a challenge")?;
        assert!(challenge.contains("invalid_token"), "{what}: {challenge}");
    }
    let stolen = with(&for_this).send(&stage, MALLORY, server.url())?;
    assert!([401, 403].contains(&stolen.status) && stolen.error()?.contains("mallory"), "{stolen:?}");
    assert!(server.requests()?.is_empty() && other.requests()?.is_empty(), "something went through");
    Ok(())
}
