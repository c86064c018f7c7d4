//! The token endpoint (RFC 6749, section 3.2; OpenID Connect Core, section 3.1.3) and revocation (RFC 7009).

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::authorize::check_verifier;
use crate::form::Form;
use crate::options::Options;
use crate::provider::{Provider, State};
use crate::scopes::{OFFLINE, Scopes};
use crate::secret;
use crate::store::{LoginId, later};

pub(crate) const CODE: &str = "authorization_code";
pub(crate) const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub(crate) const REFRESH: &str = "refresh_token";

pub(crate) fn exchange(provider: &Provider, client: &str, form: &Form) -> Result<Value, Refusal> {
    let needed = |name: &str| {
        form.get(name).ok_or_else(|| Refusal::new("invalid_request", format!("{name} is missing")))
    };
    let mut state = provider.state();
    let now = state.now(&provider.options);
    let (login, scopes, nonce) = match needed("grant_type")? {
        CODE => {
            let (code, redirect_uri) = (needed("code")?, form.get("redirect_uri"));
            let login = state.store.redeem(code, client, now, |code| {
                if redirect_uri != Some(&code.redirect_uri) {
                    let why = "redirect_uri is not the one that the login began with";
                    return Err(Refusal::new("invalid_grant", why));
                }
                check_verifier(form.get("code_verifier"), &code.challenge)
            })?;
            let made = state.store.login(login)?;
            (login, made.scopes.clone(), made.nonce.clone())
        }
        DEVICE => {
            let login = state.store.poll(needed("device_code")?, client, now)?;
            (login, state.store.login(login)?.scopes.clone(), None)
        }
        REFRESH => {
            let token = needed("refresh_token")?;
            let (login, scopes) = state.store.refresh(token, client, form.get("scope"), now)?;
            // The nonce was for the client that waited for that answer (OpenID Connect Core, section 12.2).
            (login, scopes, None)
        }
        other => {
            return Err(Refusal::new("unsupported_grant_type", format!("there is no grant {other:?}")));
        }
    };
    issue(provider, &mut state, login, &scopes, nonce, now)
}

pub(crate) fn revoke(provider: &Provider, client: &str, form: &Form) -> Result<Value, Refusal> {
    let token = form.get("token").ok_or_else(|| Refusal::new("invalid_request", "token is missing"))?;
    provider.state().store.revoke(token, client)?;
    Ok(json!({}))
}

fn issue(
    provider: &Provider,
    state: &mut State,
    login: LoginId,
    scopes: &Scopes,
    nonce: Option<String>,
    now: Timestamp,
) -> Result<Value, Refusal> {
    let Options { lifetimes, people, .. } = &provider.options;
    let made = state.store.login(login)?.clone();
    let person = people.iter().find(|person| person.sub == made.person);
    let person = person.ok_or_else(|| Refusal::new("invalid_grant", "the person is gone"))?;
    let access_token = state.store.add_access_token(login, later(now, lifetimes.access_token))?;
    let mut claims = json!({
        "iss": provider.issuer,
        "aud": made.client,
        "iat": now.as_second(),
        "exp": later(now, lifetimes.id_token).as_second(),
        "auth_time": made.at.as_second(),
        "at_hash": secret::at_hash(&access_token),
    });
    if let Some(nonce) = nonce {
        claims["nonce"] = nonce.into();
    }
    for (claim, value) in scopes.claims(person)? {
        claims[claim] = value;
    }
    let mut tokens = json!({
        "token_type": "Bearer",
        "access_token": access_token,
        "expires_in": lifetimes.access_token.as_secs(),
        "scope": scopes.written(),
        "id_token": state.keys.sign(&claims)?,
    });
    // What may be renewed is what was agreed to, also where fewer scopes are asked for this time.
    if made.scopes.has(OFFLINE) {
        let refresh_token = state.store.add_refresh_token(login, later(now, lifetimes.refresh_token))?;
        tokens["refresh_token"] = refresh_token.into();
    }
    Ok(tokens)
}
