//! One access token: the server's metadata where only its issuer is known, and a POST to its token endpoint.

use bytes::Bytes;
use http::{StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Response, Url};
use serde::{Deserialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    BearerToken, Why,
    error::quote,
    oauth::{
        client::{Method, Prover},
        config::{Server, Settings, https_url},
    },
    web,
};

/// A token, and how long it is good for, where the server says.
pub(crate) struct Given {
    pub(crate) token: BearerToken,
    pub(crate) life: Option<SignedDuration>,
}

/// Where and how a token is asked for.
struct Endpoint {
    url: Url,
    /// What assertions are addressed to: the issuer where it is known, else the endpoint (RFC 7523 section 3).
    audience: String,
    method: Method,
}

/// RFC 8414 section 2, as far as it is wanted.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// RFC 6749 section 5.1.
#[derive(Deserialize)]
struct Answer {
    access_token: Zeroizing<String>,
    token_type: String,
    expires_in: Option<u32>,
}

/// RFC 6749 section 5.2.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

/// Asks for a token.
pub(crate) async fn ask(settings: &Settings, prover: &Prover, now: Timestamp) -> Result<Given, Why> {
    let client = web::client(settings.ca.as_deref())?;
    let endpoint = match &settings.server {
        Server::Endpoint(url) => {
            Endpoint { url: url.clone(), audience: url.to_string(), method: Method::Basic }
        }
        Server::Issuer(issuer, url) => discover(&client, issuer, url, prover.has_key()).await?,
    };
    let proven = prover.prove(&settings.client_id, &endpoint.audience, endpoint.method, now);
    let proven = proven.map_err(Why::Unusable)?;
    let mut fields = vec![("grant_type", "client_credentials")];
    fields.extend(settings.scope.as_deref().map(|scope| ("scope", scope)));
    fields.extend(settings.resource.as_deref().map(|resource| ("resource", resource)));
    fields.extend(proven.fields.iter().map(|(name, value)| (*name, value.as_str())));
    let mut request = client
        .post(endpoint.url)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(form(&fields));
    if let Some(authorization) = proven.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let response = request.send().await.map_err(web::unreachable)?;
    let Answer { access_token, token_type, expires_in } = read(response).await?;
    if !token_type.eq_ignore_ascii_case("bearer") {
        return Err(Why::Unusable(format!("it gave a token of type {}, not Bearer", quote(&token_type))));
    }
    let token = BearerToken::new(access_token.as_bytes());
    let token = token.ok_or_else(|| Why::Unusable("it gave what is no token".into()))?;
    Ok(Given { token, life: expires_in.map(|seconds| SignedDuration::from_secs(seconds.into())) })
}

/// The token endpoint, by the server's metadata: where RFC 8414 has them, else where OpenID Connect has.
async fn discover(client: &Client, issuer: &str, url: &Url, has_key: bool) -> Result<Endpoint, Why> {
    let path = url.path().trim_end_matches('/');
    let places = [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ];
    let mut found: Option<Metadata> = None;
    let mut said = String::new();
    for place in places {
        let mut url = url.clone();
        url.set_path(&place);
        let request = client.get(url).header(header::ACCEPT, "application/json");
        match read(request.send().await.map_err(web::unreachable)?).await {
            Ok(metadata) => {
                found = Some(metadata);
                break;
            }
            Err(Why::Refused { code, .. }) => said = code,
            Err(other) => return Err(other),
        }
    }
    let unusable = |why: String| Why::Unusable(format!("the metadata of {issuer}: {why}"));
    let metadata = found.ok_or_else(|| unusable(format!("there are none ({said})")))?;
    // RFC 8414 section 3.3: else whoever answers there could pass for another server.
    if metadata.issuer != issuer {
        return Err(unusable(format!("they are of {}", quote(&metadata.issuer))));
    }
    let endpoint = metadata.token_endpoint.ok_or_else(|| unusable("no token_endpoint".into()))?;
    let url = https_url(&endpoint).map_err(|why| unusable(format!("token_endpoint {}", quote(&why))))?;
    let methods = metadata.token_endpoint_auth_methods_supported;
    let takes =
        |method: &str| methods.as_ref().map(|methods| methods.iter().any(|supported| supported == method));
    let method = if has_key {
        takes("private_key_jwt").unwrap_or(true).then_some(Method::Basic)
    } else if takes("client_secret_basic").unwrap_or(true) {
        Some(Method::Basic)
    } else {
        takes("client_secret_post").unwrap_or(false).then_some(Method::Post)
    };
    let method = method.ok_or_else(|| {
        let wanted = if has_key { "a key (private_key_jwt)" } else { "a secret" };
        unusable(format!("clients cannot prove who they are by {wanted}"))
    })?;
    Ok(Endpoint { url, audience: issuer.to_owned(), method })
}

/// What a 200 says, in JSON.
async fn read<T: DeserializeOwned>(response: Response) -> Result<T, Why> {
    let status = response.status();
    let body = web::body(response).await?;
    if status == StatusCode::OK {
        // Errors of the parser can quote what they read, which is a token here.
        return serde_json::from_slice(&body).map_err(|error| {
            Why::Unusable(format!(
                "it answered HTTP 200 with what cannot be used, at line {}, column {}",
                error.line(),
                error.column()
            ))
        });
    }
    // An error of OAuth says why; what else answers is named by its code alone.
    let said: Refusal = serde_json::from_slice(&body).unwrap_or_default();
    let or = |text: &str, otherwise: String| if text.is_empty() { otherwise } else { quote(text) };
    let code = or(&said.error, format!("HTTP {}", status.as_u16()));
    let message = or(&said.error_description, "no reason given".into());
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Why::Unreachable(format!("{code}: {message}")));
    }
    Err(Why::Refused { code, message })
}

/// The form, which is wiped when it has been sent.
fn form(fields: &[(&str, &str)]) -> Bytes {
    // Room for all of it from the start: growing would leave copies behind.
    let room = fields.iter().map(|(name, value)| name.len() + value.len() * 3 + 2).sum();
    let mut form = Zeroizing::new(String::with_capacity(room));
    form_urlencoded::Serializer::new(&mut *form).extend_pairs(fields);
    Bytes::from_owner(form)
}
