//! A real OpenID provider beside the gate, and a hand on its controls: `tests/oidc` as a process.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::talk::Talk;
use crate::tools;

/// A running provider with the accounts alice, bob, carol and mallory; `tests/oidc/README.md` says what they are.
#[derive(Debug)]
pub struct OidcProvider {
    issuer: String,
    talk: Talk,
}

/// How the provider is out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// It is not.
    None,
    /// Nobody listens.
    Refuse,
    /// Connections are taken and nothing is answered.
    Hang,
    /// Everything is answered with 503.
    Error,
}

/// What the token endpoint answered.
#[derive(Clone)]
pub struct Tokens {
    /// The ID token.
    pub id_token: String,
    /// The access token.
    pub access_token: String,
    /// The refresh token, where `offline_access` was asked for.
    pub refresh_token: Option<String>,
}

impl OidcProvider {
    /// Starts it on a free port of loopback, with tokens that live for ten minutes.
    ///
    /// # Errors
    /// When node or the provider's packages are not there, or it does not come up.
    pub fn start() -> Result<Self> {
        Self::with(&json!({}))
    }

    /// Starts it with these options; `tests/oidc/README.md` has them.
    ///
    /// # Errors
    /// As [`OidcProvider::start`].
    pub fn with(options: &Value) -> Result<Self> {
        let mut command = Command::new(tools::node()?);
        command.arg(tools::oidc_server()?).arg(options.to_string());
        let (talk, ready) = Talk::start("the OpenID provider", &mut command)?;
        let issuer = ready["issuer"].as_str().context("the provider names no issuer")?.to_owned();
        Ok(Self { issuer, talk })
    }

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// An entry of the configuration's `identity.oidc` for the client `portcullis`.
    #[must_use]
    pub fn config(&self) -> Value {
        json!({
            "name": "corp",
            "issuer": self.issuer,
            "clientId": "portcullis",
            "audiences": ["portcullis", "kubelogin"],
            "scopes": ["profile", "email", "groups", "offline_access"],
            "algorithms": ["RS256", "ES256"],
            "usernameClaim": "email",
            "groupsClaim": "groups",
            // People are made by setpriv here, so that all of them are in the tests' own session.
            "bindTo": "uid",
        })
    }

    /// Logs in as `account` on the page for devices, and agrees; what the last page says.
    ///
    /// # Errors
    /// When the provider takes no such code.
    pub fn approve_device(&self, user_code: &str, account: &str) -> Result<String> {
        let page = self.device(user_code, account, false)?;
        ensure!(page.contains("successful"), "the provider says: {page}");
        Ok(page)
    }

    /// Declines on the page for devices.
    ///
    /// # Errors
    /// When the provider takes no such code.
    pub fn deny_device(&self, user_code: &str) -> Result<String> {
        let page = self.device(user_code, "alice", true)?;
        ensure!(page.contains("interrupted"), "the provider says: {page}");
        Ok(page)
    }

    /// What the page for devices says to a code, agreed to or not.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub fn device(&self, user_code: &str, account: &str, deny: bool) -> Result<String> {
        let url = format!("{}/device?user_code={user_code}", self.issuer);
        let shown = self.talk.ask(&json!({ "do": "visit", "url": url, "account": account, "deny": deny }))?;
        shown["page"].as_str().map(str::to_owned).with_context(|| format!("no page: {shown}"))
    }

    /// Opens an authorization URL as a browser does, logs in as `account` and agrees; where the browser is sent then.
    ///
    /// # Errors
    /// When the login does not lead away from the provider.
    pub fn browse(&self, url: &str, account: &str) -> Result<String> {
        let shown = self.talk.ask(&json!({ "do": "visit", "url": url, "account": account }))?;
        shown["location"].as_str().map(str::to_owned).with_context(|| format!("it goes on nowhere: {shown}"))
    }

    /// A whole login of another client, as kubelogin makes it.
    ///
    /// # Errors
    /// When the provider refuses.
    pub fn tokens(&self, account: &str, client: &str) -> Result<Tokens> {
        self.granted(&json!({ "do": "tokens", "account": account, "client": client }))
    }

    /// The same for a resource (RFC 8707): the access token is a JWT whose audience it is.
    ///
    /// # Errors
    /// When the provider refuses.
    pub fn tokens_for(&self, account: &str, client: &str, resource: &str) -> Result<Tokens> {
        self.granted(&json!({ "do": "tokens", "account": account, "client": client, "resource": resource }))
    }

    fn granted(&self, command: &Value) -> Result<Tokens> {
        let granted = self.talk.ask(command)?;
        let token = |name: &str| granted[name].as_str().map(str::to_owned);
        Ok(Tokens {
            id_token: token("id_token").context("no ID token")?,
            access_token: token("access_token").context("no access token")?,
            refresh_token: token("refresh_token"),
        })
    }

    /// Says something else of an account from now on.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub fn set_claims(&self, account: &str, claims: &Value) -> Result<()> {
        self.talk.ask(&json!({ "do": "account", "name": account, "claims": claims })).map(drop)
    }

    /// Refuses an account from now on, its refresh tokens too; or no longer.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub fn set_disabled(&self, account: &str, disabled: bool) -> Result<()> {
        self.talk.ask(&json!({ "do": "account", "name": account, "disabled": disabled })).map(drop)
    }

    /// Signs with new keys; the old ones stay published with `keep` only.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub fn rotate(&self, keep: bool) -> Result<()> {
        self.talk.ask(&json!({ "do": "rotate", "keep": keep })).map(drop)
    }

    /// Breaks it, or repairs it.
    ///
    /// # Errors
    /// When its controls do not answer.
    pub fn outage(&self, outage: Outage) -> Result<()> {
        let mode = match outage {
            Outage::None => "none",
            Outage::Refuse => "refuse",
            Outage::Hang => "hang",
            Outage::Error => "error",
        };
        self.talk.ask(&json!({ "do": "outage", "mode": mode })).map(drop)
    }

    /// How often it was asked: `GET /jwks`, `POST /token` …
    ///
    /// # Errors
    /// When its controls do not answer.
    pub fn requests(&self, what: &str) -> Result<u64> {
        Ok(self.talk.ask(&json!({ "do": "requests" }))?[what].as_u64().unwrap_or(0))
    }

    /// Every token that it has given out, to look for where none should be.
    ///
    /// # Errors
    /// When its controls do not answer.
    pub fn issued(&self) -> Result<Vec<String>> {
        let issued = self.talk.ask(&json!({ "do": "issued" }))?;
        Ok(issued.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
    }
}
