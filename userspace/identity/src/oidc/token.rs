//! The token endpoint: what a code, a device code or a refresh token is exchanged for. RFC 6749, sections 4.1.3, 5 and
//! 6; RFC 8628, section 3.4; RFC 7009.

use http::StatusCode;
use reqwest::Url;
use serde::Deserialize;

use super::{Endpoints, Issuer, KeysError};
use crate::secret::Secret;
use crate::web::{Answer, WebError};

/// What is exchanged for tokens.
pub(crate) enum Grant<'a> {
    Device { code: &'a Secret },
    Code { code: &'a Secret, redirect_uri: &'a str, verifier: &'a Secret },
    Refresh { token: &'a Secret },
}

/// What came back. The access token serves to revoke the login, nothing else.
#[derive(Debug, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) id_token: Option<Secret>,
    pub(crate) access_token: Option<Secret>,
    pub(crate) refresh_token: Option<Secret>,
}

/// Why no tokens came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error(transparent)]
    Web(#[from] WebError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("the provider has no token endpoint")]
    NoEndpoint,
    /// RFC 6749, section 5.2: a code for programs, and words for people.
    #[error("the provider refused it: {code}{}", described(.description))]
    Refused { code: String, description: String },
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

pub(crate) async fn request_tokens(issuer: &Issuer, grant: Grant<'_>) -> Result<Tokens, TokenError> {
    let endpoints = issuer.provider.endpoints().await?;
    let url = endpoints.token.as_ref().ok_or(TokenError::NoEndpoint)?;
    let form = match &grant {
        Grant::Device { code } => vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", code.reveal()),
        ],
        Grant::Code { code, redirect_uri, verifier } => vec![
            ("grant_type", "authorization_code"),
            ("code", code.reveal()),
            ("redirect_uri", *redirect_uri),
            ("code_verifier", verifier.reveal()),
        ],
        Grant::Refresh { token } => {
            vec![("grant_type", "refresh_token"), ("refresh_token", token.reveal())]
        }
    };
    let answer = post(issuer, &endpoints, url, form).await?;
    read(&answer, "tokens")
}

/// Tells the provider to forget a token (RFC 7009).
pub(crate) async fn revoke(
    issuer: &Issuer,
    endpoints: &Endpoints,
    url: &Url,
    token: &Secret,
    hint: &str,
) -> Result<(), TokenError> {
    let form = vec![("token", token.reveal()), ("token_type_hint", hint)];
    let answer = post(issuer, endpoints, url, form).await?;
    if answer.status.is_success() { Ok(()) } else { Err(refused(&answer)) }
}

/// A form, with the client's name and, where it has one, its secret (RFC 6749, section 2.3.1).
pub(crate) async fn post(
    issuer: &Issuer,
    endpoints: &Endpoints,
    url: &Url,
    mut form: Vec<(&str, &str)>,
) -> Result<Answer, WebError> {
    form.push(("client_id", &issuer.client_id));
    let basic = match &issuer.client_secret {
        Some(secret) if endpoints.secret_in_form => {
            form.push(("client_secret", secret.reveal()));
            None
        }
        Some(secret) => Some((issuer.client_id.as_str(), secret)),
        None => None,
    };
    issuer.provider.web.post(url, &form, basic).await
}

/// A 200's JSON, or the refusal that the provider words.
pub(crate) fn read<T: serde::de::DeserializeOwned>(
    answer: &Answer,
    expected: &'static str,
) -> Result<T, TokenError> {
    if answer.status == StatusCode::OK { Ok(answer.json(expected)?) } else { Err(refused(answer)) }
}

fn refused(answer: &Answer) -> TokenError {
    let status = WebError::Status { host: answer.host.clone(), status: answer.status.as_u16() };
    // What a provider in trouble says of the grant is no verdict on it, whatever the body looks like.
    if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
        return status.into();
    }
    match serde_json::from_slice::<Refused>(&answer.body) {
        Ok(Refused { error, error_description }) => {
            TokenError::Refused { code: printable(&error), description: printable(&error_description) }
        }
        Err(_) => status.into(),
    }
}

/// Ends up in terminals and logs.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn described(description: &str) -> String {
    if description.is_empty() { String::new() } else { format!(" ({description})") }
}
