//! Configuration of the client credentials grant, and its check, which calls nobody.

use std::path::PathBuf;

use reqwest::Url;
use serde::Deserialize;

use crate::{CredentialError, tls::read_ca};

/// Access tokens by the client credentials grant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCredentialsConfig {
    /// Where tokens are asked for; this or `issuer`.
    #[serde(default)]
    pub token_endpoint: Option<String>,
    /// The authorization server's issuer identifier, whose metadata tell the token endpoint (RFC 8414, OpenID Connect
    /// Discovery).
    #[serde(default)]
    pub issuer: Option<String>,
    /// As what the gate is registered there.
    pub client_id: String,
    /// A file with the client's secret; read again when it changes. This or `privateKeyFile`.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// A private key in PEM (RSA, EC on P-256 or P-384, Ed25519) that signs assertions of who the client is
    /// (`private_key_jwt`, RFC 7523); read again when it changes.
    #[serde(default)]
    pub private_key_file: Option<PathBuf>,
    /// What the server calls that key (`kid`).
    #[serde(default)]
    pub key_id: Option<String>,
    /// What the token is to be good for, separated by blanks.
    #[serde(default)]
    pub scope: Option<String>,
    /// The server that it is for (RFC 8707): a URI, often the MCP server's own.
    #[serde(default)]
    pub resource: Option<String>,
    /// The CA of the authorization server, instead of the system's roots.
    #[serde(default)]
    pub certificate_authority: Option<PathBuf>,
}

/// A checked configuration, its public files read.
pub(crate) struct Settings {
    pub(crate) server: Server,
    pub(crate) client_id: String,
    pub(crate) scope: Option<String>,
    pub(crate) resource: Option<String>,
    /// In PEM.
    pub(crate) ca: Option<Vec<u8>>,
}

/// Whom to ask.
pub(crate) enum Server {
    Endpoint(Url),
    /// As it was written: identifiers are compared to the letter.
    Issuer(String, Url),
}

/// What proves that it is the client who asks.
pub(crate) enum Proof {
    Secret(PathBuf),
    Key { file: PathBuf, id: Option<String> },
}

impl ClientCredentialsConfig {
    /// Checks everything that can be checked without asking, and without the secret.
    pub(crate) fn check(&self) -> Result<(Settings, Proof), CredentialError> {
        let server = match (&self.token_endpoint, &self.issuer) {
            (Some(url), None) => Server::Endpoint(https_url(url).map_err(|why| bad("tokenEndpoint", why))?),
            (None, Some(issuer)) => {
                let url = https_url(issuer).map_err(|why| bad("issuer", why))?;
                if url.query().is_some() {
                    return Err(bad("issuer", format!("{issuer:?} has a query, which no issuer has")));
                }
                Server::Issuer(issuer.clone(), url)
            }
            _ => return Err(bad("tokenEndpoint", "want exactly one of tokenEndpoint and issuer")),
        };
        let proof = match (&self.client_secret_file, &self.private_key_file) {
            (Some(file), None) if self.key_id.is_none() => Proof::Secret(file.clone()),
            (Some(_), None) => return Err(bad("keyId", "it is for privateKeyFile alone")),
            (None, Some(file)) => Proof::Key { file: file.clone(), id: self.key_id.clone() },
            _ => {
                return Err(bad(
                    "clientSecretFile",
                    "want exactly one of clientSecretFile and privateKeyFile",
                ));
            }
        };
        // RFC 6749 appendix A.1.
        if self.client_id.is_empty() || !self.client_id.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(bad("clientId", format!("{:?} is no client's identifier", self.client_id)));
        }
        if let Some(scope) = self.scope.as_deref().filter(|scope| !is_scope(scope)) {
            return Err(bad("scope", format!("{scope:?} is no list of scopes, one blank between two")));
        }
        if let Some(resource) = self.resource.as_deref().filter(|resource| !is_resource(resource)) {
            return Err(bad("resource", format!("{resource:?} is no absolute URI without fragment")));
        }
        let settings = Settings {
            server,
            client_id: self.client_id.clone(),
            scope: self.scope.clone(),
            resource: self.resource.clone(),
            ca: self.certificate_authority.as_deref().map(read_ca).transpose()?,
        };
        Ok((settings, proof))
    }
}

fn bad(field: &str, problem: impl Into<String>) -> CredentialError {
    CredentialError::config(format!("oauthClientCredentials.{field}"), problem)
}

/// A URL that secrets may be sent to.
pub(crate) fn https_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    if url.scheme() != "https" {
        return Err(format!("{text:?} does not begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("a user, a password or a fragment has no place there".to_owned());
    }
    Ok(url)
}

/// RFC 6749 section 3.3.
fn is_scope(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    text.split(' ').all(|token| !token.is_empty() && token.bytes().all(legal))
}

/// RFC 8707 section 2.
fn is_resource(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.fragment().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "tokenEndpoint: https://idp.example.com/token\nclientId: gate\nclientSecretFile: /secret\n";

    fn check(yaml: &str) -> Result<(Settings, Proof), String> {
        let config: ClientCredentialsConfig =
            serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn mistakes_name_their_field() {
        check(&format!("{GOOD}scope: 'a b:c'\nresource: https://mcp.example.com/mcp\n")).unwrap();
        for (from, to, field) in [
            ("https://idp", "http://idp", "tokenEndpoint"),
            ("https://idp", "https://u:p@idp", "tokenEndpoint"),
            ("/token", "/token#x", "tokenEndpoint"),
            ("tokenEndpoint: https://idp.example.com/token\n", "", "tokenEndpoint"),
            ("clientId", "issuer: https://idp.example.com\nclientId", "tokenEndpoint"),
            ("tokenEndpoint: https://idp.example.com/token", "issuer: https://idp.example.com?a=b", "issuer"),
            ("clientSecretFile: /secret\n", "", "clientSecretFile"),
            ("clientSecretFile", "privateKeyFile: /key\nclientSecretFile", "clientSecretFile"),
            ("clientSecretFile", "keyId: a\nclientSecretFile", "keyId"),
            ("clientId: gate", "clientId: ''", "clientId"),
            ("clientId: gate", "clientId: gäte", "clientId"),
            ("clientId: gate", "clientId: gate\nscope: 'a  b'", "scope"),
            ("clientId: gate", "clientId: gate\nscope: ''", "scope"),
            ("clientId: gate", "clientId: gate\nresource: mcp", "resource"),
            ("clientId: gate", "clientId: gate\nresource: 'https://mcp.example.com#x'", "resource"),
        ] {
            let said = check(&GOOD.replace(from, to)).err().unwrap();
            assert!(said.starts_with(&format!("oauthClientCredentials.{field}: ")), "{to}: {said}");
        }
        assert!(check(&format!("{GOOD}more: 1")).err().unwrap().contains("more"));
        assert!(check(&format!("{GOOD}certificateAuthority: /gone")).err().unwrap().contains("/gone"));
    }
}
