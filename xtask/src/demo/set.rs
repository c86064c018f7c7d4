//! The stage of the demo: who is there, what stands behind the gate, and what the configuration says of it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use e2e::{ALICE, BOB, CAROL, McpTarget, Stage, StageOptions, Upstream};
use idp::Idp;
use serde_json::{Value, json};

const ROLES: &str = include_str!("roles.yaml");

/// The people of the stage, at a provider that lets anybody be any of them.
pub(super) fn identity_provider() -> Result<Idp> {
    let people = [ALICE, BOB, CAROL].map(|person| idp::Person::example(person.name, person.groups));
    let options = idp::Options { poll_interval: Duration::from_secs(1), ..idp::Options::new(people.into()) };
    Ok(Idp::start(options)?)
}

/// A cluster, simulated where there is no other, as the target `demo`, and the MCP server at `url` as the target `tools`.
pub(super) fn stage(programs: &Path, upstream: Option<Upstream>, issuer: &str, url: &str) -> Result<Stage> {
    // The account that the kernel saw, and the login of the same person.
    let both = json!({ "identity": { "allOf": ["unix", "oidc"] } });
    let options = StageOptions {
        upstream,
        target: both.clone(),
        mcp_targets: vec![McpTarget { name: "tools", url: url.to_owned(), settings: both }],
        config: json!({ "identity": identity(issuer) }),
        ..StageOptions::with_roles(ROLES)
    };
    Stage::set(programs, &options)
}

/// `identity` of the configuration, beside what the stage has there.
fn identity(issuer: &str) -> Value {
    json!({
        "commands": { "anyOf": ["oidc", "unix"] },
        "oidc": [{
            "name": "corp",
            "issuer": issuer,
            "clientId": "portcullis",
            "scopes": ["profile", "email", "groups", "offline_access"],
            "algorithms": ["ES256"],
            // People are made by setpriv here, so that none has a login session of their own.
            "bindTo": "uid",
        }],
    })
}
